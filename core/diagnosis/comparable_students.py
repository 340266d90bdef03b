"""Whether a student that stands as a control is a peer of the student in question.

A student without the teacher shows what the teacher gave only if nothing else sets the two
apart: 180 steps of half a million parameters are no yardstick for 2,800 of eight million, which
is nearer to every encoder of its domain. Students of this program have their architecture and
training on record, published ones their size; of vectors made elsewhere what was told with them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from usad_workbench.core.encoders.registry import encoder_specs
from usad_workbench.core.encoders.students import recorded_description
from usad_workbench.core.errors import CheckpointError, UnknownNameError, WeightsError
from usad_workbench.core.models.spec import Origin

TOLERANCE = 0.1
"""Trainings whose amounts differ by more than this share are not alike."""
S_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentRecord:
    """What is known of how a student was made; NaN and 0: not recorded."""

    n_params: float
    dim: int
    n_layers: int
    architecture: Mapping[str, object]
    """All settings of the architecture; empty for published students."""
    stage: int = 0
    n_steps: int = 0
    """Of the last stage."""
    heard_h: float = math.nan
    """Audio that all stages went through."""
    corpus_h: float = math.nan
    """Audio that the last stage chose from."""


def student_record(name: str) -> StudentRecord | None:
    """How a student was made; none where nobody recorded it, as of vectors made elsewhere."""
    spec = encoder_specs().get(name)
    try:
        described = recorded_description(name)
    except (CheckpointError, UnknownNameError, WeightsError):
        if spec is None or spec.role != "student":
            return None
        return StudentRecord(
            n_params=float(spec.n_params or math.nan),
            dim=spec.dims[-1],
            n_layers=spec.n_layers,
            architecture={},
        )
    made, config = described["provenance"], described["student"]
    return StudentRecord(
        n_params=described["n_params"],
        dim=int(config["dim"]),
        n_layers=int(config["n_layers"]),
        architecture=config,
        stage=int(_number(made.get("stage"), 0)),
        n_steps=int(_number(made.get("step"), 0)),
        heard_h=_heard_s(made) / S_PER_HOUR,
        corpus_h=_corpus_h(made),
    )


def differences(student: StudentRecord, control: StudentRecord) -> list[str]:
    """In what a control is no peer of the student, its own first; empty where it is one.

    >>> a = StudentRecord(n_params=7.8e6, dim=256, n_layers=8, architecture={}, heard_h=29.)
    >>> b = StudentRecord(n_params=0.56e6, dim=96, n_layers=4, architecture={}, heard_h=.45)
    >>> differences(a, b)
    ['4 layers of 96, not 8 of 256', '0.56 M parameters, not 7.8 M', '0.45 h of audio, not 29 h']
    """
    apart = []
    if (student.n_layers, student.dim) != (control.n_layers, control.dim):
        apart.append(
            f"{control.n_layers} layers of {control.dim}, not {student.n_layers} of {student.dim}"
        )
    elif student.architecture and control.architecture:
        apart += [
            f"{name} {control.architecture.get(name)}, not {value}"
            for name, value in student.architecture.items()
            if control.architecture.get(name) != value
        ]
    if not _is_alike(student.n_params, control.n_params):
        apart.append(
            f"{control.n_params / 1e6:.2g} M parameters, not {student.n_params / 1e6:.2g} M"
        )
    if student.stage and control.stage and student.stage != control.stage:
        apart.append(f"stage {control.stage}, not {student.stage}")
    if not _is_alike(student.heard_h, control.heard_h):
        apart.append(f"{control.heard_h:.2g} h of audio, not {student.heard_h:.2g} h")
    elif student.n_steps and control.n_steps and not _is_alike(student.n_steps, control.n_steps):
        apart.append(f"{control.n_steps} steps, not {student.n_steps}")
    if not _is_alike(student.corpus_h, control.corpus_h):
        apart.append(f"a corpus of {control.corpus_h:.2g} h, not {student.corpus_h:.2g} h")
    return apart


def differences_as_told(origins: Mapping[str, Origin], student: str, control: str) -> list[str]:
    """In what a control is no peer of the student by what was told of both.

    >>> told = {"a": Origin(architecture="8 of 256"), "b": Origin(architecture="4 of 96")}
    >>> differences_as_told(told, "a", "b"), differences_as_told(told, "a", "c")
    (['architecture 4 of 96, not 8 of 256'], [])
    """
    a, b = origins.get(student, Origin()), origins.get(control, Origin())
    pairs = {
        "architecture": (a.architecture, b.architecture),
        "training": (a.training, b.training),
    }
    return [
        f"{name} {other}, not {own}"
        for name, (own, other) in pairs.items()
        if own and other and own != other
    ]


def _is_alike(a: float, b: float) -> bool:
    """Whether two amounts are alike, or one is not known."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return True
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _heard_s(made: Mapping[str, object]) -> float:
    """Seconds of audio over all trainings; NaN where one is not recorded."""
    total: float = 0.0
    training: object = made
    while isinstance(training, Mapping):
        total += _number(training.get("audio_s"), math.nan)
        training = training.get("start")
    return total


def _corpus_h(made: Mapping[str, object]) -> float:
    data = made.get("data")
    hours = data.get("hours") if isinstance(data, Mapping) else None
    if not isinstance(hours, Mapping):
        return math.nan
    return sum(_number(amount, math.nan) for amount in hours.values())


def _number(value: object, missing: float) -> float:
    return float(value) if isinstance(value, (int, float)) else missing
