"""What stands before everything that the server answers: a password, or that one is on this machine.

Whoever gives the password gets a cookie that only this process knows, so that it ends with the
process. The streams of the app are behind it too: browsers send cookies with them, and no site but
this one may.

Without a password the server listens on this machine alone, but a browser here also shows pages of
others. One whose name was made to point at this machine (DNS rebinding) is of the same origin as the
app to the browser. It is told by the name under which it asks.
"""

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

PASSWORD = "USAD_PASSWORD"
"""The environment variable that holds the password: arguments are seen by all who use a machine."""
MAX_FORM = 4096
GUESS_S = 1.0
"""Between two wrong passwords, whoever gives them."""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>USAD Workbench</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{head}
<style>:root{{color-scheme:light dark}}body{{font:16px system-ui;max-width:22rem;margin:20vh auto;
padding:0 1rem}}input,button{{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;
margin-top:.5rem}}</style>
<main><h1>USAD Workbench</h1><form method="post"><label>Password
<input type="password" name="password" autocomplete="current-password" autofocus required></label>
<p role="alert">{words}</p><button>Open</button></form></main></html>"""


class LocalGate:
    """Lets through what is asked under an address, as localhost, or under a name that was allowed."""

    def __init__(self, app: ASGIApp, names: Sequence[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", *(name.strip().lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on what is asked."""
        if scope["type"] == "lifespan" or self._is_own(HTTPConnection(scope).headers.get("host")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _close(receive, send)
        else:
            words = (
                "This app answers under the addresses of its machine. To serve it under a name, "
                f"set {PASSWORD}, or the name in STREAMLIT_SERVER_ALLOWED_HOSTS.\n"
            )
            await PlainTextResponse(words, 421)(scope, receive, send)

    def _is_own(self, host: str | None) -> bool:
        try:
            name = urlsplit(f"//{host or ''}").hostname or "localhost"
        except ValueError:
            return False
        return name in self._names or name.endswith(".localhost") or _is_address(name)


class PasswordGate:
    """Lets through who has given the password; asks all others for it."""

    def __init__(self, app: ASGIApp, password: str) -> None:
        self._app, self._password = app, password
        # Cookies do not tell ports apart: each server has a name of its own.
        self._name = f"usad_{secrets.token_hex(4)}"
        self._token = secrets.token_urlsafe(32)
        self._guess = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on what is asked."""
        if scope["type"] == "lifespan" or self._is_known(HTTPConnection(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _close(receive, send)
        else:
            response = await self._asked(Request(scope, receive))
            await response(scope, receive, send)

    def _is_known(self, asked: HTTPConnection) -> bool:
        try:
            cookies = SimpleCookie(asked.headers.get("cookie", ""))
        except CookieError:
            return False
        given = cookies.get(self._name)
        return given is not None and _is_equal(given.value, self._token)

    async def _asked(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._tried(request)
        if "text/html" in request.headers.get("accept", ""):
            return _page("", 401)
        return PlainTextResponse("This server asks for a password.", 401)

    async def _tried(self, request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM:
                return PlainTextResponse("Too long for a password.", 413)
        given = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        async with self._guess:
            if not _is_equal(given, self._password):
                await asyncio.sleep(GUESS_S)
                return _page("That is not the password.", 401)
        # The same address again: under a proxy it is not known here.
        response = _page("", 200, '<meta http-equiv="refresh" content="0">')
        response.set_cookie(self._name, self._token, httponly=True, samesite="strict")
        return response


async def _close(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _page(words: str, status: int, head: str = "") -> Response:
    content = PAGE.format(words=escape(words), head=head)
    return HTMLResponse(content, status, {"Cache-Control": "no-store"})
