"""Pretrained encoders, controls and baselines, and where their weights come from."""
