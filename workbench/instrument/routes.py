"""The routes of the instrument: each reads its parameters, calls one function, and answers.

Measured at a million segments in processor seconds of the server: the collection 1.3 at first and
0.007 from then on, points 0.17 and 0.007, the mask of a new polygon 0.02 to 0.03, all counts 0.06,
a page of 50 rows 0.13, sorted by name 0.27.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import ConfigError, UsadError, wrap_errors
from usad_workbench.core.storage.segment_table import NO_CODE, Categories, Numbers
from usad_workbench.core.storage.selection import Selection, parse_selection
from usad_workbench.core.storage.space_names import MapName, SpaceName
from usad_workbench.workbench.instrument import contents, facets, listing, writing
from usad_workbench.workbench.instrument.collection import Collection, View
from usad_workbench.workbench.instrument.desk import Desk
from usad_workbench.workbench.instrument.duplicates import duplicates
from usad_workbench.workbench.instrument.exporting import FORMATS, download_name, export
from usad_workbench.workbench.instrument.http import (
    Assets,
    as_bytes,
    as_json,
    guarded,
    number_of,
    posted,
    ranged,
    refuse_outdated,
    text_of,
)
from usad_workbench.workbench.instrument.labels import Label, labels
from usad_workbench.workbench.instrument.moved import moved
from usad_workbench.workbench.instrument.queries import MAX_ENCODERS
from usad_workbench.workbench.instrument.similar import MAX_K, Asked, similar
from usad_workbench.workbench.instrument.sounds import peaks
from usad_workbench.workbench.presenters import sound

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "instrument"
ATTEMPTS = 5
"""How often an answer is begun anew because others write, where any version will do."""
NO_COLOUR_8, NO_COLOUR_16 = 255, 65_535


Answer = Callable[[Desk, View, Request], Response]


def instrument_routes(
    folder: str | Path, base: str = "", *, is_read_now: bool = False
) -> list[BaseRoute]:
    """The routes over the workspace in a folder.

    Args:
        folder: Of the workspace; it is opened when something is asked for.
        base: The path under which the app is served.
        is_read_now: Reads what every first page needs at once, in a thread: at a million
            segments two seconds, which pass while a browser starts.
    """
    desk = Desk(Collection(folder))
    if is_read_now:
        threading.Thread(target=_read_now, args=(desk.collection,), daemon=True).start()
    prefix = f"/{base.strip('/')}" if base.strip("/") else ""
    reading: dict[str, Answer] = {
        "collection": _collection,
        "points": _points,
        "categories": _categories,
        "codes": _codes,
        "numbers": _numbers,
        "mask": _mask,
        "facets": _facets,
        "rows": _rows,
        "row": _row,
        "sound": _sound,
        "spectrogram": _spectrogram,
        "wave": _wave,
        "labels": _labels,
        "similar": _similar,
        "prepare": _prepare,
        "duplicates": _duplicates,
        "moved": _moved,
        "export": _export,
        "projecting": _projecting,
    }
    routes: list[BaseRoute] = [
        Route(f"{prefix}/instrument/{name}", guarded(partial(_answered, desk, answer)))
        for name, answer in reading.items()
    ]
    for name, write in writing.WRITING.items():
        handler = posted(partial(write.answer, desk), *write.media_types, max_bytes=write.max_bytes)
        routes.append(Route(f"{prefix}/instrument/{name}", handler, methods=["POST"]))
    if ASSETS.is_dir():
        routes.append(Mount(f"{prefix}/instrument/assets", Assets(directory=ASSETS)))
    return routes


def _read_now(collection: Collection) -> None:
    with suppress(UsadError):  # whoever opens the page is told in words
        view = collection.view()
        contents.describe(view)
        contents.facets_of(view, ())


def _answered(desk: Desk, answer: Answer, request: Request) -> Response:
    """The answer, unless the address is of another version of the collection."""
    view = desk.collection.view()
    refuse_outdated(request, view.version)
    for _ in range(ATTEMPTS - 1):
        try:
            return answer(desk, view, request)
        except UsadError:
            # What is asked for may have gone, and something else have come, since it was looked at.
            before, view = view, desk.collection.view()
            refuse_outdated(request, view.version)
            if view.version == before.version:
                raise
    return answer(desk, view, request)


def _collection(desk: Desk, view: View, request: Request) -> Response:
    return as_json(contents.describe(view))


def _points(desk: Desk, view: View, request: Request) -> Response:
    points = view.points(MapName.parse(text_of(request, "map")))
    head = np.array([len(view)], dtype="<u4").tobytes()
    x, y = (axis.astype("<u2").tobytes() for axis in (points.x, points.y))
    return as_bytes(head, x, y, keep=_is_kept(request))


def _categories(desk: Desk, view: View, request: Request) -> Response:
    column = _category(view, request)
    counts = np.bincount(column.codes[column.codes != NO_CODE], minlength=len(column.values))
    values = column.values[:NO_COLOUR_16]
    return as_json(
        {"values": values, "counts": counts[: len(values)], "n_distinct": len(column.values)},
        keep=_is_kept(request),
    )


def _codes(desk: Desk, view: View, request: Request) -> Response:
    column = _category(view, request)
    is_small = len(column.values) <= NO_COLOUR_8
    none = NO_COLOUR_8 if is_small else NO_COLOUR_16
    # Beyond 65,534 values the rarest share the last code: they are told apart by no colour.
    codes = np.where(column.codes == NO_CODE, none, column.codes.clip(max=none - 1))
    return as_bytes(codes.astype("u1" if is_small else "<u2").tobytes(), keep=_is_kept(request))


def _numbers(desk: Desk, view: View, request: Request) -> Response:
    column = view.column(text_of(request, "name"))
    if not isinstance(column, Numbers):
        raise ConfigError(f"The column {column.name!r} holds names: ask for its codes.")
    edges = facets.quantile_edges(column)
    if request.query_params.get("edges") is not None:
        return as_json({"edges": edges}, keep=_is_kept(request))
    return as_bytes(facets.coloured(column, edges).tobytes(), keep=_is_kept(request))


def _mask(desk: Desk, view: View, request: Request) -> Response:
    mask = view.selected(_selection(request))
    head = np.array([mask.sum(), len(mask)], dtype="<u4").tobytes()
    return as_bytes(head, np.packbits(mask, bitorder="little").tobytes())


def _facets(desk: Desk, view: View, request: Request) -> Response:
    return as_json(contents.facets_of(view, _selection(request)))


def _rows(desk: Desk, view: View, request: Request) -> Response:
    page = listing.page(
        view,
        _selection(request),
        offset=number_of(request, "offset", 0),
        limit=number_of(request, "limit", 100, low=1, high=listing.MAX_LIMIT),
        sort=text_of(request, "sort", ""),
        is_down=text_of(request, "down", "0") in ("1", "true"),
    )
    return as_json(page)


def _row(desk: Desk, view: View, request: Request) -> Response:
    if "row" in request.query_params:
        row = number_of(request, "row", high=len(view) - 1)
    else:
        row = listing.existing_rows(view, np.array([number_of(request, "segment")]))[0]
    return as_json(listing.described(view, np.array([row]))[0])


def _sound(desk: Desk, view: View, request: Request) -> Response:
    wav = sound.wav_bytes(_clip(desk, view, request))
    return ranged(request, wav, "audio/wav", keep=_is_kept(request))


def _spectrogram(desk: Desk, view: View, request: Request) -> Response:
    kind = text_of(request, "kind", "mel")
    if kind not in ("mel", "linear"):
        raise ConfigError(f"Found kind={kind[:40]!r}, expected mel or linear.")
    width = number_of(request, "width", 320, low=8, high=2048)
    height = number_of(request, "height", 96, low=8, high=512)
    picture = sound.thumbnail(
        _clip(desk, view, request), width, height, "mel" if kind == "mel" else "linear"
    )
    return as_bytes(picture, media_type="image/png", keep=_is_kept(request))


def _wave(desk: Desk, view: View, request: Request) -> Response:
    clip = _clip(desk, view, request)
    n = number_of(request, "n", 300, low=1, high=4096)
    content = {
        "peaks": peaks(clip, n),
        "duration_s": clip.duration_s,
        "sample_rate_hz": clip.sample_rate_hz,
    }
    return as_json(content, keep=_is_kept(request))


def _labels(desk: Desk, view: View, request: Request) -> Response:
    column = view.column(text_of(request, "column", "label"))
    found: list[Label] = []
    if isinstance(column, Categories):
        points = view.points(MapName.parse(text_of(request, "map")))
        found = labels(points, column, view.selected(_selection(request)))
    return as_json({"labels": [asdict(label) for label in found]})


def _similar(desk: Desk, view: View, request: Request) -> Response:
    parameters = request.query_params
    among = None
    if "among" in parameters:
        chosen = parse_selection(text_of(request, "among"))
        among = view.table.segment_ids[view.selected(chosen)] if chosen else None
    asked = Asked(
        like=parameters.getlist("for"),
        unlike=parameters.getlist("unlike"),
        k=number_of(request, "k", 10, low=1, high=MAX_K),
        among=among,
    )
    return as_json(similar(view, desk.queries, asked, parameters.getlist("space")))


def _duplicates(desk: Desk, view: View, request: Request) -> Response:
    found = duplicates(
        view,
        SpaceName.parse(text_of(request, "space")),
        offset=number_of(request, "offset", 0),
        limit=number_of(request, "limit", 20, low=1, high=100),
    )
    return as_json(found)


def _prepare(desk: Desk, view: View, request: Request) -> Response:
    for name in request.query_params.getlist("space")[:MAX_ENCODERS]:
        try:
            with wrap_errors():
                desk.queries.prepare(view.workspace, SpaceName.parse(name))
        except UsadError:
            continue  # the search itself says why
    return as_json({})


def _moved(desk: Desk, view: View, request: Request) -> Response:
    first, second = (MapName.parse(text_of(request, name)).space for name in ("from", "to"))
    shares = moved(view, first, second, number_of(request, "k", 10, low=1, high=100))
    return as_bytes(shares.tobytes())


def _export(desk: Desk, view: View, request: Request) -> Response:
    kind = text_of(request, "format", "csv")
    space = request.query_params.get("space")
    chosen = view.table.segment_ids[view.selected(_selection(request))]
    path = export(view, desk.sounds, chosen, kind, SpaceName.parse(space) if space else None)
    words = [view.workspace.folder.name, f"{len(chosen)} segments"]
    return FileResponse(
        path,
        media_type=FORMATS[kind],
        filename=download_name(words, kind),
        background=BackgroundTask(path.unlink, missing_ok=True),
    )


def _projecting(desk: Desk, view: View, request: Request) -> Response:
    return as_json({"job": desk.projecting.describe()})


def _clip(desk: Desk, view: View, request: Request) -> Clip:
    if "query" in request.query_params:
        return desk.queries.get(text_of(request, "query")).clip
    return desk.sounds.of_segment(view.workspace, number_of(request, "segment"))


def _category(view: View, request: Request) -> Categories:
    column = view.column(text_of(request, "name"))
    if not isinstance(column, Categories):
        raise ConfigError(f"The column {column.name!r} holds numbers: ask for its numbers.")
    return column


def _selection(request: Request) -> Selection:
    return parse_selection(text_of(request, "select", "[]"))


def _is_kept(request: Request) -> bool:
    """Whether the address says of which version it is: then the answer never changes."""
    return "v" in request.query_params
