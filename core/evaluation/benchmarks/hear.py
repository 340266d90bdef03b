"""HEAR 2021 tasks as hear-preprocess writes them.

``tasks/<task>-<version>-<mode>/`` holds ``task_metadata.json``, ``labelvocabulary.csv``,
``train.json``, ``valid.json``, ``test.json`` or ``fold00.json``, ... (file name to labels) and
the audio in ``<sample rate>/<split>/``. Scene tasks are evaluated; event tasks (DCASE 2016,
Maestro) need event matching on frames and are named as not evaluated.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from usad_workbench.core.evaluation.benchmarks.published import HEAR_FROZEN
from usad_workbench.core.evaluation.benchmarks.task import (
    FIXED_SPLIT,
    BenchmarkError,
    BenchmarkTask,
    Item,
    Published,
    Unsupported,
    require,
    require_files,
    rotating_splits,
)
from usad_workbench.core.probes.scores import ScoreMetric

METRICS: dict[str, ScoreMetric] = {
    "top1_acc": "accuracy",
    "pitch_acc": "accuracy",
    "mAP": "map",
    "aucroc": "auroc",
}
"""HEAR's names of the metrics that are computed here; a task's first one is its score."""


def read_hear(folder: Path) -> list[BenchmarkTask | Unsupported]:
    """Every task below a folder.

    Args:
        folder: ``tasks``, the folder above it, or that of one task.

    Raises:
        BenchmarkError: no task at all, or one whose files are not complete.
    """
    folders = sorted(
        p.parent for p in require(folder, "a folder of tasks").rglob("task_metadata.json")
    )
    if not folders:
        raise BenchmarkError(
            f"{folder} holds no task_metadata.json. Expected tasks as hear-preprocess writes "
            "them, such as tasks/esc50-v2.0.0-full. Unpack the archives of one sample rate."
        )
    return [_read_task(task) for task in folders]


def _read_task(folder: Path) -> BenchmarkTask | Unsupported:
    meta: dict[str, Any] = json.loads((folder / "task_metadata.json").read_text("utf-8"))
    missing = [
        key
        for key in ("task_name", "split_mode", "embedding_type", "prediction_type", "evaluation")
        if key not in meta
    ]
    if missing:
        raise BenchmarkError(
            f"{folder / 'task_metadata.json'} has no {', '.join(missing)}. Take the file that "
            "hear-preprocess wrote."
        )
    mode = str(meta.get("mode", folder.name.rsplit("-", 1)[-1]))
    name = str(meta["task_name"]).removeprefix("tfds_")
    if meta["embedding_type"] != "scene":
        return Unsupported(name=name, reason="an event task: event scores are not computed here")
    metric = METRICS.get(meta["evaluation"][0])
    if metric is None:
        return Unsupported(
            name=name, reason=f"its metric {meta['evaluation'][0]} is not computed here"
        )
    parts = _parts(meta, folder)
    items = [item for part in parts for item in _items(folder, part)]
    require_files(name, items)
    classes = pd.read_csv(
        require(folder / "labelvocabulary.csv", "the list of labels"), dtype={"label": str}
    ).sort_values("idx")
    return BenchmarkTask(
        name=name,
        items=tuple(items),
        splits=FIXED_SPLIT if parts == ["train", "valid", "test"] else rotating_splits(parts),
        metric=metric,
        has_several_labels=meta["prediction_type"] == "multilabel",
        classes=tuple(classes.label),
        published={"frozen": _published(name, mode)},
    )


def _parts(meta: dict[str, Any], folder: Path) -> list[str]:
    if meta["split_mode"] == "trainvaltest":
        return ["train", "valid", "test"]
    if meta["split_mode"] in ("presplit_kfold", "new_split_kfold"):
        return list(meta.get("splits") or [f"fold{k:02}" for k in range(meta["nfolds"])])
    raise BenchmarkError(
        f"{folder.name} has the split mode {meta['split_mode']!r}, expected trainvaltest, "
        "presplit_kfold or new_split_kfold. Take the file that hear-preprocess wrote."
    )


def _items(folder: Path, part: str) -> list[Item]:
    rates = sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True)
    if not rates:
        raise BenchmarkError(
            f"{folder} has no folder of a sample rate, such as 48000. Unpack the task's audio."
        )
    labels = json.loads(
        require(folder / f"{part}.json", f"the labels of {part}").read_text("utf-8")
    )
    # The highest rate: each encoder resamples from it to its own.
    audio = folder / str(rates[0]) / part
    return [
        Item(
            path=audio / file,
            labels=tuple(str(x) for x in (names if isinstance(names, list) else [names])),
            part=part,
            cluster=file,
        )
        for file, names in labels.items()
    ]


def _published(name: str, mode: str) -> tuple[Published, ...]:
    """Published results of the same task in the same size."""
    return HEAR_FROZEN.get(f"{name}-{mode}", HEAR_FROZEN.get(name, ()))
