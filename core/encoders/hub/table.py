"""The table of named encoders of the Hugging Face hub. Free of torch.

Teachers of the papers, the published students, and one or more controls for each domain.
Depths, widths and parameter counts follow from the published configurations (a test builds
each); licences are those of the model cards, non-commercial ones are marked. None of the
checkpoints was at hand when this was written, so sizes of downloads are estimates: four
bytes a parameter, two for Whisper large-v3 and Audio Flamingo 3.
"""

from __future__ import annotations

from typing import Any

from usad_workbench.core.clips import MUSIC, SOUND, SPEECH
from usad_workbench.core.encoders.row import EncoderRow, HubSource
from usad_workbench.core.models.sizes import SIZES, count_parameters
from usad_workbench.core.models.spec import EncoderSpec

_LOADER = "usad_workbench.core.encoders.hub.folder:load"
_NC = "(non-commercial)"

_WAVLM = "Chen et al. 2021, WavLM: Large-Scale Self-Supervised Pre-Training, arXiv:2110.13900"
_WHISPER = (
    "Radford et al. 2022, Robust Speech Recognition via Large-Scale Weak Supervision, "
    "arXiv:2212.04356"
)
_AF3 = "Goel et al. 2025, Audio Flamingo 3, arXiv:2507.08128 (its audio encoder, AF-Whisper)"
_MUQ = "Zhu et al. 2025, MuQ: Self-Supervised Music Representation Learning, arXiv:2501.01108"
_USAD = "Chang et al. 2025, USAD: Universal Speech and Audio Representation, arXiv:2506.18843"
_USAD2 = "Chang et al. 2026, USAD 2.0, arXiv:2606.06444"


def _row(
    name: str,
    source: HubSource,
    *,
    n_layers: int,
    dim: int,
    rate_hz: float = 50.0,
    **described: Any,
) -> EncoderRow:
    """A stack of blocks of one width and rate; ``known`` goes to the spec."""
    spec = EncoderSpec(
        name=name,
        n_layers=n_layers,
        dims=(dim,) * (n_layers + 1),
        frame_rates_hz=(rate_hz,) * (n_layers + 1),
        licence=source.licence,
        has_ffn=True,
        **{"sample_rate_hz": 16_000, **described},
    )
    return EncoderRow(spec=spec, loader=_LOADER, source=source)


def _wav(name: str, repo: str, licence: str, n_params: int, **described: Any) -> EncoderRow:
    """A model on samples or frames of speech; of the size Base unless said otherwise."""
    source = HubSource(repo=repo, licence=licence, size_mb=4 * n_params / 1e6)
    default = {"role": "control", "domain": SPEECH, "n_layers": 12, "dim": 768}
    return _row(name, source, n_params=n_params, **{**default, **described})


def _whisper(name: str, size: str, dim: int, n_layers: int, n_params: int, mb: float) -> EncoderRow:
    """The encoder of a Whisper; the decoder is downloaded with it, and not loaded."""
    source = HubSource(
        repo=f"openai/whisper-{size}",
        licence="Apache-2.0",
        size_mb=mb,
    )
    role = "teacher" if size == "large-v3" else "control"
    return _row(
        name,
        source,
        role=role,
        domain=SPEECH,
        n_layers=n_layers,
        dim=dim,
        n_params=n_params,
        citation=_WHISPER,
        pads=True,
        min_duration_s=1 / 16_000,
    )


def _af_whisper() -> EncoderRow:
    """The audio encoder alone: of the four files of the whole model, those that hold it."""
    source = HubSource(
        repo="nvidia/audio-flamingo-3-hf",
        licence=f"NVIDIA OneWay Noncommercial {_NC}",
        # Files of 5 GB are what save_pretrained writes of such a model; the encoder has 1.3 GB.
        size_mb=5_000,
        tensors=("audio_tower.", "model.audio_tower."),
    )
    return _row(
        "af-whisper",
        source,
        role="teacher",
        domain=None,
        n_layers=32,
        dim=1280,
        n_params=636_966_400,
        citation=_AF3,
        pads=True,
        min_duration_s=1 / 16_000,
    )


def _ast() -> EncoderRow:
    source = HubSource(
        repo="MIT/ast-finetuned-audioset-10-10-0.4593",
        licence="BSD-3-Clause",
        size_mb=347,
    )
    return _row(
        "ast",
        source,
        role="control",
        domain=SOUND,
        n_layers=12,
        dim=768,
        rate_hz=10.0,
        n_params=86_185_728,
        pads=True,
        citation="Gong et al. 2021, AST, arXiv:2104.01778 (fine-tuned on AudioSet)",
    )


def _mert() -> EncoderRow:
    source = HubSource(
        repo="m-a-p/MERT-v1-95M",
        licence=f"CC BY-NC 4.0 {_NC}",
        size_mb=378,
        needs_remote_code=True,
    )
    return _row(
        "mert-95m",
        source,
        role="control",
        domain=MUSIC,
        n_layers=12,
        dim=768,
        rate_hz=75.0,
        sample_rate_hz=24_000,
        n_params=94_370_944,  # of HuBERT base, whose architecture it has
        citation="Li et al. 2023, MERT, arXiv:2306.00107",
        min_duration_s=400 / 24_000,
    )


def _clap(name: str, repo: str, domain: str, dim: int, n_params: int, mb: float) -> EncoderRow:
    """An audio tower; ``dim`` is the width of its patches, which three stages double."""
    licence = "Apache-2.0"
    return EncoderRow(
        spec=EncoderSpec(
            name=name,
            role="control",
            domain=domain,
            n_layers=4,
            dims=(dim, 2 * dim, 4 * dim, 8 * dim, 8 * dim),
            frame_rates_hz=(25.6, 12.8, 6.4, 3.2, 3.2),
            sample_rate_hz=48_000,
            n_params=n_params,
            licence=licence,
            citation=(
                "Wu et al. 2022, Large-scale Contrastive Language-Audio Pretraining, "
                "arXiv:2211.06687 (audio tower, HTS-AT)"
            ),
            layer_names=("patches", "stage 1", "stage 2", "stage 3", "stage 4"),
            native_dim=512,
            pads=True,
            min_duration_s=1 / 48_000,
        ),
        loader=_LOADER,
        source=HubSource(repo=repo, licence=licence, size_mb=mb),
    )


def _published(name: str, repo: str, size: str, licence: str, citation: str) -> EncoderRow:
    """A published student. It returns no input of its first block: layer 0 is its log-mel."""
    config = SIZES[size]
    rate, n_params = float(config.frame_rate_hz), count_parameters(config).published
    return EncoderRow(
        spec=EncoderSpec(
            name=name,
            role="student",
            domain=None,
            n_layers=config.n_layers,
            dims=(128, *(config.dim,) * config.n_layers),
            frame_rates_hz=(100.0, *(rate,) * config.n_layers),
            sample_rate_hz=16_000,
            n_params=n_params,
            licence=licence,
            citation=citation,
            layer_names=("log-mel", *(f"block {i}" for i in range(1, config.n_layers + 1))),
            has_ffn=True,
            min_duration_s=0.1,
        ),
        loader=_LOADER,
        source=HubSource(
            repo=f"MIT-SLS/{repo}",
            licence=licence,
            size_mb=4 * n_params / 1e6,
            needs_remote_code=True,
        ),
    )


def _students() -> list[EncoderRow]:
    first = [(size.title(), size) for size in ("small", "base", "large")]
    second = [
        *first,
        ("XLarge", "xlarge"),
        ("Large-Plus", "large"),
        ("XLarge-Plus", "xlarge"),
        ("XXLarge-Plus", "xxlarge"),
    ]
    return [
        *(_published(f"usad-{n.lower()}", f"USAD-{n}", s, "BSD-3-Clause", _USAD) for n, s in first),
        *(
            _published(f"usad2-{n.lower()}", f"USAD2-{n}", s, f"CC BY-NC-SA 4.0 {_NC}", _USAD2)
            for n, s in second
        ),
    ]


_WAVLM_LICENCE = "CC BY-SA 3.0, that of the code's repository"
_ROWS = [
    _wav(
        "wavlm-base-plus",
        "microsoft/wavlm-base-plus",
        _WAVLM_LICENCE,
        94_381_168,
        role="teacher",
        citation=_WAVLM,
    ),
    _wav(
        "wavlm-large",
        "microsoft/wavlm-large",
        _WAVLM_LICENCE,
        315_450_048,
        role="teacher",
        n_layers=24,
        dim=1024,
        pads=True,
        citation=_WAVLM,
    ),
    _wav(
        "muq-large-msd-iter",
        "OpenMuQ/MuQ-large-msd-iter",
        f"CC BY-NC 4.0 {_NC}",
        316_341_248,
        role="teacher",
        domain=MUSIC,
        dim=1024,
        rate_hz=25.0,
        sample_rate_hz=24_000,
        min_duration_s=1025 / 24_000,
        citation=_MUQ,
    ),
    _whisper("whisper-large-v3", "large-v3", 1280, 32, 636_966_400, 3_090),
    _af_whisper(),
    *_students(),
    _whisper("openai-whisper-tiny", "tiny", 384, 4, 8_207_616, 151),
    _whisper("openai-whisper-base", "base", 512, 6, 20_589_568, 290),
    _whisper("openai-whisper-small", "small", 768, 12, 88_152_576, 967),
    _whisper("openai-whisper-medium", "medium", 1024, 24, 307_214_336, 3_060),
    _whisper("openai-whisper-large-v2", "large-v2", 1280, 32, 636_782_080, 6_170),
    _wav(
        "hubert-base",
        "facebook/hubert-base-ls960",
        "Apache-2.0",
        94_370_944,
        citation="Hsu et al. 2021, HuBERT, arXiv:2106.07447",
    ),
    _wav(
        "data2vec-audio-base",
        "facebook/data2vec-audio-base",
        "Apache-2.0",
        93_163_520,
        citation="Baevski et al. 2022, data2vec, arXiv:2202.03555",
    ),
    _wav(
        "w2v-bert-2.0",
        "facebook/w2v-bert-2.0",
        "MIT",
        580_492_096,
        n_layers=24,
        dim=1024,
        pads=True,
        min_duration_s=0.035,
        citation="Seamless Communication 2023, arXiv:2312.05187",
    ),
    _ast(),
    _clap("clap", "laion/clap-htsat-unfused", SOUND, 96, 27_532_952, 615),
    # HTS-AT base, of which larger_clap_music was trained; the other is HTS-AT tiny.
    _clap("clap-music", "laion/larger_clap_music", MUSIC, 128, 67_822_360, 776),
    _mert(),
]

HUB: dict[str, EncoderRow] = {row.spec.name: row for row in _ROWS}
"""By name."""
