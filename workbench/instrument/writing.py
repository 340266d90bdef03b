"""Requests that write: tags, notes, undo, and sounds that are handed in."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

from starlette.requests import Request
from starlette.responses import Response

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.annotations import Edit, note_segment, tag_segments, undo
from usad_workbench.core.storage.label_edits import clips_of, label_clips, undo_labels
from usad_workbench.core.storage.segment_table import Ids
from usad_workbench.core.storage.selection import parse_selection
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.contents import tags_in_use
from usad_workbench.workbench.instrument.desk import Desk
from usad_workbench.workbench.instrument.http import (
    JSON,
    MAX_JSON,
    as_json,
    json_object,
    number_of,
    refuse_outdated,
    text_of,
)
from usad_workbench.workbench.instrument.projecting import settings_of
from usad_workbench.workbench.instrument.queries import MAX_UPLOAD_BYTES, Query

MAX_NAME = 200
LATEST_S = 1e9


def _tag(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{select, tag, remove?, author?}``; refused where the selection holds others than it did."""
    asked = json_object(body)
    view, chosen = _chosen(desk, request, asked)
    edit = tag_segments(
        view.workspace,
        chosen,
        _text(asked, "tag"),
        _text(asked, "author", ""),
        is_removed=asked.get("remove") is True,
    )
    return _after(desk, edit)


def _label(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{select, label, author?}``: of the clips of the segments; an empty label takes it away."""
    asked = json_object(body)
    view, chosen = _chosen(desk, request, asked)
    clips = clips_of(view.workspace, chosen)
    edit = label_clips(view.workspace, clips, _text(asked, "label"), _text(asked, "author", ""))
    return as_json({"n": edit.n, "said": edit.said, "edit": edit.edit_id})


def _unlabel(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{edit}``: gives clips back the labels that they had before it."""
    edit = undo_labels(desk.collection.workspace, _edit_of(json_object(body).get("edit")))
    return as_json({"n": edit.n, "said": edit.said})


def _note(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{segment, text, author?}``; an empty text removes the note."""
    asked = json_object(body)
    segment = asked.get("segment")
    if type(segment) is not int:
        raise ConfigError("The request has no segment, expected the id of one.")
    workspace = desk.collection.workspace
    edit = note_segment(workspace, segment, _text(asked, "text"), _text(asked, "author", ""))
    return _after(desk, edit)


def _undo(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{author?, edit?}``: takes back an edit of somebody, the last one where none is named."""
    asked = json_object(body)
    named = asked.get("edit")
    named = named if named is None else _edit_of(named)
    edit = undo(desk.collection.workspace, _text(asked, "author", ""), named)
    return _after(desk, edit or Edit(n=0, said=""), undone=edit.said if edit else None)


def _query(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """A sound: its bytes with ``start`` and ``end`` in the address, or a part of a segment."""
    workspace = desk.collection.workspace
    if request.headers["content-type"].startswith(JSON):
        query = _part_of_segment(desk, json_object(body))
    else:
        name = text_of(request, "name", "recording")[:MAX_NAME]
        start_s, end_s = _seconds(request, "start"), _seconds(request, "end")
        window_s = workspace.segmentation.window_s
        query = desk.queries.add(body, name, window_s, start_s or 0.0, end_s)
    return as_json(
        {
            "query": query.query_id,
            "name": query.name,
            "start_s": query.clip.start_s,
            "duration_s": query.clip.duration_s,
            "whole_s": query.whole_s,
        }
    )


def _project(desk: Desk, request: Request, body: BinaryIO) -> Response:
    """``{space, method?, n_neighbours?, min_dist?, metric?, seed?}``, or ``{cancel: true}``."""
    asked = json_object(body)
    if asked.get("cancel") is True:
        desk.projecting.cancel()
    else:
        space = SpaceName.parse(_text(asked, "space"))
        desk.projecting.start(desk.collection.workspace, space, *settings_of(asked))
    return as_json({"job": desk.projecting.describe()})


def _chosen(desk: Desk, request: Request, asked: Mapping[str, Any]) -> tuple[View, Ids]:
    """The segments of a selection; refused where it holds others than it did for who asks."""
    view = desk.collection.view()
    refuse_outdated(request, view.version)
    select = asked.get("select")
    if not isinstance(select, list):
        raise ConfigError("The request has no select, expected a list of clauses.")
    return view, view.table.segment_ids[view.selected(parse_selection(json.dumps(select)))]


def _edit_of(named: object) -> int:
    if type(named) is not int or not 0 <= named < 1 << 63:
        raise ConfigError("Found an edit that is no number, expected that of an earlier answer.")
    return named


def _part_of_segment(desk: Desk, asked: Mapping[str, Any]) -> Query:
    segment = asked.get("segment")
    times = [t for t in map(asked.get, ("start_s", "end_s")) if _is_time(t)]
    if type(segment) is not int or len(times) != 2:
        raise ConfigError("Expected segment, start_s and end_s, the part in seconds of its sound.")
    whole = desk.sounds.of_segment(desk.collection.workspace, segment)
    return desk.queries.keep_part(whole, f"part of segment {segment}", *times)


def _after(desk: Desk, edit: Edit, **more: object) -> Response:
    view = desk.collection.view()
    told = {"n": edit.n, "said": edit.said, "edit": edit.edit_id, "tags": tags_in_use(view)}
    return as_json({**told, **more})


def _text(asked: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = asked.get(name, default)
    if not isinstance(value, str):
        raise ConfigError(f"The request has no {name}, expected a text.")
    return value


def _is_time(value: object) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 <= value <= LATEST_S  # type: ignore[operator]


def _seconds(request: Request, name: str) -> float | None:
    """A time in the address, given in milliseconds as a whole number."""
    if f"{name}_ms" not in request.query_params:
        return None
    return number_of(request, f"{name}_ms", high=1 << 40) / 1000


@dataclass(frozen=True, slots=True)
class Write:
    """A request that writes."""

    answer: Callable[[Desk, Request, BinaryIO], Response]
    media_types: tuple[str, ...] = (JSON,)
    max_bytes: int = MAX_JSON


WRITING = {
    "tag": Write(_tag),
    "note": Write(_note),
    "label": Write(_label),
    "unlabel": Write(_unlabel),
    "undo": Write(_undo),
    "project": Write(_project),
    "query": Write(_query, ("audio/", JSON, "application/octet-stream"), MAX_UPLOAD_BYTES),
}
"""By the last word of the address."""
