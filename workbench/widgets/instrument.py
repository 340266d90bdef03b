"""The instrument on a page: modules of JavaScript that talk to routes of the same server.

Streamlit draws the frame and the navigation. Nothing that is done on the instrument runs the
page again.
"""

from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "instrument"
# The modules import each other by relative addresses, so the server's own route serves them. An
# address relative to the page works under any base path, and behind a proxy too.
LOADER = """
export default function ({ parentElement }) {
  const address = new URL("instrument/assets/main.js", window.location.href);
  const mounted = import(address.href).then(({ mount }) => mount(parentElement));
  return () => mounted.then((instrument) => instrument.end());
}
"""


def mount() -> None:
    """Fills the page with the instrument: the navigation becomes a rail of symbols beside it."""
    st.html(f"<style>{(ASSETS / 'frame.css').read_text(encoding='utf-8')}</style>")
    instrument = st.components.v2.component(
        "usad_instrument",
        css=(ASSETS / "instrument.css").read_text(encoding="utf-8"),
        js=LOADER,
    )
    instrument(key="instrument")
