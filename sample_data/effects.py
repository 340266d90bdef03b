"""The unseen domain: vehicles, animals, machines and impacts, of OpenTTD's OpenSFX and of Tux Paint's stamps.

No teacher owns this domain and no student is distilled on it, so it asks what an encoder does with sounds that
none of its domains prepared it for. Every entry of OpenSFX carries its title, the recording it was made from, its
authors and its licence; entries made from one recording are one cluster. Each stamp has a recording of its own.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.sample_data.packages import BuildError
from usad_workbench.sample_data.rows import ClipSource
from usad_workbench.sample_data.speech import STAMPS_FOLDER, TUXPAINT_AUTHORS

CATALOGUE = "usr/share/games/openttd/baseset/opensfx/opensfx.cat"
_EMPTY_WAV_BYTES = 44
_LICENCES = (
    ("Creative Commons Attribution-ShareAlike 3.0", "CC-BY-SA-3.0"),
    ("Creative Commons Attribution 3.0", "CC-BY-3.0"),
    ("Creative Commons Zero 1.0", "CC0-1.0"),
)
_KINDS = (
    ("impact", r"breakdown|crash|big crash|explosion|splat|falling tree|crashing tree"),
    ("animal", r"sheep|cow|horse|bird|lion|monkeys"),
    (
        "machine",
        r"machinery|sparking|cash till|jackhammer|bridge|sawmill|sugar mine|toy factory|chainsaw",
    ),
    ("vehicle", r"train|ship|ferry|plane|jet|helicopter|truck|bus|car horn|steam engine"),
)
"""Kind and the words of a title that say so; the first that fits counts (a train's breakdown is a crash)."""
_STAMP_SOUNDS = (
    ("animal", "animals/amphibians", "frog"),
    (
        "animal",
        "animals/birds",
        "blackbird crow cuckoo duck gander hen heron_greatblue_flying lark owl",
    ),
    ("animal", "animals/birds", "penguin quetzal rooster seagull tucan turkey vulture"),
    ("animal", "animals/insects", "bee grasshopper hornet mosquito"),
    ("animal", "animals/mammals", "apes/chimp apes/gorilla aquatic/dolphin aquatic/orca"),
    (
        "animal",
        "animals/mammals",
        "aquatic/sea_lion aquatic/whale bears/bear bovines/bison bovines/bull",
    ),
    ("animal", "animals/mammals", "bovines/cow bovines/goat bovines/sheep camel/camel cats/lion"),
    ("animal", "animals/mammals", "cats/tiger deer/caribou deer/deer dogs/dog dogs/fox elephant"),
    ("animal", "animals/mammals", "equines/donkey equines/horse equines/zebra ferret hippopotamus"),
    ("animal", "animals/mammals", "pig rodents/mouse rodents/rabbit rodents/squirrel"),
    ("animal", "animals/marsupials", "koala"),
    ("impact", "household/tools", "hammer mallet_metal"),
    ("machine", "household", "Washing-machine tools/saw vacuum_cleaner"),
    ("vehicle", "vehicles/emergency", "firetruck"),
)
"""Kind, folder and names of stamps with a sound of their own, beside the voice that says their name. Each animal once;
left out are sounds under two names (badger and beaver, goat, mountain goat and ram) and those of animals without a
voice, such as the giraffe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueEntry:
    """One sound of an OpenTTD sound set."""

    number: int
    title: str
    credit: str
    """The entry's own words about origin, authors and editors."""
    recording: str
    """The recording it was made from, or the title where it is an original work."""
    licence: str
    wav: bytes


def read_catalogue(path: Path) -> list[CatalogueEntry]:
    """The entries of a sound set that hold sound.

    Source: layout of OpenTTD sound sets: offset table of (offset, size) pairs, then per entry a
    length-prefixed name and a RIFF file.

    Raises:
        BuildError: no such table, or an entry without a RIFF file or a known licence.
    """
    data = path.read_bytes()
    n_entries = (struct.unpack_from("<I", data, 0)[0] & 0x7FFFFFFF) // 8
    entries = []
    for number in range(n_entries):
        offset = struct.unpack_from("<I", data, number * 8)[0] & 0x7FFFFFFF
        name = data[offset + 1 : offset + data[offset]].decode("latin-1")
        riff = data.find(b"RIFF", offset)
        if riff < 0:
            raise BuildError(
                f"{path}: found no RIFF file in entry {number}; expected an OpenTTD sound set (.cat)"
            )
        n_bytes = struct.unpack_from("<I", data, riff + 4)[0] + 8
        if n_bytes > _EMPTY_WAV_BYTES:
            entries.append(_parse_entry(number, name, data[riff : riff + n_bytes]))
    return entries


def _parse_entry(number: int, name: str, wav: bytes) -> CatalogueEntry:
    head, _, licence_text = name.partition(" License: ")
    title, _, credit = head.removeprefix('"').partition('". ')
    licence = next((short for long, short in _LICENCES if licence_text.startswith(long)), None)
    if licence is None:
        raise BuildError(
            f"entry {number}: found licence '{licence_text}', expected one of {[x for x, _ in _LICENCES]}"
        )
    recording = re.search(r'"([^"]+)"', credit) if not credit.startswith("By ") else None
    return CatalogueEntry(
        number=number,
        title=title,
        credit=credit.rstrip("."),
        recording=recording[1] if recording else title,
        licence=licence,
        wav=wav,
    )


def kind_of(title: str) -> str:
    """Vehicle, animal, machine or impact, where the title says so.

    >>> kind_of("Train/ship breakdown"), kind_of("Tropical: Bird (1)"), kind_of("Wind")
    ('impact', 'animal', '')
    """
    for kind, words in _KINDS:
        if re.search(rf"\b({words})\b", title.lower()):
            return kind
    return ""


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def list_effects(root: Path) -> list[ClipSource]:
    """Every clip of the unseen domain, in the order of the collections.

    Args:
        root: Unpacked openttd-opensfx.
    """
    return [*_list_catalogue(root), *_list_stamps()]


def _list_stamps() -> list[ClipSource]:
    clips = []
    for kind, folder, names in _STAMP_SOUNDS:
        for stamp in names.split():
            name = _slug(stamp.rsplit("/", 1)[-1])
            clips.append(
                ClipSource(
                    clip_id=f"effects_stamp_{name}",
                    domain="effects",
                    dataset="tuxpaint-stamps",
                    package="tuxpaint-stamps-default",
                    source_path=f"{STAMPS_FOLDER}/{folder}/{stamp}.ogg",
                    cluster_id=f"stamp_{name}",
                    label=kind,
                    licence="GPL-2.0",
                    author=TUXPAINT_AUTHORS,
                    tags={"effect_kind": kind},
                )
            )
    return clips


def _list_catalogue(root: Path) -> list[ClipSource]:
    clips = []
    for entry in read_catalogue(root / CATALOGUE):
        kind = kind_of(entry.title)
        clips.append(
            ClipSource(
                clip_id=f"effects_opensfx_{entry.number:02d}_{_slug(entry.title)}"[:64].rstrip("-"),
                domain="effects",
                dataset="opensfx",
                package="openttd-opensfx",
                source_path=f"{CATALOGUE}#{entry.number}",
                cluster_id=f"opensfx_{_slug(entry.recording)}",
                label=kind or _slug(entry.title),
                licence=entry.licence,
                author=f"{entry.credit} (OpenSFX)",
                tags={"effect_kind": kind},
            )
        )
    return clips
