"""Make the sample data again: ``python -m usad_workbench.sample_data.build --out DIR --work DIR``.

Needs Debian 12's apt-get, dpkg-deb and tar for the packages, ffmpeg for G.722 and GSM, and fluidsynth for the
notes. The manifest is the same on every run; the audio is the same bytes on the same libsndfile, soxr, ffmpeg and
fluidsynth. Downloads and unpacked packages stay in the work folder.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from usad_workbench.sample_data import audio
from usad_workbench.sample_data.copies import SAME_RECORDINGS
from usad_workbench.sample_data.effects import list_effects
from usad_workbench.sample_data.licences import attribution, licence_text
from usad_workbench.sample_data.music import list_music
from usad_workbench.sample_data.packages import (
    BuildError,
    load_packages,
    require_tool,
    sha256_of_file,
)
from usad_workbench.sample_data.reader import SourceReader
from usad_workbench.sample_data.rows import MANIFEST_COLUMNS, TASK_COLUMNS, ClipSource, write_csv
from usad_workbench.sample_data.sound import list_sound
from usad_workbench.sample_data.speech import list_speech

logger = logging.getLogger(__name__)

MAX_S = 4.0
TASKS = (
    ("voice", "voice", "speech", "prompt_group", "balanced_accuracy"),
    ("digit", "digit", "speech", "speaker", "balanced_accuracy"),
    ("language", "language", "speech", "speaker", "balanced_accuracy"),
    ("material", "material", "sound", "cluster_id", "balanced_accuracy"),
    ("instrument", "instrument", "music", "pitch", "accuracy"),
    ("instrument_family", "instrument_family", "music", "instrument_set", "accuracy"),
    ("pitch_class", "pitch_class", "music", "instrument", "accuracy"),
    ("track", "track", "music", "time_block", "balanced_accuracy"),
    ("effect_kind", "effect_kind", "effects", "cluster_id", "balanced_accuracy"),
)
_TOOLS = (
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("tar", "tar"),
    ("ffmpeg", "ffmpeg"),
    ("fluidsynth", "fluidsynth"),
)


def list_sources(reader: SourceReader) -> list[ClipSource]:
    """Every clip of sample_data before it is audio, near copies in one cluster."""
    sources = [
        *list_speech(),
        *list_sound(
            reader.folder("minetest-data"), reader.folder("flare-game"), reader.folder("0ad-data")
        ),
        *list_music(reader.folder("sonic-pi-samples"), reader.folder("asterisk-moh-opsound-g722")),
        *list_effects(reader.folder("openttd-opensfx")),
    ]
    return [
        replace(source, cluster_id=SAME_RECORDINGS.get(source.cluster_id, source.cluster_id))
        for source in sources
    ]


def make_clip(
    source: ClipSource, reader: SourceReader, out: Path, max_s: float
) -> dict[str, str] | str:
    """Write one clip and give its manifest row, or give the reason why there is none."""
    samples, rate_hz, sha256 = reader.read(source.package, source.source_path)
    piece, start_s = audio.cut(samples, source.start_s, max_s)
    reason = audio.reason_to_drop(piece)
    if reason is not None:
        return reason
    path = f"clips/{source.licence}/{source.clip_id}.ogg"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    audio.write_ogg(out / path, audio.limit_peak(audio.fill_up(piece)))
    return {
        "clip_id": source.clip_id,
        "path": path,
        "domain": source.domain,
        "dataset": source.dataset,
        "cluster_id": source.cluster_id,
        "label": source.label,
        **source.tags,
        "source_package": source.package,
        "source_version": reader.package(source.package).version,
        "source_path": source.source_path,
        "source_start_s": f"{start_s:.3f}",
        "source_sample_rate_hz": str(rate_hz),
        "author": source.author,
        "licence": source.licence,
        "source_sha256": sha256,
    }


def build(out: Path, work: Path) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    """Write clips, manifest, tasks, checksums, licence texts and attribution.

    Returns:
        The manifest rows, and clip id and reason of every source that was left out.

    Raises:
        BuildError: a tool is missing or a source is not what was pinned.
    """
    for tool, debian_package in _TOOLS:
        require_tool(tool, debian_package)
    reader = SourceReader(load_packages(), work)
    shutil.rmtree(out / "clips", ignore_errors=True)
    rows: list[dict[str, str]] = []
    dropped: list[tuple[str, str]] = []
    first_of: dict[str, str] = {}
    for source in list_sources(reader):
        made = make_clip(source, reader, out, MAX_S)
        if not isinstance(made, str):
            # Of the clip and not of its source: two files with other tags hold the same sound.
            path = out / made["path"]
            first = first_of.setdefault(sha256_of_file(path), source.clip_id)
            if first != source.clip_id:
                path.unlink()
                made = f"the same sound as {first}"
        if isinstance(made, str):
            dropped.append((source.clip_id, made))
            logger.warning("left out %s: %s", source.clip_id, made)
        else:
            rows.append(made)
    write_csv(out / "manifest.csv", MANIFEST_COLUMNS, rows)
    write_csv(
        out / "tasks.csv",
        TASK_COLUMNS,
        [dict(zip(TASK_COLUMNS, task, strict=True)) for task in TASKS],
    )
    hashes = [{"path": row["path"], "sha256": sha256_of_file(out / row["path"])} for row in rows]
    write_csv(out / "checksums.csv", ("path", "sha256"), hashes)
    (out / "ATTRIBUTION.md").write_text(attribution(rows), encoding="utf-8")
    (out / "LICENSES").mkdir(exist_ok=True)
    for licence in sorted({row["licence"] for row in rows}):
        (out / "LICENSES" / f"{licence}.txt").write_text(
            licence_text(licence, reader.folder), encoding="utf-8"
        )
    return rows, dropped


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 done, 2 a tool or a source is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for clips, manifest and licences"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for downloads (about 2 GB)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        rows, dropped = build(options.out, options.work)
    except BuildError as error:
        logger.error("%s", error)
        return 2
    logger.info("%d clips, %d left out", len(rows), len(dropped))
    return 0


if __name__ == "__main__":
    sys.exit(main())
