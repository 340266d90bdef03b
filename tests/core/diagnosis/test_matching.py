"""Accuracies of those that stand in one place: paired gaps with an error, read at the margin."""

import numpy as np
import pytest

from tests.inheritance_worlds import KINDS, data_of, make_world
from usad_workbench.core.diagnosis.matching import Match, MatchTable
from usad_workbench.core.probes import evaluate_probe


@pytest.fixture(scope="module")
def matched():
    world = make_world(KINDS["placebo, 4 peers"], 3)
    return world, MatchTable(data_of(world, ("speech",)))


def test_accuracies_are_those_of_the_probe_and_alike_encoders_match(matched) -> None:
    world, table = matched
    mine = (world.clips.domain == "speech").to_numpy()
    labels, groups = (world.clips[n][mine].tolist() for n in ("label", "cluster_id"))
    found = table.match(["s"], world.peers, 0, "speech")
    of = {
        name: evaluate_probe(world.vectors[name][mine], labels, groups, seeds=(0,)).value
        for name in ("s", *world.peers)
    }
    assert found.accuracy == pytest.approx(of.pop("s"))
    assert found.control_accuracy == pytest.approx(np.mean(list(of.values())))
    assert found.is_matched and found.gap_low < 0 < found.gap_high


def test_peers_that_know_less_do_not_match() -> None:
    world = make_world(KINDS["less-trained peers, 8"], 3)
    table = MatchTable(data_of(world, ("speech",)))
    found = table.match(["s"], world.peers, 0, "speech")
    assert found.is_matched is False and found.gap_low > 0.1
    assert found.describe().startswith("accuracy differs by +0.")


@pytest.mark.parametrize(
    ("low", "high", "is_matched"),
    [(-0.1, 0.1, True), (0.005, 0.1, True), (0.02, 0.1, False), (-0.3, -0.02, False)],
)
def test_a_gap_counts_beyond_its_error_and_the_margin(low, high, is_matched) -> None:
    found = Match(accuracy=0.5, control_accuracy=0.4, gap_low=low, gap_high=high, margin=0.01)
    assert found.is_matched is is_matched


def test_without_tasks_nothing_is_known(matched) -> None:
    world, _ = matched
    data = data_of(world, ("speech",))
    data._tasks = []
    assert MatchTable(data).match(["s"], world.peers, 0, "speech").is_matched is None
