"""The pages of the app, one script each; ``app.py`` lists them."""
