"""Sounds that are dropped on the page become clips: with progress, and what failed by its name."""

from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.handed_in import keep_files
from usad_workbench.core.storage.importing import ImportReport, import_clips
from usad_workbench.core.storage.sources import labelled_by_folder
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import distinct
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.job import await_result

ASKED = "data.import"
OTHER = "another…"


def take_in() -> None:
    """A place to drop sounds on, a button, and what became of them."""
    kind = st.segmented_control("What", ["Files", "A folder"], default="Files", key="data.kind")
    dropped: Any = st.file_uploader(
        "Sounds (WAV, FLAC, OGG, Opus, MP3, AIFF and more)",
        accept_multiple_files="directory" if kind == "A folder" else True,
        key=f"data.dropped.{kind}",
    )
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        here = distinct(state.sql, "domain")
        domains = list(dict.fromkeys([*here, "speech", "sound", "music", OTHER]))
        domain = page.choose("Domain", domains, key="data.domain")
        if domain == OTHER:
            domain = st.text_input("Its name", key="data.domain.other").strip()
    with right:
        are_labels = st.toggle("The folder of a file is its label", key="data.labels")
    if st.button("Import", type="primary", disabled=not dropped or not domain):
        files = [(one.name, one.getvalue()) for one in dropped]
        key = ("import", str(state.workspace().folder), *(one.file_id for one in dropped))
        st.session_state[ASKED] = (key, files, domain, are_labels)
    if ASKED in st.session_state:
        _follow(*st.session_state[ASKED])


def _follow(
    key: tuple[str, ...], files: list[tuple[str, bytes]], domain: str, are_labels: bool
) -> None:
    workspace = state.workspace()

    def work(progress: Progress) -> ImportReport:
        clips = keep_files(workspace, files)
        if are_labels:
            clips = labelled_by_folder(clips)
        return import_clips(workspace, clips, domain=domain, progress=progress)

    report: ImportReport | None = await_result(key, f"Importing {count(len(files), 'file')}", work)
    if report is None:
        return
    if files:  # their bytes are needed no more, and the tables of this page show what has come
        st.session_state[ASKED] = (key, [], domain, are_labels)
        st.rerun()
    st.success(
        f"{count(report.n_added, 'clip')} added, {report.n_skipped:,} were there, "
        f"{len(report.failed):,} failed."
    )
    if report.failed:
        table.show_whole(pd.DataFrame([asdict(failure) for failure in report.failed]))
