"""The log of a run: one JSON object per line, so that any tool can read it."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.files import write_whole
from usad_workbench.training.run_folder import LOG_FILE
from usad_workbench.training.steps import RunProgress, StepValues
from usad_workbench.training.tensorboard import TensorBoardWriter

logger = logging.getLogger(__name__)


class RunLog:
    """Collects the steps since the last line, then writes their mean as one line.

    Keys: ``step``, ``loss`` (what is minimised), ``loss/TEACHER``,
    ``loss/TEACHER/DOMAIN``, ``l1/TEACHER``, ``cosine/TEACHER`` (means over frames, not
    weighted by domain), ``lr``, ``gradient_norm`` (of the last step), ``audio_s`` and
    ``wall_s`` (both since the run began), ``n_unreadable`` clips and ``n_left_out`` pieces
    where there are any (see ``RunProgress``). Evaluations are lines of their own, without
    ``loss``: see ``Evaluation.of_student``.
    """

    def __init__(
        self,
        run_dir: Path,
        teachers: Sequence[str],
        domains: Sequence[str],
        *,
        writes: bool = True,
        tensorboard: bool = False,
    ) -> None:
        """The log of a run's folder; only one process ``writes`` it."""
        self.path, self.writes, self.wants_tensorboard = run_dir / LOG_FILE, writes, tensorboard
        self._tensorboard: TensorBoardWriter | None = None
        self.teachers, self.domains = list(teachers), list(domains)
        self._losses: list[float] = []
        self._sums = np.zeros((len(self.teachers), len(self.domains), 3))
        self._norm = 0.0

    def open(self, step: int, window: Mapping[str, Any] | None = None) -> None:
        """Starts a log, or cuts one off behind the step that a run resumes from.

        Args:
            step: Later lines are deleted; all of them where 0.
            window: Of the checkpoint, see ``window``.
        """
        if window is not None:
            self._losses = [float(loss) for loss in window["losses"]]
            self._sums = np.asarray(window["sums"], dtype=np.float64)
        if self.writes:
            kept = [row for row in read_log(self.path.parent) if step and row["step"] <= step]
            write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))
            if self.wants_tensorboard:
                self._tensorboard = TensorBoardWriter(self.path.parent, step)

    def window(self) -> dict[str, Any]:
        """The steps since the last line, for a checkpoint: the next line needs them."""
        return {"losses": self._losses, "sums": self._sums.tolist()}

    def add(self, values: StepValues) -> None:
        """Adds a step."""
        self._losses.append(values.loss)
        self._sums = self._sums + values.sums
        self._norm = values.norm

    def write(self, state: RunProgress, lr: float) -> None:
        """Writes the line of the steps added since the last one."""
        row = {
            "step": state.step,
            "loss": sum(self._losses) / len(self._losses),
            **self._parts(),
            "lr": lr,
            "gradient_norm": self._norm,
            "audio_s": round(state.audio_s, 3),
            "wall_s": round(state.wall_s, 3),
        }
        if state.n_unreadable:
            row["n_unreadable"] = state.n_unreadable
        if state.n_left_out:
            row["n_left_out"] = state.n_left_out
        self.append(row)
        self._losses, self._sums = [], np.zeros_like(self._sums)

    def append(self, row: Mapping[str, float]) -> None:
        """Writes one line as it is."""
        if not self.writes:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._tensorboard is not None:
            self._tensorboard.write(row)

    def _parts(self) -> dict[str, float]:
        parts: dict[str, float] = {}
        for teacher, sums in zip(self.teachers, self._sums, strict=True):
            if not sums[:, 2].any():  # it taught none of these pieces
                continue
            l1, cosine = _means(sums.sum(0))
            parts |= {f"l1/{teacher}": l1, f"cosine/{teacher}": cosine}
            parts[f"loss/{teacher}"] = l1 + cosine
            for domain, of_domain in zip(self.domains, sums, strict=True):
                if of_domain[2]:
                    parts[f"loss/{teacher}/{domain}"] = sum(_means(of_domain))
        return dict(sorted(parts.items()))


def _means(sums: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(sums[0] / sums[2]), float(sums[1] / sums[2])


def read_log(run_dir: str | Path) -> list[dict[str, float]]:
    """The lines of a run's log; none where there is no log yet.

    A last line that is still being written is left out, damaged ones too, which are named.

    Raises:
        CheckpointError: the log cannot be read at all.
    """
    path = Path(run_dir) / LOG_FILE
    try:
        *lines, unfinished = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Expected the log of a run."
        ) from error
    if _row(unfinished) is not None:
        lines.append(unfinished)
    rows = [_row(line) for line in lines]
    damaged = [number for number, row in enumerate(rows, start=1) if row is None]
    if damaged:
        logger.warning(
            "%s: %d of %d lines are damaged and left out, the first is line %d.",
            path,
            len(damaged),
            len(rows),
            damaged[0],
        )
    return [row for row in rows if row is not None]


def _row(line: bytes) -> dict[str, float] | None:
    """One line, if it is an object of numbers with a step."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_row = isinstance(row, dict) and "step" in row
    return row if is_row and all(type(value) in (int, float) for value in row.values()) else None
