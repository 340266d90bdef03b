"""Tiny copies of published data sets in their own layout: a tone of its own for each class."""

import csv
import json
from pathlib import Path

from tests.conftest import write_tone

CLASSES = ("dog", "rain", "siren")
HZ = {"dog": 150.0, "rain": 600.0, "siren": 2400.0}


def tone(path: Path, label: str, n: int, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tone(path, HZ[label] * (1 + n / 100), seconds)


def make_esc50(folder: Path, n: int = 2) -> Path:
    """Five folds, each with ``n`` clips of each class from ``n`` recordings of their own."""
    rows = []
    for fold in range(1, 6):
        for k, label in enumerate(CLASSES):
            for i in range(n):
                name = f"{fold}-{100 * fold + 10 * k + i}-A-{k}.wav"
                tone(folder / "audio" / name, label, fold * n + i)
                rows.append([name, fold, k, label, True, name.split("-")[1], "A"])
    header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    write_csv(folder / "meta" / "esc50.csv", [header, *rows])
    return folder


def make_audioset(folder: Path, n: int = 30) -> Path:
    mids = [f"/m/{k}" for k in range(3)]
    names = [["index", "mid", "display_name"], *([k, m, CLASSES[k]] for k, m in enumerate(mids))]
    write_csv(folder / "class_labels_indices.csv", names)
    for part, name in (("tr", "balanced_train_segments.csv"), ("ev", "eval_segments.csv")):
        lines = ["# Segments csv created 2017", "# YTID, start_seconds, end_seconds, labels"]
        for i in range(n):
            video = f"{part}-{i:04}"
            several = [mids[i % 3], *([mids[(i + 1) % 3]] if i % 4 == 0 else [])]
            lines.append(f'{video}, 30.000, 40.000, "{",".join(several)}"')
            if i != 1:  # one video of each list has disappeared
                tone(folder / "wav" / f"Y{video}.wav", CLASSES[i % 3], i)
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def make_hear(folder: Path) -> Path:
    """A task with folds and several labels, one with fixed splits, and an event task."""
    _hear_task(
        folder / "tasks" / "esc50-v2.0.0-full",
        "esc50",
        "presplit_kfold",
        [f"fold{k:02}" for k in range(4)],
        "multiclass",
        "top1_acc",
    )
    _hear_task(
        folder / "tasks" / "fsd50k-v1.0-full",
        "fsd50k",
        "trainvaltest",
        ["train", "valid", "test"],
        "multilabel",
        "mAP",
    )
    _hear_task(
        folder / "tasks" / "dcase2016_task2-hear2021-full",
        "dcase2016_task2",
        "trainvaltest",
        ["train", "valid", "test"],
        "multilabel",
        "event_onset_200ms_fms",
        "event",
    )
    return folder


def _hear_task(
    folder: Path,
    name: str,
    split_mode: str,
    parts: list[str],
    kind: str,
    metric: str,
    embedding: str = "scene",
) -> None:
    folder.mkdir(parents=True)
    meta = {
        "task_name": name,
        "version": "v1",
        "split_mode": split_mode,
        "mode": "full",
        "embedding_type": embedding,
        "prediction_type": kind,
        "evaluation": [metric, "d_prime"],
    }
    if split_mode != "trainvaltest":
        meta |= {"splits": parts, "nfolds": len(parts)}
    (folder / "task_metadata.json").write_text(json.dumps(meta))
    write_csv(folder / "labelvocabulary.csv", [["idx", "label"], *enumerate(CLASSES)])
    for p, part in enumerate(parts):
        labels = {}
        for i in range(6):
            file = f"{part}-{i}.wav"
            several = i % 2 and kind == "multilabel"
            labels[file] = [CLASSES[i % 3], *([CLASSES[(i + 1) % 3]] if several else [])]
            tone(folder / "16000" / part / file, CLASSES[i % 3], 6 * p + i)
        (folder / f"{part}.json").write_text(json.dumps(labels))


def make_gtzan(folder: Path) -> Path:
    for part in ("train", "valid", "test"):
        lines = [f"{label}/{label}.{part}{i}.wav" for label in CLASSES for i in range(3)]
        for n, line in enumerate(lines):
            tone(folder / "genres" / line, line.split("/")[0], n)
        (folder / f"{part}_filtered.txt").write_text("\n".join(lines) + "\n")
    return folder


def make_marble(folder: Path) -> Path:
    """As MARBLE's download has it; ``audio_path`` is relative to the folder above ``data``."""
    data = folder / "data" / "GTZAN"
    for part in ("train", "val", "test"):
        lines = []
        for n in range(6):
            name = f"genres/{CLASSES[n % 3]}/{part}{n}.wav"
            tone(data / name, CLASSES[n % 3], n)
            row = {"audio_path": f"data/GTZAN/{name}", "label": CLASSES[n % 3], "channels": 1}
            lines.append(json.dumps(row))
        (data / f"GTZANGenre.{part}.jsonl").write_text("\n".join(lines))
        (data / f"GTZANTempo.{part}.jsonl").write_text(
            json.dumps({"audio_path": "x.wav", "label": 96.5})
        )
    return folder


def write_csv(path: Path, rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
