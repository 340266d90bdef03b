"""TOML files to frozen dataclasses, strictly.

A wrong key, type or value is an error with the file, the dotted key, the value found
and the nearest known key; nothing is guessed, converted or ignored. Values come from
the defaults in code, then the file, then ``--set`` overrides, and from nowhere else.
Which numbers can be stands beside a field, as ``Annotated[int, Between(1, 64)]``.
"""

import dataclasses
import json
import math
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from usad_workbench.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """From ``low`` to ``high``; the ends belong to it unless they are left out.

    >>> Between(0, 1, without_high=True).words, Between(1).holds(0)
    ('from 0 to below 1', False)
    """

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is inside; one that is none is not."""
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        return above and below

    @property
    def words(self) -> str:
        """The same for people."""
        if math.isinf(self.high):
            return f"more than {self.low:g}" if self.without_low else f"{self.low:g} or more"
        low = f"above {self.low:g}" if self.without_low else f"from {self.low:g}"
        return f"{low} to {'below ' if self.without_high else ''}{self.high:,g}"


def load_config(kind: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """A dataclass from a TOML file, with ``a.b=value`` overrides applied on top.

    A file that ends in ``.json`` is read as such: what ``config_to_dict`` gave.

    Raises:
        ConfigError: no such file, not TOML, or a key or value that does not fit.
    """
    path = Path(path)
    kind_of_file = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if kind_of_file == "JSON" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not {kind_of_file}: {error}. Correct that line.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Give the path of a {kind_of_file} file."
        ) from error
    if not isinstance(table, dict):
        raise _wrong_type(path.name, "", "a table", table)
    for override in overrides:
        apply_override(table, override)
    return parse_config(kind, table, source=path.name)


def parse_config(kind: type[T], table: Mapping[str, Any], *, source: str) -> T:
    """A dataclass from a table, checked key by key.

    Args:
        kind: A dataclass with fields that ``check_kind`` takes.
        table: What was read.
        source: Named in errors: the file.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type or out of bounds.
        TypeError: a field of a type that is not supported, see ``check_kind``.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Rate:
    ...     rate_hz: float
    >>> parse_config(Rate, {"rate_hz": 50.0}, source="example")
    Rate(rate_hz=50.0)
    """
    built: T = _build(kind, table, source, "")
    return built


def apply_override(table: dict[str, Any], override: str) -> None:
    """Sets ``a.b=value`` in a table; the value is TOML, or text where it is not.

    A number addresses an entry of a list: ``teachers.0.name=ge2e``.

    Raises:
        ConfigError: no ``=``, or a key that leads through something else than a table.

    >>> table = {"a": {"b": 1}}
    >>> apply_override(table, "a.b=2.5")
    >>> apply_override(table, "a.c=text")
    >>> table
    {'a': {'b': 2.5, 'c': 'text'}}
    """
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"Override {override!r} is not of the form key.subkey=value.")
    at: Any = table
    for position, name in enumerate(names):
        is_last = position == len(names) - 1
        if isinstance(at, list) and name.isdecimal() and int(name) < len(at):
            index: Any = int(name)
        elif isinstance(at, dict):
            index = name
            if not is_last:
                at.setdefault(name, {})
        else:
            raise ConfigError(
                f"Override {override!r}: {'.'.join(names[:position]) or 'the file'} has no "
                f"entry {name!r}. Name a key of a table, or the number of an entry of a list."
            )
        if is_last:
            at[index] = _parse_value(text.strip())
        else:
            at = at[index]


def config_to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain values that JSON and TOML can hold."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any], at: str = "") -> list[str]:
    """Dotted keys whose values differ, each with both values.

    >>> differing_keys({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    ['a.b (1, 3)']
    """
    differing: list[str] = []
    for key in sorted({*first, *second}):
        left, right = first.get(key), second.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            differing += differing_keys(left, right, f"{at}{key}.")
        elif left != right:
            differing.append(f"{at}{key} ({left!r}, {right!r})")
    return differing


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return config_to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or a number or list beyond all measure
        return text


def check_kind(kind: type) -> None:
    """Refuses a dataclass with a field whose values could not be read one way only.

    Fields may be ``bool``, ``int``, ``float``, ``str``, ``Any``, literals of one type, dataclasses,
    ``tuple[X, ...]``, ``dict[str, X]``, ``X | None``, and any of them ``Annotated``.

    Raises:
        TypeError: another type, such as a union of two or a tuple of fixed length: that is a
            mistake of the program, not of the file.

    >>> check_kind(dataclasses.make_dataclass("Clip", [("length", int | str)]))
    Traceback (most recent call last):
    TypeError: Clip.length is a union of several types, int | str; a configuration takes one type...
    """
    if kind in _checked_kinds:
        return
    _checked_kinds.add(kind)  # before its fields: one may be of the same kind
    try:
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            if field.init:
                _check_hint(hints[field.name], f"{kind.__name__}.{field.name}")
    except TypeError:
        _checked_kinds.discard(kind)
        raise


_checked_kinds: set[type] = set()


def _check_hint(hint: Any, where: str) -> None:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        check_kind(hint)
    elif origin is Annotated or (origin is dict and arguments[0] is str):
        _check_hint(arguments[0 if origin is Annotated else 1], where)
    elif origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) > 1:
            raise TypeError(
                f"{where} is a union of several types, {hint}; a configuration takes one type, or "
                "one and None. Declare two fields, or one of them."
            )
        _check_hint(inner[0], where)
    elif origin is Literal:
        if len({type(value) for value in arguments}) > 1:
            raise TypeError(f"{where} is {hint}; expected literals of one type. Choose one.")
    elif origin is tuple:
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            raise TypeError(
                f"{where} is {hint}, a tuple of fixed length; a configuration takes tuple[X, ...]. "
                "Declare a field for each value."
            )
        _check_hint(arguments[0], where)
    elif hint not in (Any, bool, int, float, str):
        raise TypeError(
            f"{where} is {hint}, which no configuration file can hold. Expected a number, text, "
            "true or false, a literal, a dataclass, tuple[X, ...] or dict[str, X]."
        )


def _build(kind: Any, table: Any, source: str, at: str) -> Any:
    check_kind(kind)
    if not isinstance(table, Mapping):
        raise _wrong_type(source, at, "a table", table)
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for key in table:
        if key not in fields:
            raise ConfigError(
                f"{source}: unknown key {_dotted(at, key)} = {table[key]!r}. "
                f"{did_you_mean(key, fields)}"
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], source, _dotted(at, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"{source}: key {_dotted(at, name)} is missing. Add it; it must be "
                f"{_describe(hints[name])}."
            )
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {at + ': ' if at else ''}{error}") from error


def _convert(hint: Any, value: Any, source: str, at: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        converted = _convert(arguments[0], value, source, at)
        _check_bounds(converted, arguments[1:], source, at)
        return converted
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, source, at)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _convert(inner, value, source, at)
    if origin is Literal:
        if value not in arguments or type(value) is not type(arguments[0]):
            raise _wrong_type(source, at, _describe(hint), value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong_type(source, at, "a list", value)
        return tuple(
            _convert(arguments[0], item, source, f"{at}.{i}") for i, item in enumerate(value)
        )
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong_type(source, at, "a table", value)
        return {
            key: _convert(arguments[1], item, source, _dotted(at, key))
            for key, item in value.items()
        }
    return _scalar(hint, value, source, at)


def _scalar(hint: Any, value: Any, source: str, at: str) -> Any:
    if hint is Any:
        return value
    # bool is an int in Python, but `steps = true` is a mistake; 1 for 1.0 is none.
    fits: Callable[[Any], bool] = {
        float: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        int: lambda v: isinstance(v, int) and not isinstance(v, bool),
    }.get(hint, lambda v: isinstance(v, hint))
    if not fits(value):
        raise _wrong_type(source, at, _describe(hint), value)
    if isinstance(value, str):
        _check_text(value, source, at)
    if hint is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong_type(source, at, "a finite number", value)
    return number


def _check_bounds(value: Any, annotations: Sequence[Any], source: str, at: str) -> None:
    for bounds in annotations:
        if isinstance(bounds, Between) and not bounds.holds(value):
            raise ConfigError(
                f"{source}: {at} = {value!r}, expected {bounds.words}. Correct the value."
            )


def _check_text(value: str, source: str, at: str) -> None:
    # No path holds a NUL; what the command line could not decode fits into no file.
    if "\0" in value or value.encode(errors="ignore").decode() != value:
        raise _wrong_type(source, at, "text in UTF-8 without NUL", value)


def _wrong_type(source: str, at: str, expected: str, value: Any) -> ConfigError:
    return ConfigError(
        f"{source}: {at or 'the file'} must be {expected}, found {type(value).__name__} "
        f"{value!r}. Correct the value."
    )


def _describe(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return _describe(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(value) for value in get_args(hint))
    if get_origin(hint) in (tuple, dict) or dataclasses.is_dataclass(hint):
        return "a list" if get_origin(hint) is tuple else "a table"
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    return names.get(hint, str(hint))


def _dotted(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
