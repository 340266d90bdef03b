"""Encoders, clips and diagnoses go with all that was computed from them; the rest stays."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.storage.deletion import (
    PUT_IN,
    delete_clips,
    delete_diagnosis,
    delete_encoder,
    forget_results,
)
from usad_workbench.core.storage.schema import TABLES
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    replacing,
    stored_segments,
)
from usad_workbench.core.storage.vector_tables import digest_of
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Results of the encoders ``a`` and ``b`` in tables of every kind."""
    rows = {
        "teacher_similarity (student, teacher, domain)": [
            ("s", "a", "x"),
            ("s", "b", "x"),
            ("b", "t", "x"),
        ],
        "clip_teacher_similarity (student, teacher)": [("a", "b"), ("s", "b")],
        "nearest_teachers (student, teacher, control)": [("s", "b", None), ("b", "t", None)],
        "projections (encoder, layer)": [("a", 0), ("b", 0)],
        "projection_quality (encoder, layer)": [("a", 0), ("b", 0)],
        "probes (encoder, task, against)": [
            ("a", "t", None),
            ("b", "t", "a"),
            ("b", "u", None),
            ("router", "t", None),
        ],
        "predictions (encoder, task, predicted, fingerprint)": [
            ("a", "t", "x", "0|a"),
            ("b", "t", "x", "1|b"),
            ("router", "t", "x", "2|b|a"),
        ],
        "failures": [
            ("f.wav", "embed a", "r"),
            ("f.wav", "embed b", "r"),
            ("f.wav", "import", "r"),
        ],
        "distillation": [("a", "t", None, 1), ("s", "a", None, 1)],
    }
    made = {
        "of_tomorrow": "rivals VARCHAR[], shares MAP(VARCHAR, DOUBLE), value DOUBLE",
        "diagnosis_inheritance": "student VARCHAR, selection VARCHAR, teacher VARCHAR",
        "diagnosis_variance": "student VARCHAR, selection VARCHAR, shares MAP(VARCHAR, DOUBLE)",
        "diagnosis_runs": "student VARCHAR, selection VARCHAR, document VARCHAR",
    }
    with workspace.database.write() as connection:
        for table, columns in made.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
        for table, values in rows.items():
            for row in values:
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.execute(
            """
            INSERT INTO interventions (encoder, layer) VALUES ('a', 1), ('b', 2);
            INSERT INTO llm_results (encoder, value) VALUES ('a', 1);
            INSERT INTO of_tomorrow VALUES (['a', 'c'], NULL, 1), (['ab'], MAP {'b': 1.0}, 2),
                                           (NULL, MAP {'a': 1.0}, 3), (NULL, NULL, 4);
            INSERT INTO diagnosis_inheritance VALUES ('s', '', 'b'), ('z', '', 'b'), ('s', 'w', 'b');
            INSERT INTO diagnosis_variance VALUES ('s', '', MAP {'b': 1.0}), ('z', '', MAP {'b': 1.0});
            """
        )
        documents = {
            ("s", ""): {"controls": ["a"]},
            ("z", ""): {"controls": ["aa", "b"], "rules": "said a"},
            ("s", "w"): {"provenance": {"weights_sha256": {"b": "0"}}},
        }
        for key, document in documents.items():
            connection.execute(
                "INSERT INTO diagnosis_runs VALUES (?, ?, ?)", [*key, json.dumps(document)]
            )
    return workspace


LEFT = {
    "SELECT student, teacher FROM teacher_similarity": [("b", "t"), ("s", "b")],
    "SELECT student, teacher FROM clip_teacher_similarity": [("s", "b")],
    # Who is nearest to s was said of all its teachers, a among them.
    "SELECT student FROM nearest_teachers": [("b",)],
    "SELECT encoder FROM projections": [("b",)],
    "SELECT encoder FROM projection_quality": [("b",)],
    "SELECT encoder, task FROM probes": [("b", "u")],
    "SELECT encoder FROM predictions": [("b",)],
    "SELECT step FROM failures": [("embed b",), ("import",)],
    "SELECT encoder FROM interventions": [("b",)],
    "SELECT value FROM of_tomorrow": [(2.0,), (4.0,)],
    "SELECT student, selection FROM diagnosis_inheritance": [("s", "w"), ("z", "")],
    "SELECT student FROM diagnosis_variance": [("z",)],
    "SELECT student, selection FROM diagnosis_runs": [("s", "w"), ("z", "")],
    # What people told stays: who taught s, and scores from elsewhere.
    "SELECT student, teacher FROM distillation": [("a", "t"), ("s", "a")],
    "SELECT encoder FROM llm_results": [("a",)],
}


def test_results_that_name_the_encoder_go_and_no_others(filled: Workspace) -> None:
    clips = filled.clips()
    with filled.database.write() as connection:
        forget_results(connection, "a")
    with filled.database.read() as connection:
        for query, rows in LEFT.items():
            found = connection.execute(f"{query} ORDER BY ALL").fetchall()
            assert found == rows, query
    assert filled.clips().equals(clips)


def test_an_encoder_without_results_takes_nothing_along(filled: Workspace) -> None:
    def counts() -> dict[str, int]:
        with filled.database.read() as connection:
            names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
            return {n: len(connection.table(n)) for n in names if n != "embeddings"}

    before = counts()
    delete_encoder(filled, 'nobody\'s "name" | %')
    assert counts() == before


def test_clips_labelled_like_an_encoder_stay(filled: Workspace) -> None:
    with filled.database.write() as connection:
        connection.execute("UPDATE clips SET label = 'a'")
    n = len(filled.clips())
    delete_encoder(filled, "a")
    assert len(filled.clips("label = 'a'")) == n


def test_what_people_put_in_are_tables_that_there_are() -> None:
    assert set(TABLES) >= PUT_IN


@pytest.fixture
def whole(older: Path) -> Workspace:
    """A workspace with rows of every kind, brought up to date, and a table of tomorrow."""
    workspace = Workspace.open(older)
    with workspace.database.write() as connection:
        connection.execute(
            """
            INSERT INTO failures VALUES ('c03', 'import', 'r'), ('f', 'embed old-control', 'r');
            INSERT INTO llm_results (encoder, value) VALUES ('old-control', 1);
            INSERT INTO distillation VALUES ('old-control', 'x', NULL, 1),
                                            ('old-student', 'old-control', NULL, 2);
            INSERT INTO clip_loudness VALUES ('c03', -20), ('c04', -20);
            CREATE TABLE ratings (encoder VARCHAR, clip_id VARCHAR, segment_id BIGINT, stars INT);
            INSERT INTO ratings VALUES ('old-control', 'c01', 1, 1), ('old-teacher', 'c03', 0, 2),
                                       ('old-teacher', 'c04', 3, 3), ('old-teacher', 'c04', 4, 4);
            """
        )
    return workspace


def counts(workspace: Workspace) -> dict[str, int]:
    """Rows of every table."""
    with workspace.database.read() as connection:
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        return {name: len(connection.table(name)) for (name,) in names}


def mentions(workspace: Workspace, text: str) -> dict[str, int]:
    """How many rows of each table hold a text, as a value of any column or in its JSON."""
    pattern = f"(^|[^-_0-9A-Za-z.]){re.escape(text)}($|[^-_0-9A-Za-z.])"
    with workspace.database.read() as connection:
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        found = {
            name: connection.execute(
                f"SELECT count(*) FROM {name} AS r WHERE regexp_matches(r::VARCHAR, ?)", [pattern]
            ).fetchall()[0][0]
            for (name,) in names
        }
    return {name: n for name, n in found.items() if n}


def test_after_an_encoder_no_table_mentions_it(whole: Workspace) -> None:
    before, clips = mentions(whole, "old-control"), whole.clips()
    assert {"spaces", "probes", "distillation", "llm_results", "ratings", "failures"} <= set(before)
    files = {path.name for path in (whole.folder / "indexes").iterdir()}
    delete_encoder(whole, "old-control")
    assert mentions(whole, "old-control") == {}
    assert whole.embedded() == ["old-control-2", "old-student", "old-teacher"]
    assert len(whole.read("FROM embeddings")) == 4 * 48
    left = {path.name for path in (whole.folder / "indexes").iterdir()}
    assert left < files and len(files - left) == 1
    assert check_workspace(whole) == []
    # Of the others, only a diagnosis goes, which is one whole.
    after = mentions(whole, "old-control-2")
    assert {"encoders", "spaces", "probes", "predictions", "teacher_similarity"} <= set(after)
    assert whole.clips().equals(clips)
    assert counts(whole)["ratings"] == 3


def test_after_clips_no_table_mentions_them(whole: Workspace) -> None:
    before, rows = mentions(whole, "c03"), counts(whole)
    assert {"clips", "segments", "predictions", "diagnosis_drivers", "ratings"} <= set(before)
    delete_clips(whole, ["c03", "c40", "nothing"])
    assert mentions(whole, "c03") == mentions(whole, "c40") == {}
    left = counts(whole)
    assert (left["clips"], left["segments"], left["projections"]) == (46, 46, 46)
    assert (left["ratings"], left["clip_loudness"]) == (2, 1)
    assert left["probes"] == rows["probes"] and left["diagnosis_runs"] == 1
    for encoder, layer in (("old-teacher", 0), ("old-student", 1)):
        stored = whole.embeddings(encoder, layer)
        assert stored.space.n == len(stored) == 46
        assert stored.space.digest == digest_of(stored.segment_ids, stored.vectors)
    assert all("is behind" in problem for problem in check_workspace(whole))  # of the indexes


def test_clips_that_are_not_there_take_nothing_along(whole: Workspace) -> None:
    before = counts(whole)
    delete_clips(whole, [])
    delete_clips(whole, ["nothing"])
    assert counts(whole) == before


def test_after_a_diagnosis_no_table_has_a_row_of_it(whole: Workspace) -> None:
    with whole.database.write() as connection:
        connection.execute(
            "INSERT INTO diagnosis_runs VALUES ('old-student', 'selected', '{}'), ('z', '', '{}')"
        )
    before = counts(whole)
    delete_diagnosis(whole, "old-student")
    after = counts(whole)
    assert {name for name in before if before[name] != after[name]} == {
        name for name, n in before.items() if name.startswith("diagnosis_") and n
    }
    assert whole.read("SELECT student, selection FROM diagnosis_runs ORDER BY ALL").to_dict(
        "list"
    ) == {"student": ["old-student", "z"], "selection": ["selected", ""]}
    delete_diagnosis(whole, "old-student", "selected")
    assert counts(whole)["diagnosis_runs"] == 1


def test_what_a_command_prepares_is_not_touched(whole: Workspace) -> None:
    with replacing(whole) as run:
        vectors = {0: np.ones((1, 4), np.float32)}
        record = EncoderRecord(spec=spec_of("old-control", 4), weights_sha256="0" * 64)
        append_vectors(whole, record, "mean", np.array([0]), vectors, run)
        delete_encoder(whole, "old-control")
        assert stored_segments(whole, "old-control", run).tolist() == [0]


def spec_of(name: str, dim: int) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        role="control",
        domain=None,
        n_layers=0,
        dims=(dim,),
        frame_rates_hz=(0.0,),
        sample_rate_hz=0,
        n_params=None,
        licence="",
        citation="",
    )
