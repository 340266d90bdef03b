"""Cells that a spreadsheet would run leave as text and come back as they were."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.csv_cells import as_meant, neutral, write_csv
from usad_workbench.core.storage.exporting import export_clips
from usad_workbench.core.storage.importing import import_clips, insert_clips, read_manifest
from usad_workbench.core.storage.workspace import Workspace

FORMULAS = [
    '=HYPERLINK("http://192.0.2.1","x")',
    "@SUM(1+1)",
    "+1+2",
    "-2+3",
    "-rf",
    "\t=1",
    "\r=1",
    "+5",
    "＝1+1",
    "'=1+1",
    "''@x",
    "=",
    "-",
    "+",
]
HARMLESS = [
    "dog",
    "c, d",
    'a "quoted" one',
    "'twas",
    "-3.5",
    "-4e-3",
    "1=1",
    "",
    "two\nlines",
    "a\rb",
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_formulas_are_marked_as_text(cell: str) -> None:
    written = neutral(cell)
    assert written == f"'{cell}"
    assert as_meant(written) == cell


@pytest.mark.parametrize("cell", HARMLESS)
def test_other_text_stays(cell: str) -> None:
    assert neutral(cell) == cell == as_meant(cell)


def test_a_table_keeps_its_numbers_and_its_rows() -> None:
    frame = pd.DataFrame(
        {
            "=label": [*FORMULAS, *HARMLESS],
            "value": [-1.5 * i for i in range(len(FORMULAS) + len(HARMLESS))],
            "none": None,
        }
    )
    text = write_csv(frame)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["'=label", "value", "none"]
    assert [as_meant(row[0]) for row in rows[1:]] == [*FORMULAS, *HARMLESS]
    assert [float(row[1]) for row in rows[1:]] == frame.value.tolist()
    assert not [cell for row in rows for cell in row if cell[:1] in ("=", "@", "\t", "\r")]


def test_exported_clips_come_back_bit_for_bit(tmp_path: Path) -> None:
    labels = [*FORMULAS, "dog", "c, d", "NA"]
    world = Workspace.create(tmp_path / "world")
    rows = [
        {
            "clip_id": f"{label}-{i}",
            "path": "",
            "domain": "sound",
            "dataset": "d",
            "cluster_id": f"+s{i}",
            "label": label,
            "note": "-" if i % 2 else "@x",
        }
        for i, label in enumerate(labels)
    ]
    insert_clips(world, rows)
    export_clips(world, "true", tmp_path / "out", "csv")
    with (tmp_path / "out" / "clips.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "+", "-", "\t", "\r", "＝")]
    again = Workspace.create(tmp_path / "again")
    import_clips_without_audio(again, tmp_path / "out" / "clips.csv")
    names = ["clip_id", "cluster_id", "note"]
    assert again.clips()[names].equals(world.clips()[names])


def test_exported_audio_comes_back_with_its_labels(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    labels = ["=1+1", "@SUM(1)", "'-x", "dog"]
    for i in range(4):
        tone = np.sin(np.arange(8000) * (0.1 + 0.05 * i)).astype(np.float32) / 2
        soundfile.write(folder / f"c{i}.wav", tone, 8000)
    table = pd.DataFrame({"path": [f"c{i}.wav" for i in range(4)], "label": labels})
    write_csv(table, folder / "manifest.csv")
    world = Workspace.create(tmp_path / "world")
    import_clips(world, read_manifest(folder / "manifest.csv"))
    assert sorted(world.clips().label) == sorted(labels)
    export_clips(world, "true", tmp_path / "out", "wav")
    again = Workspace.create(tmp_path / "again")
    import_clips(again, read_manifest(tmp_path / "out" / "manifest.csv"))
    assert dict(zip(again.clips().clip_id, again.clips().label, strict=True)) == dict(
        zip(world.clips().clip_id, world.clips().label, strict=True)
    )
