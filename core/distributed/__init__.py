"""Embedding by several machines: workers write parts, the workspace adopts them."""
