"""The project's speed claims, each against a named peer in the same run."""
