"""The student as ONNX: samples and lengths in, frames out, any batch and any length.

The front end is inside. Clips longer than ``max_mel_frames`` go through in parts as in
``Student.forward``; here the parts are rows of the batch, so that the graph has no loop.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from usad_workbench.core.errors import MissingExtraError
from usad_workbench.core.files import new_folder
from usad_workbench.core.interop.card import model_card
from usad_workbench.core.interop.source import LoadedStudent
from usad_workbench.core.models.encoder import resolve_layers
from usad_workbench.core.models.student import Student

OPSET = 20
"""The first with a discrete Fourier transform whose axis is an input, as the exporter writes it."""

INPUTS = ("samples", "lengths")


class TraceableStudent(nn.Module):
    """``Student.forward`` without Python values that depend on lengths.

    Gives ``x``, the valid frames per clip and the asked layers, each equal to what the
    student gives at valid frames.
    """

    def __init__(self, student: Student, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.student, self.layers = student, layers

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """From samples [clip, sample] and valid samples [clip]."""
        config = self.student.config
        mel, n_mel = self.student.log_mel(samples, lengths)
        n_frames = (mel.shape[1] + config.time_stride - 1) // config.time_stride
        mel, n_mel = split_into_parts(mel, n_mel, config.max_mel_frames)
        stem, states, _, n_valid = self.student.part(mel, n_mel, config.n_layers)
        chosen = [states[layer - 1] if layer else stem for layer in self.layers]
        joined = [
            part.reshape(samples.shape[0], -1, part.shape[2])[:, :n_frames]
            for part in (self.student.final_norm(states[-1]), *chosen)
        ]
        return joined[0], n_valid.reshape(samples.shape[0], -1).sum(1), *joined[1:]


def split_into_parts(mel: Tensor, n_mel: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Bands of [clip, mel frame, mel] as [clip x part, mel frame, mel], padded with zeros.

    A part has ``longest`` mel frames, or as many as there are where there are fewer.
    """
    total = mel.shape[1]
    # Through a tensor, so that the tracer carries a name through all layers, not a formula.
    size: Any = torch.full((), total).clamp(max=longest).item()
    n_parts: Any = torch.full((), (total + longest - 1) // longest).item()
    check: Any = torch._check
    check(size >= 1)
    check(size <= longest)
    check(n_parts >= 1)
    parts = F.pad(mel, (0, 0, 0, n_parts * size - total)).reshape(-1, size, mel.shape[2])
    starts = torch.arange(n_parts, device=mel.device) * size
    return parts, (n_mel.unsqueeze(1) - starts).clamp(min=0).clamp(max=longest).reshape(-1)


def export_onnx(
    source: LoadedStudent, folder: str | Path, layers: Sequence[int] = ()
) -> list[Path]:
    """Writes ``model.onnx`` and a card; the folder appears only when complete.

    Inputs are ``samples`` (float32, [clip, sample], 16 kHz) and ``lengths`` (int64,
    [clip], at least 400). Outputs are ``x``, ``n_valid`` and one ``layer_i`` for each asked
    layer. Frames behind ``n_valid`` mean nothing.

    Args:
        source: The student.
        folder: A new or empty folder.
        layers: From 0 to L, negative from the end.

    Raises:
        ConfigError: something is there already.
        MissingExtraError: onnx or onnxscript is not installed.
        UnknownNameError: a layer that does not exist.
    """
    chosen = resolve_layers(layers, source.student.config.n_layers) if layers else ()
    with new_folder(folder) as partial:
        program = trace(source.student, chosen)
        program.model.metadata_props.update(
            {
                "name": source.name,
                "licence": source.licence,
                "sample_rate_hz": str(source.student.log_mel.config.sample_rate_hz),
                "frame_rate_hz": str(source.student.config.frame_rate_hz),
                "weights_sha256": source.weights_sha256,
            }
        )
        program.save(partial / "model.onnx")  # weights beside it where they exceed 2 GB
        (partial / "README.md").write_text(model_card(source, USAGE), encoding="utf-8")
    return sorted(Path(folder).iterdir())


def trace(student: Student, layers: tuple[int, ...]) -> Any:
    """The ``torch.onnx.ONNXProgram`` of a student in evaluation mode.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    export = _exporter()
    batch = torch.export.Dim("batch", min=1)
    time = torch.export.Dim("time", min=student.log_mel.config.window)
    example = (torch.zeros(2, 24_000), torch.tensor([24_000, 18_000]))
    # The fused attention of the CPU has strides of its own that its decomposition lacks.
    with sdpa_kernel(SDPBackend.MATH), _quiet():
        return export(
            TraceableStudent(student, layers).eval(),
            example,
            dynamic_shapes=({0: batch, 1: time}, {0: batch}),
            input_names=list(INPUTS),
            output_names=["x", "n_valid", *(f"layer_{layer}" for layer in layers)],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporter warns of torchvision and of its own deprecations; nobody can act on it.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, UserWarning, DeprecationWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logger.setLevel(level)


def _exporter() -> Callable[..., Any]:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Writing ONNX needs the packages onnx and onnxscript: {error}. Install them with "
            "`pip install 'usad-workbench[export]'`."
        ) from error
    return torch.onnx.export


USAGE = """```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
samples = np.zeros((2, 16000), np.float32)  # [clip, sample], 16 kHz, zeros behind each clip
lengths = np.array([16000, 12000])          # valid samples, at least 400
x, n_valid = session.run(["x", "n_valid"], {"samples": samples, "lengths": lengths})
```"""
