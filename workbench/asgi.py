"""What ``streamlit run`` serves: the app, and beside it the routes of the instrument."""

import os
import sys
from pathlib import Path

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from usad_workbench.workbench.gate import PASSWORD, LocalGate, PasswordGate
from usad_workbench.workbench.instrument.routes import instrument_routes

workspace = next(iter(sys.argv[1:]), "")  # the app says in words that there is none
password = os.environ.get(PASSWORD, "")
gate = (
    Middleware(PasswordGate, password=password)
    if password
    else Middleware(LocalGate, names=config.get_option("server.allowedHosts"))
)
app = App(
    Path(__file__).resolve().parent / "app.py",
    routes=instrument_routes(
        workspace, config.get_option("server.baseUrlPath"), is_read_now=bool(workspace)
    ),
    middleware=[gate],
)
