"""A device without memory for a batch: halve it and go on. A clip that fails: go on without it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from torch import Tensor

from usad_workbench.core.clips import Clip
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import DeviceMemoryError
from usad_workbench.core.models.encoder import Encoder, EncoderSpec, LayerFeatures, TargetKind
from usad_workbench.core.models.pooling import pooled_vectors
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

RATE = 1_000


class Small(Encoder):
    """Takes so many samples at once; its vector is the clip's sum and its length."""

    error: Exception = torch.OutOfMemoryError("no memory")
    """Raised for more."""

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self.weights_sha256 = "0" * 64
        self.sizes: list[int] = []
        self.refused = 0
        self.spec = EncoderSpec(
            name="small",
            role="control",
            domain=None,
            n_layers=0,
            dims=(2,),
            frame_rates_hz=(0.0,),
            sample_rate_hz=RATE,
            n_params=0,
            licence="",
            citation="",
            pads=True,
        )

    def to(self, device: str | torch.device) -> "Small":
        return self

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        if samples.numel() > self.max_samples:
            self.refused += 1
            raise self.error
        self.sizes.append(len(samples))
        frames = torch.stack([samples.sum(1), n_valid.float()], 1).unsqueeze(1)
        return LayerFeatures(
            layers=(0,),
            frames=(frames,),
            n_valid=(torch.ones(len(samples)),),
            frame_rates_hz=(0.0,),
        )


def clips(n: int) -> list[Clip]:
    """Of different lengths and sums, in no order of length."""
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.arange(50, 50 + n))
    return [
        Clip(samples=rng.normal(size=k).astype(np.float32), sample_rate_hz=RATE) for k in lengths
    ]


def imported(folder: Path, lengths: tuple[int, ...]) -> Workspace:
    """A workspace with clips of so many samples."""
    workspace = Workspace.create(folder / "workspace")
    rng = np.random.default_rng(0)
    sources = []
    for n in lengths:
        sources.append(SourceClip(path=folder / f"clip-{n}.wav"))
        samples = rng.normal(scale=0.1, size=n).astype(np.float32)
        sf.write(sources[-1].path, samples, RATE, subtype="FLOAT")
    import_clips(workspace, sources, domain="sound")
    return workspace


def test_batches_are_halved_and_rows_stay_in_order() -> None:
    given, encoder = clips(32), Small(500)
    (found,) = pooled_vectors(encoder, given, (0,), "mean").values()
    expected = [[clip.samples.sum(), len(clip.samples)] for clip in given]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert sum(encoder.sizes) == 32 and max(encoder.sizes) > 1


def test_what_is_known_not_to_fit_is_not_tried_again() -> None:
    encoder = Small(500)
    pooled_vectors(encoder, clips(32), (0,), "mean")
    assert encoder.refused <= 4  # 32, 16 and 8 clips, and 8 of the longer ones at most


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError("Unable to allocate 3 GiB"),
    ],
)
def test_a_cpu_without_memory_is_the_same(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch and NumPy say it in words of their own."""
    monkeypatch.setattr(Small, "error", error)
    given, encoder = clips(8), Small(200)
    (found,) = pooled_vectors(encoder, given, (0,), "mean").values()
    assert encoder.refused > 0
    np.testing.assert_allclose(found[:, 1], [len(clip.samples) for clip in given])


def test_the_others_go_on_where_the_encoder_fails_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = imported(tmp_path, (60, 900, 80))
    monkeypatch.setattr(Small, "error", AssertionError("shape of a trained window"))
    report = embed(workspace, Small(500))
    assert report.n_done == 2
    (failure,) = report.failed
    assert "clip-900" in failure.path
    assert failure.reason.startswith("small fails on 1 clip(s) of 0.90 s: AssertionError: shape")


def test_a_single_clip_that_does_not_fit_is_named() -> None:
    with pytest.raises(DeviceMemoryError, match=r"small runs out of memory on cpu.*0\.1 s"):
        pooled_vectors(Small(10), clips(4), (0,), "mean")


def test_the_others_go_on_where_one_clip_does_not_fit(tmp_path: Path) -> None:
    workspace = imported(tmp_path, (60, 900, 80))
    report = embed(workspace, Small(500))
    assert report.n_done == 2
    (failure,) = report.failed
    assert "clip-900" in failure.path and "runs out of memory" in failure.reason
    stored = workspace.embeddings("small", 0)
    assert len(stored.vectors) == 2 and np.isfinite(stored.vectors).all()
    again = embed(workspace, Small(2_000))
    assert (again.n_done, again.n_skipped, again.failed) == (1, 2, [])
