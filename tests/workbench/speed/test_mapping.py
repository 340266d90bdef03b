"""The judge of maps agrees with scikit-learn, and both sides of the benchmark are judged."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from usad_workbench.core.cosine import normalise
from usad_workbench.workbench.speed import mapping
from usad_workbench.workbench.speed.planted import plant


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
def test_trustworthiness_is_scikit_learns(noise: float) -> None:
    rng = np.random.default_rng(1)
    unit = normalise(plant(300, dim=12).vectors())
    points = (unit[:, :2] + noise * rng.normal(size=(300, 2))).astype(np.float32)
    ours = mapping.trustworthiness_of(unit, points, n_judged=300)
    theirs = trustworthiness(unit, points, n_neighbors=10, metric="cosine")
    assert ours == pytest.approx(theirs, abs=2e-3)  # ties in float32


def test_a_sample_estimates_the_whole() -> None:
    unit = normalise(plant(2000, dim=12).vectors())
    points = unit[:, :2]
    whole = mapping.trustworthiness_of(unit, points, n_judged=2000)
    assert mapping.trustworthiness_of(unit, points, n_judged=200) == pytest.approx(whole, abs=0.02)


def test_every_map_is_judged_beside_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        mapping,
        "PEERS",
        {"first two values": ("numpy", lambda u: u[:, :2]), "absent": ("no_such_module", None)},
    )
    monkeypatch.setattr(mapping, "project_space", mapping.partial(_pca, mapping.project_space))
    rows = list(mapping.bench_project(300))
    assert [row.unit for row in rows] == ["s", "s", "share"]
    assert rows[2].value > rows[2].peer_value and {r.peer for r in rows} == {"first two values"}
    assert not list(mapping.bench_project(300, without=("first",)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the peers, about seeds and threads
def test_the_peers_make_maps() -> None:
    """They compile for half a minute each."""
    unit = normalise(plant(400, dim=12).vectors())
    chance = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    least = mapping.trustworthiness_of(unit, chance)
    for _, make in mapping.PEERS.values():
        points = make(unit)
        assert points.shape == (400, 2)
        assert mapping.trustworthiness_of(unit, points) > least + 0.2


def _pca(project_space: object, workspace: object, encoder: str, layer: int) -> None:
    """UMAP compiles for half a minute."""
    project_space(workspace, encoder, layer, method="pca")  # type: ignore[operator]
