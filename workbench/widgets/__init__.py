"""Reusable pieces that draw with Streamlit."""
