"""What ``streamlit run`` serves: the app, and beside it the routes of the instrument."""

import sys
from pathlib import Path

from streamlit import config
from streamlit.starlette import App

from usad_workbench.workbench.instrument.routes import instrument_routes

workspace = next(iter(sys.argv[1:]), "")  # the app says in words that there is none
app = App(
    Path(__file__).resolve().parent / "app.py",
    routes=instrument_routes(
        workspace, config.get_option("server.baseUrlPath"), is_read_now=bool(workspace)
    ),
)
