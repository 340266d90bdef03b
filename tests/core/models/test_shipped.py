"""The student that comes with the package is what its folder says."""

import csv
from dataclasses import replace

import pytest
import torch

from usad_workbench.core.models.checkpoint import SHIPPED, load_student, read_student_folder
from usad_workbench.core.models.sizes import SIZES, count_parameters
from usad_workbench.core.models.student import build_untrained_student
from usad_workbench.training.recipe import load_recipe

MAX_BYTES = 17 * 2**20
SIZES_WITHOUT_DROPOUT = replace(SIZES["demo"], dropout=0.0)

pytestmark = pytest.mark.skipif(
    not (SHIPPED / "config.json").is_file(), reason="no student is shipped in this tree yet"
)


def test_the_folder_holds_what_it_should() -> None:
    names = {path.name for path in SHIPPED.iterdir()}
    assert names == {
        "model.safetensors",
        "config.json",
        "MODEL_CARD.md",
        "recipe.toml",
        "log.csv",
        "stage-1.recipe.toml",
        "stage-1.log.csv",
    }
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= MAX_BYTES


def test_it_is_trained_and_has_the_untrained_one_as_its_control() -> None:
    shipped, untrained = load_student(), build_untrained_student()
    assert shipped.spec.name == "usad-demo" and shipped.spec.n_params <= 10_000_000
    assert shipped.spec.dims == untrained.spec.dims
    assert shipped.weights_sha256 != untrained.weights_sha256
    samples = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.no_grad():
        one, other = (e.student(samples).x for e in (shipped, untrained))
    assert one.isfinite().all() and not torch.allclose(one, other, atol=0.1)


def test_its_recipes_are_those_that_train_it_again() -> None:
    first, second = (load_recipe(SHIPPED / n) for n in ("stage-1.recipe.toml", "recipe.toml"))
    assert first == load_recipe("demo-small")
    assert second == load_recipe("demo-plus")
    described = read_student_folder(SHIPPED)
    assert described.config == second.student == first.student == SIZES_WITHOUT_DROPOUT
    assert described.provenance["step"] == second.optimiser.n_steps
    assert described.provenance["start"]["audio_s"] > 80_000


def test_its_teachers_and_domains_are_recorded() -> None:
    provenance = read_student_folder(SHIPPED).provenance
    taught = [(row["teacher"], row["domain"], row["stage"]) for row in provenance["teachers"]]
    assert taught == [
        ("whisper-tiny.en", "speech", 1),
        ("aisfx", "sound", 1),
        ("musicnn", "music", 1),
        ("whisper-base", "speech", 2),
        ("aisfx", None, 2),
    ]
    assert set(provenance["data"]["hours"]) == {"speech", "sound", "music"}


@pytest.mark.parametrize(("name", "n_rows"), [("stage-1.log.csv", 50), ("log.csv", 20)])
def test_its_loss_fell(name: str, n_rows: int) -> None:
    with (SHIPPED / name).open(encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) >= n_rows and sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_the_card_says_what_it_is() -> None:
    card = (SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8")
    names = ("Whisper tiny.en", "Whisper base", "aiSFX", "MusiCNN", "CC BY 4.0", "omega = 10")
    for words in (*names, "not a reproduction of the published checkpoints"):
        assert words in card
    count = count_parameters(SIZES["demo"])
    assert load_student().spec.n_params == count.up_to_last_layer
    for n, words in (
        (count.total, "parameters in all"),
        (count.up_to_last_layer, "up to the last layer"),
        (count.published, "without our two norms"),
    ):
        assert f"{n:,} {words}" in card
