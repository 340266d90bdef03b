"""Music tasks of MARBLE (arXiv:2306.10548) with one class per file.

Two layouts: ``<Task>.train.jsonl``, ``.val.jsonl``, ``.test.jsonl`` with ``audio_path`` and
``label`` (MARBLE version 2), and GTZAN with its fault-filtered lists ``train_filtered.txt``,
``valid_filtered.txt``, ``test_filtered.txt`` beside ``genres/``. No per-task numbers of the
encoders of our papers were found, so none stand beside.
"""

import json
from pathlib import Path

from usad_workbench.core.evaluation.benchmarks.task import (
    FIXED_SPLIT,
    BenchmarkError,
    BenchmarkTask,
    Item,
    Unsupported,
    require,
    require_files,
)

PARTS = {"train": "train", "val": "valid", "test": "test"}
FILTERED = {part: f"{part}_filtered.txt" for part in ("train", "valid", "test")}


def read_marble(folder: Path) -> list[BenchmarkTask | Unsupported]:
    """Every task below a folder.

    Args:
        folder: ``data``, the folder of one data set, or the folder above.

    Raises:
        BenchmarkError: no task, or lists and audio files that are missing.
    """
    require(folder, "a folder of MARBLE's data sets")
    tasks: list[BenchmarkTask | Unsupported] = [
        _from_jsonl(path) for path in sorted(folder.rglob("*.train.jsonl"))
    ]
    names = {task.name for task in tasks}
    for path in sorted(folder.rglob(FILTERED["train"])):
        if "GTZANGenre" not in names:
            tasks.append(_from_filtered(path.parent))
    if not tasks:
        raise BenchmarkError(
            f"{folder} holds neither a *.train.jsonl nor {FILTERED['train']}. Expected MARBLE's "
            "data sets, such as GTZAN/GTZANGenre.train.jsonl."
        )
    return tasks


def _from_jsonl(train: Path) -> BenchmarkTask | Unsupported:
    name = train.name.removesuffix(".train.jsonl")
    items = []
    for suffix, part in PARTS.items():
        path = require(train.with_name(f"{name}.{suffix}.jsonl"), f"the {part} list of {name}")
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            if not isinstance(row.get("label"), str):
                return Unsupported(name=name, reason="not one class per file")
            file = _resolve(path.parent, str(row["audio_path"]))
            items.append(
                Item(path=file, labels=(row["label"],), part=part, cluster=str(row["audio_path"]))
            )
    return _task(name, items)


def _from_filtered(folder: Path) -> BenchmarkTask:
    items = []
    for part, name in FILTERED.items():
        lines = require(folder / name, f"the fault-filtered {part} list of GTZAN").read_text(
            "utf-8"
        )
        for line in filter(None, map(str.strip, lines.splitlines())):
            below = folder / "genres" if (folder / "genres").is_dir() else folder
            items.append(
                Item(path=below / line, labels=(line.split("/")[0],), part=part, cluster=line)
            )
    return _task("GTZANGenre", items)


def _task(name: str, items: list[Item]) -> BenchmarkTask:
    require_files(name, items)
    return BenchmarkTask(name=name, items=tuple(items), splits=FIXED_SPLIT, metric="accuracy")


def _resolve(folder: Path, audio_path: str) -> Path:
    """A path of a list, which is relative to MARBLE's root, wherever that folder lies now."""
    steps = Path(audio_path).parts
    for skipped in range(len(steps)):
        candidate = folder.joinpath(*steps[skipped:])
        if candidate.is_file():
            return candidate
    return folder / audio_path
