"""What the app remembers: the workspace it shows, and what was chosen on the way.

Other programs write to the workspace while it is shown. Every answer is cached under
the state of its file (time and size), so a commit elsewhere shows on the next click
and nothing is read twice in between.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from usad_workbench.core.clips import Clip
from usad_workbench.core.storage.query import Answer, QueryLimits, ask
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.training.run_folder import LOG_FILE
from usad_workbench.workbench.cache import BoundedCache
from usad_workbench.workbench.presenters import sound
from usad_workbench.workbench.presenters.runs import LogTail

FOLDER, CELL, QUERY = "usad.folder", "usad.cell", "usad.query"
RUNS, ASKED = "usad.runs", "usad.asked"
Stamp = tuple[tuple[int, int], ...]
TYPED = QueryLimits(n_rows=100_000, result_bytes=64 << 20)
"""What a query that somebody types into the app may take."""
_answers = BoundedCache(max_entries=1024, max_bytes=512 << 20)


@dataclass(frozen=True, slots=True)
class Cell:
    """One student layer against one layer of another encoder, in one domain."""

    student: str
    student_layer: int
    teacher: str
    teacher_layer: int
    domain: str
    measure: str


def open_workspace(folder: str | Path) -> Workspace:
    """Opens the workspace that this session shows.

    Raises:
        StoreError: no workspace there.
    """
    resolved = str(Path(folder).resolve())
    if st.session_state.get(FOLDER) != resolved:
        Workspace.open(resolved)
        st.session_state[FOLDER] = resolved
    return workspace()


def workspace() -> Workspace:
    """The workspace that this session shows."""
    return Workspace(st.session_state[FOLDER])


def set_run_folders(folders: Sequence[Path]) -> None:
    """Notes where training runs are, beside the usual places."""
    st.session_state[RUNS] = list(folders)


def run_folders() -> list[Path]:
    """Where training runs are looked for: as given, or ``runs`` beside the workspace or here."""
    given: list[Path] = st.session_state.get(RUNS, [])
    usual = [workspace().folder.parent / "runs", Path("runs").resolve()]
    return list(dict.fromkeys(given or usual))


def log_of(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The steps and evaluations that a run has logged so far."""
    return _tail(str(run)).read()


@st.cache_resource(max_entries=64, show_spinner=False)
def _tail(run: str) -> LogTail:
    return LogTail(Path(run) / LOG_FILE)


def shipped_teachers(stage: int) -> dict[str, str]:
    """Teacher to domain, ``all`` included, in a stage of the student that comes with this
    program."""
    from usad_workbench.core.models.checkpoint import SHIPPED, read_student_folder

    taught = read_student_folder(SHIPPED).provenance.get("teachers", [])
    return {
        str(row["teacher"]): str(row["domain"] or "all")
        for row in taught
        if row.get("stage", 1) == stage
    }


def stamp() -> Stamp:
    """Time and size of the workspace's file: another value means that something was written."""
    return _stamp(workspace().database.path)


def sql(query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
    """The result of a query of this app's own, read again only after the workspace has changed.

    What somebody typed goes to ``ask``.
    """
    folder = st.session_state[FOLDER]
    return remembered(
        ("sql", query, tuple(parameters)), lambda: Workspace(folder).read(query, parameters)
    )


def remembered(key: Hashable, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that is made again only after the workspace has changed."""
    found = _answers.get(
        (st.session_state[FOLDER], stamp(), key),
        make,
        lambda frame: int(frame.memory_usage(deep=True).sum()),
    )
    return found.copy(deep=False)  # a change of the copy leaves the one that is kept


@dataclass
class Asked:
    """A query that somebody typed, while it runs beside everything else."""

    query: str
    since: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: "Future[Answer]" = field(default_factory=Future)

    @property
    def is_done(self) -> bool:
        """Whether there is an answer, or an error."""
        return self.future.done()

    @property
    def seconds(self) -> float:
        """How long ago it was asked."""
        return time.monotonic() - self.since

    def wait(self, seconds: float) -> None:
        """Waits a moment for the answer."""
        wait([self.future], timeout=seconds)

    def cancel(self) -> None:
        """Ends it, and waits until it has ended."""
        self.cancelled.set()
        self.wait(2.0)


def ask_sql(query: str) -> Asked:
    """Starts a query that somebody typed; at most one a session, another ends the one before."""
    before: Asked | None = st.session_state.get(ASKED)
    if before is not None:
        before.cancelled.set()
    asked = st.session_state[ASKED] = Asked(query)
    path = workspace().database.path

    def run() -> None:
        try:
            asked.future.set_result(
                ask(path, query, limits=TYPED, is_cancelled=asked.cancelled.is_set)
            )
        except BaseException as error:  # noqa: BLE001 raised again where the answer is shown
            asked.future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return asked


def asked_sql() -> Asked | None:
    """The query that this session asked last."""
    found: Asked | None = st.session_state.get(ASKED)
    return found


def _stamp(path: Path) -> Stamp:
    files = [path, path.with_name(f"{path.name}.wal")]
    found = [f.stat() for f in files if f.exists()]
    return tuple((f.st_mtime_ns, f.st_size) for f in found)


@dataclass(frozen=True, slots=True)
class Sound:
    """A segment ready to be heard and seen."""

    wav: bytes
    thumbnail: bytes


def segment_clip(path: str, start_s: float, end_s: float) -> Clip:
    """The samples of a segment.

    Raises:
        UsadError: the file is gone, cannot be read any more, or holds other audio by now.
    """
    opened = workspace()
    file = opened.audio_path(path)
    return _answers.get(
        ("clip", file, start_s, end_s, _stamp(file)),
        lambda: sound.read_segment(opened, path, start_s, end_s),
        lambda clip: clip.samples.nbytes,
    )


def segment_sound(path: str, start_s: float, end_s: float) -> Sound:
    """WAV and small spectrogram of a segment.

    Raises:
        UsadError: the file is gone, cannot be read any more, or holds other audio by now.
    """
    opened = workspace()
    file = opened.audio_path(path)
    return _answers.get(
        ("sound", file, start_s, end_s, _stamp(file)),
        lambda: _draw(sound.read_segment(opened, path, start_s, end_s)),
        lambda found: len(found.wav) + len(found.thumbnail),
    )


def _draw(clip: Clip) -> Sound:
    return Sound(wav=sound.wav_bytes(clip), thumbnail=sound.thumbnail(clip))


def asked_cell() -> Cell | None:
    """The cell that another page asks ``Layers`` to show, asked once."""
    found: Cell | None = st.session_state.pop(CELL, None)
    return found


def ask_cell(cell: Cell) -> None:
    """Asks ``Layers`` to show a cell."""
    st.session_state[CELL] = cell


def asked_query() -> int | None:
    """The segment that another page asks ``Search`` to look for, asked once."""
    found: int | None = st.session_state.pop(QUERY, None)
    return found


def ask_query(segment_id: int) -> None:
    """Asks ``Search`` to look for a segment."""
    st.session_state[QUERY] = segment_id
