"""Each data set's own layout is read with its own splits; what is missing is named."""

import json
from pathlib import Path

import pytest

from tests.core.evaluation.benchmarks.layouts import (
    CLASSES,
    make_audioset,
    make_esc50,
    make_gtzan,
    make_hear,
    make_marble,
)
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.evaluation.benchmarks.published import (
    _HEAR,
    AS20K_FINE_TUNED,
    ESC50_FINE_TUNED,
    HEAR_FROZEN,
)
from usad_workbench.core.evaluation.benchmarks.registry import read_benchmark
from usad_workbench.core.evaluation.benchmarks.task import (
    BenchmarkError,
    BenchmarkTask,
    Unsupported,
)


def read(name: str, folder: Path) -> BenchmarkTask:
    task = read_benchmark(name, folder)[0]
    assert isinstance(task, BenchmarkTask)
    return task


def test_esc50(tmp_path: Path) -> None:
    task = read("esc50", make_esc50(tmp_path))
    assert [split.test for split in task.splits] == [("1",), ("2",), ("3",), ("4",), ("5",)]
    for split in task.splits:
        used = [*split.train, *split.valid, *split.test]
        assert sorted(used) == ["1", "2", "3", "4", "5"]
    for item in task.items:  # ESC-50 names its files FOLD-SOURCE-TAKE-TARGET
        fold, source, _, target = item.path.stem.split("-")
        assert (item.part, item.cluster) == (fold, source)
        assert item.labels == (CLASSES[int(target)],)
    assert task.metric == "accuracy" and task.fine_tunes
    best = {one.model: one.value for one in task.published["fine-tuned"]}
    assert best["USAD Large"] == 0.927 and best["EAT"] == 0.959


def test_esc50_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"esc50\.csv is missing"):
        read_benchmark("esc50", tmp_path)
    make_esc50(tmp_path)
    lost = tmp_path / "audio" / "3-300-A-0.wav"
    lost.unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 30 listed.*3-300-A-0\.wav"):
        read_benchmark("esc50", tmp_path)
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("fold", "part", 1))
    with pytest.raises(BenchmarkError, match="no column fold"):
        read_benchmark("esc50", tmp_path)
    with pytest.raises(UnknownNameError, match="esc50"):
        read_benchmark("esc500", tmp_path)


def test_audioset(tmp_path: Path) -> None:
    task = read("as20k", make_audioset(tmp_path, 60))
    parts = [item.part for item in task.items]
    assert parts.count("test") == 59 and parts.count("train") + parts.count("valid") == 59
    assert parts.count("valid") > 0
    assert all(item.cluster.startswith("ev") == (item.part == "test") for item in task.items)
    assert task.classes == CLASSES and task.metric == "map"
    assert task.truth().sum(axis=1).max() == 2
    assert task.notes == (
        "balanced_train_segments.csv: 1 of 60 files missing",
        "eval_segments.csv: 1 of 60 files missing",
    )


def test_audioset_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"class_labels_indices\.csv is missing"):
        read_benchmark("as20k", tmp_path)
    make_audioset(tmp_path)
    for file in (tmp_path / "wav").glob("Yev*"):
        file.unlink()
    with pytest.raises(BenchmarkError, match=r"none of the 30 segments of eval_segments\.csv"):
        read_benchmark("as20k", tmp_path)
    (tmp_path / "eval_segments.csv").write_text("video 30 40\n")
    with pytest.raises(BenchmarkError, match="no list of segments"):
        read_benchmark("as20k", tmp_path)


def test_hear(tmp_path: Path) -> None:
    found = {task.name: task for task in read_benchmark("hear", make_hear(tmp_path))}
    folds, fixed, event = found["esc50"], found["fsd50k"], found["dcase2016_task2"]
    assert isinstance(folds, BenchmarkTask) and isinstance(fixed, BenchmarkTask)
    assert [split.test for split in folds.splits] == [(f"fold{k:02}",) for k in range(4)]
    # hear-eval-kit: the fold behind the test fold validates, the last one's is the first.
    assert [split.valid[0] for split in folds.splits] == ["fold01", "fold02", "fold03", "fold00"]
    assert (fixed.metric, fixed.has_several_labels, len(fixed.splits)) == ("map", True, 1)
    assert {one.model: one.value for one in fixed.published["frozen"]}["USAD Base"] == 0.522
    assert isinstance(event, Unsupported) and "event" in event.reason


def test_hear_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"no task_metadata\.json"):
        read_benchmark("hear", tmp_path)
    folder = make_hear(tmp_path) / "tasks" / "esc50-v2.0.0-full"
    (folder / "fold02.json").rename(folder / "fold9.json")
    with pytest.raises(BenchmarkError, match=r"fold02\.json is missing"):
        read_benchmark("hear", folder)
    meta = folder / "task_metadata.json"
    meta.write_text(json.dumps({"task_name": "esc50"}))
    with pytest.raises(BenchmarkError, match="no split_mode"):
        read_benchmark("hear", folder)


@pytest.mark.parametrize("make", [make_gtzan, make_marble])
def test_marble(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    task, *rest = read_benchmark("marble", make(tmp_path))
    assert isinstance(task, BenchmarkTask)
    assert task.name == "GTZANGenre" and task.class_names == CLASSES
    for item in task.items:
        assert item.labels[0] in str(item.path)
        assert {"valid": "val"}.get(item.part, item.part) in item.path.name
    assert all(isinstance(other, Unsupported) for other in rest)


def test_marble_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="neither"):
        read_benchmark("marble", tmp_path)
    make_gtzan(tmp_path)
    (tmp_path / "valid_filtered.txt").unlink()
    with pytest.raises(BenchmarkError, match=r"valid_filtered\.txt is missing"):
        read_benchmark("marble", tmp_path)


def test_published_numbers_are_those_of_the_tables() -> None:
    # The averages that USAD (arXiv 2506.18843) prints in table IV follow from its columns.
    averages = {
        "WavLM": 71.9,
        "ATST Frame": 78.1,
        "WavLM+ATST": 78.5,
        "USAD Small": 77.2,
        "USAD Base": 78.7,
        "USAD Large": 79.7,
    }
    for model, values in _HEAR.items():
        assert sum(values) / 19 == pytest.approx(averages[model], abs=0.06)
    assert len(HEAR_FROZEN) == 19 and len(AS20K_FINE_TUNED) == len(ESC50_FINE_TUNED) == 14
