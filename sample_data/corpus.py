"""Build the audio that students are distilled on: ``python -m usad_workbench.sample_data.corpus --out DIR --work DIR``.

Hours of speech, sound and music from free Debian packages, in pieces of at most five seconds, 16 kHz mono FLAC.
Nothing of the sample data is in it: no recording (by hash and by package and path), no track, no note program and no
family of sounds; and nothing of the unseen domain's package. Voices are shared with the sample data, their
utterances are not. ``OUT/manifest.csv`` lists the clips, ``OUT/recordings.csv`` the recordings; the latter of the
corpus that the shipped students were distilled on is ``corpus_manifest.csv`` beside this module.
"""

import argparse
import hashlib
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from usad_workbench.sample_data import audio, sample_data_folder
from usad_workbench.sample_data.corpus_exclusions import Exclusions, read_exclusions
from usad_workbench.sample_data.corpus_sources import (
    RULES,
    CorpusRule,
    cluster_of,
    list_files,
    list_notes,
    source_path_of,
)
from usad_workbench.sample_data.packages import BuildError, load_packages
from usad_workbench.sample_data.reader import SourceReader
from usad_workbench.sample_data.rows import MANIFEST_COLUMNS, write_csv

logger = logging.getLogger(__name__)

PIECE_S = 5.0
MIN_PIECE_S = 1.0
"""The rest of a long recording is a piece of its own from this length on."""
RECORDING_COLUMNS = (
    "domain",
    "dataset",
    "cluster_id",
    "source_package",
    "source_path",
    "n_clips",
    "seconds",
    "source_sha256",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusSource:
    """One recording that may be cut into clips."""

    rule: CorpusRule
    source_path: str
    cluster_id: str


def list_sources(
    rule: CorpusRule, reader: SourceReader, exclusions: Exclusions
) -> list[CorpusSource]:
    """Recordings of a rule that the sample data does not use, in an order without meaning.

    The order is by hash of the path: a voice that is cut off at its cap is then cut off at random.
    """
    if rule.package in exclusions.packages:
        raise BuildError(
            f"found package {rule.package} in a corpus rule; expected none of {sorted(exclusions.packages)}"
        )
    root = reader.folder(rule.package)
    sources = []
    for file in list_files(rule, root):
        path = source_path_of(file, root)
        cluster = cluster_of(rule, file, root)
        if (rule.package, path) in exclusions.sources or cluster in exclusions.clusters:
            continue
        sources.append(CorpusSource(rule=rule, source_path=path, cluster_id=cluster))
    return sorted(
        sources, key=lambda source: hashlib.sha256(source.source_path.encode()).hexdigest()
    )


def pieces(samples: np.ndarray, cap_s: float) -> Iterator[tuple[float, np.ndarray]]:
    """Start in seconds and samples of pieces of at most five seconds.

    A recording within the cap is cut into neighbours; of a longer one, pieces are spread evenly.

    >>> [round(start) for start, _ in pieces(np.zeros(16_000 * 100), 20)]
    [10, 35, 60, 85]
    """
    n_piece = int(PIECE_S * audio.SAMPLE_RATE_HZ)
    if samples.size <= cap_s * audio.SAMPLE_RATE_HZ:
        for first in range(0, samples.size, n_piece):
            piece = samples[first : first + n_piece]
            if first == 0 or piece.size >= MIN_PIECE_S * audio.SAMPLE_RATE_HZ:
                yield first / audio.SAMPLE_RATE_HZ, piece
        return
    n_pieces = int(cap_s / PIECE_S)
    for number in range(n_pieces):
        first = int((number + 0.5) / n_pieces * samples.size - n_piece / 2)
        yield first / audio.SAMPLE_RATE_HZ, samples[first : first + n_piece]


class CorpusWriter:
    """Writes clips and remembers what was used, so that no recording comes twice."""

    def __init__(self, out: Path, reader: SourceReader, exclusions: Exclusions) -> None:
        self.rows: list[dict[str, str]] = []
        self.failed: list[tuple[str, str]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        self.recordings: dict[str, dict[str, str]] = {}
        """By hash: what was used of every recording; small enough to commit, unlike the manifest."""
        self._out = out
        self._reader = reader
        self._seen = set(exclusions.hashes)
        self._cluster_s: dict[tuple[str, str], float] = defaultdict(float)

    def add(self, source: CorpusSource) -> None:
        """Cut and write one recording, unless it was used before or its cluster is full."""
        rule = source.rule
        key = (f"{rule.dataset}-{rule.language}", source.cluster_id)
        if self._cluster_s[key] >= rule.cluster_cap_s:
            return
        try:
            samples, rate_hz, sha256 = self._reader.read(rule.package, source.source_path)
        except BuildError as error:
            self.failed.append((f"{rule.package}: {source.source_path}", str(error)))
            return
        if sha256 in self._seen:
            return
        self._seen.add(sha256)
        n_clips, used_s = 0, 0.0
        for number, (start_s, piece) in enumerate(pieces(samples, rule.file_cap_s)):
            if audio.reason_to_drop(piece) is None:
                clip = audio.limit_peak(audio.fill_up(piece))
                self._write(source, number, start_s, clip, rate_hz, sha256)
                n_clips, used_s = n_clips + 1, used_s + clip.size / audio.SAMPLE_RATE_HZ
        self._cluster_s[key] += used_s
        if n_clips:
            self.recordings[sha256] = {
                "domain": rule.domain,
                "dataset": rule.dataset,
                "cluster_id": source.cluster_id,
                "source_package": rule.package,
                "source_path": source.source_path,
                "n_clips": str(n_clips),
                "seconds": f"{used_s:.2f}",
                "source_sha256": sha256,
            }

    def _write(
        self,
        source: CorpusSource,
        number: int,
        start_s: float,
        clip: np.ndarray,
        rate_hz: int,
        sha256: str,
    ) -> None:
        rule = source.rule
        identity = hashlib.sha256(f"{rule.package}/{source.source_path}".encode()).hexdigest()[:10]
        stem = re.sub(r"[^a-z0-9]+", "-", Path(source.source_path).stem.lower()).strip("-")[:24]
        clip_id = f"{rule.domain}_{rule.dataset}_{stem or 'x'}_{identity}_{number:02d}"
        path = f"clips/{rule.domain}/{rule.dataset}/{clip_id}.flac"
        (self._out / path).parent.mkdir(parents=True, exist_ok=True)
        audio.write_flac(self._out / path, clip)
        self.seconds[rule.domain] += clip.size / audio.SAMPLE_RATE_HZ
        row = {
            "clip_id": clip_id,
            "path": path,
            "domain": rule.domain,
            "dataset": rule.dataset,
            "cluster_id": source.cluster_id,
            "language": rule.language,
            "source_package": rule.package,
            "source_version": self._reader.package(rule.package).version,
            "source_path": source.source_path,
            "source_start_s": f"{start_s:.3f}",
            "source_sample_rate_hz": str(rate_hz),
            "author": rule.author,
            "licence": rule.licence,
            "source_sha256": sha256,
        }
        if rule.domain == "speech":
            row["speaker"] = source.cluster_id
        self.rows.append(row)


_NOTE_RULE = CorpusRule(
    domain="music",
    dataset="fluidr3-notes",
    package="fluid-soundfont-gm",
    folder="",
    licence="MIT",
    author="Frank Wen and contributors (FluidR3)",
)


def build(out: Path, work: Path) -> CorpusWriter:
    """Write the corpus and its manifest.

    Raises:
        BuildError: a tool or package is missing. A single file that cannot be decoded is listed in ``failed``.
    """
    exclusions = read_exclusions(sample_data_folder() / "manifest.csv")
    reader = SourceReader(load_packages(), work)
    writer = CorpusWriter(out, reader, exclusions)
    for rule in RULES:
        for source in list_sources(rule, reader, exclusions):
            writer.add(source)
        minutes = ", ".join(
            f"{domain} {total / 60:.1f}" for domain, total in writer.seconds.items()
        )
        logger.info("%s %s: minutes so far: %s", rule.dataset, rule.language, minutes)
    for program, _, path in list_notes():
        writer.add(
            CorpusSource(rule=_NOTE_RULE, source_path=path, cluster_id=f"fluidr3_program-{program}")
        )
    write_csv(out / "manifest.csv", MANIFEST_COLUMNS, writer.rows)
    write_csv(out / "recordings.csv", RECORDING_COLUMNS, writer.recordings.values())
    return writer


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 done, 1 some files could not be decoded, 2 a tool or package is missing."""
    parser = argparse.ArgumentParser(description="Build the distillation corpus.")
    parser.add_argument("--out", type=Path, required=True, help="folder for clips and manifest")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for downloads (about 4 GB)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        writer = build(options.out, options.work)
    except BuildError as error:
        logger.error("%s", error)
        return 2
    for name, reason in writer.failed:
        logger.warning("failed: %s: %s", name, reason)
    logger.info("%d clips, %d files failed", len(writer.rows), len(writer.failed))
    return 1 if writer.failed else 0


if __name__ == "__main__":
    sys.exit(main())
