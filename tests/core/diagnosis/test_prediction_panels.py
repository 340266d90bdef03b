"""Errors, subgroups and routing on planted answers: a student that copies teacher ``a``."""

from dataclasses import replace

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.panels import errors, routing, subgroups
from usad_workbench.core.diagnosis.predictions import NOT_STORED, task_predictions
from usad_workbench.core.diagnosis.rules import shipped_rules
from usad_workbench.core.diagnosis.shared_errors import shared_errors
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.evaluation.predictions import Predictions
from usad_workbench.core.evaluation.systems import (
    DEPTHS,
    MIXTURE,
    ORACLE_ROUTER,
    SYSTEMS,
    Candidates,
    TaskLayers,
    teacher_pool,
)
from usad_workbench.core.probes.blocks import scaled_features
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

N_CLIPS, N_CLUSTERS, DIM, N_WORDS = 240, 24, 12, 4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:  # type: ignore[no-untyped-def]
    """Two domains; ``a`` reads speech, ``b`` music; speakers of sex ``m`` are noisier."""
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path_factory.mktemp("w"))
    n = 2 * N_CLIPS
    domain = np.repeat(["speech", "music"], N_CLIPS)
    cluster = np.array([f"{d}{i % N_CLUSTERS}" for i, d in enumerate(domain)])
    word = rng.integers(N_WORDS, size=n)
    sex = np.where(np.arange(n) % N_CLUSTERS % 2 == 0, "f", "m")
    columns = {"domain": domain, "cluster_id": cluster, "word": [f"w{w}" for w in word]}
    add_clips(made, {**columns, "sex": [str(s) for s in sex]})
    codes = 2.5 * np.eye(N_WORDS, DIM)[word]
    quiet = np.where(sex == "m", 0.3, 1.0)[:, None]

    def encoder(home):  # type: ignore[no-untyped-def]
        clear = codes * np.where(domain == home, quiet[:, 0], 0.0)[:, None]
        return clear + rng.normal(size=(n, DIM))

    a, b, k1, k2, k3 = (encoder(h) for h in ("speech", "music", "speech", "speech", "speech"))
    copy = a @ np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    where = np.eye(2, DIM)[(domain == "music").astype(int)]
    base = 3 * where + rng.normal(size=(n, DIM))
    for name, role, home, x in [
        ("s", "student", None, copy),
        ("a", "teacher", "speech", a),
        ("b", "teacher", "music", b),
        ("k1", "control", "speech", k1),
        ("k2", "control", "speech", k2),
        ("k3", "control", "speech", k3),
        ("base", "baseline", None, base),
    ]:
        add_encoder(made, name, role, home, [rng.normal(size=(n, DIM)), x])  # type: ignore[arg-type]
    set_distillation(made, "s", [("a", "speech", 1), ("b", "music", 1)])
    set_tasks(
        made,
        [
            {
                "task": f"word in {home}",
                "label_column": "word",
                "domain": home,
                "group_column": "cluster_id",
                "metric": "accuracy",
            }
            for home in ("speech", "music")
        ],
    )
    evaluate(made, protocols=["knn"], seeds=2)
    return made


def _rows(panel, **keys):  # type: ignore[no-untyped-def]
    return [
        row for row in panel.documents() if all(row[key] == value for key, value in keys.items())
    ]


def test_default_systems_are_evaluated_and_their_predictions_kept(workspace):
    rows = workspace.sql("SELECT * FROM probes")
    assert set(SYSTEMS) <= set(rows.encoder)
    kept = workspace.sql(
        "SELECT encoder, task, avg(correct::DOUBLE) AS value FROM predictions GROUP BY ALL"
    )
    both = kept.merge(rows[rows.metric == "accuracy"], on=["encoder", "task"])
    assert len(both) == 2 * (7 + len(SYSTEMS))
    np.testing.assert_allclose(both.value_x, both.value_y, atol=1e-12)
    value = rows.set_index(["encoder", "task"]).value
    for home, teacher in (("speech", "a"), ("music", "b")):
        task = f"word in {home}"
        assert value[ORACLE_ROUTER, task] == pytest.approx(value[teacher, task], abs=1e-12)
        assert value[LEARNED_ROUTER, task] <= value[ORACLE_ROUTER, task] + 0.02
        assert value[LEARNED_ROUTER, task] > 0.35
        assert value[MIXTURE, task] > 0.35


def test_costs_without_weights_are_parameters_alone(workspace):
    rows = workspace.sql("SELECT * FROM probes WHERE task = 'word in speech'").set_index("encoder")
    assert rows.n_params["a"] == 1
    assert rows.n_params["teachers-concatenated"] == 2
    assert rows.n_params[ORACLE_ROUTER] == pytest.approx(1)
    assert rows.n_params_resident[ORACLE_ROUTER] == 2
    assert np.isnan(rows.rtf["a"])
    assert rows.embedding_bytes["a"] == 4 * DIM


def test_copied_errors_stand_out_from_the_controls(workspace):
    panel = errors.compute(load_diagnosis_data(workspace, "s"), no_progress)
    row = _rows(panel, task="word in speech", teacher="a")[0]
    assert row["kappa"] > 0.9
    assert row["copy_probability"] > 0.9
    assert row["excess"] > 0.3
    assert row["p_value"] < 0.05
    assert row["copied"] == "yes" and row["pair_p_value"] <= 0.05
    assert row["controls"] == ("k1", "k2", "k3")
    assert row["form"] == "controls for the teacher"
    other = _rows(panel, task="word in speech", teacher="b")[0]
    assert abs(other["kappa"]) < 0.25
    assert other["copied"] == "not testable"
    assert "no exchangeable control" in other["reason"]
    assert {len(panel.columns)} == {len(row) for row in panel.documents()}
    cell = next(d for d in panel.influential if d.cell == "task=word in speech|teacher=a")
    wrong = workspace.sql(
        "SELECT clip_id FROM predictions WHERE task = 'word in speech' AND encoder = 's' "
        "AND NOT correct"
    )
    assert set(cell.clip_ids) <= set(wrong.clip_id)
    assert cell.influence.max() == 1.0


def test_a_wrong_route_leads_to_another_domain(workspace):
    """Break-even over the teachers of other domains, not over a second one of this domain."""
    panel = routing.compute(
        load_diagnosis_data(workspace, "s", teachers=["a", "b", "k1"]), no_progress
    )
    value = {r["system"]: r["value"] for r in _rows(panel, task="mean of tasks", domain="music")}
    oracle = _rows(panel, task="mean of tasks", domain="music", system=ORACLE_ROUTER)[0]
    needed = (value["s"] - value["a"]) / (oracle["value"] - value["a"])
    assert oracle["break_even"] == pytest.approx(min(max(needed, 0.0), 1.0))
    speech = _rows(panel, task="mean of tasks", domain="speech", system=ORACLE_ROUTER)[0]
    off = {r["system"]: r["value"] for r in _rows(panel, task="mean of tasks", domain="speech")}
    needed = (off["s"] - off["b"]) / (speech["value"] - off["b"])
    assert speech["break_even"] == pytest.approx(min(needed, 1.0))


def test_a_task_without_an_interval_takes_none_from_the_mean(workspace):
    """Six sets of speakers: too few to resample, as for voices by prompt."""
    data = load_diagnosis_data(workspace, "s")
    whole = data.tasks()[-1]
    units = np.array([str(i % 6) for i in range(len(whole.clip_ids))], dtype=object)
    few = replace(whole, name="six sets", units=units)
    data._tasks = [*data.tasks(), few]
    data.predictions["six sets"] = {
        n: replace(p, task=few) for n, p in task_predictions(data, whole).items()
    }
    panel = routing.compute(data, no_progress)
    mean = _rows(panel, task="mean of tasks with intervals", domain=whole.domain)
    assert {row["system"] for row in mean} >= {"s", "a", ORACLE_ROUTER}
    for row in mean:
        assert np.isfinite(row["ci_low"]), row
        assert "left out, as fewer than 8 groups leave no interval: six sets" in row["reason"]
    alone = _rows(panel, task="six sets", system="s")[0]
    assert np.isnan(alone["ci_low"]) and "6 clusters" in alone["reason"]


def _planted_answers(data, copied_word):  # type: ignore[no-untyped-def]
    """Answers of chance for everybody; the student's are the teacher's on one word, or on none."""
    (task,) = [task for task in data.tasks() if task.name == "word in speech"]
    rng = np.random.default_rng(0)
    names = sorted(set(task.labels))

    def answers():  # type: ignore[no-untyped-def]
        is_right = rng.random(len(task.labels)) < 0.6
        return np.where(is_right, task.labels, rng.choice(names, size=len(task.labels)))

    labels = {name: answers() for name in data.encoders}
    labels["s"] = np.where(task.labels == copied_word, labels["a"], labels["s"])
    data._tasks = [task]
    data.predictions[task.name] = {
        name: Predictions(
            system=name, members=[name], task=task, protocol="linear", seeds=[0], labels=one[None]
        )
        for name, one in labels.items()
    }
    return errors.compute(data, no_progress)


def test_errors_that_are_copied_in_one_class_are_named_with_it(workspace):
    panel = _planted_answers(load_diagnosis_data(workspace, "s"), "w2")
    of_classes = _rows(panel, kind="class", teacher="a")
    assert {row["true_class"] for row in of_classes if row["copied"] == "yes"} == {"w2"}
    assert all(row["n_test"] < N_CLIPS / 2 for row in of_classes)
    (row,) = [row for row in of_classes if row["copied"] == "yes"]
    assert row["kappa"] == pytest.approx(1.0) and row["excess_ci_low"] > 0.3
    assert shared_errors(panel.rows, shipped_rules())["speech"].words.endswith("class w2")


def test_errors_that_are_nobodys_are_undecided_with_the_size_that_would_be_found(workspace):
    panel = _planted_answers(load_diagnosis_data(workspace, "s"), None)
    tested = _rows(panel, teacher="a")
    assert {row["copied"] for row in tested} <= {"undecided", "no"}
    of_all = _rows(panel, teacher="a", kind="task")
    assert {row["copied"] for row in of_all} == {"undecided"}  # 240 clips rule out little
    assert all(0.1 < row["detectable"] < 2 for row in tested)
    found = shared_errors(panel.rows, shipped_rules())["speech"]
    assert found.answer == "undecided" and "could have been found" in found.words


def test_the_noisier_group_is_named(workspace):
    panel = subgroups.compute(load_diagnosis_data(workspace, "s"), no_progress)
    row = _rows(panel, task="word in speech", encoder="a", group_column="sex")[0]
    assert row["worst_group"] == "m"
    assert row["ci_low"] > 0
    assert row["p_value"] < 0.01
    assert row["debiased_gap"] > 0.2
    assert "word" not in {one["group_column"] for one in panel.documents()}
    noise = _rows(panel, task="word in speech", encoder="b", group_column="sex")[0]
    assert noise["p_value"] > 0.05
    assert {len(panel.columns)} == {len(one) for one in panel.documents()}


def test_student_against_routers_per_domain(workspace):
    panel = routing.compute(load_diagnosis_data(workspace, "s"), no_progress)
    music = _rows(panel, task="mean of tasks", domain="music", system=ORACLE_ROUTER)[0]
    assert music["verdict"] == "worse"  # the student copied the speech teacher only
    assert music["student_minus_ci_high"] < 0
    assert music["any_teacher_right"] > music["value"]
    speech = _rows(panel, task="mean of tasks", domain="speech", system=ORACLE_ROUTER)[0]
    assert speech["student_minus"] == pytest.approx(0.0, abs=0.05)
    assert speech["break_even"] > music["break_even"]
    learned = _rows(panel, task="mean of tasks", domain="speech", system=LEARNED_ROUTER)[0]
    assert 0.8 < learned["router_ci_low"] <= learned["router_accuracy"] <= 1.0
    one = _rows(panel, task="word in music", system=ORACLE_ROUTER)[0]
    assert one["mcnemar_p_value"] < 0.01
    assert {len(panel.columns)} == {len(row) for row in panel.documents()}


def test_a_mixture_is_not_whitened(workspace):
    """Its last axes are noise: with a variance each like the first they drown the label."""
    pool = teacher_pool(workspace)
    ids = pool.clip_ids[:N_CLIPS]
    (mixture,) = TaskLayers(Candidates(pool, MIXTURE, ids), None)[DEPTHS]
    train = np.arange(0, N_CLIPS, 2)
    features = scaled_features(TaskLayers(Candidates(pool, MIXTURE, ids), None)[DEPTHS], train)
    variances = np.asarray(mixture, dtype=float)[train].var(axis=0)
    ratio = features[train].var(axis=0) / variances
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    single = TaskLayers(Candidates(pool, "a", ids), None)[-1]
    assert isinstance(single, np.ndarray)


def test_a_selection_takes_its_part_of_the_answers(workspace):
    data = load_diagnosis_data(workspace, "s", config=DiagnosisConfig(where="sex = 'f'"))
    panel = routing.compute(data, no_progress)
    assert NOT_STORED not in panel.warnings
    row = _rows(panel, task="word in speech", system="a")[0]
    kept = workspace.sql(
        "SELECT avg(correct::DOUBLE) AS value FROM predictions JOIN clips USING (clip_id) "
        "WHERE task = 'word in speech' AND encoder = 'a' AND sex = 'f'"
    )
    assert row["value"] == pytest.approx(kept.value[0], abs=1e-12)
    assert row["n_clips"] == N_CLIPS // 2


def test_without_stored_answers_they_are_made(workspace):
    with workspace.database.write() as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM predictions")
        connection.execute("DELETE FROM predictions")
    try:
        panel = errors.compute(load_diagnosis_data(workspace, "s"), no_progress)
    finally:
        with workspace.database.write() as connection:
            connection.execute("INSERT INTO predictions SELECT * FROM kept")
            connection.execute("DROP TABLE kept")
    assert NOT_STORED in panel.warnings
    assert _rows(panel, task="word in speech", teacher="a")[0]["kappa"] > 0.9
