"""Above a stated number of clips a domain is stood for by whole clusters, and this is said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.core.diagnosis.conftest import N_CLIPS, N_CLUSTERS
from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis import clip_sample
from usad_workbench.core.diagnosis.clip_sample import ClipSample
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panels import neighbourhoods, shortcuts
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.progress import no_progress
from usad_workbench.core.similarity import neighbours
from usad_workbench.core.storage.clip_vectors import clip_vectors
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace

N_WORLD, PER_CLUSTER = 720, 6


def clips_of(n: int, per_cluster: int = 5) -> pd.DataFrame:
    """Two thirds speech, a third music."""
    return pd.DataFrame(
        {
            "clip_id": [f"c{i:04}" for i in range(n)],
            "domain": np.where(np.arange(n) % 15 < 10, "speech", "music"),
            "cluster_id": [f"k{i // per_cluster}" for i in range(n)],
        }
    )


def test_a_domain_within_the_limit_is_taken_whole() -> None:
    clips = clips_of(150)
    sample = ClipSample(clips, (100, 100), 0)
    assert (
        sample.of_domain("speech", 100).tolist()
        == np.flatnonzero(clips.domain == "speech").tolist()
    )
    assert sample.rows.tolist() == list(range(150))
    assert sample.describe(["speech", "music"]) == []


def test_a_larger_domain_is_stood_for_by_whole_clusters_that_the_seed_draws() -> None:
    clips = clips_of(600)
    drawn = {}
    for seed in (0, 0, 1):
        rows = ClipSample(clips, (60, 30), seed).of_domain("speech", 60)
        assert drawn.setdefault(seed, rows.tolist()) == rows.tolist()
        taken = clips.iloc[rows]
        assert len(taken) == 60 and set(taken.domain) == {"speech"}
        whole = clips[clips.cluster_id.isin(taken.cluster_id) & (clips.domain == "speech")]
        assert len(whole) == len(taken)
    assert drawn[0] != drawn[1]
    (words,) = ClipSample(clips, (60, 30), 7).describe(["speech", "music"])
    assert "speech (60 of 400), music (60 of 200)" in words and "seed 7" in words


def test_across_domains_each_keeps_its_share() -> None:
    rows = ClipSample(clips_of(6000), (600, 30), 0).across(["speech", "music"])
    assert (np.diff(rows) > 0).all()
    counts = clips_of(6000).domain.iloc[rows].value_counts()
    assert counts["speech"] == 400 and counts["music"] == 200


def test_vectors_of_the_sample_are_kept_up_to_a_limit(
    copied: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = copied.clips()
    read: list[tuple[str, int, int]] = []

    def reading(workspace, encoder, layer, ids):  # type: ignore[no-untyped-def]
        read.append((encoder, layer, len(ids)))
        return clip_vectors(workspace, encoder, layer, ids)

    monkeypatch.setattr(clip_sample, "clip_vectors", reading)
    sample = ClipSample(clips, (40, 24), 0)
    rows = sample.of_domain("music", 40)
    whole = clip_vectors(copied, "a", 2, clips.clip_id.tolist())
    for _ in range(2):
        np.testing.assert_array_equal(sample.vectors(copied, "a", 2, rows), whole[rows])
    assert read == [("a", 2, len(sample.rows))]
    np.testing.assert_array_equal(sample.vectors(copied, "a", 2), whole)
    assert read[1:] == [("a", 2, 3 * N_CLIPS)]  # clips beyond the sample are not kept
    one = sample.vectors(copied, "a", 2, sample.rows).nbytes
    monkeypatch.setattr(clip_sample, "MAX_KEPT_BYTES", 2 * one)
    read.clear()
    for layer in (0, 1, 2, 0, 1, 2):
        sample.vectors(copied, "b", layer, rows)
    assert len(read) == 6  # two at a time: each is gone before it is asked for again
    sample.vectors(copied, "b", 2, rows)
    assert len(read) == 6


def test_what_is_sampled_is_said_in_rows_and_warnings_of_the_diagnosis(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(max_domain_clips=40))
    panel = neighbourhoods.compute(data, no_progress)
    assert {(row.n_clips, row.n_clusters) for row in panel.rows} == {(40, N_CLUSTERS // 2)}
    assert any("speech (40 of 80)" in words for words in data.warnings)
    whole = diagnose(copied, "s", panels=["neighbourhoods"], n_processes=1)
    assert {row.n_clips for row in whole.panels["neighbourhoods"].rows} == {N_CLIPS}
    assert not any(" of 80)" in words for words in whole.warnings)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> DiagnosisData:  # type: ignore[no-untyped-def]
    """Neighbours share their word, and their device beyond it; content is stronger in music."""
    rng = np.random.default_rng(1)
    workspace = Workspace.create(tmp_path_factory.mktemp("world") / "w")
    n = N_WORLD
    cluster = np.arange(n) // PER_CLUSTER
    is_music = cluster % 2 == 1
    word, device = rng.integers(0, 3, n), rng.integers(0, 2, cluster.max() + 1)[cluster]
    add_clips(
        workspace,
        {
            "domain": np.where(is_music, "music", "speech").tolist(),
            "cluster_id": [f"k{i:03}" for i in cluster],
            "label": [f"w{i}" for i in word],
            "device": [f"d{i}" for i in device],
        },
    )

    def vectors() -> np.ndarray:
        x = rng.normal(size=(n, 12))
        x[:, :3] += (2.0 + is_music)[:, None] * np.eye(3)[word]
        x[:, 3] += 1.5 * device
        return x

    add_encoder(workspace, "s", "student", None, [vectors()])
    add_encoder(workspace, "t", "teacher", "speech", [vectors()])
    set_distillation(workspace, "s", [("t", "speech", 1)])
    return load_diagnosis_data(workspace, "s")


def measured(data: DiagnosisData) -> np.ndarray:
    """Purity, leakage and share of the device of every domain and space `[value]`."""
    near, shared = (panel.compute(data, no_progress).rows for panel in (neighbourhoods, shortcuts))
    leaks = [share for row in near for share in row.leakage.values()]
    return np.array([*(row.purity for row in near), *leaks, *(row.value for row in shared)])


def sampled(world: DiagnosisData, **changes: object) -> DiagnosisData:
    return replace(world, config=replace(world.config, max_domain_clips=150, **changes))


def test_the_interval_of_a_sample_holds_what_all_clips_give(world: DiagnosisData) -> None:
    """Planted: words and devices. Neighbours are searched among all clips, k is the same."""
    part = sampled(world, n_permutations=49)
    found = {
        panel.NAME: (panel.compute(world, no_progress).rows, panel.compute(part, no_progress).rows)
        for panel in (neighbourhoods, shortcuts)
    }
    for name, value in (("neighbourhoods", "purity"), ("shortcuts", "excess")):
        for whole, row in zip(*found[name], strict=True):
            assert (whole.n_clips, row.n_clips) == (N_WORLD // 2, 150)
            assert row.ci_low <= getattr(whole, value) <= row.ci_high
            assert row.ci_high - row.ci_low > whole.ci_high - whole.ci_low
    for whole, row in zip(*found["shortcuts"], strict=True):
        assert row.attribute == whole.attribute == "device"
        assert row.ci_low > 0 and row.p_value <= 0.05  # the device is there
    for whole, row in zip(*found["neighbourhoods"], strict=True):
        assert row.purity_expected == whole.purity_expected
        assert row.leakage_expected == whole.leakage_expected
        assert "hubs are those of 150 clips among themselves" in row.reason and not whole.reason


def test_samples_are_on_average_what_all_clips_give(world: DiagnosisData) -> None:
    full = measured(replace(world, config=replace(world.config, n_permutations=1)))
    some = np.stack([measured(sampled(world, n_permutations=1, seed=seed)) for seed in range(10)])
    error = some.std(axis=0, ddof=1) / np.sqrt(len(some))
    off = (some.mean(axis=0) - full) / error
    assert np.sqrt(np.mean(off**2)) < 1.5 and np.abs(off).max() < 3


def test_the_same_seed_gives_the_same_sample_and_another_one_another(world: DiagnosisData) -> None:
    def values(seed: int) -> list[float]:
        config = replace(world.config, max_domain_clips=150, seed=seed)
        return [
            row.purity
            for row in neighbourhoods.compute(replace(world, config=config), no_progress).rows
        ]

    assert values(0) == values(0)
    assert values(0) != values(1)


def test_pairs_that_are_compared_grow_with_the_clips_and_not_with_their_square(
    world: DiagnosisData, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[int] = []
    counted = neighbours.top_columns

    def top_columns(score: np.ndarray, k: int) -> np.ndarray:
        pairs.append(score.size)
        return counted(score, k)

    monkeypatch.setattr(neighbours, "top_columns", top_columns)
    config = replace(world.config, max_domain_clips=60, n_permutations=9)
    totals = {}
    for n in (N_WORLD // 2, N_WORLD):
        data = replace(world, config=config, clips=world.clips.iloc[:n])
        for panel in (neighbourhoods, shortcuts):
            pairs.clear()
            panel.compute(data, no_progress)
            totals.setdefault(panel.NAME, []).append(sum(pairs))
    for few, many in totals.values():
        assert many <= 2.01 * few
