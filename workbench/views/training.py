"""Training: how the shipped student's loss went down."""

from importlib.resources import files
from pathlib import Path

import pandas as pd
import streamlit as st

from usad_workbench.workbench.panels import page
from usad_workbench.workbench.presenters import training
from usad_workbench.workbench.presenters.colours import domain_colours, domain_order
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
        st.caption(
            f"{plain(training.log_words(rows, names[0]))} The thick line is the "
            "whole loss, the thin ones are what each teacher adds to it."
        )
        labels = {name: name.partition("/")[2] or "all teachers" for name in names}
        draw(rows, labels, "loss", "training.loss")
    per_domain = training.curves_per_domain(rows)
    if per_domain:
        page.section("By domain of the audio")
        teacher = page.choose("Teacher", sorted(per_domain), key="training.teacher")
        domains = domain_order(per_domain[teacher])
        labels = {per_domain[teacher][domain]: domain for domain in domains}
        draw(rows, labels, "loss", "training.domains", domain_colours(domains))
    others = training.other_numbers(rows)
    if others:
        page.section("Also logged")
        name = page.choose("Number", others, key="training.other")
        draw(rows, {name: name}, name, "training.number")


def draw(
    rows: pd.DataFrame,
    labels: dict[str, str],
    title: str,
    key: str,
    palette: dict[str, str] | None = None,
) -> None:
    st.plotly_chart(
        training.curve_figure(rows, labels, title, palette), key=key, config=QUIET, theme=None,
        alt=f"{title} over steps.",
    )  # fmt: skip


if __name__ == "__main__":
    view()
