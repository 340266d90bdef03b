"""A legend of roles: colour and symbol, the same on every page."""

from collections.abc import Collection

import streamlit as st

from usad_workbench.workbench.presenters.colours import ROLE_COLOURS, ROLE_HELP, ROLES

GLYPHS = {"student": "★", "teacher": "●", "control": "◆", "baseline": "■"}


def role_legend(roles: Collection[str]) -> None:
    """One entry for each role that is there."""
    # Constants of ours only: no data goes into this piece of HTML.
    entries = [
        f'<span style="margin-right:1.4em;display:inline-block"><span style="color:{ROLE_COLOURS[role]}">'
        f"{GLYPHS[role]}</span> <b>{role}</b>: {ROLE_HELP[role]}</span>"
        for role in ROLES
        if role in roles
    ]
    st.html(f'<div style="font-size:0.9em;opacity:0.85">{"".join(entries)}</div>')
