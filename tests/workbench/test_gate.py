"""What stands before the app: on every route and stream, and never twice for who gave the password."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import gate
from usad_workbench.workbench.cli import main


async def _sounds(request: Request) -> PlainTextResponse:
    return PlainTextResponse("a sound")


async def _stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("a page")
    await socket.close()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(gate, "GUESS_S", 0.0)
    routes = [Route("/base/sound", _sounds, methods=["GET", "POST"]), WebSocketRoute("/s", _stream)]
    app = gate.PasswordGate(Starlette(routes=routes), "correct horse")
    return TestClient(app, base_url="http://testserver")


def test_nothing_is_told_without_the_password(client: TestClient) -> None:
    asked = client.get("/base/sound", headers={"accept": "text/html"})
    assert asked.status_code == 401 and 'type="password"' in asked.text
    assert client.get("/base/sound").text == "This server asks for a password."
    assert client.post("/base/sound", data={"password": "wrong"}).status_code == 401
    assert client.post("/base/sound", content=b"x" * 5000).status_code == 413
    assert client.get("/base/sound", headers={"cookie": "usad_0=1; é".encode()}).status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/s"):
        pass


def test_who_gave_the_password_is_let_through(client: TestClient) -> None:
    given = client.post("/base/sound", data={"password": "correct horse"})
    cookie = given.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "refresh" in given.text
    assert client.get("/base/sound").text == "a sound"
    with client.websocket_connect("/s") as stream:
        assert stream.receive_text() == "a page"


def test_without_a_password_it_answers_under_this_machines_names_alone() -> None:
    routes = [Route("/sound", _sounds), WebSocketRoute("/s", _stream)]
    client = TestClient(gate.LocalGate(Starlette(routes=routes), ["Lab.example"]))

    def status(host: str) -> int:
        return client.get("/sound", headers={"host": host}).status_code

    own = (
        "localhost:8501",
        "LOCALHOST",
        "app.localhost",
        "127.0.0.1:8501",
        "[::1]:8501",
        "10.0.0.7",
    )
    assert [status(host) for host in (*own, "lab.example:80")] == [200] * 7
    foreign = (
        "rebound.example:8501",
        "127.0.0.1.rebound.example",
        "localhost.example",
        "[bad",
        "a@b",
    )
    assert [status(host) for host in foreign] == [421] * 5
    assert gate.PASSWORD in client.get("/sound", headers={"host": foreign[0]}).text
    with client.websocket_connect("/s", headers={"host": own[0]}) as stream:
        assert stream.receive_text() == "a page"
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/s", headers={"host": foreign[0]}),
    ):
        pass


def test_an_address_that_others_reach_needs_a_password(
    tmp_path: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(Workspace.create(f"{tmp_path}/w").folder)
    monkeypatch.delenv(gate.PASSWORD, raising=False)
    assert main(["workbench", folder, "--host", "0.0.0.0", "--port", "18765"]) == 2
    assert gate.PASSWORD in capsys.readouterr().err
