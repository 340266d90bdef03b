"""What every route shares: versions, errors, ranges of bytes, and who may write.

An address that carries the version of the collection (``v``) always answers the same, so its
answer may be kept; once the collection has changed it is refused, with the new version, and the
page loads anew.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from usad_workbench.core.errors import ConfigError, UsadError, wrap_errors

SAFE = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
KEEP = "private, max-age=604800, immutable"
DO_NOT_KEEP = "no-store"
BYTES = "application/octet-stream"
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
Handler = Callable[[Request], Response]
BodyHandler = Callable[[Request, BinaryIO], Response]
AsyncHandler = Callable[[Request], Awaitable[Response]]
JSON = "application/json"
MAX_JSON = 4 << 20
IN_MEMORY_BYTES = 8 << 20
CHANGED = "The collection has changed. Load it again."


class Outdated(Exception):
    """The address is of an older version of the collection than this one."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.version = version


class Assets(StaticFiles):
    """Files of the page, which a browser asks for again by what it has: a new version shows."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or that it is still the same."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response


def guarded(handler: Handler) -> Handler:
    """The handler with our errors as answers: 400 and the message, as JSON."""

    def answer(request: Request) -> Response:
        try:
            with wrap_errors():
                response = handler(request)
        except Outdated as error:
            response = refusal(409, CHANGED, version=error.version)
        except UsadError as error:
            response = refusal(400, str(error))
        except HTTPException as error:
            response = refusal(error.status_code, error.detail)
        for name, value in SAFE.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", DO_NOT_KEEP)
        return response

    return answer


def posted(handler: BodyHandler, *media_types: str, max_bytes: int = MAX_JSON) -> AsyncHandler:
    """The handler of a request that writes, in a thread: it gets the body, which is bounded.

    A large one is a file on the disk: many who send at once take no memory.
    """

    async def answer(request: Request) -> Response:
        problem: HTTPException | None = None
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as body:
            try:
                check_writer(request, *media_types)
                # What is too much is read to its end too: a browser that is answered while it
                # still sends shows a broken connection.
                n_bytes = 0
                async for part in request.stream():
                    n_bytes += len(part)
                    if n_bytes <= max_bytes:
                        body.write(part)
                if n_bytes > max_bytes:
                    raise HTTPException(413, f"At most {max_bytes >> 20} MiB are taken.")
            except HTTPException as error:
                problem = error

            def handled(request: Request) -> Response:
                if problem is not None:
                    raise problem
                body.seek(0)
                return handler(request, cast(BinaryIO, body))

            return await run_in_threadpool(guarded(handled), request)

    return answer


def refuse_outdated(request: Request, version: str) -> None:
    """Refuses an address of another version of the collection; one without a version passes.

    Raises:
        Outdated: it is of another one.
    """
    if request.query_params.get("v", version) != version:
        raise Outdated(version)


def refusal(status: int, message: str, **more: object) -> Response:
    """An error as JSON."""
    return as_json({"error": message, **more}, status=status)


def as_json(content: Mapping[str, Any], *, status: int = 200, keep: bool = False) -> Response:
    """JSON as browsers read it: numbers that are none become null."""
    response = JSONResponse(_plain(content), status_code=status)
    if keep:
        response.headers["Cache-Control"] = KEEP
    return response


def as_bytes(*parts: bytes, media_type: str = BYTES, keep: bool = False) -> Response:
    """Bytes as they are; quantised points hardly shrink, and to try takes long."""
    headers = {"Content-Encoding": "identity"} if media_type == BYTES else {}
    response = Response(b"".join(parts), media_type=media_type, headers=headers)
    if keep:
        response.headers["Cache-Control"] = KEEP
    return response


def ranged(request: Request, body: bytes, media_type: str, *, keep: bool = False) -> Response:
    """The part of a body that is asked for, or all of it: what players need to seek."""
    asked = RANGE.fullmatch(request.headers.get("range", ""))
    start, end, status = 0, len(body), 200
    if asked and any(asked.groups()):
        first, last = asked.groups()
        if first:
            start, end = int(first), min(int(last or len(body)) + 1, len(body))
        else:
            start = max(len(body) - int(last), 0)
        status = 206
    if start >= end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(body)}"})
    response = Response(body[start:end], status_code=status, media_type=media_type)
    response.headers["Accept-Ranges"] = "bytes"
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    if keep:
        response.headers["Cache-Control"] = KEEP
    return response


def check_writer(request: Request, *media_types: str) -> None:
    """Refuses a request to write that another site's page could have made.

    Raises:
        HTTPException: 403 for another origin, 415 for a kind of content that a form can send.
    """
    origin, host = request.headers.get("origin"), request.headers.get("host")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != host):
        raise HTTPException(403, f"Found the origin {origin}, expected a page of {host}.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not any(kind == one or (one.endswith("/") and kind.startswith(one)) for one in media_types):
        raise HTTPException(415, f"Found the content type {kind!r}, expected {media_types[0]}.")


def json_object(body: BinaryIO) -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        ConfigError: anything else.
    """
    try:
        content = json.loads(body.read())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The request is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError("The request is no JSON object.")
    return content


def text_of(request: Request, name: str, default: str | None = None) -> str:
    """A parameter of the address.

    Raises:
        ConfigError: it is missing and has no default.
    """
    value = request.query_params.get(name, default)
    if value is None:
        raise ConfigError(f"The address has no {name}=, expected one.")
    return value


def number_of(
    request: Request, name: str, default: int | None = None, *, low: int = 0, high: int = 1 << 62
) -> int:
    """A whole number in the address.

    Raises:
        ConfigError: no whole number, or one out of bounds.
    """
    text = text_of(request, name, None if default is None else str(default))
    if not re.fullmatch(r"-?\d{1,19}", text) or not low <= int(text) <= high:
        raise ConfigError(
            f"Found {name}={text[:40]!r}, expected a whole number from {low} to {high}."
        )
    return int(text)


def _plain(value: Any) -> Any:
    """A value as JSON takes it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
