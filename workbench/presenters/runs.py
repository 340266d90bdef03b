"""Training runs: where they are, what they are, how far they are. Nothing is written.

A run's log grows while it is shown; ``LogTail`` reads only what was added.
"""

import json
import shlex
import statistics
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from usad_workbench.core.locks import is_locked
from usad_workbench.training.run_folder import (
    LOCK_FILE,
    LOG_FILE,
    PROVENANCE_FILE,
    RECIPE_FILE,
    RESOLVED_FILE,
)
from usad_workbench.workbench.presenters.numbers import count, duration, number

State = Literal["starting", "running", "finished", "stopped"]
PATIENCE_S = 60.0
"""Where its lock does not tell, a run is called stopped after five times its usual pause
between lines, at least this."""
START_S = 3600.0
"""Decoding and targets come before the first step: so long a run is called starting there."""
N_RECENT = 30
"""Lines that the speed and the time left are taken from."""
MARK_BYTES = 256


class LogTail:
    """A log that another process writes: steps and evaluations, each read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = self.probes = pd.DataFrame()
        self._offset, self._mark = 0, b""
        self._lock = threading.Lock()

    def read(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lines of steps and lines of evaluations so far.

        A last line that is still being written waits for the next call. A log that was cut
        off, as by a resume, is read anew.
        """
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    file.seek(self._offset - len(self._mark))
                    if file.read(len(self._mark)) != self._mark:
                        self._forget()
                        file.seek(0)
                    added = file.read()
            except FileNotFoundError:
                self._forget()
                added = b""
            whole = added[: added.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._mark = (self._mark + whole)[-MARK_BYTES:]
            rows = [row for line in whole.splitlines() if (row := _row(line))]
            self.steps = _extend(self.steps, [row for row in rows if "loss" in row])
            self.probes = _extend(self.probes, [row for row in rows if "loss" not in row])
            return self.steps, self.probes

    def _forget(self) -> None:
        self._offset, self._mark = 0, b""
        self.steps = self.probes = pd.DataFrame()


def _row(line: bytes) -> dict[str, float] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "step" in value else None


def _extend(frame: pd.DataFrame, rows: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    if not rows:
        return frame
    return pd.concat([frame, pd.DataFrame(list(rows))], ignore_index=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run folder: what its recipe and its provenance say."""

    folder: Path
    name: str
    recipe: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def n_steps(self) -> int:
        """Steps that the recipe asks for."""
        return _whole_number(_table(self.recipe, "optimiser").get("n_steps"), 0)

    @property
    def teachers(self) -> dict[str, str]:
        """The domain of each teacher of the run, by its name."""
        return {
            str(teacher.get("name")): str(teacher.get("domain", ""))
            for teacher in _tables(self.recipe, "teachers")
        }

    @property
    def seed(self) -> int:
        """The seed of the run's data and weights."""
        return _whole_number(_table(self.recipe, "run").get("seed"), 0)

    @property
    def stage(self) -> int:
        """The stage of distillation that the run is."""
        return _whole_number(self.recipe.get("stage"), 1)

    @property
    def started_from(self) -> str:
        """The student that it started from; empty for random weights."""
        return str(_table(self.recipe, "start").get("student", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How far a run has come, and whether it is still going."""

    state: State
    step: int
    n_steps: int
    loss: float | None
    audio_per_s: float | None
    """Seconds of audio in a second of work, evaluations left out."""
    left_s: float | None
    age_s: float | None
    """Since something was last written."""

    @property
    def is_live(self) -> bool:
        """Whether more is to be expected."""
        return self.state in ("starting", "running")

    @property
    def words(self) -> str:
        """The state in words."""
        if self.state == "stopped":
            return (
                f"stopped at step {self.step:,}" if self.step else "stopped before its first step"
            )
        return self.state


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Runs in these folders: each may be a run, or hold some, or hold folders that do.

    The one that was started last is first.
    """
    names_by_folder: dict[Path, str] = {}
    for folder in folders:
        for pattern in ("", "*/", "*/*/"):
            for path in folder.glob(f"{pattern}{RESOLVED_FILE}"):
                inside = path.parent.relative_to(folder).as_posix()
                name = folder.resolve().name if inside == "." else inside
                names_by_folder.setdefault(path.parent.resolve(), name)
    names = list(names_by_folder.values())
    runs = [
        Run(
            folder=path,
            name=name if names.count(name) == 1 else f"{path.parent.name}/{name}",
            recipe=_read_json(path / RESOLVED_FILE),
            provenance=_read_json(path / PROVENANCE_FILE),
        )
        for path, name in names_by_folder.items()
    ]
    return sorted(runs, key=lambda run: (-_time(run.folder / RESOLVED_FILE), run.name))


def status_of(
    run: Run, steps: pd.DataFrame, probes: pd.DataFrame, now: float | None = None
) -> Status:
    """Where a run stands, from its log and whether a process holds it.

    Its lock ends with its process. Where that cannot be asked (a run of an earlier version, a
    process on another machine), the time since something was written has to do.
    """
    is_held = is_locked(run.folder / LOCK_FILE)
    age_s = (time.time() if now is None else now) - _written(run.folder)
    if steps.empty:
        is_starting = age_s < START_S if is_held is None else is_held
        state: State = "starting" if is_starting else "stopped"
        return Status(
            state=state,
            step=0,
            n_steps=run.n_steps,
            loss=None,
            audio_per_s=None,
            left_s=None,
            age_s=age_s,
        )
    step = int(steps["step"].iloc[-1])
    recent = steps.tail(N_RECENT)
    pauses = recent["wall_s"].diff().dropna()
    usual_s = statistics.median(pauses) if len(pauses) else 0.0
    longest_s = float(probes["evaluation_s"].max()) if "evaluation_s" in probes else 0.0
    is_recent = age_s < max(PATIENCE_S, 5 * usual_s, 2 * longest_s)
    is_running = is_recent if is_held is None else is_held
    speeds = speed(recent, probes).dropna()
    per_step = _slope(recent)
    state = "finished" if step >= run.n_steps > 0 else "running" if is_running else "stopped"
    return Status(
        state=state,
        step=step,
        n_steps=run.n_steps,
        loss=float(steps["loss"].iloc[-1]),
        audio_per_s=float(speeds.median()) if len(speeds) else None,
        left_s=per_step * (run.n_steps - step) if per_step and state == "running" else None,
        age_s=age_s,
    )


def resume_command(run: Run) -> str:
    """What goes on with a run from its last checkpoint, as somebody would type it here.

    The resolved recipe is named, as it holds what the command line had changed.
    """
    here = Path.cwd()
    folder = run.folder.relative_to(here) if run.folder.is_relative_to(here) else run.folder
    recipe = shlex.quote(str(folder / RESOLVED_FILE))
    return f"usad train {recipe} --run {shlex.quote(str(folder))} --resume"


def speed(steps: pd.DataFrame, probes: pd.DataFrame) -> pd.Series:
    """Seconds of audio in a second of work, line by line; evaluations do not count as work."""
    wall = steps["wall_s"]
    if "evaluation_s" in probes and len(probes):
        spent = probes["evaluation_s"].cumsum().to_numpy()
        # An evaluation at a step comes after that step's line.
        before = probes["step"].searchsorted(steps["step"], side="left")
        wall = wall - [spent[n - 1] if n else 0.0 for n in before]
    seconds = wall.diff()
    return steps["audio_s"].diff() / seconds.where(seconds > 0)


def checkpoint_steps(run: Run) -> list[int]:
    """The steps of which a run has checkpoints, the last first."""
    from usad_workbench.core.models.checkpoint import list_checkpoints

    return sorted(list_checkpoints(run.folder), reverse=True)


def run_table(runs: Sequence[Run], statuses: Sequence[Status]) -> pd.DataFrame:
    """The runs as a table for people."""
    return pd.DataFrame(
        {
            "run": [run.name for run in runs],
            "state": [status.words for status in statuses],
            "step": [f"{s.step:,} of {s.n_steps:,}" for s in statuses],
            "done": [f"{100 * s.step // s.n_steps if s.n_steps else 0} %" for s in statuses],
            "time left": [duration(s.left_s) for s in statuses],
            "loss": [number(s.loss, 4) for s in statuses],
            "audio s per s": [number(s.audio_per_s, 0) for s in statuses],
            "stage": [run.stage for run in runs],
            "seed": [run.seed for run in runs],
        }
    )


def teacher_table(run: Run) -> pd.DataFrame:
    """The teachers as they were used."""
    return pd.DataFrame(
        [
            {
                "teacher": teacher.get("teacher"),
                "domain": teacher.get("domain"),
                "target": teacher.get("target"),
                "licence": teacher.get("licence"),
                "weights (sha256)": str(teacher.get("weights_sha256", ""))[:12],
            }
            for teacher in _tables(run.provenance, "teachers")
        ]
    )


def describe_data(run: Run) -> str:
    """How much audio a run learns from."""
    data = _table(run.provenance, "data")
    hours: Mapping[str, float] = _table(data, "hours")
    if not hours:
        return "What it learns from is not recorded yet."
    by_domain = ", ".join(f"{duration(3600 * h)} of {domain}" for domain, h in hours.items())
    return (
        f"{duration(3600 * sum(hours.values()))} of audio ({by_domain}), "
        f"{count(data.get('n_clips', 0), 'clip')} in {count(data.get('n_pieces', 0), 'piece')}."
    )


def failed_table(run: Run) -> pd.DataFrame:
    """Clips that could not be used, each with its reason."""
    rows = run.provenance.get("failed")
    pairs = [row for row in rows if len(row) == 2] if isinstance(rows, list) else []
    return pd.DataFrame([{"clip": clip, "reason": reason} for clip, reason in pairs])


def recipe_text(run: Run) -> str:
    """The recipe as it was written; as it was resolved where the file is gone."""
    try:
        return (run.folder / RECIPE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return json.dumps(dict(run.recipe), indent=2)


def overridden(run: Run) -> list[str]:
    """Keys whose value the command line changed, each as ``key = value``."""
    try:
        written = tomllib.loads(recipe_text(run))
    except tomllib.TOMLDecodeError:
        return []
    return _changed(written, run.recipe)


def _changed(written: Mapping[str, Any], used: Mapping[str, Any], at: str = "") -> list[str]:
    changes = []
    for key, value in written.items():
        now = used.get(key)
        if isinstance(value, Mapping) and isinstance(now, Mapping):
            changes += _changed(value, now, f"{at}{key}.")
        elif isinstance(value, (str, int, float)) and value != now:
            changes.append(f"{at}{key} = {json.dumps(now)}")
    return changes


def _slope(recent: pd.DataFrame) -> float | None:
    if len(recent) < 2:
        return None
    first, last = recent.iloc[0], recent.iloc[-1]
    n = float(last["step"] - first["step"])
    return float(last["wall_s"] - first["wall_s"]) / n if n > 0 else None


def _written(folder: Path) -> float:
    return max(_time(folder / name) for name in (LOG_FILE, PROVENANCE_FILE, RESOLVED_FILE))


def _table(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A table in what a file holds, which may be damaged."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def _tables(values: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = values.get(key)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _whole_number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # being written, or not ours: the page says what is missing
    return value if isinstance(value, dict) else {}
