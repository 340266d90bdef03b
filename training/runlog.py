"""The log of a run: one JSON object per line, so that any tool can read it."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.training.objective import Loss

if TYPE_CHECKING:
    from usad_workbench.training.trainer import TrainState

LOG_FILE = "log.jsonl"


class RunLog:
    """Collects the steps since the last line, then writes their mean as one line.

    Keys: ``step``, ``loss`` (what is minimised), ``loss/TEACHER``,
    ``loss/TEACHER/DOMAIN``, ``l1/TEACHER``, ``cosine/TEACHER`` (means over frames, not
    weighted by domain), ``lr``, ``gradient_norm``, ``audio_s`` and ``wall_s`` (both since
    the run began).
    """

    def __init__(self, run_dir: Path, resume_step: int = 0) -> None:
        """Starts a log, or cuts one off behind the step that a run goes on from."""
        self.path = run_dir / LOG_FILE
        kept = [row for row in read_log(run_dir) if row["step"] <= resume_step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._totals: list[float] = []
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, loss: Loss) -> None:
        """Adds a step."""
        self._totals.append(float(loss.total.detach()))
        for name, (total, n_frames) in loss.parts.items():
            self._sums[name][0] += total
            self._sums[name][1] += n_frames

    def write(self, state: "TrainState", *, lr: float, gradient_norm: float) -> None:
        """Writes the line of the steps added since the last one."""
        parts = {name: s / n if n else math.nan for name, (s, n) in sorted(self._sums.items())}
        row = {
            "step": state.step,
            "loss": sum(self._totals) / len(self._totals),
            **parts,
            "lr": lr,
            "gradient_norm": gradient_norm,
            "audio_s": round(state.audio_s, 3),
            "wall_s": round(state.wall_s, 3),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._totals.clear()
        self._sums.clear()


def read_log(run_dir: str | Path) -> list[dict[str, float]]:
    """The lines of a run's log; none where there is no log yet.

    A last line that is still being written is left out.
    """
    path = Path(run_dir) / LOG_FILE
    if not path.is_file():
        return []
    rows: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
