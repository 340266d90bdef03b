"""Real labelled clips for the tests of what an encoder knows."""

import csv
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.registry import encoder_status, load_encoder
from usad_workbench.core.models.encoder import Encoder, Pooling
from usad_workbench.sample_data import sample_data_folder

Row = dict[str, str]


@lru_cache(maxsize=1)
def _manifest() -> tuple[Row, ...]:
    with (sample_data_folder() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def rows(**wanted: str) -> list[Row]:
    """Rows of the manifest with these values; ``*`` stands for any but an empty one."""
    return [
        row
        for row in _manifest()
        if all(row[k] if v == "*" else row[k] == v for k, v in wanted.items())
    ]


def clip(row: Row, sample_rate_hz: int) -> Clip:
    return read_audio(sample_data_folder() / row["path"], sample_rate_hz=sample_rate_hz)


def vectors(
    encoder: Encoder, of: list[Row], layer: int = -1, pooling: Pooling = "mean"
) -> npt.NDArray[np.float32]:
    """One vector per row, [clip, dim]."""
    rate = encoder.spec.sample_rate_hz
    return np.stack([encoder.embed(clip(row, rate), layer, pooling)[0] for row in of])


def pretrained(name: str) -> Encoder:
    """The encoder, or a skipped test where its weights are missing."""
    status = encoder_status(name)
    if not status.available:
        pytest.skip(status.reason)
    return load_encoder(name)
