"""Tables of clips whose rows lead to the sound."""

from typing import Any, Literal

import pandas as pd
import streamlit as st

from usad_workbench.workbench.presenters.clips import column_order

Height = int | Literal["auto"]
NUMBERS = {
    "start_s": ("start (s)", "%.2f"),
    "end_s": ("end (s)", "%.2f"),
    "duration_s": ("length (s)", "%.2f"),
    "minutes": ("minutes", "%.1f"),
    "value": ("value", "%.3f"),
    "score": ("score", "%.3f"),
    "ci_low": ("95% from", "%.3f"),
    "ci_high": ("95% to", "%.3f"),
    "null_q95": ("null (95%)", "%.3f"),
    "p_value": ("p", "%.3f"),
    "q_value": ("q", "%.3f"),
    "chance": ("chance", "%.3f"),
    "difference": ("difference", "%.3f"),
    "difference_ci_low": ("difference from", "%.3f"),
    "difference_ci_high": ("difference to", "%.3f"),
    "control_value": ("control's value", "%.3f"),
    "trustworthiness": ("trustworthiness", "%.3f"),
    "recall_at_10": ("recall at 10", "%.3f"),
    "ms_per_query": ("ms per query", "%.3f"),
    "megabytes": ("MB", "%.2f"),
    "seconds": ("seconds", "%.1f"),
    "mean": ("mean", "%.3f"),
}
"""Plain headings and sensible digits for the numbers of the workspace's tables."""
WORDS = {
    "clip_id": "clip",
    "cluster_id": "cluster",
    "sample_rate_hz": "rate (Hz)",
    "student_layer": "student layer",
    "teacher_layer": "other's layer",
    "n_clips": "clips",
    "n_clusters": "clusters",
    "n_test": "test clips",
    "n_classes": "classes",
    "n_groups": "groups",
    "n_pairs": "layer pairs",
    "n_judged": "judged on",
    "n_vectors": "vectors stored",
    "code_version": "code version",
    "weights_sha256": "weights (hash)",
    "null_kind": "kind of null",
    "window_s": "window (s)",
    "hop_s": "hop (s)",
    "label_column": "label column",
    "group_column": "folds by",
    "layer_selection": "layer chosen",
}

WIDTHS: dict[str, Literal["small", "medium", "large"]] = {
    "licence": "medium",
    "source": "medium",
    "reason": "large",
}


def show(frame: pd.DataFrame, *, key: str | None = None, height: Height = "auto") -> None:
    """A table to look at."""
    st.dataframe(
        frame, hide_index=True, key=key, column_config=columns(frame),
        height=height,
    )  # fmt: skip


def pick_row(frame: pd.DataFrame, *, key: str, height: Height = "auto") -> int | None:
    """A table of clips; the position of the row that was clicked, if any."""
    event: Any = st.dataframe(
        frame, hide_index=True, key=key, column_order=column_order(frame),
        column_config=columns(frame), on_select="rerun", selection_mode="single-row",
        height=height,
    )  # fmt: skip
    rows = event.selection.rows if event else []
    return int(rows[0]) if rows and rows[0] < len(frame) else None


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Headings and formats for the columns that are there."""
    config: dict[str, Any] = {}
    for name in frame:
        if name in NUMBERS:
            title, form = NUMBERS[name]
            config[name] = st.column_config.NumberColumn(title, format=form)
        elif name in WIDTHS:
            config[name] = st.column_config.Column(width=WIDTHS[name])
        elif name in WORDS:
            config[name] = st.column_config.Column(WORDS[name])
    return config
