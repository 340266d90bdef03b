"""Short names of encoders for where space is short; the full one stands beside them once."""

from collections.abc import Iterable, Mapping

import pandas as pd

from usad_workbench.workbench.presenters.sql import Sql

COLUMNS = (
    "encoder",
    "student",
    "teacher",
    "control",
    "nearest",
    "other",
    "against",
    "system",
    "name",
)
"""Columns of tables in which encoders are named."""


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name by the last part of its path, with as many parts before it as tell it apart.

    >>> short_names(["hf:/a/b/model", "hf:/a/c/model", "run:runs/tiny@400", "aisfx"])
    {'hf:/a/b/model': 'b/model', 'hf:/a/c/model': 'c/model', 'run:runs/tiny@400': 'tiny@400', \
'aisfx': 'aisfx'}
    """
    whole = list(dict.fromkeys(names))
    parts = {name: _parts(name) for name in whole}
    n_parts = {name: 1 for name in whole}
    while clashing := _clashing({name: _tail(parts[name], n) for name, n in n_parts.items()}):
        longer = [name for name in clashing if n_parts[name] < len(parts[name])]
        if not longer:
            break
        n_parts |= {name: n_parts[name] + 1 for name in longer}
    short = {name: _tail(parts[name], n) for name, n in n_parts.items()}
    # Two kinds of name on one path, such as hf:DIR and run:DIR: only the whole names differ.
    return short | {name: name for name in _clashing(short)}


def encoder_names(sql: Sql) -> dict[str, str]:
    """The short name of every encoder that this workspace knows, the same on every page."""
    rows = sql(
        "SELECT encoder AS name FROM encoders UNION SELECT student FROM distillation "
        "UNION SELECT teacher FROM distillation UNION SELECT student FROM teacher_similarity "
        "UNION SELECT teacher FROM teacher_similarity UNION SELECT encoder FROM probes ORDER BY 1"
    )
    return short_names(str(name) for name in rows["name"])


def short_name(name: object, names: Mapping[str, str]) -> str:
    """The short name where there is one; what is no encoder stays as it is.

    >>> short_name("hf:/a/model", {"hf:/a/model": "model"}), short_name("learned-router", {})
    ('model', 'learned-router')
    """
    return names.get(str(name), str(name))


def describe_panel_cell(cell: str, names: Mapping[str, str]) -> str:
    """A cell of a panel for a list to choose from.

    >>> describe_panel_cell("teacher=hf:/a/model|layer=3", {"hf:/a/model": "model"})
    'teacher model · layer 3'
    """
    parts = [part.partition("=") for part in cell.split("|")]
    return " · ".join(
        f"{key.replace('_', ' ')} {short_name(value, names)}" for key, _, value in parts
    )


def with_short_names(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The table with encoders by their short names."""
    shortened = {
        name: frame[name].map(lambda one: names.get(one, one))
        for name in COLUMNS
        if name in frame and not pd.api.types.is_numeric_dtype(frame[name])
    }
    return frame.assign(**shortened)


def _parts(name: str) -> list[str]:
    """The name without the word that says where it comes from, cut at its slashes."""
    if "/" not in name:
        return [name]
    _, _, path = name.rpartition(":")
    return [word for word in path.split("/") if word] or [name]


def _tail(parts: list[str], n: int) -> str:
    return "/".join(parts[-n:])


def _clashing(short: Mapping[str, str]) -> list[str]:
    values = list(short.values())
    return [name for name, one in short.items() if values.count(one) > 1]
