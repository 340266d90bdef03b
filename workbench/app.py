"""The app: which workspace, which pages. Run through ``usad workbench W``.

Modules are imported by their full names only. Streamlit puts this folder on the import
path, and a short import would load a second copy of a module beside the first.
"""

import argparse
import gc
import sys
from pathlib import Path

import streamlit as st

from usad_workbench.core.errors import UsadError, printable, wrap_errors
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets.demo_progress import show_demo

HERE = Path(__file__).resolve().parent
PAGES = ("Overview", "Map", "Search", "Layers", "Bias", "Probes", "Training", "Data")
ICONS = {
    "Overview": ":material/home:",
    "Map": ":material/scatter_plot:",
    "Search": ":material/search:",
    "Layers": ":material/grid_on:",
    "Bias": ":material/balance:",
    "Probes": ":material/science:",
    "Training": ":material/show_chart:",
    "Data": ":material/table:",
}


def asked_folders(arguments: list[str]) -> tuple[Path, list[Path]]:
    """The workspace folder and the folders of runs on the command line."""
    parser = argparse.ArgumentParser(prog="app.py", description="USAD Workbench")
    parser.add_argument("workspace", type=Path, help="the workspace folder")
    parser.add_argument("--runs", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    return options.workspace, options.runs


@st.cache_resource(show_spinner=False)
def pass_over_modules(title: str) -> None:
    """Takes what a page has loaded out of the collector's sight, once for each page.

    Streamlit collects all garbage after each run of a page, each part that is drawn again included.
    Modules are most of what it looks through, and never garbage.
    """
    gc.collect()
    gc.freeze()


def main() -> None:
    """Draws the navigation and the page that was asked for."""
    # A file of our own: Streamlit fetches a named icon for the tab from the web.
    icon = HERE / "assets" / "icon.png"
    st.set_page_config(page_title="USAD Workbench", page_icon=icon, layout="wide")
    st.logo(HERE / "assets" / "logo.svg", size="large")
    st.html(HERE / "assets" / "style.css")
    pages = [
        st.Page(
            HERE / "views" / f"{name.lower()}.py",
            title=name,
            icon=ICONS[name],
            default=name == PAGES[0],
        )
        for name in PAGES
    ]
    page = st.navigation(pages)
    try:
        with wrap_errors():
            workspace, runs = asked_folders(sys.argv[1:])
            folder = state.open_workspace(workspace).folder
            state.set_run_folders(runs)
            with st.sidebar:
                st.caption("Workspace")
                st.text(printable(folder.name), help=escape_markdown(folder))
                show_demo()
            page.run()
            pass_over_modules(page.title)
    except UsadError as error:
        st.error(escape_markdown(error), icon=":material/error:")


if __name__ == "__main__":
    main()
