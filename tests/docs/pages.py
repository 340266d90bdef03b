"""The pages of documentation and what is in them: blocks, headings, links.

How a fenced block is tested follows from its language:

- ``sh`` runs, line by line, in the tiny workspace of ``test_run``; ``bash`` is only parsed,
  since it downloads, trains, serves or takes minutes;
- ``python`` runs, ``py`` is only compiled and its imports looked up;
- ``text`` right behind a block that runs is what that block prints, ``...`` for what varies;
- ``csv`` and ``toml`` are written to the file that the line above names.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROSE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    """Where it begins in the page, from 1."""
    printed: str | None
    """The ``text`` block that follows it with nothing but blank lines between; none otherwise."""
    file: str
    """The file that the line above names as ``NAME`` and a colon; empty where there is none."""

    def commands(self) -> list[list[str]]:
        """The words of each command, lines that end in a backslash joined, comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        commands = [shlex.split(line, comments=True) for line in lines]
        return [words for words in commands if words]


def pages() -> list[Path]:
    """The README, what stands beside it, and ``docs/``."""
    beside = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [page for page in beside if page.exists()] + sorted((ROOT / "docs").glob("*.md"))


def all_markdown() -> list[Path]:
    """Every Markdown file of the repository: cards, tables of simulations, results."""
    folders = [ROOT / name for name in ("core", "docs", "sample_data", "tests", "training")]
    return sorted([*ROOT.glob("*.md"), *(file for f in folders for file in f.rglob("*.md"))])


def page_name(page: Path) -> str:
    """The path of a page from the root of the repository, for the name of a test."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page in these languages, in their order."""
    text = page.read_text(encoding="utf-8")
    fences = list(_FENCE.finditer(text))
    return [
        Block(
            language=fence[1],
            text=fence[2],
            line=text.count("\n", 0, fence.start()) + 1,
            printed=_printed(text, fence, following),
            file=_named_above(text[: fence.start()]),
        )
        for fence, following in zip_longest(fences, fences[1:])
        if fence[1] in languages
    ]


def _printed(text: str, fence: re.Match[str], following: re.Match[str] | None) -> str | None:
    if following is None or following[1] != "text":
        return None
    between = text[fence.end() : following.start()]
    return None if between.strip() else following[2]


def _named_above(text: str) -> str:
    named = re.search(r"`([\w.-]+)`:\s*\Z", text)
    return named[1] if named else ""


def languages(page: Path) -> set[str]:
    """The languages of all fenced blocks of a page; an empty one for a fence without any."""
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return set(fences[::2])


def anchors(page: Path) -> set[str]:
    """What a link may name behind ``#``: the headings, as GitHub writes them."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[str]:
    """The targets of all links and pictures, code apart."""
    yield from _LINK.findall(_PROSE.sub("`", page.read_text(encoding="utf-8")))


def prose(page: Path) -> str:
    """A page without its blocks, tables, headings and pictures."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^(?:[|#<]|!\[).*$", "", text, flags=re.MULTILINE)


def sentences(page: Path) -> list[list[str]]:
    """The words of each sentence or list item of a page."""
    text = re.sub(r"\]\([^)]*\)", "", prose(page)).replace("[", "")
    text = re.sub(r"`[^`]*`", "code", text)
    parts = re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n\s*[-*] |\n\d+\. ", text)
    return [words for words in (part.split() for part in parts) if len(words) > 1]
