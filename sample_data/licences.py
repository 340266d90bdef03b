"""Licence texts and the attribution page, taken from the packages' own copyright files."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from usad_workbench.sample_data.packages import BuildError

_DOC = "usr/share/doc"
_COMMON = Path("/usr/share/common-licenses")
_STANZAS = {
    "CC-BY-SA-3.0": ("flare-game", "License: CC-BY-SA-3.0+\n"),
    "CC-BY-3.0": ("gcin-voice", "License: CC-BY-3\n"),
    "CC-BY-SA-3.0-IT": ("asterisk-prompt-it-menardi-wav", "License: CC-SA-BY-3.0\n"),
    "MIT": ("fluid-soundfont-gm", "Upstream Author:"),
    "LicenseRef-Armelle": ("asterisk-prompt-fr-armelle", "Upstream:"),
}
"""Licence, package whose copyright file holds the text, and the line it begins at (its last occurrence)."""
_COMMON_FILES = {"CC0-1.0": "CC0-1.0", "GPL-2.0": "GPL-2", "GPL-3.0": "GPL-3"}
_ENDS = {"LicenseRef-Armelle": "\nThe Debian packaging", "MIT": "\nThe Debian packaging"}

NOTES = {
    "asterisk-prompt-it-menardi-wav": (
        "The sound files were made by Marco Menardi and his wife Paola Dal Zot; new versions and further prompts "
        "are at http://www.voip.ammdomus.it (I file sonori sono stati fatti da Marco Menardi e sua moglie)."
    ),
    "asterisk-core-sounds-fr-g722": "Translated by Clod Patry, Kristopher Lalletti and June Wallack.",
    "asterisk-core-sounds-it-g722": "http://www.carloflora.com; translated by Silvia Petrin.",
    "asterisk-core-sounds-ru-g722": "http://www.ivrvoice.ru",
    "asterisk-core-sounds-en-g722": "http://www.theivrvoice.com; financial contributions by Digium, Inc.",
    "asterisk-core-sounds-es-g722": "http://www.theivrvoice.com; financial contributions by Digium, Inc.",
    "asterisk-moh-opsound-g722": "Distributed under CC-BY-SA-3.0 by explicit permission of the authors.",
    "tuxpaint-stamps-default": "Copyright 2002-2022 Bill Kendrick; voices as the package's changelog names them.",
    "sonic-pi-samples": "Public domain dedication; the authors are named as a courtesy.",
}
_INTRODUCTION = """\
# Attribution

The audio in `clips/` is the work of the people below. Every clip was decoded, mixed to mono, resampled to 16 kHz,
cut to at most 4 s and encoded again as OGG Vorbis; a few were lowered in level so that they do not clip. The notes
were rendered from the recorded samples of a sound font. Nobody named here endorses this project.

Each folder under `clips/` holds clips of one licence, whose text is in `LICENSES/`; the clips stay under that
licence, apart from the licence of the code. `manifest.csv` names author, licence, package and file of every clip.
The unchanged recordings are in the Debian source packages of the names and versions below, and `build.py` makes
the clips from them.

This page is written by `build.py`.
"""


def licence_text(licence: str, folder_of: Callable[[str], Path]) -> str:
    """The full text of a licence.

    Args:
        licence: Name as in the manifest.
        folder_of: Gives the folder of an unpacked package.

    Raises:
        BuildError: no source of the text is known, or it is not where it was.
    """
    if licence in _COMMON_FILES:
        path = _COMMON / _COMMON_FILES[licence]
        if not path.is_file():
            raise BuildError(
                f"found no {path}; expected it from Debian's base-files; copy it there and run again"
            )
        return path.read_text(encoding="utf-8")
    if licence not in _STANZAS:
        raise BuildError(
            f"found licence '{licence}' without a text; expected one of {sorted(_STANZAS | _COMMON_FILES)}"
        )
    package, first_line = _STANZAS[licence]
    path = folder_of(package) / _DOC / package / "copyright"
    content = path.read_text(encoding="utf-8")
    at = content.rfind(first_line)
    if at < 0:
        raise BuildError(
            f"{path}: found no line '{first_line.strip()}'; expected the text of {licence} after it"
        )
    return _plain(
        content[at:], ends_at_stanza=first_line.startswith("License:"), end=_ENDS.get(licence)
    )


def _plain(text: str, *, ends_at_stanza: bool, end: str | None) -> str:
    """The text without the field syntax of a Debian copyright file."""
    if end is not None and end in text:
        text = text[: text.index(end)]
    if not ends_at_stanza:
        return text.strip() + "\n"
    body = []
    for line in text.splitlines()[1:]:
        if line and not line.startswith((" ", "\t")):
            break
        body.append("" if line.strip() in {".", "․"} else line.removeprefix(" ").rstrip())
    return "\n".join(body).strip() + "\n"


def attribution(rows: Iterable[Mapping[str, str]]) -> str:
    """The attribution page of a manifest: licence, package, authors, number of clips."""
    counts: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        key = (row["licence"], row["source_package"], row["source_version"])
        counts[key][row["author"]] += 1
    lines = [_INTRODUCTION]
    previous = None
    for (licence, package, version), authors in sorted(counts.items()):
        if licence != previous:
            lines += [f"## {licence}", "", f"Text: `LICENSES/{licence}.txt`", ""]
            previous = licence
        lines += [f"### {package} {version}", ""]
        if package in NOTES:
            lines += [NOTES[package], ""]
        lines += [
            f"- {author} ({n_clips} clip{'s' * (n_clips != 1)})"
            for author, n_clips in sorted(authors.items())
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
