"""One panel of the report: its question, its figure, the clips behind it, its table."""

from collections.abc import Mapping

import pandas as pd

from usad_workbench.core.diagnosis.panel import InfluentialClips, Panel
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.workbench.presenters.colours import ROLE_SYMBOLS
from usad_workbench.workbench.presenters.diagnosis import marks as panel_marks
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.views import ANSWERS, PanelView, views_of
from usad_workbench.workbench.presenters.dots import order_by_role
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.numbers import count, is_known
from usad_workbench.workbench.presenters.text import listing, shorten
from usad_workbench.workbench.report import area_charts, charts, svg
from usad_workbench.workbench.report.markup import Html, join, tag
from usad_workbench.workbench.report.sounds import Sounds
from usad_workbench.workbench.report.tables import MAX_ROWS, panel_table

CELLS_PER_END = 2
"""Cells with their clips, of those above and of those below no effect."""
CLIPS_PER_SIDE = 2
MAX_NAMED = 4
MAX_CELLS = 4
"""Cells of one row, such as the teachers of an attribution, that have their clips shown."""
NONE_OUT = "No row stands out; this is the largest value."


def panel_section(
    panel: Panel, question: str, roles: Mapping[str, str], sounds: Sounds, alpha: float = ALPHA
) -> Html:
    """The section of one panel; alpha is the level at which rows stand out."""
    frame = panel_rows.frame_of(panel)
    views = views_of(panel.name, panel.columns, alpha)
    view = views[0]
    parts: list[object] = [
        tag("h2", view.title),
        tag("p", question, class_="question"),
        tag("p", view.reading, class_="lead") if view.reading else None,
        [tag("p", one, class_="warning") for one in panel.warnings],
    ]
    if frame.empty:
        parts.append(tag("p", "This panel has no row on these clips.", class_="none"))
    else:
        parts += [
            figure(frame, view, roles),
            [_more(frame, one, roles) for one in views[1:]],
            reasons(frame),
            influential_clips(panel, panel_rows.of_view(frame, view), view, roles, sounds),
            folded_table(panel.name, frame, view),
        ]
    return tag("section", *parts, id=f"panel-{panel.name}", class_="panel-section")


def _more(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> Html:
    drawn = figure(frame, view, roles)
    return join([tag("h3", view.title), tag("p", view.reading) if view.reading else None, drawn])


def figure(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> Html:
    """A figure of the panel with what is on it; says so where no row has a number."""
    frame = panel_rows.of_view(frame, view)
    note = _describe_rows(frame, view)
    choices = panel_rows.choices_of(frame, view)
    choice = {name: values[0] for name, values in choices.items()}
    shown = panel_rows.chosen(frame, choice)
    if choice:
        drawn_words = listing([f"{heading(name)} {value}" for name, value in choice.items()])
        note += f" Drawn: {drawn_words}; the table has the others."
    if view.figure == "table":
        return tag("div", panel_table(_without_maps(frame), view), class_="scroll")
    if view.figure == "maps":
        return _maps(shown, view, roles, note)
    if view.figure == "shares":
        parts = panel_marks.shares(shown, view)
        if parts.empty:
            return join([])
        return _framed(area_charts.stacked(parts, view.axis, colours_of(roles)), note)
    drawn = panel_marks.marks(shown, view, roles)
    if drawn.empty:
        return tag("p", f"{count(len(frame), 'row')}, none with a number.", class_="none")
    empty = panel_marks.facets_without_number(shown, view, drawn)
    named = listing(empty) if len(empty) <= MAX_NAMED else f"{len(empty)} parts"
    note += f" No number for {named}; why is said below." if empty else ""
    return _marks(drawn, view, roles, note)


def _marks(drawn: pd.DataFrame, view: PanelView, roles: Mapping[str, str], note: str) -> Html:
    n_facets = drawn["facet"].nunique()
    if n_facets > charts.MAX_FACETS:
        note += f" The first {charts.MAX_FACETS} of {n_facets} parts are drawn."
    is_curves = (
        view.figure == "curves"
        and drawn["layer"].notna().all()
        and panel_marks.n_layers_of(drawn) > 1
        and drawn["name"].nunique() <= svg.N_SERIES
        and set(drawn["name"]) <= set(roles)
    )
    if is_curves:
        return _framed(charts.curves(drawn, view.axis, colours_of(roles)), note)
    shown = panel_marks.last_layers(drawn)
    if len(shown) < len(drawn):
        note += " Drawn is the last layer of each; the table has all."
    return _framed(join([role_legend(set(shown["role"])), charts.dots(shown, view.axis)]), note)


def _maps(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str], note: str) -> Html:
    rows = frame[frame["value"].notna()]
    if rows.empty:
        return join([])
    names = order_by_role(rows["teacher"].tolist(), roles)
    return _framed(area_charts.maps(rows, names, view.axis), note)


def role_legend(roles: set[str]) -> Html:
    """What the marks' shapes mean."""
    named = [role for role in ROLE_SYMBOLS if role in roles]
    return charts.legend([(role, ROLE_SYMBOLS[role], role) for role in named])


def colours_of(roles: Mapping[str, str]) -> dict[str, int]:
    """The number of each encoder's colour: teachers first, the same in every figure."""
    return {
        name: i % svg.N_SERIES for i, name in enumerate(n for n in roles if roles[n] != "student")
    }


def _framed(drawn: Html, note: str) -> Html:
    return tag("figure", tag("div", drawn, class_="scroll"), tag("figcaption", note))


def _describe_rows(frame: pd.DataFrame, view: PanelView) -> str:
    """How many rows there are, have a number, and stand out."""
    records = frame.to_dict("records")
    known = [row for row in records if is_known(row.get(view.value))]
    words = f"{count(len(records), 'row')}"
    if len(known) < len(records):
        words += f", {len(known):,} with a number"
    if view.figure == "shares" or view.reference is None:
        return f"{words}."
    n_out = sum(panel_rows.stands_out(row, view) for row in known)
    answers = [one for one in ANSWERS if one in frame and frame[one].notna().any()]
    rule = (
        f"the column {answers[0]} says yes"
        if answers
        else f"q ≤ {view.alpha:g} after Benjamini-Hochberg over the panel"
        if "q_value" in frame
        else "their 95% interval leaves out the reference"
    )
    filled = "" if view.figure == "maps" else ", drawn filled"
    return f"{words}; {n_out:,} stand out ({rule}){filled}."


def _without_maps(frame: pd.DataFrame) -> pd.DataFrame:
    """Without columns that hold many values in one cell; the folded table has them."""
    return frame[[c for c in frame if not any(isinstance(one, Mapping) for one in frame[c])]]


def reasons(frame: pd.DataFrame) -> Html:
    """Why numbers or intervals are missing, most frequent first."""
    lines = [tag("li", one) for one in panel_rows.reason_lines(frame)]
    if not lines:
        return join([])
    return tag("div", tag("h3", "What could not be said, and why"), tag("ul", *lines))


def influential_clips(
    panel: Panel,
    frame: pd.DataFrame,
    view: PanelView,
    roles: Mapping[str, str],
    sounds: Sounds,
) -> Html:
    """The clips behind the most extreme cells that have any, the student's where it has some."""
    by_cell: dict[str, list[InfluentialClips]] = {}
    for one in panel.drivers:
        if len(one.clip_ids):
            by_cell.setdefault(one.cell, []).append(one)
    if not by_cell:
        return join([])
    records = frame.to_dict("records")
    cells = panel_rows.cells_of_rows(records, by_cell)
    with_clips = [i for i, cell in enumerate(cells) if cell]
    own = [i for i in with_clips if roles.get(str(records[i].get(view.series))) == "student"]
    with_clips = own or with_clips
    picked = panel_rows.extreme_rows([records[i] for i in with_clips], view, CELLS_PER_END)
    keys = panel_rows.key_columns(frame, view)
    blocks = []
    for at in dict.fromkeys(picked):
        i = with_clips[at]
        lines = panel_rows.row_lines(records[i], view, keys)
        several = len(cells[i]) > 1
        clips = [
            _clips(one, sounds, cell if several else "")
            for cell in cells[i][:MAX_CELLS]
            for one in by_cell[cell]
        ]
        head = tag("h4", shorten(lines[0], 160))
        numbers = tag("p", "; ".join(lines[1:]), class_="numbers")
        blocks.append(tag("div", head, numbers, *clips, class_="cell"))
    if not blocks:
        return join([])
    any_out = any(panel_rows.stands_out(records[with_clips[at]], view) for at in picked)
    words = (
        f"The largest {heading(view.value)} of the panel." if view.reference is None else NONE_OUT
    )
    note = None if any_out else tag("p", words)
    return tag("div", tag("h3", "The clips behind the extremes"), note, *blocks, class_="behind")


def _clips(drivers: InfluentialClips, sounds: Sounds, cell: str) -> Html:
    """The clips at both ends of a cell's influence."""
    ids, influence = list(drivers.clip_ids), drivers.influence.tolist()
    sounds.fetch(ids[:CLIPS_PER_SIDE] + ids[-CLIPS_PER_SIDE:])
    n = min(CLIPS_PER_SIDE, -(-len(ids) // 2))
    high = [sounds.card(ids[i], influence[i]) for i in range(n)]
    last = reversed(range(max(n, len(ids) - n), len(ids)))
    low = [sounds.card(ids[i], influence[i]) for i in last]
    said = panel_rows.INFLUENCE.get(drivers.kind, drivers.kind)
    return tag(
        "div",
        tag(
            "p",
            tag("b", cell.replace("|", " · ") + ". ") if cell else None,
            f"Influence: {said}.",
            class_="note",
        ),
        tag(
            "div",
            tag("div", tag("h5", "Most"), *high),
            tag("div", tag("h5", "Least"), *low),
            class_="sides",
        ),
    )


def folded_table(name: str, frame: pd.DataFrame, view: PanelView) -> Html:
    """The rows, folded away; where there are too many, the first and where the rest is."""
    words = f"All {count(len(frame), 'row')} as a table"
    note = None
    if len(frame) > MAX_ROWS:
        words = f"{MAX_ROWS} of {count(len(frame), 'row')} as a table"
        note = tag(
            "p",
            f"The {MAX_ROWS} with the smallest q-value, else the largest value. All of them "
            f"are in the table diagnosis_{name} of workspace.duckdb.",
            class_="note",
        )
    table = tag("div", panel_table(frame, view), class_="scroll")
    return tag("details", tag("summary", words), note, table)
