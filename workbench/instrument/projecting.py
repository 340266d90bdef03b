"""A map that somebody asks for, made in the background: ``usad project`` in a process of its own.

So the page stays usable, memory is given back, and to cancel is to end the process: what is not
stored whole is not stored. A map whose settings are known is there at once.
"""

import atexit
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.layout import UmapSettings
from usad_workbench.indexes.projection import METHODS

PROGRESS = re.compile(r"(.*?):?\s+(\d+)%\|")
END_S = 10.0
LARGEST = 1e9
"""Whole numbers of JSON may be larger than any floating-point number."""


@dataclass(kw_only=True, slots=True)
class Job:
    """A map that is being made, or the last one that was."""

    job: int
    map: str
    """Its name, once it is stored."""
    what: str = "starting"
    share: float = 0.0
    """Of the step that is at work, 0 to 1."""
    state: str = "running"
    """``running``, ``done``, ``failed`` or ``cancelled``."""
    error: str = ""
    said: list[str] = field(default_factory=list)


class Projecting:
    """The one map that a server makes at a time; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        atexit.register(self.cancel)

    def start(
        self, workspace: Workspace, space: SpaceName, method: str, settings: UmapSettings
    ) -> Job:
        """Begins a map.

        Raises:
            ConfigError: one is being made.
            UnknownNameError: no such space.
        """
        stored = workspace.space(space.encoder, space.layer, space.pooling)
        name = settings.name if method == "umap" else method
        with self._lock:
            if self._job is not None and self._job.state == "running":
                raise ConfigError(
                    f"The map {self._job.map} is being made. Wait until it is there, or cancel it."
                )
            number = self._job.job + 1 if self._job else 1
            job = Job(job=number, map=f"{space.encoder}/{stored.layer}/{space.pooling}/{name}")
            self._process = subprocess.Popen(
                _command(workspace, space, method, settings),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
            self._job = job
        self._thread = threading.Thread(target=self._follow, args=(job, self._process), daemon=True)
        self._thread.start()
        return job

    def describe(self) -> dict[str, Any] | None:
        """The job as it is now; none where there was none."""
        job = self._job
        if job is None:
            return None
        return {name: value for name, value in asdict(job).items() if name != "said"}

    def cancel(self) -> None:
        """Ends the job, where one is at work."""
        job, process = self._job, self._process
        if job is None or process is None or job.state != "running":
            return
        job.state = "cancelled"
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
        if self._thread is not None:
            self._thread.join(END_S)

    def _follow(self, job: Job, process: "subprocess.Popen[str]") -> None:
        with process:
            for line in process.stderr or ():  # a bar begins its line anew: that ends a line here
                if found := PROGRESS.match(line.strip()):
                    job.what, job.share = found[1], int(found[2]) / 100
                elif line.strip():
                    job.said = [*job.said[-4:], line.strip()]
        code = process.returncode
        if job.state == "running":
            job.state = "done" if code == 0 else "failed"
            job.error = "" if code == 0 else " ".join(job.said)


def settings_of(asked: Mapping[str, Any]) -> tuple[str, UmapSettings]:
    """The method and its settings, as a page asks for them.

    Raises:
        ConfigError: a value that is none of those that are expected.
    """
    method = asked.get("method", "umap")
    if method not in METHODS:
        raise ConfigError(f"Found method={str(method)[:40]!r}, expected {' or '.join(METHODS)}.")
    usual = UmapSettings()
    neighbours = asked.get("n_neighbours", usual.n_neighbours)
    seed = asked.get("seed", usual.seed)
    min_dist = asked.get("min_dist", usual.min_dist)
    is_whole = type(neighbours) is int and (
        seed is None or (type(seed) is int and 0 <= seed < 2**32)
    )
    is_number = isinstance(min_dist, int | float) and not isinstance(min_dist, bool)
    if not is_whole or not is_number or not -LARGEST < min_dist < LARGEST:
        raise ConfigError(
            "Expected n_neighbours and seed as whole numbers from 0 on, and min_dist as a number."
        )
    metric = asked.get("metric", usual.metric)
    return method, UmapSettings(
        n_neighbours=neighbours, min_dist=float(min_dist), metric=metric, seed=seed
    )


def _command(
    workspace: Workspace, space: SpaceName, method: str, settings: UmapSettings
) -> list[str]:
    seed = "none" if settings.seed is None else str(settings.seed)
    words = ["--workspace", str(workspace.folder), "--encoder", space.encoder]
    words += ["--layer", str(space.layer), "--method", method, "--seed", seed]
    words += ["--n-neighbours", str(settings.n_neighbours), "--metric", settings.metric]
    words += ["--min-dist", str(settings.min_dist), "--json"]
    return [sys.executable, "-m", "usad_workbench.workbench.cli", "project", *words]
