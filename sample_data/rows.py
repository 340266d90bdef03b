"""What a clip is before it is audio, and the manifest that lists the clips."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST_COLUMNS = (
    "clip_id",
    "path",
    "domain",
    "dataset",
    "cluster_id",
    "label",
    "split",
    "speaker",
    "language",
    "sex",
    "word",
    "digit",
    "voice",
    "prompt",
    "prompt_group",
    "material",
    "instrument",
    "instrument_family",
    "instrument_set",
    "pitch",
    "pitch_class",
    "track",
    "time_block",
    "effect_kind",
    "source_package",
    "source_version",
    "source_path",
    "source_start_s",
    "source_sample_rate_hz",
    "author",
    "licence",
    "source_sha256",
)
TASK_COLUMNS = ("task", "label_column", "domain", "group_column", "metric")
TAG_COLUMNS = frozenset(
    MANIFEST_COLUMNS[MANIFEST_COLUMNS.index("speaker") : MANIFEST_COLUMNS.index("source_package")]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSource:
    """One clip to be made: where its sound comes from and what is known about it."""

    clip_id: str
    domain: str
    dataset: str
    package: str
    source_path: str
    """Inside the package, without a leading slash. ``a.cat#name``, ``a.zip#member`` and ``a.sf2#program,pitch``
    name a part of a file."""
    cluster_id: str
    """Speaker, track or recording: clips that share it are not independent."""
    label: str
    licence: str
    author: str
    start_s: float | None = None
    """Where to cut, in seconds; None takes the beginning (see ``audio.cut``)."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Values of the optional manifest columns."""

    def __post_init__(self) -> None:
        unknown = set(self.tags) - TAG_COLUMNS
        if unknown:
            raise ValueError(
                f"{self.clip_id}: found tags {sorted(unknown)}, expected some of {sorted(TAG_COLUMNS)}"
            )


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows with Unix line ends, through a temporary name, so that a reader never sees half a file."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    part.rename(path)


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file as text."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
