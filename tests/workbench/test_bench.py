"""Benchmarks: operations by formula, rows with their ratio, what needs CUDA is said."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.models.pooling import pooled_vectors
from usad_workbench.core.models.sizes import SIZES, StudentConfig
from usad_workbench.core.models.student import Student
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.speed import adapters, mapping, measure
from usad_workbench.workbench.speed.accelerator import synthetic_trainer
from usad_workbench.workbench.speed.flops import forward_flops


@pytest.mark.parametrize("size", ["small", "xlarge", "demo"])
@pytest.mark.parametrize(("n_clips", "n_samples"), [(1, 160_000), (3, 50_001)])
def test_operations_are_those_that_torch_counts(size: str, n_clips: int, n_samples: int) -> None:
    config = replace(SIZES[size], n_layers=2)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        Student(config).eval()(torch.zeros(n_clips, n_samples))
    assert counter.get_total_flops() == forward_flops(config, n_clips, n_samples)


def test_jobs_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    times = measure.median_seconds(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3
    )
    assert order == ["a", "b"] * 4 and set(times) == {"a", "b"}


def test_a_row_holds_both_values_and_their_ratio() -> None:
    row = measure.make_row("it", 6.0, "GFLOP/s", "peer", 8.0)
    assert row.ratio == 0.75 and f"torch {torch.__version__}" in row.machine


def test_the_list_says_what_needs_cuda(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["large-training"]["needs"] == "CUDA" and rows["encode"]["needs"] == ""
    assert main(["bench", "nothing"]) == 2
    assert "student-forward" in capsys.readouterr().err


def test_peers_are_left_out_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(mapping, "bench_project", lambda **settings: asked.append(settings) or [])
    assert main(["bench", "project", "--size", "300", "--without", "umap", "--without", "P"]) == 0
    assert main(["bench", "project", "--json"]) == 0
    assert asked == [{"size": 300, "without": ("umap", "P")}, {"without": ()}]


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs there")
def test_what_needs_cuda_is_skipped_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "xxlarge-inference", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [] and "needs CUDA" in captured.err


def test_the_synthetic_trainer_learns(tmp_path: Path) -> None:
    """What the accelerator benchmarks run, in small and on the processor."""
    config = StudentConfig(dim=32, n_layers=4, n_heads=2, pos_groups=4, conv_channels=4)
    trainer = synthetic_trainer(config, 10.0, tmp_path / "run", 2, device="cpu")
    before = {name: p.clone() for name, p in trainer.distiller.named_parameters()}
    trainer.step()
    trainer.read()
    assert trainer.state.audio_s == 10.0 and 0 < trainer.state.loss < 10
    changed = [n for n, p in trainer.distiller.named_parameters() if not p.equal(before[n])]
    assert len(changed) > 0.9 * len(before)


def test_the_accelerator_benchmarks_import_on_a_bare_machine() -> None:
    absent = ("duckdb", "faiss", "librosa", "soundfile", "soxr", "streamlit", "umap", "plotly")
    code = (
        f"import sys\nfor name in {absent!r}: sys.modules[name] = None\n"
        "import usad_workbench.workbench.speed.accelerator\n"
        "import usad_workbench.workbench.speed.forward\n"
        "import usad_workbench.workbench.commands.bench_command\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["WavLM, group norm", "MuQ", "ATST-Frame"])
def test_an_adapter_and_the_plain_loop_do_the_same_work(name: str, tmp_path: Path) -> None:
    """Clip by clip the loop's means over time are the vectors of the adapter, layer by layer."""
    sides = adapters.CASES[name](tmp_path / "model")
    paths = [source.path for source in adapters.short_clips(1)]
    loop = adapters.plain_loop(sides, paths, 1)
    rate = sides.encoder.spec.sample_rate_hz
    clips = [read_audio(path, sample_rate_hz=rate) for path in paths]
    ours = pooled_vectors(sides.encoder, clips, tuple(range(len(loop))), "mean")
    assert len(paths) == 4 and len(loop) == 5
    for layer, expected in enumerate(loop):
        np.testing.assert_allclose(ours[layer], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", list(adapters.CASES))
def test_every_plain_loop_reads_all_layers(name: str, tmp_path: Path) -> None:
    """As many as the adapter has; else the two sides would not do the same work."""
    sides = adapters.CASES[name](tmp_path / "model")
    loop = adapters.plain_loop(sides, [adapters.short_clips(1)[0].path], 1)
    assert len(loop) == sides.encoder.spec.n_layers + 1
    assert all(np.isfinite(layer).all() for layer in loop)


def test_the_benchmark_of_adapters_in_small() -> None:
    (row,) = adapters.bench_adapters(("Wav2Vec2-BERT",), seconds=0.2, repeats=1)
    assert row.value > 0 and row.peer_value > 0
    assert re.search(
        r"\d+ clips of \d+ s; decode \d+%, front end -?\d+%, forward \d+%, write \d+%", row.name
    )
