"""ReSi's tests with a known right order, on the shipped student and on small networks."""

import pytest

from tests.core.encoders.sample_clips import rows
from tests.core.similarity.grounded import digit_tests, violations_in
from usad_workbench.core.embedding import embed
from usad_workbench.core.similarity.disagreement import FAMILIES
from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.sample_data import sample_data_folder

N_CLIPS = 120


@pytest.mark.slow
def test_layers_of_the_shipped_student_are_in_order(tmp_path):
    columns = ("clip_id", "domain", "cluster_id")
    sources = [
        SourceClip(
            path=sample_data_folder() / row["path"], fields={name: row[name] for name in columns}
        )
        for row in rows(domain="sound")[:N_CLIPS]
    ]
    workspace = Workspace.create(tmp_path / "w")
    assert import_clips(workspace, sources).n_added == N_CLIPS
    embed(workspace, "usad-demo")
    counts, names = violations_in(workspace)
    assert names == ["usad-demo"]
    shares = {name: wrong / n for name, (wrong, n) in counts.items()}
    assert {name for name, (_, n) in counts.items() if n == 168} == {*FAMILIES, "pwcca"}
    # A coin has .5; what votes has a fifth of that, but for SVCCA, which needs more clips.
    assert (
        max(share for name, share in shares.items() if name in FAMILIES.keys() - {"svcca"}) < 0.12
    )
    assert shares["pwcca"] > 0.15


@pytest.mark.slow
def test_networks_trained_alike_are_nearer():
    tests = digit_tests(n_seeds=3)
    for name in ("label noise", "shortcut", "augmentation"):
        for measure in FAMILIES.keys() - {"svcca"}:
            assert tests[name][measure] > 0.5
    nearness = tests["output correlation"]
    assert min(nearness[one] for one in ("mutual_knn", "second_order_cosine")) > 0.2
