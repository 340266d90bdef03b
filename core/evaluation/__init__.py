"""Frozen probes on labelled tasks: from a workspace to stored scores and predictions."""
