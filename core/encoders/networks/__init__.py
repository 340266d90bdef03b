"""The networks of the encoders that this package runs itself, and their front ends."""
