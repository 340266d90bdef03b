"""Workspaces of schema 1 and 2: read as they are, brought up to date once."""

import shutil
import zipfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.record import stored_panels
from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.row_types import columns_of
from usad_workbench.core.storage.rows import read_rows
from usad_workbench.core.storage.schema import TABLES, VIEWS, declared_digest
from usad_workbench.core.storage.vector_tables import digest_of
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace
from usad_workbench.indexes.files import open_index

SCHEMA_1 = Path(__file__).parent / "data" / "schema_1.zip"
"""Twelve clips without audio, old-teacher (layers of 4 and 6), old-student (5), three indexes."""
SPACES = [("old-student", 0), ("old-teacher", 0), ("old-teacher", 1)]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(SCHEMA_1) as archive:
        archive.extractall(tmp_path / "w")
    return tmp_path / "w"


CHANGED = {"inheritance", "attribution", "errors", "disagreements", "partial"}
"""Panels that have other columns than when the file was written: it has to be diagnosed anew."""


def raw(folder: Path, query: str) -> list[tuple]:  # type: ignore[type-arg]
    with duckdb.connect(str(folder / "workspace.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def write_something(folder: Path) -> Workspace:
    workspace = Workspace.open(folder)
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO tasks VALUES ('t', 'label', NULL, 'cluster_id', 'accuracy')"
        )
    return workspace


def test_reading_leaves_the_file_as_it_is(old: Path) -> None:
    before = (old / "workspace.duckdb").read_bytes()
    workspace = Workspace.open(old)
    assert len(workspace.clips()) == 12
    spaces = workspace.spaces()
    assert list(zip(spaces.encoder, spaces.layer, strict=True)) == SPACES
    assert spaces.digest.isna().all()
    assert workspace.read("SELECT vectors_digest FROM indexes").vectors_digest.isna().all()
    expected = raw(old, "SELECT vector FROM embeddings WHERE encoder = 'old-student' ORDER BY ALL")
    found = workspace.embeddings("old-student", 0)
    assert found.space.digest is None
    assert sorted(map(tuple, found.vectors.tolist())) == [tuple(row[0]) for row in expected]
    assert (old / "workspace.duckdb").read_bytes() == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT encoder, layer, digest FROM spaces ORDER BY ALL",
        "SELECT space_id, vectors_digest FROM indexes ORDER BY ALL",
        "SELECT run FROM staged_spaces",
        "SELECT encoder, layer, len(vector) AS n FROM embeddings ORDER BY ALL",
        "SELECT column_name, column_type FROM (DESCRIBE spaces)",
        "SELECT c.clip_id FROM clips c, spaces s WHERE s.digest IS NULL ORDER BY ALL",
        "FROM segments_of_clips ORDER BY ALL",
    ],
)
def test_what_people_ask_sees_the_tables_of_today(old: Path, query: str) -> None:
    before = (old / "workspace.duckdb").read_bytes()
    workspace = Workspace.open(old)
    asked, own = workspace.sql(query), workspace.read(query)
    pd.testing.assert_frame_equal(asked, own)
    assert list(asked.columns) == list(write_something(old).sql(query).columns)
    assert len(asked) or "staged" in query
    assert (old / "workspace.duckdb").read_bytes() != before  # by the writer alone


def test_the_first_writer_brings_it_up_to_date(old: Path) -> None:
    vectors = raw(old, "SELECT * FROM embeddings ORDER BY ALL")
    tables = {
        name: raw(old, f"SELECT * FROM {name} ORDER BY ALL")
        for name in ("clips", "segments", "encoders", "distillation")
    }
    workspace = write_something(old)
    assert workspace.meta("schema_version") == "3"
    assert raw(old, "SELECT * FROM embeddings ORDER BY ALL") == vectors
    for name, rows in tables.items():
        now = raw(old, f"SELECT * FROM {name} ORDER BY ALL")  # new columns come last
        assert [row[: len(rows[0])] for row in now] == rows, name
    for encoder, layer in SPACES:
        stored = workspace.embeddings(encoder, layer)
        assert stored.space.digest == digest_of(stored.segment_ids, stored.vectors)
    assert workspace.meta("next_space_id") == "3"
    # An index of before does not say what it was built from.
    assert (
        workspace.read("SELECT vectors_digest FROM indexes").vectors_digest.tolist() == [None] * 3
    )


def test_it_has_the_columns_of_a_new_workspace(old: Path, tmp_path: Path) -> None:
    migrated, new = write_something(old), Workspace.create(tmp_path / "new")
    query = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE NOT starts_with(table_name, 'vectors_') ORDER BY ALL"
    )
    assert migrated.read(query).equals(new.read(query))
    assert set(migrated.read(query).table_name) == {*TABLES, *VIEWS, "embeddings"}


def test_a_number_of_parameters_that_is_unknown_fits_in(old: Path, tmp_path: Path) -> None:
    """The first files of schema 1 barred it."""
    with duckdb.connect(str(old / "workspace.duckdb")) as connection:
        connection.execute("UPDATE encoders SET n_params = 1")
        connection.execute("ALTER TABLE encoders ALTER COLUMN n_params SET NOT NULL")
    rows = pd.DataFrame(
        {"clip_id": ["c00"], "encoder": ["new"], "layer": [0], "vector": [np.ones(3, np.float32)]}
    )
    rows.to_parquet(tmp_path / "v.parquet")
    workspace = Workspace.open(old)
    assert import_embeddings(workspace, tmp_path / "v.parquet", role="control").encoders == ["new"]
    assert workspace.encoders().set_index("encoder").n_params.isna()["new"]
    assert workspace.space("new", 0).space_id == 3


def test_a_migration_that_fails_changes_nothing(old: Path) -> None:
    with duckdb.connect(str(old / "workspace.duckdb")) as connection:
        connection.execute("DROP VIEW embeddings")
        connection.execute("DROP TABLE vectors_1")
    with pytest.raises(StoreError):
        write_something(old)
    assert raw(old, "SELECT value FROM meta WHERE key = 'schema_version'") == [("1",)]
    names = {row[0] for row in raw(old, "SELECT column_name FROM information_schema.columns")}
    assert not names & {"digest", "vectors_digest"}


@pytest.mark.parametrize("version", ["0", "4", "two"])
def test_other_versions_are_refused(old: Path, version: str) -> None:
    with duckdb.connect(str(old / "workspace.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [version])
    with pytest.raises(StoreError, match=f"schema {version}"):
        Workspace.open(old)


def test_a_database_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "workspace.duckdb")) as connection:
        connection.execute("CREATE TABLE songs (title VARCHAR)")
    with pytest.raises(StoreError, match="without the tables of a workspace"):
        Workspace.open(tmp_path)
    with pytest.raises(StoreError, match="without the tables of a workspace"):
        Workspace.create(tmp_path)


def test_a_copy_keeps_its_numbers(old: Path, tmp_path: Path) -> None:
    write_something(old)
    copy = shutil.copytree(old, tmp_path / "copy")
    assert Workspace.open(copy).space("old-teacher", -1).space_id == 1


def test_an_earlier_file_of_schema_2_is_read_as_it_is(older: Path) -> None:
    before = (older / "workspace.duckdb").read_bytes()
    workspace = Workspace.open(older)
    assert workspace.embedded() == ["old-control", "old-control-2", "old-student", "old-teacher"]
    assert workspace.layers("old-student") == [0, 1]
    assert workspace.has_table("segments_of_clips") and workspace.has_table("clip_loudness")
    joined = workspace.sql("SELECT * FROM segments_of_clips ORDER BY segment_id")
    assert len(joined) == 48 and joined.loudness_db.notna().all()
    assert (older / "workspace.duckdb").read_bytes() == before


def test_its_diagnosis_is_the_same_before_and_after_a_writer(older: Path) -> None:
    workspace = Workspace.open(older)
    before = stored_panels(workspace, "old-student")
    assert {name: len(rows) for name, rows in before.items() if len(rows)} == {
        "attribution": 4,
        "disagreements": 4,
        "drivers": 1251,
        "errors": 1,
        "inheritance": 8,
        "interventions": 204,
        "llm": 1,
        "neighbourhoods": 10,
        "nuisance": 10,
        "partial": 4,
        "routing": 8,
        "runs": 1,
        "shortcuts": 10,
        "similarity": 24,
        "variance": 4,
        "verdicts": 4,
    }
    after = stored_panels(write_something(older), "old-student")
    for name, rows in before.items():
        pd.testing.assert_frame_equal(rows, after[name])


def test_the_first_writer_adds_what_the_file_lacks(older: Path, tmp_path: Path) -> None:
    write_something(older)
    declared = raw(older, "SELECT value FROM meta WHERE key = 'declared_tables'")
    assert declared == [(declared_digest(),)]
    assert len(raw(older, "SELECT * FROM segments_of_clips")) == 48
    assert raw(older, "SELECT count(*) FROM clip_loudness") == [(0,)]


def test_a_table_and_a_column_that_are_new_are_there_for_readers_and_writers(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "ratings", "clip_id VARCHAR NOT NULL, stars INTEGER")
    monkeypatch.setitem(TABLES, "probes", TABLES["probes"] + ", seconds DOUBLE")
    workspace = Workspace.open(older)
    for state in (workspace, write_something(older)):
        assert list(state.read("SELECT * FROM ratings").columns) == ["clip_id", "stars"]
        assert state.read("SELECT seconds FROM probes").seconds.isna().all()
    assert len(raw(older, "SELECT seconds FROM probes")) == 24


def test_its_panels_are_read_as_typed_rows(older: Path) -> None:
    workspace = Workspace.open(older)
    stored = stored_panels(workspace, "old-student")
    for kind in PANELS:
        table = stored[kind.name]
        rows = read_rows(workspace, kind.row_type, f"diagnosis_{kind.name}")
        assert len(rows) == len(table), kind.name
        if kind.name in CHANGED:
            continue
        # Another set of columns would make the next diagnosis drop those of other students.
        columns = {column.name for column in columns_of(kind.row_type)}
        assert {*table.columns} - {"student", "selection"} == columns, kind.name


def test_digests_of_schema_2_become_those_of_schema_3_and_indexes_stay(older: Path) -> None:
    workspace = Workspace.open(older)
    before = workspace.spaces().set_index("space_id").digest
    assert not open_index(workspace, workspace.space("old-student", 0)).problem
    assert not check_workspace(workspace)  # read only: what cannot be compared is no problem
    assert set(workspace.spaces().precision) == {"float32"}
    write_something(older)
    for space in workspace.spaces().itertuples():
        stored = workspace.embeddings(str(space.encoder), int(space.layer))
        assert space.digest == digest_of(stored.segment_ids, stored.vectors)
        assert space.digest != before[space.space_id] and space.precision == "float32"
        assert not open_index(workspace, stored.space).problem
    bound = workspace.read("SELECT vectors_digest FROM indexes").vectors_digest
    assert len(bound) and set(bound) <= set(workspace.spaces().digest)
    assert not check_workspace(workspace)


def test_vectors_that_had_changed_are_still_told_after_the_migration(older: Path) -> None:
    with duckdb.connect(str(older / "workspace.duckdb")) as connection:
        ((space_id,),) = connection.execute(
            "SELECT space_id FROM spaces WHERE encoder = 'old-student' AND layer = 0"
        ).fetchall()
        table = f"vectors_{space_id}"
        connection.execute(f"UPDATE {table} SET vector = (SELECT max(vector) FROM {table})")
    workspace = write_something(older)
    (problem,) = [p for p in check_workspace(workspace) if "old-student" in p]
    assert "the vectors are not those that were stored" in problem


def test_an_index_of_other_vectors_stays_unusable_after_the_migration(older: Path) -> None:
    with duckdb.connect(str(older / "workspace.duckdb")) as connection:
        connection.execute("UPDATE indexes SET vectors_digest = repeat('0', 32)")
    workspace = write_something(older)
    assert set(workspace.read("SELECT vectors_digest FROM indexes").vectors_digest) == {"0" * 32}
    assert open_index(workspace, workspace.space("old-student", 0)).problem
