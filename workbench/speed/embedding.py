"""The whole of ``embed`` against the bare forward pass of the same network on the same clips.

Ours opens a workspace, looks up what is missing, reads files that this process has not seen,
resamples, batches, pools every layer, stores it and commits. The bare pass has the samples in
memory already, decoded as ours decodes them, in the batches and with the padding that the encoder
itself makes of all clips, and throws away what comes out: neither decoding nor pooling nor storing
is in it. Both run the same network in the same threads; loading it is in neither.

What ours costs beside the pass, measured in processor seconds for clips of 1.4 s in Ogg: 0.76 ms a
clip for reading, of which libsndfile's opening and decoding is 0.64; 0.1 ms for pooling and copies;
0.2 s a run for opening the workspace, looking up and committing. So short clips in a compressed
format are the hardest case of a fast encoder: of longer ones the opening is a smaller share. What
is the decoder's and what is ours shows beside the same clips as WAV, which take no decoding.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import soundfile

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import ClipBatch
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed.adapters import short_clips
from usad_workbench.workbench.speed.measure import Row, make_row, median_costs

ENCODERS = ("usad-demo", "whisper-tiny.en")
STORED, WAV = "as Ogg", "as WAV"
"""The files as they are in the sample data, and the same clips in a format that costs nothing."""
CLIPS_PER_DOMAIN = 160
REPEATS = 3


def bench_embed(
    encoders: Sequence[str] = ENCODERS,
    clips_per_domain: int = CLIPS_PER_DOMAIN,
    repeats: int = REPEATS,
) -> Iterator[Row]:
    """Audio seconds per second of ``embed``, over those of the bare forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        stored = short_clips(clips_per_domain)
        forms = {STORED: stored, WAV: _as_wav(stored, Path(folder))}
        for name, (form, sources) in itertools.product(encoders, forms.items()):
            yield from _rows(name, sources, form, repeats)


def _rows(name: str, sources: Sequence[SourceClip], form: str, repeats: int) -> Iterator[Row]:
    encoder = load_encoder(name)
    rate = encoder.spec.sample_rate_hz
    clips = [read_audio(source.path, sample_rate_hz=rate) for source in sources]
    audio_s = sum(clip.duration_s for clip in clips)
    batches = [
        ClipBatch.from_clips([clips[i] for i in batch])
        for batch in encoder.batches([len(clip.samples) for clip in clips])
    ]
    with tempfile.TemporaryDirectory() as folder:
        imported = Workspace.create(Path(folder, "imported"))
        import_clips(imported, _beside(imported, sources))
        copies = [shutil.copytree(imported.folder, Path(folder, str(i))) for i in range(repeats)]
        bare = partial(_forward, encoder, batches)
        bare()
        costs = median_costs(
            {"ours": partial(_embed, iter(copies), encoder), "peer": bare}, repeats
        )
    label = f"embed {name}, {len(clips)} clips {form}, all layers"
    for clock in ("processor", "wall"):
        ours, theirs = (audio_s / getattr(costs[who], f"{clock}_s") for who in costs)
        yield make_row(f"{label}, {clock}", ours, "audio s/s", "the bare forward pass", theirs)


def _forward(encoder: Encoder, batches: Sequence[ClipBatch]) -> None:
    for batch in batches:
        encoder.features(batch)


def _as_wav(sources: Sequence[SourceClip], folder: Path) -> list[SourceClip]:
    """The same clips as WAV of 16 bits, at their rates."""
    made = []
    for number, source in enumerate(sources):
        path = folder / f"{number}.wav"
        clip = read_audio(source.path)
        soundfile.write(path, clip.samples, clip.sample_rate_hz, subtype="PCM_16")
        made.append(replace(source, path=path))
    return made


def _beside(workspace: Workspace, sources: Sequence[SourceClip]) -> list[SourceClip]:
    """The clips with their files in the workspace's folder: each copy of it has files of its own.

    What a process has learned of a file, such as which decoder reads it, is no help with another.
    """
    moved = []
    for number, source in enumerate(sources):
        path = workspace.folder / f"{number}{Path(source.path).suffix}"
        shutil.copyfile(source.path, path)
        moved.append(replace(source, path=path))
    return moved


def _embed(copies: Iterator[Path], encoder: Encoder) -> None:
    """With the next workspace that holds the clips alone."""
    embed(Workspace.open(next(copies)), encoder)
