"""The instrument on a page: modules of JavaScript that talk to routes of the same server.

Streamlit draws the frame and the navigation. Nothing that is done on the instrument runs the
page again.
"""

from pathlib import Path
from typing import Literal

import streamlit as st

View = Literal["map", "search"]
ASSETS = Path(__file__).resolve().parent.parent / "assets" / "instrument"
# The modules import each other by relative addresses, so the server's own route serves them. An
# address relative to the page works under any base path, and behind a proxy too.
LOADER = """
export default function ({ parentElement, data }) {
  const address = new URL("instrument/assets/main.js", window.location.href);
  const mounted = import(address.href).then(({ mount }) => mount(parentElement, data.view));
  return () => mounted.then((instrument) => instrument.end());
}
"""


def mount(view: View, waiting: str | None = None) -> None:
    """Fills the page with the instrument: the navigation becomes a rail of symbols beside it.

    Args:
        view: What is large: the map, or what a search found.
        waiting: Markdown that is shown until it has come.
    """
    if waiting is not None:
        with st.container(key="usad_waiting"):
            st.markdown(waiting)
    st.html(f"<style>{(ASSETS / 'frame.css').read_text(encoding='utf-8')}</style>")
    instrument = st.components.v2.component(
        "usad_instrument",
        css=(ASSETS / "instrument.css").read_text(encoding="utf-8"),
        js=LOADER,
    )
    instrument(key=f"instrument.{view}", data={"view": view})
