"""Embedding through the adapters for transformers, against the same classes in a plain loop.

The models are the published architectures in small (4 blocks of width 256 behind the full-size
front end, Whisper tiny's encoder, AST's 1 214 patches, CLAP's tower), with random weights: what
is compared is all that an adapter adds. Both sides read the same files with the same reader. The
plain loop takes the files as they come, in batches as large as ours on average, with the model's
own feature extractor and ``output_hidden_states``, and averages each layer over time; it stores
nothing. ATST-Frame and MuQ have no class in transformers: there the loop calls our network, which
the tests hold to the authors' code. Ours is ``embed``: batches by length, windows, hooks, and all
layers written to a workspace. Where a model changes a clip's frames in a padded batch, the loop
goes clip by clip. Each side gets so many clips that the loop takes ``SECONDS``: what a run costs
once, 0.15 to 0.3 s for the workspace and for reading before the first batch, took 6% of runs of
2 s (WavLM with group norm, where the forward pass alone was 5% faster than the loop). The best of
``REPEATS`` counts: clearing pages for buffers of 32 MB and more made runs of the same work, ours
and the loop's alike, up to 1.3 times as long.

On two cores that did nothing else (2026-11-27): WavLM with group norm 0.96, Whisper 0.97, CLAP
0.96, AF-Whisper 0.98, MuQ 0.97, data2vec 0.99, wav2vec2 0.97, ATST-Frame 1.24. Beside other work a
ratio moves by up to 0.1 between runs: Whisper 1.02, 0.97 and 0.90, AST 0.91 and 0.97.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from usad_workbench.core.audio.reading import probe_audio, read_audio
from usad_workbench.core.clips import Clip, Samples
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.hub.muq import MuqConfig, MuqNet
from usad_workbench.core.encoders.networks.atst import AtstConfig, AtstEncoder, AtstNet
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.encoders.registry import encoder_spec, load_encoder
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.pooling import pooled_vectors
from usad_workbench.core.storage.deletion import delete_encoder
from usad_workbench.core.storage.importing import SourceClip, import_clips, read_manifest
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    register_encoder,
)
from usad_workbench.core.storage.workspace import FloatArray, Workspace
from usad_workbench.workbench.speed.measure import Row, make_row, seconds_of

MAX_CLIP_S = 10.0
"""The shortest window of these models: no clip is cut on either side."""
SECONDS = 12.0
"""Of the plain loop, about."""
PILOT_CLIPS_PER_DOMAIN = 2
REPEATS = 3
_BLOCKS = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
_LAYER_NORM = {**_BLOCKS, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
_TRANSFORMERS = "transformers in a plain loop"
_OUR_NETWORK = "the network in a plain loop"
_WITH_MASK = {"return_attention_mask": True}
"""As models with layer norm in the front end were trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """One model, twice."""

    encoder: Encoder
    states: Callable[[list[Samples]], Sequence[Tensor]]
    """What a script writes: a batch of clips to its layers, [clip, frame, dim] each."""
    peer: str
    """Whose network ``states`` calls."""
    front_end: Callable[[list[Samples]], object]
    """What comes before the network's blocks or convolutions, alone."""


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
    call: dict[str, Any] = field(default_factory=lambda: {"padding": True})
    """Options of the extractor's call; none where it fills a window of its own."""
    rename: dict[str, str] = field(default_factory=dict)
    """Outputs of the extractor that the network knows under another name."""

    @without_meant_warnings()
    def __call__(self, folder: Path) -> Sides:
        """The adapter and the class itself, of a folder in the hub's format made here."""
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, f"{self.model.removesuffix('Model')}Config")(**self.config)
        net: Any = getattr(transformers, self.model)
        net(config).save_pretrained(folder)
        getattr(transformers, self.extractor)(**self.front_end).save_pretrained(folder)
        net = net.from_pretrained(folder).eval()
        net = getattr(net, self.part) if self.part else net
        load_extractor: Any = transformers.AutoFeatureExtractor.from_pretrained
        extractor = load_extractor(folder)

        @without_meant_warnings()
        def states(clips: list[Samples]) -> Sequence[Tensor]:
            rate = extractor.sampling_rate
            made = extractor(clips, sampling_rate=rate, return_tensors="pt", **self.call)
            inputs = {self.rename.get(name, name): value for name, value in made.items()}
            found: Sequence[Tensor] = net(**inputs, output_hidden_states=True).hidden_states
            return found

        encoder: Any = load_encoder(f"hf:{folder}")
        return Sides(encoder=encoder, states=states, peer=_TRANSFORMERS, front_end=encoder.inputs)


def _muq(folder: Path) -> Sides:
    """MuQ with its full-size convolutions, layers read by hooks."""
    torch.manual_seed(0)
    config = MuqConfig(dim=256, n_layers=4, n_heads=4, ffn_dim=1024)
    net = MuqNet(config).eval()
    conformer = {"num_attention_heads": config.n_heads, "intermediate_size": config.ffn_dim}
    description = {
        "encoder_dim": config.dim,
        "encoder_depth": config.n_layers,
        "w2v2_config": conformer,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(description), encoding="utf-8")
    save_file(net.state_dict(), folder / "model.safetensors")

    seen: list[Tensor] = []
    blocks = list(net.conformer.layers)
    blocks[0].register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    for block in blocks:
        block.register_forward_hook(lambda block, args, result: seen.append(_first(result)))

    def states(clips: list[Samples]) -> Sequence[Tensor]:
        seen.clear()
        net(torch.from_numpy(np.stack(clips)))
        return list(seen)

    return Sides(
        encoder=load_encoder(f"hf:{folder}"),
        states=states,
        peer=_OUR_NETWORK,
        front_end=lambda clips: net.log_mel(torch.from_numpy(np.stack(clips))),
    )


def _first(result: Any) -> Tensor:
    found: Tensor = result[0] if isinstance(result, tuple) else result
    return found


def _atst(folder: Path) -> Sides:
    """ATST-Frame; its one kind of file holds the published size, so no folder is made."""
    torch.manual_seed(0)
    config = AtstConfig(dim=256, n_layers=4, n_heads=4)
    net = AtstNet(config).eval()
    spec = encoder_spec("atst-frame")
    n_layers = config.n_layers + 1
    small = replace(
        spec,
        n_layers=config.n_layers,
        dims=(config.dim,) * n_layers,
        frame_rates_hz=spec.frame_rates_hz[:n_layers],
    )
    encoder = AtstEncoder(small, net, "0" * 64)

    def log_mel(clips: list[Samples]) -> tuple[Tensor, Tensor]:
        n_valid = torch.tensor([len(clip) for clip in clips])
        samples = pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
        return net.log_mel(samples, n_valid), net.n_frames(n_valid)

    def states(clips: list[Samples]) -> Sequence[Tensor]:
        layers: list[Tensor] = net(*log_mel(clips), config.n_layers)[0]
        return layers

    return Sides(encoder=encoder, states=states, peer=_OUR_NETWORK, front_end=log_mel)


CASES: Mapping[str, Callable[[Path], Sides]] = {
    "WavLM, group norm": Case(
        model="WavLMModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS
    ),
    "WavLM, layer norm": Case(
        model="WavLMModel",
        extractor="Wav2Vec2FeatureExtractor",
        config=_LAYER_NORM,
        front_end=_WITH_MASK,
    ),
    "wav2vec2": Case(model="Wav2Vec2Model", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS),
    "SEW": Case(model="SEWModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS),
    "HuBERT": Case(
        model="HubertModel",
        extractor="Wav2Vec2FeatureExtractor",
        config=_LAYER_NORM,
        front_end=_WITH_MASK,
    ),
    "data2vec audio": Case(
        model="Data2VecAudioModel", extractor="Wav2Vec2FeatureExtractor", config=_BLOCKS
    ),
    "Wav2Vec2-BERT": Case(
        model="Wav2Vec2BertModel", extractor="SeamlessM4TFeatureExtractor", config=_BLOCKS
    ),
    "Whisper": Case(
        model="WhisperModel",
        extractor="WhisperFeatureExtractor",
        part="encoder",
        call={},
        config={
            "d_model": 384,
            "encoder_layers": 4,
            "encoder_attention_heads": 6,
            "encoder_ffn_dim": 1536,
            "decoder_layers": 1,
            "decoder_ffn_dim": 16,
        },
    ),
    "AF-Whisper": Case(
        model="AudioFlamingo3Encoder",
        extractor="WhisperFeatureExtractor",
        config={
            "hidden_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "intermediate_size": 1536,
        },
        front_end={"feature_size": 128},
        call={"return_attention_mask": True},
        rename={"attention_mask": "input_features_mask"},
    ),
    "AST": Case(model="ASTModel", extractor="ASTFeatureExtractor", config=_BLOCKS, call={}),
    "CLAP": Case(
        model="ClapAudioModel",
        extractor="ClapFeatureExtractor",
        config={},
        front_end={"truncation": "rand_trunc"},
        call={},
    ),
    "MuQ": _muq,
    "ATST-Frame": _atst,
}


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


def plain_loop(sides: Sides, paths: Sequence[Path], batch_clips: int) -> list[np.ndarray[Any, Any]]:
    """What a script does: every layer's mean over time `[clip, dim]`, file by file."""
    layers: list[list[np.ndarray[Any, Any]]] = []
    rate = sides.encoder.spec.sample_rate_hz
    for start in range(0, len(paths), batch_clips):
        waves = [
            read_audio(path, sample_rate_hz=rate).samples
            for path in paths[start : start + batch_clips]
        ]
        with torch.inference_mode():
            states = sides.states(waves)
        # CLAP's are images, [clip, dim, frequency, time].
        layers.append(
            [state.mean(dim=1 if state.ndim == 3 else (2, 3)).numpy() for state in states]
        )
    return [np.concatenate(parts) for parts in zip(*layers, strict=True)]


def _row(name: str, scratch: Path, seconds: float, repeats: int) -> Row:
    sides = CASES[name](scratch / "model")
    encoder = sides.encoder
    pilot = [Path(source.path) for source in short_clips(PILOT_CLIPS_PER_DOMAIN)]
    pilot_clips = _batch_clips(encoder, pilot)
    pilot_s = min(seconds_of(lambda: plain_loop(sides, pilot, pilot_clips)) for _ in range(2))
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
        "peer": lambda: plain_loop(sides, paths, batch_clips),
    }
    times: dict[str, list[float]] = {job: [] for job in jobs}
    for place in range(repeats + 1):
        delete_encoder(workspace, encoder.spec.name)
        # Each goes first as often as the other.
        for job in sorted(jobs, reverse=place % 2 == 1):
            times[job].append(seconds_of(jobs[job]))
    audio_s = float(workspace.clips().duration_s.sum())
    speed = {job: audio_s / min(values[1:]) for job, values in times.items()}
    return make_row(
        f"adapters, {name}, {len(paths)} clips of {audio_s:.0f} s; {_shares(sides, workspace, paths)}",
        speed["ours"],
        "audio s/s",
        f"{sides.peer}, {batch_clips} clips at once",
        speed["peer"],
    )


def _batch_clips(encoder: Encoder, paths: Sequence[Path]) -> int:
    """As many clips as our batches hold on average; one where padding changes frames."""
    if not encoder.spec.pads:
        return 1
    rate = encoder.spec.sample_rate_hz
    lengths = [round(probe_audio(path).duration_s * rate) for path in paths]
    return math.ceil(len(paths) / len(list(encoder.batches(lengths))))


@torch.inference_mode()
def _shares(sides: Sides, workspace: Workspace, paths: Sequence[Path]) -> str:
    """Shares of reading, front end, forward pass and storing, each measured alone."""
    encoder = sides.encoder
    rate, name = encoder.spec.sample_rate_hz, encoder.spec.name
    clips: list[Clip] = []
    vectors: dict[int, FloatArray] = {}
    layers = tuple(range(encoder.spec.n_layers + 1))
    decode = seconds_of(
        lambda: clips.extend(read_audio(path, sample_rate_hz=rate) for path in paths)
    )
    batches = list(encoder.batches([len(clip.samples) for clip in clips]))
    front_end = seconds_of(
        lambda: [sides.front_end([clips[i].samples for i in batch]) for batch in batches]
    )
    features = seconds_of(lambda: vectors.update(pooled_vectors(encoder, clips, layers, "mean")))
    delete_encoder(workspace, name)
    record = EncoderRecord(spec=encoder.spec, weights_sha256=encoder.weights_sha256)
    register_encoder(workspace, record)
    ids = workspace.read("SELECT segment_id FROM segments ORDER BY segment_id").segment_id
    write = seconds_of(
        lambda: append_vectors(workspace, record, "mean", ids.to_numpy(np.int64), vectors)
    )
    stages = {
        "decode": decode,
        "front end": front_end,
        "forward": features - front_end,
        "write": write,
    }
    total = sum(stages.values())
    return ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in stages.items())
