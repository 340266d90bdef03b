"""What is known of clips beside their audio: fields of manifests as columns of ``clips``."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from usad_workbench.core.clips import TEACHER_DOMAINS
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.domains import same_domain
from usad_workbench.core.storage.schema import CLIP_COLUMNS, quote
from usad_workbench.core.storage.workspace import Workspace

UNKNOWN_DOMAIN = "unknown"
MEASURED = frozenset({"path", "duration_s", "sample_rate_hz", "audio_sha256", "samples_digest"})
"""Columns that come from the file itself, whatever a manifest says."""
RESERVED = frozenset({"segment_id", "start_s", "end_s", "x", "y", "score", "rank", "vector"})
"""Column names that the app and the other tables use beside a clip's own."""


def column_name(name: str) -> str:
    """The column that a manifest's field becomes; never one that means something else.

    >>> column_name("Pitch (MIDI)"), column_name("score")
    ('pitch_midi', 'meta_score')
    """
    column = re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "field"
    return f"meta_{column}" if column in RESERVED or column in MEASURED else column


def refuse_collisions(names: Collection[str], where: object) -> None:
    """Raises where two columns of a table would become one of a workspace.

    >>> refuse_collisions(["Label", "label"], "m.csv")
    Traceback (most recent call last):
    usad_workbench.core.errors.ConfigError: The columns 'Label' and 'label' of m.csv would both \
become 'label'. Rename one.
    """
    by_column: dict[str, str] = {}
    for name in filter(None, names):
        other = by_column.setdefault(column_name(name), name)
        if other is not name:
            raise ConfigError(
                f"The columns {other!r} and {name!r} of {where} would both become "
                f"{column_name(name)!r}. Rename one."
            )


def columns_of(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields under the names of their columns."""
    return {column_name(name): value for name, value in fields.items()}


def stored_clips(workspace: Workspace, wanted: Collection[str]) -> list[dict[str, object]]:
    """The clips of a workspace with the columns that tell them apart and those that are wanted."""
    columns = workspace.read("DESCRIBE clips").column_name
    names = [name for name in columns if name in CLIP_COLUMNS or name in wanted]
    stored = workspace.read(f"SELECT {', '.join(map(quote, names))} FROM clips")
    clips = stored.astype(object).where(stored.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in clips.to_dict("records")]


def new_values(
    clip: Mapping[str, object], fields: Mapping[str, str], update: bool
) -> dict[str, str]:
    """Those fields that a clip does not have yet.

    Args:
        clip: What is stored.
        fields: By column.
        update: Fields replace what is stored.

    Raises:
        ConfigError: other values are stored, and they are not to be replaced.
    """
    others = {
        name: value for name, value in _settled(clip, fields).items() if clip.get(name) != value
    }
    clash = sorted(name for name in others if not is_open(clip, name))
    if clash and not update:
        name = clash[0]
        raise ConfigError(
            f"The clip {clip['clip_id']!r} has the {name} {clip[name]!r}, found {fields[name]!r} for "
            "it. Nothing of it was changed: correct one of them, or take what is found with --update."
        )
    return others


def _settled(clip: Mapping[str, object], fields: Mapping[str, str]) -> Mapping[str, str]:
    """The fields with the domain as the clip has it, where it differs in letters alone."""
    if "domain" not in fields:
        return fields
    return {**fields, "domain": domain_of(str(clip.get("domain") or ""), fields["domain"])}


def domain_of(stored: str, found: str) -> str:
    """A domain that is found for a clip, as the stored one is written where it is the same.

    >>> domain_of("whales", "Whales"), domain_of("", "Speech"), domain_of("speech", "Birds ")
    ('whales', 'speech', 'Birds')
    """
    return same_domain(found, [stored, *TEACHER_DOMAINS])


def is_open(clip: Mapping[str, object], name: str) -> bool:
    """Whether a value of a clip was never given: it is empty, or what an import puts by itself."""
    value = clip.get(name)
    by_itself = {
        "domain": UNKNOWN_DOMAIN,
        "cluster_id": clip["clip_id"],
        "dataset": Path(str(clip.get("path") or "")).parent.name,
    }
    return not value or value == by_itself.get(name)


def add_columns(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Adds the columns of text that ``clips`` does not have yet."""
    for name in names:
        if name not in CLIP_COLUMNS:
            connection.execute(f"ALTER TABLE clips ADD COLUMN IF NOT EXISTS {quote(name)} VARCHAR")


def change_clips(workspace: Workspace, changes: Mapping[str, Mapping[str, str]]) -> None:
    """Sets fields of clips, in one transaction; columns that are not there are added.

    Args:
        workspace: Where.
        changes: Values by column, by clip.
    """
    names = {name for values in changes.values() for name in values}
    columns = {name: [values.get(name) for values in changes.values()] for name in names}
    cells = {"clip_id": list(changes), **columns}
    set_fields(workspace, pa.table({k: pa.array(v, pa.string()) for k, v in cells.items()}))


def set_fields(workspace: Workspace, changes: pa.Table) -> None:
    """``change_clips`` by columns, for very many clips.

    Args:
        workspace: Where.
        changes: ``clip_id`` and columns of text; what is missing in them stays as it is.
    """
    if not len(changes):
        return
    names = sorted(set(changes.column_names) - {"clip_id"})
    with workspace.database.write() as connection:
        connection.register("changed_clips", changes)
        add_columns(connection, names)
        for name in names:
            column = quote(name)
            connection.execute(
                f"UPDATE clips SET {column} = changed_clips.{column} FROM changed_clips "
                f"WHERE clips.clip_id = changed_clips.clip_id AND changed_clips.{column} IS NOT NULL"
            )
