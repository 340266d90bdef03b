"""The student behind the HEAR API (https://hearbenchmark.com/hear-api.html).

``usad_workbench.core.interop.hear`` is the module to name in ``heareval``. Which layers
of USAD its authors feed to HEAR is not published; the default here is the last one.

A frame is centred at 12.5 ms + i × 20 ms (50 Hz) or i × 40 ms (25 Hz): the middle of the
first window of 25 ms, then one step per stride, since the convolutions over time are
centred.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from usad_workbench.core.errors import ShapeError
from usad_workbench.core.interop.source import frames_of, open_student
from usad_workbench.core.models.encoder import masked_mean, resolve_layers
from usad_workbench.core.models.student import Student

MAX_BATCH_S = 120.0
"""Seconds of audio that go through the student together; HEAR hands over what it likes."""


class HearModel(nn.Module):
    """What ``load_model`` gives: a module with the attributes that HEAR asks for."""

    def __init__(self, student: Student, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.student, self.layers = student, layers
        self.sample_rate = student.log_mel.config.sample_rate_hz
        self.timestamp_embedding_size = student.config.dim * len(layers)
        self.scene_embedding_size = self.timestamp_embedding_size

    def forward(self, audio: Tensor) -> Tensor:
        """Frames of the layers side by side: [clip, sample] to [clip, frame, layer x dim].

        Raises:
            ShapeError: not one row of samples per clip.
        """
        if audio.ndim != 2 or not audio.shape[1]:
            raise ShapeError(
                f"Found audio of shape {tuple(audio.shape)}, expected [clip, sample] with samples."
            )
        n_clips = max(1, int(MAX_BATCH_S * self.sample_rate) // audio.shape[1])
        return torch.cat([self._frames(batch) for batch in torch.split(audio, n_clips)])

    def _frames(self, audio: Tensor) -> Tensor:
        frames = frames_of(self.student, audio.float(), self.layers)[0]
        return torch.cat(frames, dim=2).float()


def load_model(model_file_path: str = "", layers: Sequence[int] = (-1,)) -> HearModel:
    """A student for HEAR.

    Args:
        model_file_path: A student as ``open_student`` takes it: nothing for the shipped
            one, ``run:DIR``, ``run:DIR@STEP`` or a folder.
        layers: Put side by side in this order; negative counts from the end.

    Raises:
        UnknownNameError: no such student or layer.
        CheckpointError: a damaged one.
    """
    student = open_student(model_file_path).student
    return HearModel(student, resolve_layers(layers, student.config.n_layers))


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings at regular times.

    Args:
        audio: Shape [clip, sample], in [-1, 1], at ``model.sample_rate``.
        model: Of ``load_model``.

    Returns:
        Embeddings [clip, frame, ``timestamp_embedding_size``] in float32 and the middle of
        each frame in milliseconds, shape [clip, frame].
    """
    frames = model(audio)
    return frames, frame_times_ms(model.student, frames.shape[1]).to(frames).expand(len(frames), -1)


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding per clip: the mean of its frames.

    Args:
        audio: Shape [clip, sample], in [-1, 1], at ``model.sample_rate``.
        model: Of ``load_model``.

    Returns:
        Shape [clip, ``scene_embedding_size``], float32.
    """
    frames = model(audio)
    return masked_mean(frames, torch.full((len(frames),), frames.shape[1], device=frames.device))


def frame_times_ms(student: Student, n_frames: int) -> Tensor:
    """The middle of each frame, in milliseconds from the start, shape [frame]."""
    config = student.log_mel.config
    first_ms = 1000 * config.window / 2 / config.sample_rate_hz
    return first_ms + torch.arange(n_frames) * (1000 / student.config.frame_rate_hz)
