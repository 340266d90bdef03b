"""Music clips: Sonic Pi samples, cuts of five tracks, and notes rendered from a recorded sound font."""

import re
from pathlib import Path

from usad_workbench.sample_data.packages import BuildError
from usad_workbench.sample_data.rows import ClipSource

SOUND_FONT = "usr/share/sounds/sf2/FluidR3_GM.sf2"
MOH_FOLDER = "usr/share/asterisk/moh"
N_BLOCKS = 7
CUTS_PER_BLOCK = 2
CUT_S = 4.0
PITCHES = range(48, 84)
"""MIDI numbers that notes are taken from: three octaves from C3."""
N_OCTAVES = 3

PROGRAMS: tuple[tuple[int, str, str, str], ...] = (
    (0, "acoustic-grand-piano", "piano", "a"),
    (6, "harpsichord", "piano", "b"),
    (11, "vibraphone", "chromatic-percussion", "a"),
    (12, "marimba", "chromatic-percussion", "b"),
    (16, "drawbar-organ", "organ", "c"),
    (19, "church-organ", "organ", "d"),
    (24, "nylon-guitar", "guitar", "c"),
    (25, "steel-guitar", "guitar", "d"),
    (40, "violin", "strings", "b"),
    (42, "cello", "strings", "c"),
    (56, "trumpet", "brass", "d"),
    (57, "trombone", "brass", "a"),
    (65, "alto-sax", "reed", "a"),
    (71, "clarinet", "reed", "c"),
    (73, "flute", "pipe", "b"),
    (75, "pan-flute", "pipe", "d"),
)
"""General MIDI program (from 0), name, family of the standard, and set. The two members of a family are in
different sets, so leaving a set out always leaves one member of every family in training."""
PITCH_CLASSES = ("c", "cis", "d", "dis", "e", "f", "fis", "g", "gis", "a", "ais", "b")

TRACKS = {
    "macroform-cold_day": "Paul Shuler (Macroform)",
    "macroform-robot_dity": "Paul Shuler (Macroform)",
    "macroform-the_simplicity": "Paul Shuler (Macroform)",
    "manolo_camp-morning_coffee": "Manolo Camp",
    "reno_project-system": "Reno Project",
}
_G722_BYTES_PER_S = 8_000


def list_music(sonic_pi: Path, moh: Path) -> list[ClipSource]:
    """Every music clip of sample_data, in a fixed order.

    Args:
        sonic_pi: Unpacked sonic-pi-samples.
        moh: Unpacked asterisk-moh-opsound-g722.
    """
    return [*_list_samples(sonic_pi), *_list_cuts(moh), *list_notes()]


def read_sample_authors(copyright_file: Path) -> dict[str, str]:
    """Author of every Sonic Pi sample that is listed one by one as CC0, by file name.

    Raises:
        BuildError: the copyright file has another form.
    """
    authors = {}
    for stanza in copyright_file.read_text(encoding="utf-8").split("\n\n"):
        file = re.search(r"^Files: etc/samples/(\S+\.flac)$", stanza, re.MULTILINE)
        author = re.search(r"^Copyright: (?:\d{4} )?(.+)$", stanza, re.MULTILINE)
        if file and author and re.search(r"^License: CC0$", stanza, re.MULTILINE):
            authors[file[1]] = re.sub(r" <[^>]*>", "", author[1])
    if not authors:
        raise BuildError(
            f"{copyright_file}: found no 'Files: etc/samples/…' stanza with licence CC0; expected about 130"
        )
    return authors


def _list_samples(root: Path) -> list[ClipSource]:
    authors = read_sample_authors(root / "usr/share/doc/sonic-pi-samples/copyright")
    clips = []
    for file in sorted(root.glob("usr/share/sonic-pi/samples/*.flac")):
        if file.name not in authors:
            continue  # not listed as CC0 by name
        author = authors[file.name]
        cluster = re.sub(r"[^a-z0-9]+", "-", author.lower()).strip("-")
        clips.append(
            ClipSource(
                clip_id=f"music_sonicpi_{file.stem}",
                domain="music",
                dataset="sonic-pi",
                package="sonic-pi-samples",
                source_path=file.relative_to(root).as_posix(),
                cluster_id=f"sonicpi_{cluster}",  # samples of one author often come from one session
                label=file.stem.split("_")[0],
                licence="CC0-1.0",
                author=f"{author} (Freesound), by way of Sonic Pi",
            )
        )
    return clips


def cut_starts_s(duration_s: float) -> list[tuple[int, float]]:
    """Block and start in seconds of every cut: blocks of adjacent cuts, evenly spread with gaps between.

    >>> [round(start) for _, start in cut_starts_s(210)]
    [11, 15, 41, 45, 71, 75, 101, 105, 131, 135, 161, 165, 191, 195]
    """
    block_s = CUTS_PER_BLOCK * CUT_S
    starts = []
    for block in range(N_BLOCKS):
        middle_s = (block + 0.5) / N_BLOCKS * duration_s
        starts += [(block, middle_s - block_s / 2 + cut * CUT_S) for cut in range(CUTS_PER_BLOCK)]
    return starts


def _list_cuts(root: Path) -> list[ClipSource]:
    clips = []
    for track, author in TRACKS.items():
        file = root / MOH_FOLDER / f"{track}.g722"
        for number, (block, start_s) in enumerate(
            cut_starts_s(file.stat().st_size / _G722_BYTES_PER_S)
        ):
            clips.append(
                ClipSource(
                    clip_id=f"music_moh_{track}_{number:02d}",
                    domain="music",
                    dataset="asterisk-moh",
                    package="asterisk-moh-opsound-g722",
                    source_path=file.relative_to(root).as_posix(),
                    cluster_id=f"moh_{track}",
                    label=track,
                    licence="CC-BY-SA-3.0",
                    author=author,
                    start_s=round(start_s, 3),
                    tags={"track": track, "time_block": f"t{block}"},
                )
            )
    return clips


def list_notes() -> list[ClipSource]:
    """The 192 notes: 16 programs, each with every pitch class once, the octave changing from program to program.

    Because the octave changes, a pitch class is not one frequency: the pitch task needs octave equivalence.
    """
    clips = []
    for number, (program, instrument, family, programs) in enumerate(PROGRAMS):
        for pitch in PITCHES:
            octave = (pitch - PITCHES.start) // 12
            if octave != (pitch + number) % N_OCTAVES:
                continue
            pitch_class = PITCH_CLASSES[pitch % 12]
            clips.append(_note(program, instrument, family, programs, pitch, pitch_class))
    return clips


def _note(
    program: int, instrument: str, family: str, programs: str, pitch: int, pitch_class: str
) -> ClipSource:
    return ClipSource(
        clip_id=f"music_note_{instrument}_{pitch:03d}",
        domain="music",
        dataset="fluidr3-notes",
        package="fluid-soundfont-gm",
        source_path=f"{SOUND_FONT}#{program},{pitch}",
        cluster_id=f"fluidr3_{instrument}",
        label=instrument,
        licence="MIT",
        author="Frank Wen and contributors (FluidR3)",
        tags={
            "instrument": instrument,
            "instrument_family": family,
            "instrument_set": programs,
            "pitch": str(pitch),
            "pitch_class": pitch_class,
        },
    )
