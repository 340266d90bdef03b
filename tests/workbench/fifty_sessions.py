"""Many people at one server for minutes: no error, and memory that stays flat.

``python -m tests.workbench.fifty_sessions WORKSPACE [--sessions 50] [--minutes 10]``

A session is what a browser's is to the server: the app's websocket, whose scripts run for one page
after the other, and the requests of the instrument, with a pause between them. One
of ten closes its page and opens it anew, one tags meanwhile. Work on a copy: tags are written.
"""

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from usad_workbench.workbench.app import PAGES
from usad_workbench.workbench.launch import launch
from usad_workbench.workbench.speed.browsing import HOST, free_port, serving
from usad_workbench.workbench.speed.processes import memory_of

PAUSE_S = (4.0, 12.0)
SAMPLE_S = 5.0
LEAVES = 0.1
"""Share of steps after which a session closes its page and opens it anew."""
ARRIVE_SHARE = 0.2
"""Of the run: people do not all come in one second."""
WARM_SHARE = 0.3
"""Of the rest: what is kept for all is being filled, memory grows."""
TIMEOUT_S = 300.0


@dataclass
class Log:
    """What all sessions saw."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    n_opened: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, what: str, seconds: float) -> None:
        with self.lock:
            self.seconds.setdefault(what, []).append(seconds)

    def failed(self, what: str, error: object) -> None:
        with self.lock:
            self.errors[f"{what}: {str(error)[:200]}"] += 1


class Session:
    """One person's page."""

    def __init__(self, address: str, log: Log, seed: int) -> None:
        self.address, self.log, self.seed = address, log, seed
        self.random = random.Random(seed)
        self.collection: dict[str, Any] = {}
        self._socket: Any = None

    def run(self, until: float) -> None:
        """Opens the page, looks around, closes it, until the time is over."""
        while time.monotonic() < until:
            try:
                with self._page():
                    self.collection = json.loads(self._get("collection"))
                    self.log.n_opened += 1
                    while time.monotonic() < until:
                        self._step()
                        time.sleep(self.random.uniform(*PAUSE_S))
                        if self.random.random() < LEAVES:
                            break
            except (OSError, TimeoutError, WebSocketException, ValueError, Changed) as error:
                self.log.failed("page", f"{type(error).__name__}: {error}")
                time.sleep(1)

    @contextmanager
    def _page(self) -> Iterator[None]:
        """The app's websocket, after the script of the page Map has run."""
        url = self.address.replace("http", "ws") + "/_stcore/stream"
        with connect(
            url,
            origin=Origin(self.address),
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
            open_timeout=TIMEOUT_S,
            ping_interval=None,
        ) as self._socket:
            self._open("Map")
            yield

    def _open(self, name: str) -> None:
        """Another page of the app, after its script has run; what it shows as an error is one."""
        began = time.monotonic()
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        asked.rerun_script.page_name = "" if name == PAGES[0] else name.lower()
        self._socket.send(asked.SerializeToString())
        message = ForwardMsg()
        while message.WhichOneof("type") != "script_finished":
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(timeout=TIMEOUT_S))
            if message.delta.new_element.WhichOneof("type") == "exception":
                self.log.failed(f"page {name}", message.delta.new_element.exception.message)
        self.log.took(f"page {name}", time.monotonic() - began)

    def _turn(self) -> None:
        self._open(self.random.choice(PAGES))

    def _step(self) -> None:
        act = self.random.choice(
            (
                self._look,
                self._look,
                self._select,
                self._hear,
                self._similar,
                self._turn,
                self._turn,
            )
        )
        with suppress(Changed):
            act()
            if self.seed == 0:
                self._tag()

    def _look(self) -> None:
        one = self.random.choice(self.collection["maps"])["map"]
        self._get("points", map=one)
        self._get("labels", map=one, column="label")
        self._get("codes", name="domain")

    def _select(self) -> None:
        x, y, side = self.random.random(), self.random.random(), self.random.uniform(0.05, 0.3)
        corners = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
        one = self.random.choice(self.collection["maps"])["map"]
        select = json.dumps([{"polygon": corners, "map": one}])
        for name in ("mask", "facets", "rows"):
            self._get(name, select=select)

    def _hear(self) -> None:
        row = json.loads(self._get("row", row=self._row()))
        if row["has_audio"]:
            for name in ("sound", "spectrogram", "wave"):
                self._get(name, segment=row["segment_id"])

    def _similar(self) -> None:
        row = json.loads(self._get("row", row=self._row()))
        spaces = self.random.sample(
            self.collection["spaces"], min(2, len(self.collection["spaces"]))
        )
        with suppress(NoVector):
            self._get(
                "similar", **{"for": row["segment_id"]}, space=[one["space"] for one in spaces]
            )

    def _tag(self) -> None:
        tag = f"heard {self.random.randrange(3)}"
        segment = json.loads(self._get("row", row=self._row()))["segment_id"]
        body = json.dumps({"select": [{"segments": [segment]}], "tag": tag}).encode()
        self._ask("tag", f"{self.address}/instrument/tag", body)

    def _row(self) -> int:
        return self.random.randrange(self.collection["n_segments"])

    def _get(self, route: str, /, **query: Any) -> bytes:
        if self.collection:
            query["v"] = self.collection["version"]
        words = urllib.parse.urlencode(query, doseq=True)
        return self._ask(route, f"{self.address}/instrument/{route}?{words}", None)

    def _ask(self, name: str, url: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(url, body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.add_header("Origin", self.address)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            if error.code == 409:
                raise Changed from error
            if name == "similar" and "vector" in said:
                raise NoVector from error
            self.log.failed(name, f"{error.code} {said}")
            raise Changed from error
        except (OSError, TimeoutError) as error:
            self.log.failed(name, error)
            raise Changed from error
        self.log.took(name, time.monotonic() - began)
        return content


class Changed(Exception):
    """The collection is another one by now, or the answer is in the log."""


class NoVector(Exception):
    """A segment without a vector in one of the spaces, which is said in words."""


def run(workspace: Path, n_sessions: int, minutes: float) -> dict[str, Any]:
    """Serves a workspace to many sessions; what they saw, and the server's memory."""
    port = free_port()
    address = f"http://{HOST}:{port}"
    log = Log()
    memory: list[int] = []
    command = launch(workspace, HOST, port)
    with serving(command, f"{address}/_stcore/health", Path(os.devnull)) as process:
        began = time.monotonic()
        until = began + 60 * minutes
        threads = [
            threading.Thread(target=Session(address, log, seed).run, args=(until,))
            for seed in range(n_sessions)
        ]
        for i, thread in enumerate(threads):
            threading.Timer(i / n_sessions * ARRIVE_SHARE * 60 * minutes, thread.start).start()
        time.sleep(ARRIVE_SHARE * 60 * minutes)
        while any(thread.is_alive() for thread in threads):
            memory.append(memory_of(process)["VmRSS"])
            sys.stderr.write(f"{time.monotonic() - began:.0f} s, {memory[-1] >> 20} MB\n")
            time.sleep(SAMPLE_S)
    warm = memory[int(WARM_SHARE * len(memory)) :]
    half = len(warm) // 2
    times = {name: sorted(values) for name, values in sorted(log.seconds.items())}
    return {
        "sessions": n_sessions,
        "minutes": minutes,
        "pages_opened": log.n_opened,
        "answers": sum(map(len, times.values())),
        "errors": dict(log.errors),
        "memory_mb": {
            "first": memory[0] >> 20,
            "warm": int(statistics.median(warm[:half])) >> 20,
            "end": int(statistics.median(warm[half:])) >> 20,
            "most": max(memory) >> 20,
        },
        "seconds": {
            name: {
                "n": len(values),
                "median": round(statistics.median(values), 4),
                "q95": round(values[int(0.95 * (len(values) - 1))], 4),
            }
            for name, values in times.items()
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module: 0 where there was no error."""
    parser = argparse.ArgumentParser(description="Many sessions at one server.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args(arguments)
    found = run(options.workspace, options.sessions, options.minutes)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
