"""Embedding through the adapters for transformers, against the same classes in a plain loop.

The models are the published architectures in small (4 blocks of width 256 behind the full-size
front end, Whisper tiny's encoder, AST's 1 214 patches, CLAP's tower), with random weights: what
is compared is all that an adapter adds. Both sides read the same files with the same reader. The
plain loop takes the files as they come, in batches as large as ours on average, with the model's
own feature extractor and ``output_hidden_states``, and averages each layer over time; it stores
nothing. Ours is ``embed``: batches by length, windows, hooks, and all layers written to a
workspace. Where a model changes a clip's frames in a padded batch, the loop goes clip by clip.
Each side gets so many clips that the loop takes ``SECONDS``: what a run costs once, 0.15 to 0.3 s
for the workspace and for reading before the first batch, took 6% of runs of 2 s (WavLM with group
norm, where the forward pass alone was 5% faster than the loop). The best of ``REPEATS`` counts:
clearing pages for buffers of 32 MB and more made runs of the same work, ours and the loop's alike,
up to 1.3 times as long. Between runs of the whole benchmark a ratio still moves by up to 0.1:
Whisper 1.02, 0.97 and 0.90, AST 0.91 and 0.97.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from usad_workbench.core.audio import probe_audio, read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.embedding import embed, pooled_vectors
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.registry import load_encoder
from usad_workbench.core.storage.importing import SourceClip, import_clips, read_manifest
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    drop_encoder,
    register_encoder,
)
from usad_workbench.core.storage.workspace import FloatArray, Workspace
from usad_workbench.workbench.benchmarks.measure import Row, make_row, seconds_of

MAX_CLIP_S = 10.0
"""The shortest window of these models: no clip is cut on either side."""
SECONDS = 12.0
"""Of the plain loop, about."""
PILOT_CLIPS_PER_DOMAIN = 2
REPEATS = 3
_BLOCKS = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 1024,
}  # fmt: skip
_LAYER_NORM = {**_BLOCKS, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
_WITH_MASK = {"return_attention_mask": True}
"""As models with layer norm in the front end were trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One architecture of transformers."""

    model: str
    """Its class; ``Config`` takes the place of ``Model`` in that of its configuration."""
    extractor: str
    config: dict[str, Any]
    front_end: dict[str, Any] = field(default_factory=dict)
    """Options of the extractor."""
    part: str = ""
    """What is called of it; all where empty."""


CASES = {
    "WavLM, group norm": Case(
        model="WavLMModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS
    ),
    "WavLM, layer norm": Case(
        model="WavLMModel", extractor="Wav2Vec2FeatureExtractor", config=_LAYER_NORM,
        front_end=_WITH_MASK,
    ),
    "wav2vec2": Case(
        model="Wav2Vec2Model", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS
    ),
    "SEW": Case(model="SEWModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS),
    "HuBERT": Case(
        model="HubertModel", extractor="Wav2Vec2FeatureExtractor", config=_LAYER_NORM,
        front_end=_WITH_MASK,
    ),
    "data2vec audio": Case(
        model="Data2VecAudioModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS
    ),
    "Wav2Vec2-BERT": Case(
        model="Wav2Vec2BertModel", extractor="SeamlessM4TFeatureExtractor", config=_BLOCKS
    ),
    "Whisper": Case(
        model="WhisperModel", extractor="WhisperFeatureExtractor", part="encoder",
        config={"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6,
                "encoder_ffn_dim": 1536, "decoder_layers": 1, "decoder_ffn_dim": 16},
    ),
    "AST": Case(model="ASTModel", extractor="ASTFeatureExtractor", config=_BLOCKS),
    "CLAP": Case(
        model="ClapAudioModel", extractor="ClapFeatureExtractor", config={},
        front_end={"truncation": "rand_trunc"},
    ),
}  # fmt: skip


def bench_adapters(
    names: Sequence[str] = tuple(CASES), seconds: float = SECONDS, repeats: int = REPEATS
) -> Iterator[Row]:
    """Audio seconds per second of each adapter over those of the plain loop, in turns.

    Args:
        names: Of ``CASES``.
        seconds: What one run of the plain loop is to take.
        repeats: Runs of each side, of which the best counts; one more goes before.
    """
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            yield _row(name, Path(scratch), seconds, repeats)


def short_clips(per_domain: int) -> list[SourceClip]:
    """Clips of each domain of the sample data, of all lengths up to 10 s, in no order of length.

    All of a domain that has fewer.
    """
    folder = Path(str(resources.files("usad_workbench.sample_data")))
    found: dict[str, list[tuple[float, SourceClip]]] = {}
    for source in read_manifest(folder / "manifest.csv"):
        duration_s = probe_audio(source.path).duration_s
        if duration_s <= MAX_CLIP_S:
            found.setdefault(str(source.fields["domain"]), []).append((duration_s, source))
    chosen = []
    for clips in found.values():
        clips.sort(key=lambda clip: clip[0])
        places = np.linspace(0, len(clips) - 1, per_domain + 2)[1:-1].astype(int)
        chosen += [clips[place][1] for place in np.unique(places)]
    return [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))]


def save(case: Case, folder: Path) -> Path:
    """A model folder in the hub's format, with random weights."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, case.model.replace("Model", "Config"))(**case.config)
    getattr(transformers, case.model)(config).save_pretrained(folder)
    extractor: Any = getattr(transformers, case.extractor)
    extractor(**case.front_end).save_pretrained(folder)
    return folder


def plain_loop(
    net: Any, extractor: Any, paths: Sequence[Path], batch_clips: int
) -> list[np.ndarray[Any, Any]]:
    """What a script does: every layer's mean over time `[clip, dim]`, file by file."""
    layers: list[list[np.ndarray[Any, Any]]] = []
    rate = int(extractor.sampling_rate)
    # These fill their own window.
    has_window = type(extractor).__name__.startswith(("Whisper", "AST", "Clap"))
    options = {} if has_window else {"padding": True}
    for start in range(0, len(paths), batch_clips):
        waves = [
            read_audio(path, sample_rate_hz=rate).samples
            for path in paths[start : start + batch_clips]
        ]
        inputs = extractor(waves, sampling_rate=rate, return_tensors="pt", **options)
        with torch.inference_mode():
            states = net(**inputs, output_hidden_states=True).hidden_states
        # CLAP's are images, [clip, dim, frequency, time].
        layers.append(
            [state.mean(dim=1 if state.ndim == 3 else (2, 3)).numpy() for state in states]
        )
    return [np.concatenate(parts) for parts in zip(*layers, strict=True)]


def _row(name: str, scratch: Path, seconds: float, repeats: int) -> Row:
    import transformers

    case = CASES[name]
    folder = save(case, scratch / "model")
    encoder = load_encoder(f"hf:{folder}")
    net: Any = getattr(transformers, case.model).from_pretrained(folder).eval()
    net = getattr(net, case.part) if case.part else net
    load_extractor: Any = transformers.AutoFeatureExtractor.from_pretrained
    extractor = load_extractor(folder)

    pilot = [Path(source.path) for source in short_clips(PILOT_CLIPS_PER_DOMAIN)]
    pilot_clips = _batch_clips(encoder, pilot)
    pilot_s = min(
        seconds_of(lambda: plain_loop(net, extractor, pilot, pilot_clips)) for _ in range(2)
    )
    sources = short_clips(max(round(PILOT_CLIPS_PER_DOMAIN * seconds / pilot_s), 1))
    workspace = Workspace.create(scratch / "workspace")
    import_clips(workspace, sources)
    paths = [Path(source.path) for source in sources]
    batch_clips = _batch_clips(encoder, paths)

    def ours() -> None:
        report = embed(workspace, encoder)
        if report.n_done != len(paths):
            raise DegenerateError(
                f"{report.n_done} of {len(paths)} clips were embedded: {report.failed}. Expected all: "
                "this is an error of the program, report it."
            )

    jobs: dict[str, Callable[[], object]] = {
        "ours": ours,
        "peer": lambda: plain_loop(net, extractor, paths, batch_clips),
    }
    times: dict[str, list[float]] = {job: [] for job in jobs}
    for place in range(repeats + 1):
        drop_encoder(workspace, encoder.spec.name)
        # Each goes first as often as the other.
        for job in sorted(jobs, reverse=place % 2 == 1):
            times[job].append(seconds_of(jobs[job]))
    audio_s = float(workspace.clips().duration_s.sum())
    speed = {job: audio_s / min(values[1:]) for job, values in times.items()}
    return make_row(
        f"adapters, {name}, {len(paths)} clips of {audio_s:.0f} s; {_shares(encoder, workspace, paths)}",
        speed["ours"],
        "audio s/s",
        f"transformers in a plain loop, {batch_clips} clips at once",
        speed["peer"],
    )


def _batch_clips(encoder: Any, paths: Sequence[Path]) -> int:
    """As many clips as our batches hold on average; one where padding changes frames."""
    if not encoder.spec.pads:
        return 1
    rate = encoder.spec.sample_rate_hz
    lengths = [round(probe_audio(path).duration_s * rate) for path in paths]
    return math.ceil(len(paths) / len(list(encoder.batches(lengths))))


def _shares(encoder: Any, workspace: Workspace, paths: Sequence[Path]) -> str:
    """Shares of reading, front end, forward pass and storing, each measured alone."""
    rate, name = encoder.spec.sample_rate_hz, encoder.spec.name
    clips: list[Clip] = []
    vectors: dict[int, FloatArray] = {}
    layers = tuple(range(encoder.spec.n_layers + 1))
    decode = seconds_of(
        lambda: clips.extend(read_audio(path, sample_rate_hz=rate) for path in paths)
    )
    batches = list(encoder.batches([len(clip.samples) for clip in clips]))
    front_end = seconds_of(
        lambda: [encoder.inputs([clips[i].samples for i in batch]) for batch in batches]
    )
    features = seconds_of(lambda: vectors.update(pooled_vectors(encoder, clips, layers, "mean")))
    drop_encoder(workspace, name)
    record = EncoderRecord(spec=encoder.spec, weights_sha256=encoder.weights_sha256)
    register_encoder(workspace, record)
    ids = workspace.sql("SELECT segment_id FROM segments ORDER BY segment_id").segment_id
    write = seconds_of(
        lambda: append_vectors(workspace, record, "mean", ids.to_numpy(np.int64), vectors)
    )
    stages = {
        "decode": decode, "front end": front_end, "forward": features - front_end, "write": write,
    }  # fmt: skip
    total = sum(stages.values())
    return ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in stages.items())
