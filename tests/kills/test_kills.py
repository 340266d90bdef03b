"""A command that is killed anywhere can be given again: it ends as if nothing had been, and nothing is left over.

Kills come at single file operations (``kill_at.c``: before one, after one, in the middle of a write), at random times,
and as a Ctrl-C at a file operation. After each, the stored vectors of a replaced encoder are whole, the old or the new
ones; the same command ends with 0; and files, tables, vectors, hits and exported files are those of an undisturbed run.
"""

import itertools
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.kills.state import state_of, stored_vectors
from tests.warm_process import Stop, WarmProcess

RATE_HZ = 16_000
ENCODER = "log-mel-statistics"
N_CLIPS = 6
SOURCE = Path(__file__).with_name("kill_at.c")
SHORT_KILLS, LONG_KILLS = 3, 22
"""Kills of each command, in `make test` and in `make test-slow`."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command, and what was done before it."""

    command: str
    before: tuple[str, ...] = ()
    replaced: str = ""
    """The encoder whose stored vectors the command replaces."""

    @property
    def arguments(self) -> list[str]:
        return self.command.split()


IMPORT = "import SOUNDS --workspace W --domain sound"
EMBED = f"embed --workspace W --encoders {ENCODER} --device cpu"
FOREIGN = "import-embeddings OLD.parquet --workspace W --role teacher --clips CLIPS.csv"
CASES = {
    "import": Case(command=IMPORT),
    "import-more": Case(command="import MORE --workspace W --domain sound", before=(IMPORT,)),
    "import-packs": Case(command="import PACK.tar DATASET --workspace W"),
    "embed": Case(command=EMBED, before=(IMPORT,)),
    "embed-replace": Case(
        command=f"{EMBED} --replace",
        before=(IMPORT, EMBED, "index --workspace W"),
        replaced=ENCODER,
    ),
    "index": Case(command="index --workspace W", before=(IMPORT, EMBED)),
    "index-behind": Case(
        command="index --workspace W",
        before=(IMPORT, EMBED, "index --workspace W", "import MORE --workspace W", EMBED),
    ),
    "project": Case(command="project --workspace W --method pca", before=(IMPORT, EMBED, FOREIGN)),
    "project-umap": Case(command="project --workspace W", before=(FOREIGN,)),
    "project-replaced": Case(
        command="project --workspace W --method pca",
        before=(
            FOREIGN,
            "project --workspace W --method pca",
            "import-embeddings NEW.parquet --workspace W --role teacher --replace",
        ),
    ),
    "import-embeddings": Case(command=FOREIGN),
    "import-embeddings-replace": Case(
        command="import-embeddings NEW.parquet --workspace W --role teacher --replace",
        before=(FOREIGN, "index --workspace W"),
        replaced="made",
    ),
    "export-space": Case(
        command=f"export --workspace W --space {ENCODER}/0 --format parquet --out OUT",
        before=(IMPORT, EMBED),
    ),
    "export-clips": Case(
        command="export --workspace W --clips true --format wav --out OUT", before=(IMPORT,)
    ),
}
"""Words in capitals are files and folders below the test's folder."""


def make_inputs(folder: Path) -> None:
    """Sounds, and vectors that were made elsewhere."""
    noise = np.random.default_rng(0)
    for name, n in (("SOUNDS", N_CLIPS), ("MORE", 2)):
        (folder / name).mkdir()
        for number in range(n):
            sound = noise.uniform(-0.5, 0.5, RATE_HZ // 2).astype(np.float32)
            soundfile.write(folder / name / f"{name.lower()}{number}.wav", sound, RATE_HZ)
    sounds = [path.read_bytes() for path in sorted((folder / "SOUNDS").iterdir())]
    with tarfile.open(folder / "PACK.tar", "w") as archive:
        for path in sorted((folder / "SOUNDS").iterdir())[:3]:
            archive.add(path, path.name)
    audio = [{"bytes": data, "path": None} for data in sounds[2:]]
    (folder / "DATASET").mkdir()
    table = pa.table({"audio": audio, "label": list("abcd")})
    pq.write_table(table, folder / "DATASET" / "train.parquet")
    ids = [f"made{number}" for number in range(300)]  # more than one batch of 256
    for name in ("OLD", "NEW"):
        vectors = noise.normal(size=(len(ids), 4)).astype(np.float32)
        table = pd.DataFrame(
            {"clip_id": ids, "encoder": "made", "layer": 0, "vector": list(vectors)}
        )
        table.to_parquet(folder / f"{name}.parquet")
    pd.DataFrame({"clip_id": ids, "domain": "made", "cluster_id": ids}).to_csv(
        folder / "CLIPS.csv", index=False
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kill_at.c`` as a library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not Path("/proc/self/fd").is_dir():
        pytest.skip(
            "no C compiler on this machine (Debian: apt-get install gcc libc6-dev), or no Linux: "
            "commands cannot be killed at single file operations here"
        )
    built = tmp_path_factory.mktemp("kill_at") / "kill_at.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(built), str(SOURCE)]
    subprocess.run(command, check=True)
    return built


@pytest.fixture(scope="module")
def warm(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """Runs commands; below its folder file operations are counted, caches and temporary files too."""
    folder = tmp_path_factory.mktemp("kills").resolve()
    environment = dict(os.environ) | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": str(folder / "run/tmp"),
        "XDG_CACHE_HOME": str(folder / "run/cache"),
    }
    for name in ("run/tmp", "run/cache"):
        (folder / name).mkdir(parents=True)
    process = WarmProcess(folder / "run", environment, library)
    yield process
    process.close()


class Runs:
    """One case: its prepared folder, and an undisturbed run to compare with."""

    def __init__(self, case: Case, warm: WarmProcess, folder: Path) -> None:
        self._case, self._warm = case, warm
        self._prepared, self._run = folder / "prepared", warm.folder
        self.log = folder / "operations"
        self._fresh_from(None)
        make_inputs(self._run)
        for command in case.before:
            self._do(command.split())
        shutil.copytree(self._run, self._prepared)
        self.old = stored_vectors(self._run / "W", case.replaced) if case.replaced else {}
        ended = self._do(case.arguments, log=str(self.log))
        self.seconds = ended.seconds
        self.n_operations = len(self.log.read_text().splitlines())
        self.expected = state_of(self._run)
        self.new = stored_vectors(self._run / "W", case.replaced) if case.replaced else {}

    def stop(self, stop: Stop) -> bool:
        """Stops the command there, checks what is left, gives it again and checks the end."""
        self._fresh_from(self._prepared)
        ended = self._warm.run(self._words(self._case.arguments), stop)
        assert ended.code in {0, -9, 130}, f"{stop}: {ended.code}\n{ended.said}"
        if self._case.replaced:
            left = stored_vectors(self._run / "W", self._case.replaced)
            assert left in (self.old, self.new), f"{stop}: a part of the vectors is left"
        # Stopped between its last rename and its end, an export is whole, and is not done again.
        is_whole = state_of(self._run) == self.expected
        again = self._warm.run(self._words(self._case.arguments))
        is_refused = is_whole and "Nothing is overwritten" in again.said
        assert again.code == 0 or is_refused, f"{stop}, then {again.code}: {again.said}"
        assert "Traceback" not in ended.said + again.said, f"{stop}: {ended.said}{again.said}"
        found = state_of(self._run)
        different = [
            key
            for key in found.keys() | self.expected.keys()
            if found.get(key) != self.expected.get(key)
        ]
        assert different == [], f"{stop}: {differences(self.expected, found, different)}"
        return ended.code != 0

    def _do(self, arguments: list[str], log: str = "") -> Any:
        ended = self._warm.run(self._words(arguments), log=log)
        assert ended.code == 0, f"{arguments}: {ended.code}\n{ended.said}"
        return ended

    def _words(self, arguments: list[str]) -> list[str]:
        return [
            str(self._run / word) if word.split(".")[0].isupper() else word for word in arguments
        ]

    def _fresh_from(self, prepared: Path | None) -> None:
        for path in self._run.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if prepared is not None:
            shutil.copytree(prepared, self._run, dirs_exist_ok=True)
        for name in ("tmp", "cache"):
            (self._run / name).mkdir(exist_ok=True)


def differences(expected: dict[str, Any], found: dict[str, Any], keys: list[str]) -> str:
    """Words about the first few of them."""
    return "; ".join(
        f"{key}: {str(found.get(key, 'missing'))[:300]} instead of "
        f"{str(expected.get(key, 'nothing'))[:300]}"
        for key in sorted(keys)[:4]
    )


@pytest.fixture
def runs_of(warm: WarmProcess, tmp_path: Path) -> Callable[[str], Runs]:
    return lambda name: Runs(CASES[name], warm, tmp_path)


def stops(runs: Runs, n: int, seed: int) -> list[Stop]:
    """Places to stop at: most at operations spread over the command, some by the clock or with Ctrl-C."""
    random = np.random.default_rng(seed)
    edges = np.linspace(0, runs.n_operations, n + 1)
    numbers = [
        int(random.integers(int(low), max(int(low) + 1, int(high)))) + 1
        for low, high in itertools.pairwise(edges)
    ]
    found = []
    for place, number in enumerate(numbers):
        manner = ("before", "half", "after", "interrupt", "clock")[(place + seed) % 5]
        if manner == "clock":
            found.append(Stop(after_s=float(random.uniform(0.05, 1)) * runs.seconds))
        else:
            found.append(Stop(at=number, manner=manner))
    return found


def check(runs: Runs, n: int, seed: int) -> None:
    assert runs.n_operations >= 10
    failures, n_stopped = [], 0
    for stop in stops(runs, n, seed):
        try:
            n_stopped += runs.stop(stop)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} of {n} kills:\n" + "\n".join(failures)
    assert n_stopped >= n // 2


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"project-umap"}))  # it compiles for 15 s
def test_a_stopped_command_is_completed_by_itself(
    name: str, runs_of: Callable[[str], Runs]
) -> None:
    check(runs_of(name), SHORT_KILLS, seed=sorted(CASES).index(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_stopped_in_many_places_is_completed_by_itself(
    name: str, runs_of: Callable[[str], Runs]
) -> None:
    check(runs_of(name), LONG_KILLS, seed=100)


def test_the_undisturbed_runs_differ_where_something_is_missing(
    runs_of: Callable[[str], Runs],
) -> None:
    """The comparison would see a lost vector, a file that is left over and another value."""
    runs = runs_of("embed")
    assert any(key.startswith(f"W: vectors of {ENCODER}") for key in runs.expected)
    assert any(key.startswith(f"W: hits in {ENCODER}") for key in runs.expected)
    left = runs._run / "W" / "left.part"
    left.write_bytes(b"x")
    assert state_of(runs._run).keys() - runs.expected.keys() == {"file W/left.part"}
