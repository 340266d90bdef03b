"""Workspaces: one folder that holds everything about one collection."""
