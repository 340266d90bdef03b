"""SQL that people write: what is taken, what is refused, and what ends at a limit."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from usad_workbench.core.errors import Cancelled, QueryError, StoreError
from usad_workbench.core.storage.importing import insert_clips
from usad_workbench.core.storage.query import QueryLimits, ask, clip_ids_where, end_idle
from usad_workbench.core.storage.turns import somebody_waits, waiting_to_write
from usad_workbench.core.storage.workspace import Workspace

ENDLESS = "SELECT count(*) FROM range(200000000) a, range(1000) b WHERE (a.range * b.range) % 7 = 3"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.create(tmp_path_factory.mktemp("query") / "workspace")
    rows = [
        {
            "clip_id": f"c{i}",
            "path": "",
            "domain": "speech" if i % 2 else "music",
            "dataset": "d",
            "cluster_id": f"s{i // 3}",
            "label": f"l{i % 3}",
        }
        for i in range(9)
    ]
    insert_clips(made, rows)
    return made


@pytest.mark.parametrize(
    ("query", "n_rows"),
    [
        ("SELECT * FROM clips", 9),
        ("FROM clips;", 9),
        ("WITH x AS (SELECT 1 AS a) SELECT * FROM x -- done", 1),
        ("VALUES (1), (2)", 2),
        ("DESCRIBE clips", 11),
        ("SHOW TABLES", None),
        ("SUMMARIZE clips", 11),
        ("EXPLAIN SELECT 1", 1),
        ("PIVOT clips ON domain USING count(*) GROUP BY label", 3),
        ("/* ; */ SELECT ';' AS mark", 1),
    ],
)
def test_statements_that_read(workspace: Workspace, query: str, n_rows: int | None) -> None:
    found = workspace.sql(query)
    assert len(found) == n_rows if n_rows is not None else "clips" in set(found.iloc[:, 0])


def test_values_are_as_duckdb_gives_them(workspace: Workspace) -> None:
    query = (
        "SELECT sum(duration_s) AS s, count(*) AS n, 1 AS a, 2 AS a, [1, 2] AS l, "
        "1.5::DECIMAL(9, 1) AS d, sum(1) AS h, DATE '2020-02-03' AS day FROM clips WHERE label = ?"
    )
    guarded, own = workspace.sql(query, ["l1"]), workspace.read(query, ["l1"])
    assert list(guarded.columns) == list(own.columns)
    assert list(guarded.dtypes) == list(own.dtypes)
    assert guarded.n[0] == 3 and guarded.h[0] == 3 and guarded.d[0] == 1.5
    assert list(guarded.l[0]) == [1, 2] and guarded.day[0].year == 2020


@pytest.mark.parametrize("query", ["", "  ", "-- later", ";;", "/* nothing */", "\n\t;\n"])
def test_text_without_a_statement(workspace: Workspace, query: str) -> None:
    with pytest.raises(QueryError, match="0 statements"):
        workspace.sql(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE clips",
        "CALL enable_logging()",
        "CALL enable_logging(storage='file', storage_config={'path': '{tmp}/log'}); SELECT 1",
        "SELECT * FROM enable_logging(storage='file', storage_config={'path': '{tmp}/log'})",
        "PRAGMA enable_profiling",
        "SET memory_limit = '100GB'",
        "ATTACH '{tmp}/other.db'",
        "COPY clips TO '{tmp}/out.csv'",
        "COPY (SELECT 1) TO '{tmp}/out.parquet'",
        "EXPORT DATABASE '{tmp}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CHECKPOINT",
        "BEGIN",
        "VACUUM",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO meta VALUES ('a', 'b')",
        "CREATE TEMP TABLE t AS SELECT 1",
        "INSERT INTO meta VALUES ('a', 'b')",
        "UPDATE clips SET label = 'x'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT no_such_column FROM clips",
        "SELEKT 1",
    ],
)
def test_statements_that_do_more_than_read(
    workspace: Workspace, query: str, tmp_path: Path
) -> None:
    with pytest.raises(QueryError):
        workspace.sql(query.replace("{tmp}", str(tmp_path)))
    assert not list(tmp_path.iterdir())
    assert len(workspace.clips()) == 9 and workspace.meta("a") is None


def test_a_query_ends_at_its_time_and_writers_get_through(workspace: Workspace) -> None:
    started = time.monotonic()
    with pytest.raises(QueryError, match="longer than 1 s"):
        workspace.sql(ENDLESS, limits=QueryLimits(time_s=1))
    assert time.monotonic() - started < 10
    with workspace.database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('after', 'written')")
    assert workspace.meta("after") == "written"


def test_one_long_call_ends_at_its_time_too(workspace: Workspace) -> None:
    # Nothing inside such a call looks whether somebody has interrupted it.
    query = "SELECT length(repeat(repeat('a', 30000), 30000))"
    with pytest.raises(QueryError):
        workspace.sql(query, limits=QueryLimits(time_s=2, memory_bytes=100_000_000))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT list(range) FROM range(1000000000)",
        "SELECT a.range FROM range(40000000) a ORDER BY hash(a.range) DESC",
        "SELECT count(DISTINCT range::VARCHAR || 'x') FROM range(100000000)",
        "SELECT repeat('x', 1000000) FROM range(10000)",  # in the buffers of the result
    ],
)
def test_a_query_ends_at_its_memory_and_the_next_one_has_its_own(
    workspace: Workspace, query: str
) -> None:
    limits = QueryLimits(memory_bytes=50_000_000)
    for _ in range(2):
        with pytest.raises(QueryError, match="memory"):
            workspace.sql(query, limits=limits)
        assert workspace.sql("SELECT count(*) AS n FROM clips", limits=limits).n[0] == 9
        assert len(clip_ids_where(workspace.database.path, "true", limits=limits)) == 9


def test_types_that_a_data_frame_has_not_are_named(workspace: Workspace) -> None:
    with pytest.raises(QueryError, match="cast"):
        workspace.sql("SELECT 1::BIGNUM AS huge")
    assert workspace.sql("SELECT 1::BIGNUM::VARCHAR AS huge").huge[0] == "1"


def test_only_the_first_rows_are_fetched(workspace: Workspace) -> None:
    path = workspace.database.path
    query = "SELECT * FROM range(100000000000)"
    answer = ask(path, query, limits=QueryLimits(n_rows=12_345))
    assert answer.is_cut and answer.table["range"].to_pylist() == list(range(12_345))
    wide = ask(
        path,
        "SELECT repeat('x', 1000) AS x FROM range(10000000)",
        limits=QueryLimits(result_bytes=20_000_000),
    )
    assert wide.is_cut and 0 < wide.table.nbytes <= 20_000_000
    whole = ask(path, "SELECT * FROM range(7)", limits=QueryLimits(n_rows=7))
    assert not whole.is_cut and len(whole.table) == 7
    with pytest.raises(QueryError, match="more than the 7 rows"):
        workspace.sql(query, limits=QueryLimits(n_rows=7))


def test_a_query_is_cancelled_and_others_do_not_wait(workspace: Workspace) -> None:
    stop = threading.Event()
    said: list[BaseException] = []

    def run() -> None:
        try:
            ask(workspace.database.path, ENDLESS, is_cancelled=stop.is_set)
        except Cancelled as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(1.0)
    started = time.monotonic()
    assert workspace.sql("SELECT count(*) AS n FROM clips").n[0] == 9
    assert len(workspace.clips("domain = 'music'")) == 5
    assert time.monotonic() - started < 5 and thread.is_alive()
    stop.set()
    thread.join(5)
    assert not thread.is_alive() and len(said) == 1


@pytest.mark.parametrize(
    ("condition", "n"),
    [
        ("true", 9),
        ("false", 0),
        ("domain = 'music' -- those", 5),
        ("label IN ('l0', 'l1') AND NOT domain = 'music'", 3),
        ("clip_id IN (SELECT clip_id FROM segments WHERE start_s = 0)", 9),
        ("(domain = 'music') OR (label = 'l1')", 7),
        ("label ILIKE '%)%'", 0),
        ("CASE WHEN domain = 'music' THEN true ELSE false END", 5),
    ],
)
def test_conditions(workspace: Workspace, condition: str, n: int) -> None:
    assert len(workspace.clips(condition)) == n


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "true) UNION (SELECT clip_id FROM clips",
        "true) UNION ALL SELECT name FROM duckdb_settings() WHERE (true",
        "true) ORDER BY (random()",
        "true) LIMIT (1",
        "true) GROUP BY ALL HAVING (true",
        "true) QUALIFY (true",
        "true); DROP TABLE clips; SELECT (1",
        "true; SELECT 1",
        "domain = ",
        "no sql at all",
        "no_column = 1",
        "domain",
        "clip_id IN (SELECT content FROM read_text('/etc/passwd'))",
    ],
)
def test_what_is_no_condition(workspace: Workspace, condition: str) -> None:
    with pytest.raises(QueryError):
        workspace.clips(condition)
    assert len(workspace.clips()) == 9


def test_a_condition_ends_at_its_limits(workspace: Workspace) -> None:
    path = workspace.database.path
    with pytest.raises(QueryError, match="longer than 1 s"):
        clip_ids_where(path, f"({ENDLESS}) > 0", limits=QueryLimits(time_s=1))


def test_an_ended_process_is_an_error_and_the_next_query_works(workspace: Workspace) -> None:
    end_idle()
    query = "SELECT sum(length(repeat('x', 100000000 + range::INT))) FROM range(100)"
    with pytest.raises(QueryError):
        workspace.sql(query, limits=QueryLimits(memory_bytes=30_000_000))
    assert workspace.sql("SELECT 1 AS a").a[0] == 1


def test_a_query_lets_a_waiting_writer_go_first(workspace: Workspace) -> None:
    folder = workspace.folder
    assert not somebody_waits(folder)
    with waiting_to_write(folder):
        assert somebody_waits(folder)
        with waiting_to_write(folder):
            assert somebody_waits(folder)
        started: list[float] = []
        thread = threading.Thread(
            target=lambda: started.append(workspace.sql("SELECT 1 AS a").a[0])
        )
        thread.start()
        time.sleep(0.5)
        assert not started and workspace.meta("schema_version")  # our own reads go on
    thread.join(20)
    assert started == [1] and not somebody_waits(folder)


def test_a_writer_elsewhere_says_that_it_waits(workspace: Workspace) -> None:
    code = (
        "import sys; from usad_workbench.core.storage.workspace import Workspace\n"
        "with Workspace(sys.argv[1]).database.write() as c:\n"
        "    c.execute(\"INSERT OR REPLACE INTO meta VALUES ('elsewhere', 'yes')\")\n"
    )
    with workspace.database.read():
        writer = subprocess.Popen([sys.executable, "-c", code, str(workspace.folder)])
        deadline = time.monotonic() + 30
        while not somebody_waits(workspace.folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert somebody_waits(workspace.folder) and writer.poll() is None
    assert writer.wait(30) == 0
    assert workspace.sql("SELECT value FROM meta WHERE key = 'elsewhere'").value[0] == "yes"


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "workspace.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"workspace\.duckdb"):
        ask(tmp_path / "workspace.duckdb", "SELECT 1")
    with pytest.raises(StoreError):
        clip_ids_where(tmp_path / "absent.duckdb", "true")
