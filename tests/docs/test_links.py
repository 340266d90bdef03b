"""Links between the pages lead somewhere, pictures exist, sentences are short."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, all_markdown, anchors, links, page_name, pages, sentences

PAGES = pytest.mark.parametrize("page", pages(), ids=page_name)


@pytest.mark.parametrize("page", all_markdown(), ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page) if not _leads_somewhere(page, target)] == []


def _leads_somewhere(page: Path, target: str) -> bool:
    if target.startswith(("https://", "http://", "mailto:")):
        return True
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.exists() or not file.is_relative_to(ROOT):
        return False
    return not anchor or (file.suffix == ".md" and anchor in anchors(file))


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / target.split("#")[0]).resolve() for target in links(page)]
            pending += [t for t in targets if t.suffix == ".md" and t.is_file()]
    assert [page_name(page) for page in pages() if page.resolve() not in reached] == []


def test_pictures_of_pages_are_not_empty() -> None:
    pictures = [
        (page.parent / target).resolve()
        for page in pages()
        for target in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert pictures
    assert all(picture.stat().st_size > 1000 for picture in pictures)


@PAGES
def test_sentences_are_short(page: Path) -> None:
    if page.name in ("CHANGELOG.md", "statistics.md"):  # a table, and formulas
        return
    lengths = [len(words) for words in sentences(page)]
    assert sum(lengths) / len(lengths) < 18
    long = [" ".join(words) for words in sentences(page) if len(words) > 45]
    assert long == []


@PAGES
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.search(r"@@|TODO|FIXME|XXX", page.read_text(encoding="utf-8"))


def test_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(len(line.split()) for line in lines) < 90


@PAGES
def test_paths_of_the_code_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # it names what was
        return
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:core|training|indexes|workbench|tests|sample_data)/[\w./]*)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
