"""Only what published models are known to do is kept quiet."""

import warnings
from pathlib import Path

import pytest
import torch

from usad_workbench.core.encoders.formats import read_torch_weights
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.errors import WeightsError


def test_other_warnings_pass() -> None:
    with pytest.warns(UserWarning, match="something new"), without_meant_warnings():
        warnings.warn("something new", UserWarning, stacklevel=1)


def test_what_torch_cannot_read_is_refused_in_our_words_alone(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(2)}, file, pickle_protocol=4)
    with pytest.raises(WeightsError, match="was not read"):
        read_torch_weights(file.read_bytes())
