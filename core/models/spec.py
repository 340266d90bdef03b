"""What is known of an encoder without running it.

Free of torch, so that ``usad encoders list`` and the registry stay light.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from usad_workbench.core.errors import CheckpointError, ConfigError

Precision = Literal["float32", "bfloat16"]
"""Of weights and activations; what is pooled and stored is float32 always."""
Role = Literal["teacher", "student", "control", "baseline"]

_NON_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial", re.IGNORECASE)


def is_non_commercial(licence: str) -> bool | None:
    """Whether a licence forbids commercial use; none where it is not known.

    >>> is_non_commercial("CC BY-NC 4.0"), is_non_commercial("MIT"), is_non_commercial("unknown")
    (True, False, None)
    """
    if licence in ("", "unknown") or licence.startswith("see "):
        return None
    return bool(_NON_COMMERCIAL.search(licence))


def student_licence(own: str, teachers: Iterable[tuple[str, str]]) -> str:
    """What a student's weights may be used for, given whose outputs they were trained on.

    A teacher that forbids commercial use forbids it of the student too, whatever the student
    says of itself; where what a teacher allows is not known, nor is it of the student.

    Args:
        own: What the student says of itself.
        teachers: Name and licence of each.

    >>> student_licence("Apache-2.0", [("muq", "CC BY-NC 4.0 (non-commercial)"), ("ast", "MIT")])
    'non-commercial, as its teacher muq (CC BY-NC 4.0)'
    >>> student_licence("MIT", [("hf:a/b", "see its model card")])
    'see those of its teachers: hf:a/b (see its model card)'
    >>> student_licence("CC-BY-NC-SA-4.0", [("muq", "CC BY-NC 4.0")]), student_licence("MIT", [])
    ('CC-BY-NC-SA-4.0', 'MIT')
    """
    if is_non_commercial(own):
        return own
    told = list(dict.fromkeys(teachers))
    for is_so, words in (
        (True, "non-commercial, as its teacher"),
        (None, "see those of its teachers:"),
    ):
        named = [
            f"{name} ({licence.removesuffix(' (non-commercial)')})"
            for name, licence in told
            if is_non_commercial(licence) is is_so
        ]
        if named:
            return f"{words} {', '.join(named)}"
    return own


def licence_of_record(provenance: Mapping[str, Any], default: str) -> str:
    """The licence of a student by what its checkpoint records of it and of its teachers.

    Args:
        provenance: ``licence`` and ``teachers``, a list of ``{teacher, licence, ...}``; a
            teacher whose licence was not recorded is passed over.
        default: Where no licence is recorded.
    """
    rows = provenance.get("teachers")
    told = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    pairs = [(str(row.get("teacher")), str(row["licence"])) for row in told if row.get("licence")]
    return student_licence(str(provenance.get("licence", default)), pairs)


class Teaching(NamedTuple):
    """One teacher of a student."""

    teacher: str
    domain: str | None
    """Of the clips that it taught on; none for all of them."""
    stage: int
    """Of the training: 1, or 2 for the supervised stage that follows."""


def teachings_of_record(provenance: Mapping[str, Any], source: object) -> tuple[Teaching, ...]:
    """Who taught a student, each once, in the order of its checkpoint's record.

    Args:
        provenance: ``teachers`` is a list of ``{teacher, domain, stage}``; without ``domain`` a
            teacher taught on all clips, without ``stage`` in the first.
        source: The folder, named in errors.

    Raises:
        CheckpointError: a damaged record.

    >>> teachings_of_record({"teachers": [{"teacher": "musicnn", "domain": "music"}]}, "run")
    (Teaching(teacher='musicnn', domain='music', stage=1),)
    """
    rows = provenance.get("teachers") or []
    try:
        taught = [
            Teaching(str(r["teacher"]), r.get("domain"), int(r.get("stage", 1))) for r in rows
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{source} records its teachers as {rows!r}, expected a list of "
            "{teacher, domain, stage}. Write the checkpoint again."
        ) from error
    return tuple(dict.fromkeys(taught))


def beginnings_of_record(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The sha256 of the weights that a student's trainings began with, the last one first.

    Args:
        provenance: ``start`` holds the ``weights_sha256`` of the student before and, as its own
            ``start``, what that one began with; absent where the training began at random.
    """
    start = provenance.get("start")
    hashes = []
    while isinstance(start, Mapping):
        hashes.append(str(start.get("weights_sha256")))
        start = start.get("start")
    return tuple(hashes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """How an encoder came about, as far as somebody said; none where nobody did.

    Two students are peers if architecture and training are equal; two encoders of one family
    count as one where they stand for others.
    """

    family: str | None = None
    """Models made in one piece of work, such as ``whisper``."""
    architecture: str | None = None
    training: str | None = None
    """The recipe but for its teachers and its seed."""
    training_seed: int | None = None
    """Orders the students of one recipe; nothing is computed from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSpec:
    """What is known of an encoder without running it; the contract tests check it."""

    name: str
    role: Role
    """The default; who taught whom is the workspace's ``distillation`` table."""
    domain: str | None
    """The domain it is a specialist of; none for several."""
    n_layers: int
    """Depth L; there are L + 1 layers."""
    dims: tuple[int, ...]
    """Width of each layer, L + 1 values."""
    frame_rates_hz: tuple[float, ...]
    """Frames per second of each layer, L + 1 values; 0 for one frame per clip."""
    sample_rate_hz: int
    n_params: int | None
    """Parameters that the forward pass up to the last layer uses; none where not known."""
    licence: str
    citation: str
    """Paper or source of the weights."""
    layer_names: tuple[str, ...] = ()
    """What each layer is, where it is not a residual stream; L + 1 values or none."""
    pads: bool = False
    """Whether clips of different lengths may share a batch."""
    has_ffn: bool = False
    """Whether ``ffn`` targets exist (layers 1..L)."""
    native_dim: int | None = None
    """Width of its own utterance-level output (pooling ``native``), if it has one."""
    min_duration_s: float = 0.025
    """Shorter clips are padded with zeros to this before the front end."""
    taught_by: tuple[Teaching, ...] = ()
    """Who taught a student, as its checkpoint records; empty for every other encoder."""
    began_with: tuple[str, ...] = ()
    """The sha256 of the weights that a student's trainings began with, the last one first; empty
    where it began at random, and for every other encoder."""
    origin: Origin = Origin()
    """Family, architecture and training."""

    @property
    def is_non_commercial(self) -> bool | None:
        """Whether the licence forbids commercial use; none where it is not known.

        >>> from dataclasses import replace
        >>> spec = EncoderSpec(
        ...     name="x", role="teacher", domain=None, n_layers=0, dims=(1,), frame_rates_hz=(1.0,),
        ...     sample_rate_hz=16_000, n_params=0, licence="CC BY-NC 4.0", citation="",
        ... )
        >>> spec.is_non_commercial, replace(spec, licence="CC BY 4.0").is_non_commercial
        (True, False)
        """
        return is_non_commercial(self.licence)

    def __post_init__(self) -> None:
        for what, values in (("dims", self.dims), ("frame_rates_hz", self.frame_rates_hz)):
            if len(values) != self.n_layers + 1:
                raise ConfigError(
                    f"{self.name}: {what} has {len(values)} values, n_layers = {self.n_layers} "
                    f"needs {self.n_layers + 1} (layers 0 to {self.n_layers})."
                )
