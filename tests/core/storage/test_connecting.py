"""No connection of this package draws a progress bar, in an interactive Python neither."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from usad_workbench.core.storage.connecting import connect
from usad_workbench.core.storage.workspace import Workspace

PACKAGES = Path(__file__).parents[3]
# A ``python -c`` is interactive to DuckDB: its ``__main__`` has no file.
INTERACTIVE = """
import sys
from pathlib import Path

import duckdb

from usad_workbench.core.storage.vectors_file import open_vectors
from usad_workbench.core.storage.workspace import Workspace


def bar(connection):
    return connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()[0][0]


assert bar(duckdb.connect())
database = Workspace.open(sys.argv[1]).database
with database.read() as outer, database.read() as inner:
    assert not bar(outer) and not bar(inner)
with database.read({"lock_configuration": True}) as locked:
    assert not bar(locked)
with database.write() as writing:
    assert not bar(writing)
with open_vectors(Path(sys.argv[2])) as file:
    assert not bar(file) and not bar(file.cursor())
"""


def test_no_progress_bar_in_an_interactive_python(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "w")
    vectors = tmp_path / "v.parquet"
    duckdb.execute(
        "COPY (SELECT 'a' AS clip_id, 'e' AS encoder, 0 AS layer, [1.0::FLOAT] AS vector) "
        f"TO '{vectors}' (FORMAT parquet)"
    )
    done = subprocess.run(
        [sys.executable, "-c", INTERACTIVE, str(tmp_path / "w"), str(vectors)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_locked_configuration_stays_locked() -> None:
    with (
        connect(config={"lock_configuration": True}) as connection,
        pytest.raises(duckdb.Error, match="locked"),
    ):
        connection.execute("SET threads = 1")


def test_all_connections_are_made_in_one_place() -> None:
    made_in = [
        path.relative_to(PACKAGES).as_posix()
        for package in ("core", "indexes", "training")
        for path in sorted((PACKAGES / package).rglob("*.py"))
        if "duckdb.connect(" in path.read_text(encoding="utf-8")
    ]
    assert made_in == ["core/storage/connecting.py"]


def test_threads_that_open_a_file_at_once_all_read_arrow(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    connect(path).close()
    table = pa.table({"x": [1, 2]})
    together = threading.Barrier(4)

    def read() -> int:
        together.wait()
        with connect(path, read_only=True) as connection:
            connection.register("given", table)
            return int(connection.execute("SELECT sum(x) FROM given").fetchall()[0][0])

    with ThreadPoolExecutor(4) as pool:
        for _ in range(40):
            found = [pool.submit(read) for _ in range(4)]
            assert [one.result() for one in found] == [3] * 4
