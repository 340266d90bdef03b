"""A thousand broken inputs: words and an exit code for each, valid JSON, nothing lost in silence, bounded memory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.broken_inputs.makers import (
    EMBED,
    MAKERS,
    RATE_HZ,
    Material,
    Step,
    document_of,
    search_of,
    sound,
)
from tests.warm_process import Ended, WarmProcess

MAX_BYTES = 1_500_000_000
"""Resident; the imported libraries alone are about 500 MB of it."""
MAX_S = 100.0
SHORT_SHARE = 0.1
RECIPE = """
name = "tiny"
student = {dim = 32, n_layers = 4, n_heads = 2, pos_groups = 4, pos_width = 15, conv_channels = 8}
data = {domains = ["sound"], max_clip_s = 1.0, min_clip_s = 0.3, batch_s = 2.0, sources = [{path = "MANIFEST.csv"}]}
optimiser = {peak_lr = 3e-3, n_steps = 2, warmup_steps = 1}
run = {log_every = 1, checkpoint_every = 1, device = "cpu"}

[[teachers]]
name = "usad-demo"
domain = "sound"
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    folder = tmp_path_factory.mktemp("broken").resolve()
    process = WarmProcess(
        folder, dict(os.environ) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    )
    yield process
    process.close()


def run(warm: WarmProcess, folder: Path, arguments: tuple[str, ...]) -> Ended:
    """The command with --json; words in capitals are files and folders of this folder."""
    words = []
    for word in arguments:
        head, colon, tail = word.rpartition(":")
        is_name = tail.split(".")[0].isupper() and "=" not in word
        words.append(f"{head}{colon}{folder / tail}" if is_name else word)
    return warm.run([*words, "--json"])


@pytest.fixture(scope="module")
def material(warm: WarmProcess, tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("whole")
    random = np.random.default_rng(0)
    (folder / "SOUNDS").mkdir()
    rows = ["clip_id,path,domain"]
    for number in range(6):
        soundfile.write(folder / f"SOUNDS/s{number}.wav", sound(random), RATE_HZ)
        rows.append(f"s{number},SOUNDS/s{number}.wav,sound")
    (folder / "MANIFEST.csv").write_text("\n".join(rows))
    recipe = RECIPE.replace("MANIFEST.csv", str(folder / "MANIFEST.csv"))
    (folder / "RECIPE.toml").write_text(recipe)
    steps = [
        ("import", "--manifest", "MANIFEST.csv", "--workspace", "W"),
        EMBED,
        ("index", "--workspace", "W"),
        ("train", "RECIPE.toml", "--run", "RUN"),
    ]
    for step in steps:
        ended = run(warm, folder, step)
        assert ended.code == 0, f"{step}: {ended.said}"
    hits = {}
    for clip in (f"s{number}" for number in range(6)):
        ended = run(warm, folder, search_of(clip))
        hits[clip] = [row["clip_id"] for row in document_of(ended.out)["hits"]]
    assert len({tuple(found) for found in hits.values()}) > 1
    return Material(workspace=folder / "W", run=folder / "RUN", recipe=recipe, hits=hits)


def complaints(ended: Ended, step: Step) -> list[str]:
    """What a command did that it should not have."""
    found = []
    words = ended.out + ended.said
    if "Traceback (most recent call last)" in words:
        found.append("a traceback")
    if ended.code not in {0, 1, 2}:
        found.append(f"exit code {ended.code}")
    if ended.code == 2 and not ended.said.strip():
        found.append("no words")
    if ended.peak_bytes > MAX_BYTES:
        found.append(f"{ended.peak_bytes / 1e9:.1f} GB")
    if ended.seconds > MAX_S:
        found.append(f"{ended.seconds:.0f} s")
    if found:
        return found
    try:
        document = document_of(ended.out)
    except ValueError as error:
        return [f"no JSON: {error}"]
    if ended.code in {0, 1} and document is None:
        return ["no document"]
    account = step.account(ended.code, document, words)
    return [account] if account else []


def check(name: str, seeds: range, warm: WarmProcess, material: Material, folder: Path) -> int:
    """Gives the inputs of some seeds to their commands.

    Returns:
        How many inputs there were.
    """
    make, _ = MAKERS[name]
    wrong, n_inputs = [], 0
    for seed in seeds:
        here = folder / "here"
        here.mkdir()
        given = make(here, material, np.random.default_rng([seed, len(name)]))
        n_inputs += given.n_inputs
        for step in given.steps:
            ended = run(warm, here, tuple(step.arguments))
            for complaint in complaints(ended, step):
                said = "\n".join(ended.said.strip().splitlines()[-4:])
                wrong.append(
                    f"{name} seed {seed} ({given.told}): usad {' '.join(step.arguments)}: "
                    f"{complaint}\n{said[-1500:]}"
                )
        shutil.rmtree(here)
    assert not wrong, f"{len(wrong)} of {n_inputs}:\n" + "\n".join(wrong)
    return n_inputs


@pytest.mark.parametrize("name", MAKERS)
def test_broken_inputs_are_named(
    name: str, warm: WarmProcess, material: Material, tmp_path: Path
) -> None:
    n = round(MAKERS[name][1] * SHORT_SHARE)
    assert check(name, range(n), warm, material, tmp_path) >= n


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_thousand_broken_inputs_are_named(
    name: str, warm: WarmProcess, material: Material, tmp_path: Path
) -> None:
    n = MAKERS[name][1]
    assert check(name, range(1000, 1000 + n), warm, material, tmp_path) >= n


def test_there_are_a_thousand() -> None:
    each = {"names": 5, "containers": 5}
    assert sum(n * each.get(name, 1) for name, (_, n) in MAKERS.items()) >= 1_000
