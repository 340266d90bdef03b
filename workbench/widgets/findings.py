"""What was found of a student's inheritance: an answer for each teacher, and the clips behind it."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.diagnosis import findings, placebo_strip, stored
from usad_workbench.workbench.presenters.diagnosis.findings import Finding
from usad_workbench.workbench.presenters.diagnosis.verdicts import steps_of
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.decide import show_steps, with_commands
from usad_workbench.workbench.widgets.diagnosis import show_influential_clips

PANEL = "inheritance"
PER_ROW = 4
COLOURS = {"yes": "blue", "through": "blue", "no": "green", "undecided": "orange"}


def show_findings(diagnosis: stored.StoredDiagnosis) -> None:
    """One card per teacher, what was found first, and the clips that drive a finding below.

    Nothing where the panel was not computed.
    """
    rows = stored.panel(state.sql, PANEL, diagnosis)
    if rows.empty:
        return
    found = findings.findings(rows)
    names = encoder_names(state.sql)
    page.section(
        "What was taken from whom?",
        f"{escape_markdown(findings.describe_students(diagnosis.students))}: what was gained in "
        "similarity to each teacher over students without it, minus the same with placebos, "
        "encoders that never taught.",
    )
    reach = placebo_strip.reach_of(found)
    teachers = list(dict.fromkeys(one.teacher for one in found))
    for teacher, column in zip(teachers, st.columns(len(teachers)), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"#### {escape_markdown(short_name(teacher, names))}")
            of_teacher = [one for one in found if one.teacher == teacher]
            for one in of_teacher:
                _answer(one, reach)
            for advice in dict.fromkeys(filter(None, (one.advice for one in of_teacher))):
                st.caption(f":material/help: {with_commands(advice)}")
    if any(one.placebos for one in found):
        st.caption(placebo_strip.HELP)
    show_steps(steps_of(one.advice for one in found), diagnosis, PANEL)
    _clips(diagnosis, rows, [one for one in found if one.is_found])


def show_answers(found: Sequence[Finding]) -> None:
    """A small card for each finding, and for each teacher in the domain that it was made for."""
    names = encoder_names(state.sql)
    shown = [one for one in found if one.is_found or one.is_home] or list(found)
    reach = placebo_strip.reach_of(shown)
    for start in range(0, len(shown), PER_ROW):
        row = shown[start : start + PER_ROW]
        for one, column in zip(row, st.columns(len(row)), strict=True):
            with column, st.container(border=True, height="stretch", gap="xsmall"):
                colour = COLOURS.get(one.kind, "gray")
                st.markdown(f":{colour}-badge[{escape_markdown(one.answer)}]")
                teacher = escape_markdown(short_name(one.teacher, names))
                st.markdown(f"**{teacher}, in {escape_markdown(one.domain)}**")
                _strip(one, reach)
                st.caption(_words(one))


def _words(one: Finding) -> str:
    return escape_markdown(f"{one.words}. {one.lacking}" if one.lacking else one.words)


def _strip(one: Finding, reach: float) -> None:
    names = encoder_names(state.sql)
    palette = placebo_strip.DARK if page.is_dark() else placebo_strip.LIGHT
    picture, words = placebo_strip.strip(one, reach, names, palette)
    if picture:
        st.image(picture, width=placebo_strip.WIDTH, alt=words)


def _answer(one: Finding, reach: float) -> None:
    colour = COLOURS.get(one.kind, "gray")
    home = ", its own domain" if one.is_home else ""
    st.markdown(
        f"**In {escape_markdown(one.domain)}**{home}: :{colour}[**{escape_markdown(one.answer)}**]"
    )
    _strip(one, reach)
    st.caption(_words(one))


def _clips(diagnosis: stored.StoredDiagnosis, rows: pd.DataFrame, found: Sequence[Finding]) -> None:
    """The clips that drive one of the findings, the clearest first."""
    if not found:
        return
    names = encoder_names(state.sql)
    chosen = page.choose(
        "Clips that drive it",
        list(range(len(found))),
        key=f"bias.finding.{diagnosis.student}",
        show=lambda i: f"{short_name(found[i].teacher, names)} in {found[i].domain}",
    )
    show_influential_clips(diagnosis, PANEL, rows, VIEWS[PANEL], found[chosen].at)
