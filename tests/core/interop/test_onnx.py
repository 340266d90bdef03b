"""ONNX: what onnxruntime computes is what torch computes, for lengths not seen in tracing."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core.interop.conftest import clips
from usad_workbench.core.errors import MissingExtraError, UnknownNameError
from usad_workbench.core.interop.onnx_model import TraceableStudent, export_onnx
from usad_workbench.core.interop.source import LoadedStudent
from usad_workbench.core.models.encoder import frame_mask

TOLERANCE = 1e-4
BATCHES = [
    (400,),
    (16_000,),
    (16_639, 400),  # one part exactly: 102 mel frames are more than the 100 of one part
    (16_240, 15_999, 401),
    (47_123, 30_000, 9_000, 16_400),  # three parts, some of them over before the last
]


@pytest.fixture(scope="module")
def session(source: LoadedStudent, tmp_path_factory: pytest.TempPathFactory) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx") / "tiny"
    assert [file.name for file in export_onnx(source, folder, [0, -1])] == [
        "README.md",
        "model.onnx",
    ]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        folder / "model.onnx", options, providers=["CPUExecutionProvider"]
    )


@torch.no_grad()
@pytest.mark.parametrize("lengths", BATCHES)
def test_onnxruntime_equals_torch(
    session: Any, source: LoadedStudent, lengths: tuple[int, ...]
) -> None:
    samples, n_valid = clips(*lengths)
    expected = source.student(samples, n_valid)
    found = session.run(None, {"samples": samples.numpy(), "lengths": n_valid.numpy()})
    assert found[1].tolist() == expected.n_valid.tolist()
    is_valid = frame_mask(expected.n_valid, expected.x.shape[1])
    truth = (expected.x, expected.stem, expected.hidden_states[-1])
    for ours, theirs in zip((found[0], *found[2:]), truth, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert (torch.from_numpy(ours) - theirs)[is_valid].abs().max() < TOLERANCE
        assert theirs[is_valid].std() > 0.1  # or the tolerance would say nothing


@torch.no_grad()
@pytest.mark.parametrize("lengths", BATCHES)
def test_parts_as_rows_equal_parts_in_turn(source: LoadedStudent, lengths: tuple[int, ...]) -> None:
    samples, n_valid = clips(*lengths)
    expected = source.student(samples, n_valid)
    x, n_frames, _ = TraceableStudent(source.student, (1,))(samples, n_valid)
    assert torch.equal(n_frames, expected.n_valid)
    is_valid = frame_mask(n_frames, x.shape[1])
    assert torch.allclose(x[is_valid], expected.x[is_valid], atol=1e-5)


def test_names_and_provenance(session: Any, source: LoadedStudent) -> None:
    assert [i.name for i in session.get_inputs()] == ["samples", "lengths"]
    assert [o.name for o in session.get_outputs()] == ["x", "n_valid", "layer_0", "layer_2"]
    recorded = session.get_modelmeta().custom_metadata_map
    assert recorded["weights_sha256"] == source.weights_sha256
    assert (recorded["sample_rate_hz"], recorded["licence"]) == ("16000", "CC-BY-4.0")


def test_what_cannot_be_exported(
    source: LoadedStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="7"):
        export_onnx(source, tmp_path / "new", [7])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"\[export\]"):
        export_onnx(source, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
