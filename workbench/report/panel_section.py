"""One panel of the report: its question, its figures, the clips behind it, its table."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.diagnosis.panel import InfluentialClips, Panel
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.plan import describe_rows, plan_figure
from usad_workbench.workbench.presenters.diagnosis.views import PanelView, views_of
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import listing, shorten
from usad_workbench.workbench.report.charts import Drawing, draw
from usad_workbench.workbench.report.sounds import ClipCard, Sounds
from usad_workbench.workbench.report.tables import MAX_ROWS, Table, panel_table

CELLS_PER_END = 2
"""Cells with their clips, of those above and of those below no effect."""
CLIPS_PER_SIDE = 2
MAX_CELLS = 4
"""Cells of one row, such as the teachers of an attribution, that have their clips shown."""
NONE_OUT = "No row stands out; this is the largest value."


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What one view of a panel shows: a drawing, a table, or why there is neither."""

    title: str
    """Empty for the main view, whose title is the panel's."""
    reading: str
    drawing: Drawing | None = None
    table: Table | None = None
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BothEnds:
    """The clips that drive a cell most and least."""

    cell: str
    """The cell where a row has several."""
    influence: str
    """What the influence of a clip is here."""
    most: tuple[ClipCard, ...]
    least: tuple[ClipCard, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class InfluentialRow:
    """A row of a panel with the clips behind it."""

    subject: str
    numbers: str
    ends: tuple[BothEnds, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelSection:
    """The section of a panel."""

    name: str
    title: str
    question: str
    reading: str
    warnings: tuple[str, ...]
    figures: tuple[Figure, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why numbers or intervals are missing, most frequent first."""
    influential: tuple[InfluentialRow, ...] = ()
    influential_note: str = ""
    table: Table | None = None
    """None where the panel has no row."""
    n_rows: int = 0

    @property
    def table_title(self) -> str:
        """How much of the panel the table has."""
        rows = count(self.n_rows, "row")
        return f"{MAX_ROWS} of {rows} as a table" if self.is_cut else f"All {rows} as a table"

    @property
    def is_cut(self) -> bool:
        """Whether the panel has more rows than the table."""
        return self.n_rows > MAX_ROWS


def panel_section(
    panel: Panel, question: str, roles: Mapping[str, str], sounds: Sounds, alpha: float = ALPHA
) -> PanelSection:
    """The section of one panel.

    Args:
        panel: The panel with its rows and their influential clips.
        question: What it answers.
        roles: Role of each encoder of the diagnosis.
        sounds: Gives the sound of clips while there is room.
        alpha: The level at which rows stand out.
    """
    frame = panel_rows.frame_of(panel)
    views = views_of(panel.name, panel.columns, alpha)
    view = views[0]
    head = PanelSection(
        name=panel.name,
        title=view.title,
        question=question,
        reading=view.reading,
        warnings=tuple(panel.warnings),
    )
    if frame.empty:
        return head
    rows, note = influential_clips(panel, panel_rows.of_view(frame, view), view, roles, sounds)
    return PanelSection(
        name=head.name,
        title=head.title,
        question=head.question,
        reading=head.reading,
        warnings=head.warnings,
        figures=tuple(figure(frame, one, roles, is_main=one is view) for one in views),
        reasons=tuple(panel_rows.reason_lines(frame)),
        influential=rows,
        influential_note=note,
        table=panel_table(frame, view),
        n_rows=len(frame),
    )


def figure(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str], is_main: bool) -> Figure:
    """What a view shows with what is on it; says so where no row has a number."""
    rows = panel_rows.of_view(frame, view)
    choices = {name: values[0] for name, values in panel_rows.choices_of(rows, view).items()}
    plan = plan_figure(panel_rows.chosen(rows, choices), view, roles)
    title, reading = ("", "") if is_main else (view.title, view.reading)
    if plan.kind == "table":
        return Figure(title=title, reading=reading, table=panel_table(_without_maps(rows), view))
    if plan.kind == "none":
        said = f"{count(len(rows), 'row')}, none with a number."
        is_said = view.figure in ("dots", "curves")
        return Figure(title=title, reading=reading, caption=said if is_said else "")
    sentences = [describe_rows(rows, view, roles), _describe_choices(choices), *plan.notes]
    caption = " ".join(sentence for sentence in sentences if sentence)
    return Figure(title=title, reading=reading, drawing=draw(plan), caption=caption)


def _describe_choices(choices: Mapping[str, str]) -> str:
    if not choices:
        return ""
    drawn = listing([f"{heading(name)} {value}" for name, value in choices.items()])
    return f"Drawn: {drawn}; the table has the others."


def _without_maps(frame: pd.DataFrame) -> pd.DataFrame:
    """Without columns that hold many values in one cell; the folded table has them."""
    return frame[[c for c in frame if not any(isinstance(value, Mapping) for value in frame[c])]]


def influential_clips(
    panel: Panel,
    frame: pd.DataFrame,
    view: PanelView,
    roles: Mapping[str, str],
    sounds: Sounds,
) -> tuple[tuple[InfluentialRow, ...], str]:
    """The clips behind the most extreme rows that have any, the student's where it has some.

    Returns:
        The rows with their clips, and what to know of them; nothing where no row has clips.
    """
    by_cell: dict[str, list[InfluentialClips]] = {}
    for clips in panel.influential:
        if len(clips.clip_ids):
            by_cell.setdefault(clips.cell, []).append(clips)
    records = frame.to_dict("records")
    cells = panel_rows.cells_of_rows(records, by_cell)
    with_clips = [i for i, names in enumerate(cells) if names]
    own = [i for i in with_clips if roles.get(str(records[i].get(view.series))) == "student"]
    with_clips = own or with_clips
    extremes = panel_rows.extreme_rows([records[i] for i in with_clips], view, CELLS_PER_END)
    picked = [with_clips[at] for at in dict.fromkeys(extremes)]
    keys = panel_rows.key_columns(frame, view)
    rows = tuple(
        _row(panel_rows.row_lines(records[i], view, keys), cells[i], by_cell, sounds)
        for i in picked
    )
    if any(panel_rows.stands_out(records[i], view) for i in picked):
        return rows, ""
    note = (
        f"The largest {heading(view.value)} of the panel." if view.reference is None else NONE_OUT
    )
    return rows, note


def _row(
    lines: list[str],
    cells: list[str],
    by_cell: Mapping[str, list[InfluentialClips]],
    sounds: Sounds,
) -> InfluentialRow:
    several = len(cells) > 1
    return InfluentialRow(
        subject=shorten(lines[0], 160),
        numbers="; ".join(lines[1:]),
        ends=tuple(
            _both_ends(drivers, sounds, cell.replace("|", " · ") if several else "")
            for cell in cells[:MAX_CELLS]
            for drivers in by_cell[cell]
        ),
    )


def _both_ends(drivers: InfluentialClips, sounds: Sounds, cell: str) -> BothEnds:
    """The clips at both ends of a cell's influence."""
    ids, influence = list(drivers.clip_ids), drivers.influence.tolist()
    sounds.fetch(ids[:CLIPS_PER_SIDE] + ids[-CLIPS_PER_SIDE:])
    n = min(CLIPS_PER_SIDE, -(-len(ids) // 2))
    last = reversed(range(max(n, len(ids) - n), len(ids)))
    return BothEnds(
        cell=cell,
        influence=panel_rows.INFLUENCE.get(drivers.kind, drivers.kind),
        most=tuple(sounds.card(ids[i], influence[i]) for i in range(n)),
        least=tuple(sounds.card(ids[i], influence[i]) for i in last),
    )
