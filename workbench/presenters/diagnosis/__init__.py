"""A stored diagnosis as rows, marks, figures and sentences."""
