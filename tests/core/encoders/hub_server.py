"""A hub on the loopback: the part of its protocol that a download uses, and its failures."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40
LARGE = (".safetensors", ".bin", ".h5")
"""Files that the hub keeps by SHA-256; others by git's hash."""


class HubServer(ThreadingHTTPServer):
    """One repository, ``me/model``, with the files of a folder."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.hashes = {name: _hash(name, content) for name, content in self.files.items()}
        self.asked: list[tuple[str, str, str]] = []
        """Method, file and range of each request for a file."""
        self.budget: int | None = None
        """Bytes of large files until connections break; none for no limit."""
        self.breaks_at: int | None = None
        """Bytes of a large file after which its first connection breaks."""
        self.redirects = False
        """Whether large files lie on another host, as the real hub's do."""
        self.tokens: list[tuple[str, str]] = []
        """Path and token of each request that had one."""
        self.refusal: tuple[int, str] | None = None
        """Status and error code of every answer."""

    def add(self, name: str, content: bytes) -> None:
        """One more file."""
        self.files[name], self.hashes[name] = content, _hash(name, content)

    @property
    def url(self) -> str:
        """Of the hub."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        """Serves in a thread."""
        threading.Thread(target=self.serve_forever, daemon=True).start()


def _hash(name: str, content: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if "Authorization" in self.headers:
            self.server.tokens.append((path, self.headers["Authorization"]))
        if self.server.refusal is not None:
            status, code = self.server.refusal
            self._send(status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}")
        elif path.startswith("/api/models/me/model/tree/"):
            self._send(200, {"Content-Type": "application/json"}, self._tree())
        elif path.startswith("/api/models/me/model"):
            siblings = [{"rfilename": row.pop("path"), **row} for row in self._rows("sha256")]
            found = {"id": "me/model", "modelId": "me/model", "sha": COMMIT, "siblings": siblings}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(found).encode())
        elif self.server.redirects and path.endswith(LARGE) and not path.startswith("/cdn/"):
            self._redirect(path.rpartition("/")[2])
        else:
            self._file(path.rpartition("/")[2], with_body)

    def _tree(self) -> bytes:
        return json.dumps([{"type": "file", **row} for row in self._rows("oid")]).encode()

    def _rows(self, hash_name: str) -> list[dict[str, Any]]:
        return [
            {"path": name, "size": len(content), "oid": "0" * 40, "blobId": "0" * 40}
            | (
                {
                    "lfs": {
                        hash_name: self.server.hashes[name],
                        "size": len(content),
                        "pointerSize": 1,
                    }
                }
                if name.endswith(LARGE)
                else {"oid": self.server.hashes[name], "blobId": self.server.hashes[name]}
            )
            for name, content in self.server.files.items()
        ]

    def _redirect(self, name: str) -> None:
        headers = {
            "Location": f"http://localhost:{self.server.server_port}/cdn/{name}",
            "X-Linked-ETag": f'"{self.server.hashes[name]}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(self.server.files[name])),
        }
        self._send(302, headers, b"")

    def _file(self, name: str, with_body: bool) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.asked.append((self.command, name, wanted))
        content = server.files[name]
        start = int(wanted.removeprefix("bytes=").partition("-")[0] or 0) if wanted else 0
        body = content[start:]
        headers = {
            "ETag": f'"{server.hashes[name]}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = None
        if name.endswith(LARGE) and with_body and server.budget is not None:
            cut = min(server.budget, len(body))
            server.budget -= cut
        elif name.endswith(LARGE) and with_body and server.breaks_at is not None:
            cut, server.breaks_at = server.breaks_at, None
        self._send(206 if start else 200, headers, body, with_body=with_body, cut=cut)

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        body: bytes,
        *,
        with_body: bool = True,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body and self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True
