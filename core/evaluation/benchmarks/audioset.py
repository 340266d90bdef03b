"""AudioSet with the balanced training set (AS-20K): Google's CSV files and local audio.

Videos disappear, so no copy is complete: files that are missing are left out and counted in the
notes. There is no official validation set: a tenth of the training videos validates.
"""

import csv
import zlib
from pathlib import Path

from usad_workbench.core.audio.folders import is_audio_name, walk
from usad_workbench.core.evaluation.benchmarks.published import AS20K_FINE_TUNED
from usad_workbench.core.evaluation.benchmarks.task import (
    FIXED_SPLIT,
    BenchmarkError,
    BenchmarkTask,
    Item,
    require,
)

TRAIN_FILE, TEST_FILE = "balanced_train_segments.csv", "eval_segments.csv"
CLASSES_FILE = "class_labels_indices.csv"
VALIDATION_SHARE = 0.1


def read_audioset(folder: Path) -> list[BenchmarkTask]:
    """The one task: mean average precision over the classes.

    Args:
        folder: Holds the two lists of segments, the list of classes, and audio files below
            it whose names are the video's id, with or without a leading ``Y`` or the start.

    Raises:
        BenchmarkError: a list is missing or no list, or no audio file belongs to it.
    """
    classes = _classes(require(folder / CLASSES_FILE, "AudioSet's list of classes"))
    files = {p.stem: p for p in sorted(walk(folder)) if is_audio_name(p)}
    items: list[Item] = []
    notes = []
    for name in (TRAIN_FILE, TEST_FILE):
        listed = _segments(require(folder / name, "AudioSet's list of segments"))
        present = [
            Item(
                path=path,
                labels=tuple(classes.get(mid, mid) for mid in labels),
                part="test" if name == TEST_FILE else _train_part(video),
                cluster=video,
            )
            for video, start_s, labels in listed
            if (path := _file_of(video, start_s, files)) is not None
        ]
        if not present:
            raise BenchmarkError(
                f"{folder} has audio for none of the {len(listed)} segments of {name}. Expected "
                f"files such as {listed[0][0] if listed else 'VIDEO'}.wav anywhere below it."
            )
        if len(present) < len(listed):
            notes.append(f"{name}: {len(listed) - len(present)} of {len(listed)} files missing")
        items += present
    return [
        BenchmarkTask(
            name="as20k",
            items=tuple(items),
            splits=FIXED_SPLIT,
            metric="map",
            has_several_labels=True,
            fine_tunes=True,
            classes=tuple(classes.values()),
            published={"fine-tuned": AS20K_FINE_TUNED},
            notes=tuple(notes),
        )
    ]


def _classes(path: Path) -> dict[str, str]:
    """Machine id to name, in the official order."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"index", "mid", "display_name"} <= set(rows[0]):
        raise BenchmarkError(
            f"{path} has no columns index, mid, display_name. Take the file of the release."
        )
    return {row["mid"]: row["display_name"] for row in sorted(rows, key=lambda r: int(r["index"]))}


def _segments(path: Path) -> list[tuple[str, float, list[str]]]:
    """Video, start in seconds and machine ids of each line; lines with # are comments."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.strip() and not line.startswith("#")]
    try:
        rows = list(csv.reader(lines, skipinitialspace=True))
        return [(row[0], float(row[1]), row[3].split(",")) for row in rows]
    except (IndexError, ValueError) as error:
        raise BenchmarkError(
            f"{path} is no list of segments: {error}. Expected lines of YTID, start_seconds, "
            'end_seconds, "positive_labels".'
        ) from error


def _file_of(video: str, start_s: float, files: dict[str, Path]) -> Path | None:
    """The file of a segment under one of the names that downloaders give."""
    starts = (f"_{start_s:g}", f"_{start_s:.3f}", f"_{round(1000 * start_s)}")
    for stem in (video, f"Y{video}", *(f"{video}{s}" for s in starts)):
        if stem in files:
            return files[stem]
    return None


def _train_part(video: str) -> str:
    """The part of a video, by its id alone, so that every copy validates on the same videos."""
    is_valid = zlib.crc32(video.encode()) % 1000 < 1000 * VALIDATION_SHARE
    return "valid" if is_valid else "train"
