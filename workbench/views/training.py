"""Training: how the shipped student's loss went down."""

from importlib.resources import files
from pathlib import Path

import streamlit as st

from usad_workbench.workbench.panels import page
from usad_workbench.workbench.presenters import training
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.text import plain


def view() -> None:
    page.head("Training", "How the loss of a distilled student went down while it was trained.")
    page.section("The student that comes with this program")
    folder = Path(str(files("usad_workbench.core"))) / "models" / "shipped"
    log = training.find_log(folder)
    if log is None:
        page.empty("No training log comes with this version.")
    else:
        with page.errors_in_words():
            curves(log)
    page.section("Runs of your own")
    page.empty(
        "A run writes its log into its folder while it trains. Following it here live comes "
        "later; until then read `log.jsonl` in the run's folder.",
        "usad train RECIPE.toml --run DIR",
    )


def curves(log: Path) -> None:
    rows = training.read_log(log)
    names = training.curves(rows)
    if names:
        st.caption(plain(training.log_words(rows, names[0])))
        st.plotly_chart(
            training.curve_figure(rows, names, "loss"), key="training.loss", config=QUIET,
            theme=None, alt="Loss over steps.",
        )  # fmt: skip
    others = training.other_numbers(rows)
    if others:
        name = page.choose("Also logged", others, key="training.other")
        st.plotly_chart(
            training.curve_figure(rows, [name], name), key="training.chart", config=QUIET,
            theme=None, alt="A logged number over steps.",
        )  # fmt: skip


if __name__ == "__main__":
    view()
