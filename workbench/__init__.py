"""The two front doors: the command line and the Streamlit app."""
