"""The instrument on a page: modules of JavaScript that talk to routes of the same server.

Streamlit draws the frame and the navigation. Nothing that is done on the instrument runs the
page again.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import streamlit as st

View = Literal["map", "search"]
MAX_LINKED = 2000
"""Segments that one link names: servers and browsers cut longer addresses."""
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


def link_to_map(segment_ids: Sequence[int]) -> str:
    """The address of the map with segments selected, 2,000 at most, the first of them to be heard.

    >>> link_to_map([7])
    'map?select=%5B%7B%22segments%22%3A+%5B7%5D%7D%5D&focus=7'
    """
    select = json.dumps([{"segments": list(segment_ids[:MAX_LINKED])}])
    return f"map?{urlencode({'select': select, 'focus': segment_ids[0]})}"
