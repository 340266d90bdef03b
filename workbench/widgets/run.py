"""One training run as a person watches it: where it stands, its curves, where it came from."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from usad_workbench.workbench.presenters import runs
from usad_workbench.workbench.presenters import training_curves as training
from usad_workbench.workbench.presenters.colours import domain_colours
from usad_workbench.workbench.presenters.numbers import count, duration, number
from usad_workbench.workbench.presenters.runs import Run, Status
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page, table


def headline(run: Run, status: Status) -> None:
    """Where the run stands, as numbers."""
    began = f", started from {run.started_from}" if run.started_from else ""
    taught = ", ".join(f"{name} ({domain})" for name, domain in run.teachers.items())
    st.markdown(
        f"**{escape_markdown(run.name)}** · stage {run.stage}{escape_markdown(began)} · seed {run.seed} · "
        f"teachers: {escape_markdown(taught)}"
    )
    share = status.step / status.n_steps if status.n_steps else 0.0
    words = f"step {status.step:,} of {status.n_steps:,}, {status.words}"
    if status.is_live and status.age_s is not None:
        words += f", last line {duration(max(status.age_s, 0.0))} ago"
    st.progress(min(share, 1.0), text=words)
    if status.state == "stopped":
        st.caption("No process trains it. It goes on from its last checkpoint with:")
        st.code(runs.resume_command(run), language="bash", wrap_lines=True)
    tiles = {
        "Step": f"{status.step:,}",
        "Loss": number(status.loss, 4),
        "Audio seconds per second": number(status.audio_per_s, 0),
        "Time left": duration(status.left_s),
    }
    for (title, value), column in zip(tiles.items(), st.columns(len(tiles)), strict=True):
        column.metric(title, value, border=True)


def curves(
    steps: pd.DataFrame, probes: pd.DataFrame, teachers: Mapping[str, str], key: str
) -> None:
    """Everything that a log says, over steps."""
    palette = training.teacher_palette(teachers)
    steps = steps.assign(**{training.SPEED: runs.speed(steps, probes)})
    rows, size = training.thin(steps)
    page.section(
        "Loss", f"{training.describe_loss(steps)} {training.describe_lines(len(steps), size)}"
    )
    lines = {label: (rows, column) for label, column in training.loss_columns(steps).items()}
    _show(training.curve_figure(lines, "loss", palette), f"{key}.loss", "Loss over steps.")
    domains = training.domain_facets(steps)
    if domains:
        page.section("Loss by domain of the audio", "One chart per teacher.")
        names = {domain for facet in domains.values() for domain in facet}
        _facets(rows, domains, domain_colours(names), f"{key}.domains", shares_y=True)
    terms = training.term_facets(steps)
    if terms:
        page.section("The two terms of the loss", "Means over frames, before domain weights.")
        _facets(rows, terms, palette, f"{key}.terms", shares_y=False)
    _probes(probes, key)
    work = training.work_facets(steps)
    if work:
        page.section("Learning rate, gradient and speed")
        _facets(rows, work, {}, f"{key}.work", shares_y=False)


def compare(
    logs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], palette: Mapping[str, str]
) -> None:
    """One number of several runs in one plot."""
    page.section("Compared")
    numbers = training.comparable([s for s, _ in logs.values()], [p for _, p in logs.values()])
    left, _ = st.columns(2)
    with left:
        column = page.choose("Number", numbers, key="training.number")
    is_probe = column.startswith(f"{training.PROBE}/")
    curves = {
        name: (probes if is_probe else training.thin(steps)[0], column)
        for name, (steps, probes) in logs.items()
        if column in (probes if is_probe else steps)
    }
    n = ", ".join(f"{name}: {len(rows):,}" for name, (rows, _) in curves.items())
    st.caption(f"Points drawn: {escape_markdown(n)}.")
    _show(training.curve_figure(curves, column, palette), "training.compare", f"{column} by run.")


def origin(run: Run) -> None:
    """Recipe and provenance: what the run was made from."""
    page.section("What it is made from", runs.describe_data(run))
    if run.started_from:
        st.markdown(f"Stage {run.stage} started from **{escape_markdown(run.started_from)}**.")
    teachers = runs.teacher_table(run)
    if len(teachers):
        table.show(teachers)
    failed = runs.failed_table(run)
    if len(failed):
        with st.expander(f"{count(len(failed), 'clip')} could not be used"):
            table.show(failed)
    with st.expander("Recipe"):
        changed = runs.overridden(run)
        if changed:
            st.caption("Changed on the command line:")
            st.code("\n".join(changed), language="toml", wrap_lines=True)
        st.code(runs.recipe_text(run), language="toml", wrap_lines=True)


def _probes(probes: pd.DataFrame, key: str) -> None:
    if not any(training.is_value(str(name)) for name in probes):
        return
    page.section(
        "Probes",
        f"What simple classifiers read from the frozen student, on few clips: "
        f"n = {count(len(probes), 'evaluation')}. Bands are 95% intervals over clusters, "
        "dots chance; a task of fewer than 8 clusters has none.",
    )
    _show(training.probe_figure(probes), f"{key}.probes", "Probes over steps, one chart per task.")


def _facets(
    rows: pd.DataFrame,
    facets: training.Facets,
    palette: Mapping[str, str],
    key: str,
    *,
    shares_y: bool,
) -> None:
    words = f"{', '.join(facets)} over steps."
    _show(training.facet_figure(rows, facets, palette, shares_y=shares_y), key, words)


def _show(figure: go.Figure, key: str, words: str) -> None:
    page.charts(figure, key=key, alt=words)
