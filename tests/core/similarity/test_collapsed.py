"""A layer that says nothing is named and left out, and all else is diagnosed."""

import numpy as np
import pandas as pd
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.errors import DegenerateError, UnknownNameError
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.similarity.collapsed import describe_collapse
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.projection import project_space

N, DIM = 96, 8
ONE, LINE = np.full((N, DIM), 0.37), np.outer(np.linspace(1, 9, N), np.arange(1, DIM + 1))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((9, 4)), "have one and the same vector"),
        (1e20 * np.ones((9, 4)), "have one and the same vector"),
        (
            np.float32(1) + np.float32(1e-7) * np.eye(9, 4, dtype=np.float32),
            "have one and the same vector",
        ),
        (np.outer(1 + np.arange(9), [3, 4, 5, 6]), "point in one direction"),
        (1e-20 * np.eye(9, 4), ""),
        (5 + 0.01 * np.eye(9, 4), ""),
        (np.array([[1.0, 2.0]]), ""),
    ],
)
def test_what_has_collapsed(x: np.ndarray, words: str) -> None:
    assert describe_collapse(x) == words


def world(folder, **layers: list[np.ndarray]) -> Workspace:  # type: ignore[no-untyped-def]
    """Student, teacher and controls of noise; what is named has its layers replaced."""
    rng = np.random.default_rng(0)
    made = Workspace.create(folder)
    add_clips(
        made,
        {
            "domain": ["speech"] * (N // 2) + ["music"] * (N // 2),
            "cluster_id": [f"c{i % 12}" for i in range(N)],
        },
    )
    for name, role in (
        ("s", "student"),
        ("t", "teacher"),
        ("k", "control"),
        ("l", "control"),
        ("b", "baseline"),
    ):
        own = [rng.normal(size=(N, DIM)) for _ in range(3)]
        add_encoder(made, name, role, "speech", layers.get(name, own))  # type: ignore[arg-type]
    set_distillation(made, "s", [("t", "speech", 1)])
    return made


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, DIM))


@pytest.mark.parametrize(("who", "flat"), [("k", ONE), ("t", LINE), ("b", ONE)])
def test_an_encoder_without_another_layer_is_gone_and_named(tmp_path, who, flat) -> None:  # type: ignore[no-untyped-def]
    made = world(tmp_path / "w", **{who: [flat]})
    config = DiagnosisConfig(n_permutations=19)
    data = load_diagnosis_data(made, "s", config=config)
    assert who not in data.encoders
    assert set(data.encoders) == {"s", "t", "k", "l", "b"} - {who}
    (words,) = [one for one in data.warnings if one.startswith(f"{who} layer 0")]
    assert "all clips of music" in words and "all clips of speech" in words
    found = compute_diagnosis(data, ["inheritance", "neighbourhoods"])
    assert {row["encoder"] for row in found.panels["neighbourhoods"].documents()} >= {"s", "l"}
    if who == "k":
        assert {row["teacher"] for row in found.panels["inheritance"].documents()} == {"t"}


def test_one_layer_of_many_is_left_out_and_its_neighbour_stands_in(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = world(tmp_path / "w", t=[noise(1), ONE, noise(2)], s=[noise(3), noise(4), LINE])
    data = load_diagnosis_data(made, "s")
    assert data.layers("t") == [0, 2]
    assert data.student_layers == [0, 1]
    assert data.matching_layer("t", 0) == 0
    assert data.matching_layer("t", 1) in (0, 2)
    assert data.matching_layer("k", 1) == 1  # the depth is that of all layers
    with pytest.raises(UnknownNameError, match=r"layer 2 by which clips can be told apart"):
        _ = load_diagnosis_data(made, "s", config=DiagnosisConfig(layers=(2,))).student_layers


def test_a_domain_in_which_a_layer_collapsed_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    half = noise(5)
    half[N // 2 :] = half[0]
    made = world(tmp_path / "w", k=[half, noise(6)])
    data = load_diagnosis_data(made, "s")
    assert data.layers("k") == [1]
    assert any(
        one == "k layer 0 has collapsed and is left out: all clips of music have one and the same "
        "vector"
        for one in data.warnings
    )
    only = load_diagnosis_data(made, "s", config=DiagnosisConfig(where="domain = 'speech'"))
    assert only.layers("k") == [0, 1]


def test_a_student_that_collapsed_is_refused_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = world(tmp_path / "w", s=[ONE, ONE])
    with pytest.raises(DegenerateError, match=r"s has no layer left: s layer 0 has collapsed"):
        load_diagnosis_data(made, "s")


def test_probes_and_maps_name_it_too(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = world(tmp_path / "w", k=[LINE], t=[ONE])
    with made.database.write() as connection:
        connection.execute(
            "UPDATE clips SET label = 'w' || (segment_id % 2) FROM segments "
            "WHERE segments.clip_id = clips.clip_id"
        )
    set_tasks(
        made,
        [
            {
                "task": "t",
                "label_column": "label",
                "domain": None,
                "group_column": "cluster_id",
                "metric": "accuracy",
            }
        ],
    )
    scores = evaluate(made, encoders=["k", "l"], protocols=["knn"], seeds=1, cost=False)
    rows = pd.DataFrame(scores).query("task == 't'").set_index("encoder")
    assert rows.reason["k"] == "k layer 0 has collapsed: all its vectors point in one direction"
    assert "collapsed" not in rows.reason["l"]
    report = project_space(made, "t", 0)
    assert (report.method, report.trustworthiness) == ("pca", None)
    assert report.reason == (
        "t layer 0 has collapsed, its vectors have one and the same vector: made with pca"
    )
    assert made.sql("SELECT max(abs(x)) + max(abs(y)) AS r FROM projections").r[0] == 0.0
