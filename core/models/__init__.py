"""The encoder contract, and the student: its sizes, its network, its files."""
