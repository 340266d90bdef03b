"""The similarity panel on planted truth: who was copied where, and what is not redone."""

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.teacher_similarity import SimilarityConfig, compare_with_teachers
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.clip_vectors import clip_vectors
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.roles import encoder_roles
from usad_workbench.core.storage.workspace import Workspace

N_CLIPS, N_CLUSTERS, DIM = 80, 10, 24
DOMAINS = ("speech", "music")
CONFIG = SimilarityConfig(n_permutations=39)


@pytest.fixture
def planted(tmp_path) -> Workspace:  # type: ignore[no-untyped-def]
    """In speech the student's layer 1 is teacher a's layer 2 turned; in music teacher b's."""
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path / "w")
    n = N_CLIPS * len(DOMAINS)
    add_clips(
        workspace,
        {
            "domain": [DOMAINS[i // N_CLIPS] for i in range(n)],
            "cluster_id": [f"{DOMAINS[i // N_CLIPS]}{i % N_CLUSTERS}" for i in range(n)],
        },
    )

    def noise() -> np.ndarray:
        return rng.normal(size=(n, DIM))

    a, b, control = ([noise() for _ in range(3)] for _ in range(3))
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    in_speech = (np.arange(n) < N_CLIPS)[:, None]
    copied = np.where(in_speech, a[2] @ turn, b[0] @ turn) + 0.3 * noise()
    add_encoder(workspace, "s", "student", None, [noise(), copied])
    add_encoder(workspace, "a", "teacher", "speech", a)
    add_encoder(workspace, "b", "teacher", "music", b)
    add_encoder(workspace, "k", "control", "speech", control)
    set_distillation(workspace, "s", [("a", "speech", 1), ("b", "music", 1)])
    return workspace


def test_planted_copies_are_found_where_they_are(planted: Workspace) -> None:
    report = compare_with_teachers(planted, "s", config=CONFIG)
    assert report.domains == ["music", "speech"]
    assert report.n_computed == 6
    nearest = planted.sql("SELECT * FROM nearest_teachers").set_index(["domain", "measure"])
    for measure in ("debiased_linear_cka", "mutual_knn"):
        speech, music = nearest.loc["speech", measure], nearest.loc["music", measure]
        assert (speech.teacher, speech.student_layer, speech.teacher_layer) == ("a", 1, 2)
        assert (music.teacher, music.student_layer, music.teacher_layer) == ("b", 1, 0)
        assert speech.control == "k"
        assert speech.difference_ci_low > 0
        assert "music" not in str(speech.statement)


def test_only_the_planted_cells_stand_out(planted: Workspace) -> None:
    compare_with_teachers(planted, "s", config=CONFIG)
    rows = planted.sql("SELECT * FROM teacher_similarity WHERE measure = 'debiased_linear_cka'")
    assert len(rows) == 2 * 3 * 2 * 3  # domains, encoders, layers, layers
    out = rows[rows.p_value <= 0.05]
    cells = set(zip(out.domain, out.teacher, out.student_layer, out.teacher_layer, strict=True))
    assert {("speech", "a", 1, 2), ("music", "b", 1, 0)} <= cells
    assert len(cells) <= 4  # two planted, and what a level of 5% lets through
    assert (rows.q_value >= rows.p_value - 1e-12).all()
    others = rows[rows.p_value > 0.05]
    assert others.value.abs().max() < 0.15


def test_values_are_those_of_the_measure(planted: Workspace) -> None:
    compare_with_teachers(planted, "s", config=CONFIG)
    speech = planted.clips("domain = 'speech'")
    clips, clusters = speech.clip_id.tolist(), speech.cluster_id.tolist()
    x, y = (clip_vectors(planted, name, layer, clips) for name, layer in (("s", 1), ("a", 2)))
    stored = planted.sql(
        "SELECT value FROM teacher_similarity WHERE teacher = 'a' AND student_layer = 1 "
        "AND teacher_layer = 2 AND domain = 'speech' AND measure = 'debiased_linear_cka'"
    )
    assert stored.value[0] == pytest.approx(debiased_linear_cka(x, y, clusters), abs=1e-9)


def test_clips_have_their_value_of_the_nearest_pair_of_layers(planted: Workspace) -> None:
    """One row a clip and encoder, of the pair that stands out; their mean is the table's value.

    Of a domain that is thinned they are the clips that the value rests on.
    """
    for max_clips in (1000, 30):
        config = SimilarityConfig(n_permutations=9, max_clips=max_clips)
        compare_with_teachers(planted, "s", config=config)
        rows = planted.sql(
            "SELECT t.teacher, t.domain, t.student_layer, t.teacher_layer, t.n_clips, t.reason, "
            "t.value AS whole, avg(c.value) AS mean, count(*) AS n "
            "FROM clip_teacher_similarity c JOIN clips k USING (clip_id) JOIN teacher_similarity t "
            "ON (t.student, t.student_layer, t.teacher, t.teacher_layer, t.domain, t.measure) = "
            "(c.student, c.student_layer, c.teacher, c.teacher_layer, k.domain, c.measure) GROUP BY ALL"
        )
        assert len(rows) == 2 * 3  # domains, encoders
        assert (rows.n == rows.n_clips).all() and (rows.n <= max_clips).all()
        assert rows.whole.to_numpy() == pytest.approx(rows["mean"].to_numpy(), abs=1e-12)
        stands_out = set(
            zip(rows.teacher, rows.domain, rows.student_layer, rows.teacher_layer, strict=True)
        )
        assert {("a", "speech", 1, 2), ("b", "music", 1, 0)} <= stands_out
        assert rows.reason.str.contains("in whole clusters").all() == (max_clips == 30)
    assert planted.sql("SELECT count(*) AS n FROM clip_teacher_similarity").n[0] == rows.n.sum()


def test_second_run_computes_nothing_and_new_settings_all(planted: Workspace) -> None:
    compare_with_teachers(planted, "s", config=CONFIG)
    before = planted.sql("SELECT * FROM teacher_similarity ORDER BY ALL")
    assert compare_with_teachers(planted, "s", config=CONFIG).n_computed == 0
    assert planted.sql("SELECT * FROM teacher_similarity ORDER BY ALL").equals(before)
    other = SimilarityConfig(n_permutations=39, seed=1)
    assert compare_with_teachers(planted, "s", config=other).n_computed == 6


def test_roles_follow_who_taught_whom(planted: Workspace) -> None:
    """Named a control, teacher a cannot be the nearest teacher any more."""
    compare_with_teachers(planted, "s", roles=encoder_roles(planted, "s", ["b"]), config=CONFIG)
    nearest = planted.sql("SELECT * FROM nearest_teachers")
    assert set(nearest.teacher) == {"b"}


def test_what_is_nearest_is_stated_anew_where_roles_change(planted: Workspace) -> None:
    """Same similarities, other teachers: the sentence and its interval follow the roles."""
    compare_with_teachers(planted, "s", config=CONFIG)
    first = planted.sql("SELECT * FROM nearest_teachers ORDER BY ALL")
    assert first.difference_ci_low.notna().any()
    only_b = encoder_roles(planted, "s", ["b"])
    assert compare_with_teachers(planted, "s", roles=only_b, config=CONFIG).n_computed == 0
    assert set(planted.sql("SELECT teacher FROM nearest_teachers").teacher) == {"b"}
    compare_with_teachers(planted, "s", config=CONFIG)
    assert planted.sql("SELECT * FROM nearest_teachers ORDER BY ALL").equals(first)
    without_k = {name: role for name, role in encoder_roles(planted, "s").items() if name != "k"}
    compare_with_teachers(planted, "s", roles=without_k, config=CONFIG)
    assert planted.sql("SELECT control FROM nearest_teachers").control.isna().all()


def test_small_domains_are_one_warning(planted: Workspace) -> None:
    with planted.database.write() as connection:
        for i, domain in ((0, "birds"), (1, "bats")):
            connection.execute(
                "UPDATE clips SET domain = ? WHERE clip_id = ?", [domain, f"c{i:03}"]
            )
    (warning,) = compare_with_teachers(planted, "s", config=CONFIG).warnings
    assert "birds (1 clips)" in warning and "bats (1 clips)" in warning


def test_clip_vectors_average_segments_of_a_clip(planted: Workspace) -> None:
    with planted.database.write() as connection:
        connection.execute("UPDATE segments SET clip_id = 'c000' WHERE segment_id = 1")
        connection.execute("DELETE FROM clips WHERE clip_id = 'c001'")
    raw = planted.embeddings("a", 0)
    joined = clip_vectors(planted, "a", 0, ["c000", "c002"])
    np.testing.assert_allclose(joined[0], raw.vectors[:2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(joined[1], raw.vectors[2], rtol=1e-6)
