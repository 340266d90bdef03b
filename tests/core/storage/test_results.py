"""What was computed from an encoder goes with it, whatever table it is in; the rest stays."""

import json

import pytest

from usad_workbench.core.storage.results import PUT_IN
from usad_workbench.core.storage.schema import TABLES
from usad_workbench.core.storage.spaces import drop_encoder
from usad_workbench.core.storage.workspace import Workspace


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
        "interventions": "encoder VARCHAR, value DOUBLE",
        "llm_results": "encoder VARCHAR, value DOUBLE",
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
            INSERT INTO interventions VALUES ('a', 1), ('b', 2);
            INSERT INTO llm_results VALUES ('a', 1);
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
    "SELECT student, teacher FROM distillation": [("s", "a")],
    "SELECT encoder FROM llm_results": [("a",)],
}


def test_rows_that_name_the_encoder_go_and_no_others(filled: Workspace) -> None:
    clips = filled.clips()
    drop_encoder(filled, "a")
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
    drop_encoder(filled, 'nobody\'s "name" | %')
    assert counts() == before


def test_clips_labelled_like_an_encoder_stay(filled: Workspace) -> None:
    with filled.database.write() as connection:
        connection.execute("UPDATE clips SET label = 'a'")
    n = len(filled.clips())
    drop_encoder(filled, "a")
    assert len(filled.clips("label = 'a'")) == n


def test_what_people_put_in_are_tables_that_there_are() -> None:
    assert {*TABLES, "llm_results"} >= PUT_IN
