"""What is learned from: a manifest of recordings, cut to pieces, at 16 kHz on disk.

Each recording is decoded once. The pieces, resampled to the student's rate, are what the
student and every teacher hear, so that no teacher knows of a bandwidth that the student
never sees. A recording that cannot be read is counted and listed, and left out.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from usad_workbench.core.audio import probe_audio, read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import AudioError, ConfigError
from usad_workbench.core.models.frontend import FrontendConfig
from usad_workbench.core.names import did_you_mean
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.recipe import DataRecipe
from usad_workbench.training.shards import Shards

SAMPLE_RATE_HZ = FrontendConfig().sample_rate_hz
COLUMNS = ("clip_id", "path", "domain")
PIECES_FILE = "pieces.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One row of a manifest."""

    clip_id: str
    path: Path
    domain: str


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


class Corpus:
    """The pieces of a manifest, with their audio."""

    def __init__(
        self, pieces: tuple[Piece, ...], failed: tuple[tuple[str, str], ...], audio: Shards
    ) -> None:
        self.pieces, self.failed, self._audio = pieces, failed, audio
        self.key = audio.folder.name
        """Of the recordings' content and how they were cut."""

    def clips(self, indices: Sequence[int]) -> list[Clip]:
        """The audio of some pieces, float32 at 16 kHz."""
        return [
            Clip(
                samples=self._audio.read(i, ["samples"])["samples"].numpy(),
                sample_rate_hz=SAMPLE_RATE_HZ,
                path=self.pieces[i].clip_id,
                start_s=self.pieces[i].start_s,
            )
            for i in indices
        ]

    def seconds(self) -> dict[str, float]:
        """Seconds of audio per domain."""
        total: Counter[str] = Counter()
        for piece in self.pieces:
            total[piece.domain] += piece.duration_s  # type: ignore[assignment]
        return dict(total)


def read_manifest(path: str | Path) -> list[Recording]:
    """The rows of a manifest.

    Raises:
        ConfigError: no such file, a column missing, or a clip_id that occurs twice.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [name for name in COLUMNS if name not in columns]
            if missing:
                raise ConfigError(
                    f"{path} has no column {missing[0]}. {did_you_mean(missing[0], columns)}"
                )
            rows = [
                Recording(
                    clip_id=row["clip_id"], path=path.parent / row["path"], domain=row["domain"]
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The manifest {path} cannot be read: {error}. Give a CSV with the columns "
            f"{', '.join(COLUMNS)}."
        ) from error
    twice = [name for name, n in Counter(row.clip_id for row in rows).items() if n > 1]
    if twice:
        raise ConfigError(f"{path}: clip_id {twice[0]} occurs twice. Give each its own.")
    return rows


def load_corpus(recipe: DataRecipe, cache: Path, progress: Progress = no_progress) -> Corpus:
    """The pieces of the recipe's manifest, decoding what the cache does not hold.

    Raises:
        ConfigError: an unusable manifest, or one without any usable recording.
    """
    rows = [row for row in read_manifest(recipe.manifest) if row.domain in recipe.domains]
    excluded = {
        digest
        for manifest in recipe.exclude
        for digest in map(_hash_file, (row.path for row in read_manifest(manifest)))
        if digest
    }
    hashed = [(row, _hash_file(row.path)) for row in rows]
    kept = [(row, digest) for row, digest in hashed if digest not in excluded]
    folder = cache / f"audio-{_corpus_key(recipe, kept)}"
    if not (folder / PIECES_FILE).is_file():
        _decode(recipe, [row for row, _ in kept], folder, progress)
    listed = json.loads((folder / PIECES_FILE).read_text(encoding="utf-8"))
    pieces = tuple(Piece(**piece) for piece in listed["pieces"])
    missing = [d for d in recipe.domains if d not in {piece.domain for piece in pieces}]
    if missing:
        raise ConfigError(
            f"{recipe.manifest} has no usable clip of domain {missing[0]}. "
            f"{len(listed['failed'])} clips could not be used. Correct data.domains or the manifest."
        )
    return Corpus(
        pieces, tuple((name, why) for name, why in listed["failed"]), Shards(folder, len(pieces))
    )


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


def _decode(
    recipe: DataRecipe, rows: Sequence[Recording], folder: Path, progress: Progress
) -> None:
    pieces: list[Piece] = []
    failed: list[tuple[str, str]] = []
    shard: list[dict[str, torch.Tensor]] = []
    writer = Shards(folder, 0)
    for done, row in enumerate(rows, start=1):
        try:
            cuts = _read_pieces(row, recipe)
        except AudioError as error:
            failed.append((row.clip_id, str(error)))
            cuts = []
        for clip in cuts:
            pieces.append(
                Piece(
                    clip_id=row.clip_id,
                    domain=row.domain,
                    start_s=clip.start_s,
                    n_samples=len(clip.samples),
                )
            )
            shard.append({"samples": torch.from_numpy(clip.samples)})
            if not writer.is_part(len(shard)):
                writer.write(len(pieces) - len(shard), shard)
                shard = []
        progress(done, len(rows), "decoding")
    if shard:
        writer.write(len(pieces) - len(shard), shard)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"pieces": [asdict(piece) for piece in pieces], "failed": failed})
    partial = folder / f".{PIECES_FILE}.{os.getpid()}"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, folder / PIECES_FILE)


def _read_pieces(row: Recording, recipe: DataRecipe) -> list[Clip]:
    duration_s = probe_audio(row.path).duration_s
    cuts = cut_points(duration_s, recipe.max_clip_s, recipe.min_clip_s)
    if not cuts:
        raise AudioError(
            f"{row.path} has {duration_s:.2f} s, data.min_clip_s is {recipe.min_clip_s}. "
            "It is left out."
        )
    clips, silent = [], None
    for start_s, end_s in cuts:
        try:
            clip = read_audio(row.path, sample_rate_hz=SAMPLE_RATE_HZ, start_s=start_s, end_s=end_s)
        except AudioError as error:
            # A silent stretch of a recording says nothing against the rest of it.
            silent = error
            continue
        # Pieces of one length share batches also where an encoder must not pad.
        n_samples = round(recipe.max_clip_s * SAMPLE_RATE_HZ)
        clips.append(
            Clip(
                samples=np.ascontiguousarray(clip.samples[:n_samples]),
                sample_rate_hz=SAMPLE_RATE_HZ,
                path=clip.path,
                start_s=start_s,
            )
        )
    if silent is not None and not clips:
        raise silent
    return clips


def _corpus_key(recipe: DataRecipe, rows: Sequence[tuple[Recording, str]]) -> str:
    digest = hashlib.sha256(f"{recipe.max_clip_s} {recipe.min_clip_s} v1".encode())
    for row, content in rows:
        digest.update(f"{row.clip_id}\0{row.domain}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # decoding names the file and the reason
