"""A segment as sound and as a picture: both from the same samples.

The samples are read exactly as for embedding (same file, same window, mixed down), at
the file's own rate. The player gets them as 16-bit WAV without any change of level.
"""

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from usad_workbench.core.audio.mel_scale import hz_to_mel, mel_to_hz
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.storage.clip_audio import file_of_clip
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import colours, figures
from usad_workbench.workbench.presenters.colours import SPECTRUM

FloatArray = npt.NDArray[np.float32]
Scale = Literal["mel", "linear"]
N_BANDS = 96
MAX_COLUMNS = 480
"""More columns than this do not fit on a screen."""
RANGE_DB = 80.0
"""Quieter than this below the loudest point is drawn as silence."""
WINDOW_S = 0.032
MIN_WINDOW, MAX_WINDOW = 16, 1 << 15
"""Samples of a window, for rates far from those of sound."""
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)


def read_segment(workspace: Workspace, path: str, start_s: float, end_s: float) -> Clip:
    """The samples that the embedding of a segment was made from, at the file's own rate.

    Raises:
        UsadError: the file is gone, cannot be read any more, or holds other audio by now.
    """
    return read_audio(file_of_clip(workspace, path), start_s=start_s, end_s=end_s)


def wav_bytes(clip: Clip) -> bytes:
    """The clip as a 16-bit WAV file, level unchanged; beyond full scale it is cut off."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, clip.samples, clip.sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def spectrogram(
    clip: Clip, *, n_bands: int = N_BANDS, max_columns: int = MAX_COLUMNS, scale: Scale = "mel"
) -> FloatArray:
    """Decibels below the loudest point, shape [band, column], in [-80, 0].

    Args:
        clip: What is drawn.
        n_bands: From 0 Hz to half the rate.
        max_columns: Fewer come of a short clip.
        scale: ``mel`` bands, or ``linear`` ones of equal width in Hz.
    """
    wanted = np.clip(WINDOW_S * clip.sample_rate_hz, MIN_WINDOW, MAX_WINDOW)
    size = max(min(1 << int(np.ceil(np.log2(wanted))), len(clip.samples)), MIN_WINDOW)
    hop = max(size // 4, -(-len(clip.samples) // max_columns))
    half = size // 2
    padded = np.pad(clip.samples, half, mode="reflect")  # doubles only of the frames that are drawn
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2
    bands = power @ _weights(size, clip.sample_rate_hz, n_bands, scale).T
    loudest = max(float(bands.max(initial=0.0)), 1e-20)
    decibels = 10 * np.log10(np.maximum(bands.T, 1e-20) / loudest)
    picture: FloatArray = np.maximum(decibels, -RANGE_DB).astype(np.float32)
    return picture


def band_centres_hz(sample_rate_hz: int, n_bands: int = N_BANDS) -> npt.NDArray[np.float64]:
    """The middle of each band in Hz: evenly spaced on the mel scale up to half the rate."""
    edges = mel_to_hz(np.linspace(0, hz_to_mel(sample_rate_hz / 2), n_bands + 2))
    centres: npt.NDArray[np.float64] = edges[1:-1]
    return centres


def spectrogram_figure(clip: Clip, height: int = 250) -> go.Figure:
    """The spectrogram with seconds and Hz on its axes, seconds counted in the file."""
    picture = spectrogram(clip)
    centres = band_centres_hz(clip.sample_rate_hz)
    times = clip.start_s + (np.arange(picture.shape[1]) + 0.5) * clip.duration_s / picture.shape[1]
    ticks = [hz for hz in map(float, TICKS_HZ) if hz < centres[-1]] or [round(centres[-1], 1)]
    figure = go.Figure(
        go.Heatmap(
            z=picture,
            x=times,
            y=np.arange(len(centres)),
            zmin=-RANGE_DB,
            zmax=0,
            colorscale=colours.scale(SPECTRUM),
            customdata=np.repeat(centres[:, None], len(times), 1),
            colorbar={
                "title": {"text": "dB", "side": "top", "font": {"size": 13}},
                "thickness": 10,
                "len": 1.0,
                "tickvals": [-80, -40, 0],
            },
            hovertemplate="%{x:.2f} s · %{customdata:.0f} Hz · %{z:.0f} dB<extra></extra>",
        )
    )
    figure.update_layout(figures.layout(height=height, margin={"l": 56, "r": 8, "t": 8, "b": 44}))
    figure.update_xaxes(figures.axis(title={"text": "seconds in the file", "standoff": 6}))
    figure.update_yaxes(
        figures.axis(
            title={"text": "Hz", "standoff": 4},
            tickvals=np.interp(ticks, centres, np.arange(len(centres))),
            ticktext=[f"{hz / 1000:g}k" if hz >= 1000 else f"{hz:g}" for hz in ticks],
        )
    )
    return figure


def thumbnail(clip: Clip, width: int = 320, height: int = 64, scale: Scale = "mel") -> bytes:
    """The spectrogram as a PNG without axes."""
    from PIL import Image

    picture = spectrogram(clip, n_bands=height, max_columns=width, scale=scale)
    level = (picture[::-1] + RANGE_DB) / RANGE_DB
    palette = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in SPECTRUM], float)
    stops = np.linspace(0, 1, len(palette))
    pixels = np.stack([np.interp(level, stops, palette[:, i]) for i in range(3)], axis=-1)
    image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _weights(size: int, rate_hz: int, n_bands: int, scale: Scale) -> npt.NDArray[np.float64]:
    """Triangles over the bins of an FFT, [band, bin]; a band narrower than a bin keeps one."""
    edges = np.linspace(0, rate_hz / 2, n_bands + 2)
    if scale == "mel":
        edges = mel_to_hz(np.linspace(0, hz_to_mel(rate_hz / 2), n_bands + 2))
    bins_hz = np.fft.rfftfreq(size, 1 / rate_hz)
    width = rate_hz / size
    left = np.minimum(edges[:-2], edges[1:-1] - width)[:, None]
    right = np.maximum(edges[2:], edges[1:-1] + width)[:, None]
    middle = edges[1:-1, None]
    weights: npt.NDArray[np.float64] = np.clip(
        np.minimum((bins_hz - left) / (middle - left), (right - bins_hz) / (right - middle)), 0, 1
    )
    total: npt.NDArray[np.float64] = weights.sum(1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
