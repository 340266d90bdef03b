"""Models of the Hugging Face hub: their folders, downloads, families and code."""
