"""Recipes are read strictly: every mistake is named with file, key, value and a near key."""

import math
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from usad_workbench.core.config import (
    Between,
    apply_override,
    check_kind,
    config_to_dict,
    differing_keys,
    load_config,
    parse_config,
)
from usad_workbench.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    name: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    n_steps: int
    part: Part
    parts: tuple[Part, ...] = ()
    layers: tuple[int, ...] = ()
    share: dict[str, float] = field(default_factory=dict)
    kind: Literal["ffn", "block"] = "ffn"
    is_quiet: bool = False
    note: str | None = None

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ConfigError(f"n_steps = {self.n_steps}, expected at least 1.")


TEXT = """
n_steps = 5
layers = [1, 2]
note = "x"
[part]
name = "a"
weight = 2
[[parts]]
name = "b"
[share]
speech = 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(TEXT)
    return file


def test_a_file_becomes_dataclasses(path: Path) -> None:
    config = load_config(Whole, path)
    assert config == Whole(
        n_steps=5,
        layers=(1, 2),
        note="x",
        share={"speech": 1.0},
        part=Part(name="a", weight=2.0),
        parts=(Part(name="b"),),
    )
    assert isinstance(config.part.weight, float)
    assert parse_config(Whole, config_to_dict(config), source="again") == config


def test_overrides_come_last(path: Path) -> None:
    overrides = ["n_steps=7", "part.name=plain text", "parts.0.weight=1e-3", 'kind="block"']
    config = load_config(Whole, path, overrides)
    assert (config.n_steps, config.part.name, config.kind) == (7, "plain text", "block")
    assert config.parts[0].weight == 1e-3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_step=7", r"run.toml: unknown key n_step = 7. Did you mean n_steps"),
        ("part.wieght=7", r"unknown key part.wieght = 7. Did you mean weight"),
        ("n_steps=2.5", r"run.toml: n_steps must be a whole number, found float 2.5"),
        ("n_steps=true", r"n_steps must be a whole number, found bool True"),
        ("part.weight=big", r"part.weight must be a number, found str 'big'"),
        ("is_quiet=1", r"is_quiet must be true or false, found int 1"),
        ("kind=mlp", r"kind must be one of 'ffn', 'block', found str 'mlp'"),
        ("layers=3", r"layers must be a list, found int 3"),
        ("layers=[1, 'x']", r"layers.1 must be a whole number, found str 'x'"),
        ("part=3", r"part must be a table, found int 3"),
        ("share.sound=loud", r"share.sound must be a number"),
        ("n_steps=0", r"run.toml: n_steps = 0, expected at least 1"),
        ("n_steps", r"not of the form key.subkey=value"),
        ("=3", r"not of the form"),
        ("parts.4.name=x", r"parts has no entry '4'"),
        ("n_steps.x=1", r"n_steps has no entry 'x'"),
    ],
)
def test_mistakes_are_named(path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Whole, path, [override])


def test_a_missing_key_is_named(path: Path) -> None:
    path.write_text("n_steps = 1\n[part]\n")
    with pytest.raises(ConfigError, match=r"key part.name is missing. Add it; it must be text"):
        load_config(Whole, path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Whole, tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("n_steps = = 1")
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 1"):
        load_config(Whole, broken)


def test_differences_are_listed_with_dotted_keys() -> None:
    one = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert differing_keys(one, {"a": {"b": 1, "c": 3}}) == ["a.c (2, 3)", "d ([1], None)"]


def test_overrides_make_tables() -> None:
    table: dict[str, object] = {}
    apply_override(table, "a.b.c=[1, 2]")
    assert table == {"a": {"b": {"c": [1, 2]}}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounded:
    n: Annotated[int, Between(1, 64)] = 1
    share: Annotated[float, Between(0, 1, without_high=True)] = 0.0
    free: float = 0.0
    layers: tuple[Annotated[int, Between(1, 9)], ...] = ()
    name: str = "a"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("n", 0, "n = 0, expected from 1 to 64"),
        ("n", 65, "n = 65, expected from 1 to 64"),
        ("share", 1.0, "share = 1.0, expected from 0 to below 1"),
        ("share", math.nan, "share must be a finite number, found float nan"),
        ("free", -math.inf, "free must be a finite number, found float -inf"),
        ("free", 10**400, "free must be a finite number"),
        ("layers", [1, 10], r"layers.1 = 10, expected from 1 to 9"),
        ("name", "a\0b", "name must be text in UTF-8 without NUL"),
        ("name", "a\udcffb", "name must be text in UTF-8 without NUL"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_key(
    key: str, value: object, words: str
) -> None:
    with pytest.raises(ConfigError, match=f"example: {words}"):
        parse_config(Bounded, {key: value}, source="example")


def test_values_at_the_ends_are_taken() -> None:
    table = {"n": 64, "share": 0, "layers": [1, 9]}
    assert parse_config(Bounded, table, source="example") == Bounded(n=64, layers=(1, 9))


def test_numbers_beyond_all_measure_are_text_then_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="n_steps must be a whole number"):
        load_config(Whole, path, ["n_steps=" + "9" * 5000])


def test_what_was_resolved_is_read_again(path: Path, tmp_path: Path) -> None:
    once = load_config(Bounded, _written(tmp_path / "r.json", '{"n": 7, "layers": [2]}'))
    assert once == Bounded(n=7, layers=(2,))
    for text, words in (("[1]", "must be a table"), ("{", "is not JSON")):
        with pytest.raises(ConfigError, match=words):
            load_config(Bounded, _written(tmp_path / "r.json", text))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | str, "union of several types"),
        (float | int | None, "union of several types"),
        (tuple[int, str], "tuple of fixed length"),
        (tuple[int], "tuple of fixed length"),
        (list[int], "no configuration file can hold"),
        (dict[int, str], "no configuration file can hold"),
        (Path, "no configuration file can hold"),
        (Literal["a", 1], "literals of one type"),
        (tuple[int | str, ...], "union of several types"),
    ],
)
def test_what_cannot_be_read_one_way_only_is_refused(hint: object, words: str) -> None:
    """Refused with the class, whatever the file holds: no value is taken as the first type."""
    inner = make_dataclass("Inner", [("field", hint, field(default=None))])
    outer = make_dataclass("Outer", [("inner", inner, field(default=None))])
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(TypeError, match=rf"Inner\.field .*{words}"):
            parse_config(outer, {}, source="file")


@dataclass(frozen=True)
class Tree:
    leaf: float | None = None
    inner: "Tree | None" = None


def test_kinds_that_are_supported_pass() -> None:
    for kind in (Whole, Tree):
        check_kind(kind)
    assert parse_config(Tree, {"inner": {"leaf": 1}}, source="file") == Tree(inner=Tree(leaf=1.0))
