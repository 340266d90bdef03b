"""What is learned from: recordings cut to pieces, at 16 kHz.

Each recording is decoded once and kept on disk, or, where that is too much for the disk, at every
step. The pieces, resampled to the student's rate, are what the student and every teacher hear, so
that no teacher knows of a bandwidth that the student never sees. A recording that cannot be read
is counted and listed, and left out.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from usad_workbench.core.audio.reading import probe_audio, read_audio
from usad_workbench.core.clips import Clip, Samples
from usad_workbench.core.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    UsadError,
    wrap_errors,
)
from usad_workbench.core.files import write_whole
from usad_workbench.core.models.frontend import FrontendConfig
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.recipe import DataRecipe
from usad_workbench.training.shards import Shards
from usad_workbench.training.sources import Recording, find_recordings, hash_of

SAMPLE_RATE_HZ = FrontendConfig().sample_rate_hz
PIECES_FILE = "pieces.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a recording that is learned from."""

    clip_id: str
    domain: str
    start_s: float
    n_samples: int
    """At 16 kHz."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / SAMPLE_RATE_HZ


class Audio(Protocol):
    """Where the samples of pieces come from."""

    def samples(self, index: int) -> Samples:
        """Samples of one piece, float32 at 16 kHz."""


class CachedAudio:
    """Audio that was decoded once."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def samples(self, index: int) -> Samples:
        """Samples of one piece, float32 at 16 kHz."""
        samples: Samples = self.shards.read(index, ["samples"])["samples"].numpy()
        return samples


class DecodedAudio:
    """Audio that is decoded whenever it is asked for."""

    def __init__(self, pieces: Sequence[Piece], paths: Sequence[Path]) -> None:
        self.pieces, self.paths = pieces, paths

    def samples(self, index: int) -> Samples:
        """Samples of one piece, float32 at 16 kHz.

        Raises:
            AudioError: the file cannot be read there.
        """
        piece = self.pieces[index]
        return _read_piece(self.paths[index], piece.start_s, piece.duration_s, piece.n_samples)


class SelectedAudio:
    """Audio of some pieces, numbered anew."""

    def __init__(self, audio: Audio, rows: Sequence[int]) -> None:
        self.audio, self.rows = audio, rows

    def samples(self, index: int) -> Samples:
        """Samples of one piece, float32 at 16 kHz."""
        return self.audio.samples(self.rows[index])


class Corpus:
    """The pieces of all recordings, with their audio."""

    def __init__(
        self,
        pieces: tuple[Piece, ...],
        audio: Audio,
        *,
        key: str,
        failed: Sequence[tuple[str, str]] = (),
        sources: Sequence[int] | None = None,
    ) -> None:
        self.pieces, self.audio, self.failed = pieces, audio, tuple(failed)
        self.sources = tuple(sources or [0] * len(pieces))
        """Position of each piece's source in the recipe."""
        self.key = key
        """Hash of the recordings' content and of how they were cut."""

    def clip(self, index: int) -> Clip:
        """The audio of a piece, float32 at 16 kHz.

        Raises:
            AudioError: its file cannot be read; never where audio is cached.
        """
        return Clip(
            samples=self.audio.samples(index),
            sample_rate_hz=SAMPLE_RATE_HZ,
            path=self.pieces[index].clip_id,
            start_s=self.pieces[index].start_s,
        )

    def clips(self, indices: Sequence[int]) -> list[Clip]:
        """The audio of some pieces, see ``clip``."""
        return [self.clip(index) for index in indices]

    def seconds(self) -> dict[str, float]:
        """Seconds of audio per domain."""
        total: dict[str, float] = {}
        for piece in self.pieces:
            total[piece.domain] = total.get(piece.domain, 0.0) + piece.duration_s
        return total


def load_corpus(recipe: DataRecipe, cache: Path, progress: Progress = no_progress) -> Corpus:
    """The pieces of the recipe's sources, decoding what the cache does not hold.

    Raises:
        ConfigError: an unusable source, or a domain without any usable recording.
    """
    rows = find_recordings(recipe)
    is_cached = recipe.audio == "cached"
    version = hash_of if is_cached else _version
    contents = [row.unusable or version(row.path) for row in rows]
    key = _corpus_key(recipe, list(zip(rows, contents, strict=True)))
    folder = cache / f"{'audio' if is_cached else 'headers'}-{key}"
    listed = _listed(folder, is_cached)
    if listed is None:
        _list_pieces(recipe, rows, folder, progress)
        listed = _listed(folder, is_cached)
    if listed is None:
        raise CheckpointError(f"{folder} was written and cannot be read. Name another data.cache.")
    pieces, failed = listed
    missing = [d for d in recipe.domains if d not in {piece.domain for piece in pieces}]
    empty = {row.source for row in rows} ^ set(range(len(recipe.sources)))
    if missing or empty:
        what = f"domain {missing[0]}" if missing else f"data.sources.{min(empty)}"
        raise ConfigError(
            f"data.sources have no usable clip of {what}. {len(failed)} clips could "
            "not be used. Correct data.domains or the sources."
        )
    by_name = {row.clip_id: row for row in rows if not row.unusable}
    paths = [by_name[piece.clip_id].path for piece in pieces]
    return Corpus(
        pieces,
        CachedAudio(Shards(folder, len(pieces))) if is_cached else DecodedAudio(pieces, paths),
        key=folder.name,
        failed=failed,
        sources=[by_name[piece.clip_id].source for piece in pieces],
    )


def _listed(
    folder: Path, is_cached: bool
) -> tuple[tuple[Piece, ...], list[tuple[str, str]]] | None:
    """Pieces and failures as they were listed; none where that, or audio of it, is not there."""
    try:
        listed = json.loads((folder / PIECES_FILE).read_text(encoding="utf-8"))
        pieces = tuple(Piece(**piece) for piece in listed["pieces"])
        failed = [(str(name), str(why)) for name, why in listed["failed"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    is_whole = not (is_cached and Shards(folder, len(pieces)).missing())
    return (pieces, failed) if is_whole else None


def cut_points(duration_s: float, max_s: float, min_s: float) -> list[tuple[float, float]]:
    """Start and end of the pieces of a recording: whole ones, then what remains.

    >>> cut_points(25.0, 10.0, 2.0), cut_points(21.0, 10.0, 2.0)
    ([(0.0, 10.0), (10.0, 20.0), (20.0, 25.0)], [(0.0, 10.0), (10.0, 20.0)])
    """
    n_whole = int(duration_s / max_s + 1e-9)
    cuts = [(i * max_s, (i + 1) * max_s) for i in range(n_whole)]
    if duration_s - n_whole * max_s >= min_s:
        cuts.append((n_whole * max_s, duration_s))
    return cuts


def _cuts(row: Recording, recipe: DataRecipe) -> list[tuple[float, float]]:
    duration_s = probe_audio(row.path).duration_s
    cuts = cut_points(duration_s, recipe.max_clip_s, recipe.min_clip_s)
    if not cuts:
        raise AudioError(
            f"{row.path} has {duration_s:.2f} s, data.min_clip_s is {recipe.min_clip_s}. "
            "It is left out."
        )
    if recipe.cut == "random" and duration_s > recipe.max_clip_s:
        name = int.from_bytes(hashlib.sha256(row.clip_id.encode()).digest()[:8], "little")
        start_s = np.random.default_rng(name).uniform(0, duration_s - recipe.max_clip_s)
        cuts = [(float(start_s), float(start_s + recipe.max_clip_s))]
    return cuts


def _read_piece(path: Path, start_s: float, duration_s: float, n_samples: int) -> Samples:
    clip = read_audio(
        path, sample_rate_hz=SAMPLE_RATE_HZ, start_s=start_s, end_s=start_s + duration_s
    )
    # Pieces of one length share batches also where an encoder must not pad.
    return np.ascontiguousarray(clip.samples[:n_samples])


def _read_recording(row: Recording, recipe: DataRecipe) -> list[tuple[Piece, Samples | None]]:
    """The pieces of a recording, with their audio where that is to be kept."""
    pieces: list[tuple[Piece, Samples | None]] = []
    silent, n_longest = None, round(recipe.max_clip_s * SAMPLE_RATE_HZ)
    for start_s, end_s in _cuts(row, recipe):
        samples, n_samples = None, min(round((end_s - start_s) * SAMPLE_RATE_HZ), n_longest)
        if recipe.audio == "cached":
            try:
                samples = _read_piece(row.path, start_s, end_s - start_s, n_longest)
            except AudioError as error:
                # A silent stretch of a recording says nothing against the rest of it.
                silent = error
                continue
            n_samples = len(samples)
        piece = Piece(clip_id=row.clip_id, domain=row.domain, start_s=start_s, n_samples=n_samples)
        pieces.append((piece, samples))
    if silent is not None and not pieces:
        raise silent
    return pieces


def _list_pieces(
    recipe: DataRecipe, rows: Sequence[Recording], folder: Path, progress: Progress
) -> None:
    """Writes which pieces there are, and their audio where that is to be kept."""
    pieces: list[Piece] = []
    failed: list[tuple[str, str]] = []
    shard: list[dict[str, torch.Tensor]] = []
    writer = Shards(folder, 0)
    for done, row in enumerate(rows, start=1):
        try:
            with wrap_errors(row.path):
                decoded = [] if row.unusable else _read_recording(row, recipe)
            reason = row.unusable
        except UsadError as error:
            decoded, reason = [], str(error)
        if reason:
            failed.append((row.clip_id, reason))
        for piece, samples in decoded:
            pieces.append(piece)
            if samples is None:
                continue
            shard.append({"samples": torch.from_numpy(samples)})
            if not writer.is_part(len(shard)):
                writer.write(len(pieces) - len(shard), shard)
                shard = []
        progress(done, len(rows), "decoding" if recipe.audio == "cached" else "reading headers")
    if shard:
        writer.write(len(pieces) - len(shard), shard)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"pieces": [asdict(piece) for piece in pieces], "failed": failed})
    write_whole(folder / PIECES_FILE, text)


def _corpus_key(recipe: DataRecipe, rows: Sequence[tuple[Recording, str]]) -> str:
    cut = "" if recipe.cut == "consecutive" else f" {recipe.cut}"
    digest = hashlib.sha256(f"{recipe.max_clip_s} {recipe.min_clip_s} v1{cut}".encode())
    for row, content in rows:
        digest.update(f"{row.clip_id}\0{row.domain}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _version(path: Path) -> str:
    """What changes when a file does, without reading it."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""  # reading its header names the file and the reason
    return f"{path} {status.st_size} {status.st_mtime_ns}"
