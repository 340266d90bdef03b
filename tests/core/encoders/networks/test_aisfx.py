"""aiSFX knows kinds of sounds better than spectral statistics do."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.core.encoders.sample_clips import Row, clip, pretrained, rows, vectors
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.networks import aisfx
from usad_workbench.core.encoders.networks.aisfx import AisfxEncoder, block_maxima
from usad_workbench.core.models.encoder import Pooling

pytestmark = pytest.mark.weights


def nearest_neighbour_accuracy(
    of: npt.NDArray[np.float32], labels: list[str], groups: list[str]
) -> float:
    """How often the nearest clip of another group has the same label (cosine, standardised)."""
    standard = (of - of.mean(axis=0)) / (of.std(axis=0) + 1e-6)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    cosines = standard @ standard.T
    group = np.array(groups)
    cosines[group[:, None] == group[None]] = -2
    nearest = cosines.argmax(axis=1)
    return float(np.mean([labels[i] == labels[j] for i, j in enumerate(nearest)]))


def accuracy(name: str, of: list[Row], column: str, pooling: Pooling) -> float:
    found = vectors(pretrained(name), of, -1, pooling)
    return nearest_neighbour_accuracy(
        found, [row[column] for row in of], [row["cluster_id"] for row in of]
    )


@pytest.mark.parametrize(
    ("column", "domain", "margin"), [("material", "sound", 0.05), ("effect_kind", "effects", 0.1)]
)
def test_neighbours_share_a_label_more_often_than_with_statistics(
    column: str, domain: str, margin: float
) -> None:
    """Measured: material .365 against .209 (log-mel) and .284 (MFCC), 148 clips of 12 kinds;
    effect kind .703 against .559 and .396, 111 clips of 4 kinds."""
    labelled = rows(**{column: "*", "domain": domain})
    ours = accuracy("aisfx", labelled, column, "native")
    baselines = [
        accuracy(name, labelled, column, "mean")
        for name in ("log-mel-statistics", "mfcc-statistics")
    ]
    assert ours > max(baselines) + margin


def test_neighbours_of_a_note_are_of_its_instrument() -> None:
    """Measured: .844 against .521 (log-mel), 192 notes of 16 instruments."""
    notes = rows(instrument="*")
    labels = [row["instrument"] for row in notes]
    alone = [row["clip_id"] for row in notes]
    found = vectors(pretrained("aisfx"), notes, -1, "native")
    baseline = vectors(pretrained("log-mel-statistics"), notes)
    ours = nearest_neighbour_accuracy(found, labels, alone)
    assert ours > nearest_neighbour_accuracy(baseline, labels, alone) + 0.15


def test_loudness_does_not_matter() -> None:
    encoder = pretrained("aisfx")
    loud = clip(rows(material="wood")[0], 44_100)
    quiet = Clip(samples=loud.samples * np.float32(0.03), sample_rate_hz=44_100)
    for a, b in zip(encoder.embed(loud), encoder.embed(quiet), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_native_is_the_maximum_over_time_of_a_short_clip() -> None:
    encoder = pretrained("aisfx")
    assert isinstance(encoder, AisfxEncoder)
    features = encoder.encode(clip(rows(material="wood")[0], 44_100).cut(0, 0.4))
    (native,) = features.pooled("native")
    torch.testing.assert_close(native, features.of(4).amax(dim=1))


def test_blocks_of_a_long_clip_overlap_by_half() -> None:
    frames = torch.arange(10.0).view(1, 10, 1)
    assert block_maxima(frames, 4).item() == pytest.approx(np.mean([3, 5, 7, 9]))


@pytest.mark.parametrize("n_samples", [44_100 * 4, 44_100 * 4 + 1024 * 5 + 7])
def test_chunks_of_a_long_clip_give_the_same_frames(
    n_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = pretrained("aisfx")
    torch.manual_seed(0)
    long = Clip(samples=0.1 * torch.randn(n_samples).numpy(), sample_rate_hz=44_100)
    whole = encoder.encode(long)
    monkeypatch.setattr(aisfx, "_CHUNK_FRAMES", 40)
    for found, expected in zip(encoder.encode(long).frames, whole.frames, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
