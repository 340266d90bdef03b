"""From the workspace to rows, words and figures: pure functions, tested without Streamlit."""
