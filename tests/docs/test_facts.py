"""What the pages say of numbers and options is what the code has."""

import argparse
import re
import tomllib
from collections.abc import Iterator

import yaml

from tests.docs.pages import ROOT
from usad_workbench.core.diagnosis.rules import MIN_CLIPS
from usad_workbench.core.diagnosis.suite import panel_kinds
from usad_workbench.core.encoders.registry import encoder_spec
from usad_workbench.core.models.sizes import SIZES, count_parameters
from usad_workbench.core.storage.schema import SCHEMA_VERSION, TABLES, VIEWS
from usad_workbench.workbench.cli import build_parser


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_numbers_that_the_code_knows() -> None:
    count = count_parameters(SIZES["demo"])
    assert f"A domain needs {MIN_CLIPS} clips" in _page("docs/diagnosis.md")
    for n in (count.published, count.up_to_last_layer, count.total):
        assert f"{n:,}" in _page("docs/encoders.md")


def test_every_command_that_can_run_foreign_code_is_named() -> None:
    (told,) = re.findall(
        r"runs only with `--trust-remote-code`, which (.*?) take\.", _page("docs/encoders.md")
    )
    takes = {name for name, parser in _parsers() if "--trust-remote-code" in parser.format_help()}
    assert {word for word in re.findall(r"`([a-z ]+)`", told.replace("encoders ", ""))} == takes


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command, and the actions of those that have some, by their last word."""
    pending = [("", build_parser())]
    while pending:
        name, parser = pending.pop()
        found = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        pending += [item for action in found for item in action.choices.items()]
        if not found:
            yield name, parser


def test_every_panel_is_described() -> None:
    (table,) = re.findall(
        r"^\| panel \|.*\n((?:\|.*\n)+)", _page("docs/diagnosis.md"), re.MULTILINE
    )
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert {kind.name for kind in panel_kinds()} == named


def test_tables_of_the_store_exist() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", _page("docs/store.md"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    views = {"embeddings", *VIEWS}
    assert named - set(TABLES) <= views
    assert set(TABLES) - named <= {"meta", "staged_spaces"}


def test_schema_version_is_the_one_of_the_policy() -> None:
    assert f"`meta.schema_version`, now {SCHEMA_VERSION}" in _page("CHANGELOG.md")


def test_every_recipe_is_listed() -> None:
    text = _page("docs/training.md")
    recipes = {file.stem for file in (ROOT / "training" / "recipes").glob("*.toml")}
    assert {name for name in recipes if f"`{name}`" not in text} == set()


def test_encoders_are_listed_with_their_parameters() -> None:
    """The column of the table, in millions with one digit."""
    rows = re.findall(
        r"^\| `([\w.-]+)` \|(?:[^|]+\|){3} ([\d.]+) M \|", _page("docs/encoders.md"), re.MULTILINE
    )
    assert len(rows) >= 7
    for name, millions in rows:
        assert round((encoder_spec(name).n_params or 0) / 1e6, 1) == float(millions), name


def test_citation_is_valid() -> None:
    citation = yaml.safe_load(_page("CITATION.cff"))
    required = {"cff-version", "message", "title", "authors"}
    assert required <= set(citation)
    project = tomllib.loads(_page("pyproject.toml"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    for work in (citation, *citation["references"]):
        assert work["title"] and work["authors"] and work["type"]
    assert any("2606.06444" in work["url"] for work in citation["references"])


def test_hooks_fetch_nothing() -> None:
    (repo,) = yaml.safe_load(_page(".pre-commit-config.yaml"))["repos"]
    assert repo["repo"] == "local"
    assert {hook["id"] for hook in repo["hooks"]} == {"ruff", "ruff-format", "lint-imports"}
    assert all(hook["language"] == "system" for hook in repo["hooks"])


def test_every_folder_of_the_code_is_on_the_map() -> None:
    text = _page("docs/architecture.md")
    packages = tomllib.loads(_page("pyproject.toml"))["tool"]["setuptools"]["packages"]
    folders = [name.removeprefix("usad_workbench.").replace(".", "/") for name in packages]
    assert len(folders) > 20
    assert [folder for folder in folders if folder != "core" and f"`{folder}/" not in text] == []
