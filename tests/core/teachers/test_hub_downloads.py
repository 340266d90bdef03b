"""Downloads of the hub's client against a hub on the loopback, whole and broken."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants as hf_constants

from tests.core.teachers.hub_folders import SAMPLES, save
from tests.core.teachers.hub_server import HubServer
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.registry import encoder_status, get_weights, load_encoder

NAME = "hf:me/model"
WEIGHTS = "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    save(SAMPLES["wavlm-large"], tmp_path / "original")
    (tmp_path / "original" / "README.md").write_text("not asked for")
    server = HubServer(tmp_path / "original")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        server.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 256)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    server.start()
    yield server
    server.shutdown()
    server.server_close()


def get(progress: Any = lambda done, total, what: None) -> Path:
    return get_weights(NAME, progress)


def asked_of(hub: HubServer, name: str) -> list[str]:
    """The ranges that were asked of a file's content."""
    return [wanted for method, file, wanted in hub.asked if (method, file) == ("GET", name)]


def test_a_model_is_fetched_once_and_loads(hub: HubServer, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    folder = get(lambda done, total, what: reports.append((done, total)))
    assert {path.name for path in folder.iterdir()} == set(hub.files) - {"README.md"}
    n_bytes = sum(len(hub.files[path.name]) for path in folder.iterdir())
    assert reports[-1] == (n_bytes, n_bytes)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert encoder_status(NAME).available
    expected = load_encoder(f"hf:{tmp_path / 'original'}")
    assert load_encoder(NAME).weights_sha256 == expected.weights_sha256
    hub.asked.clear()
    assert get() == folder and hub.asked == []


def test_a_broken_connection_goes_on_where_it_stopped(hub: HubServer) -> None:
    hub.breaks_at = 1000
    assert get() and encoder_status(NAME).available
    # As many bytes as the client had written, in whole pieces, are not asked for again.
    assert asked_of(hub, WEIGHTS) == ["", "bytes=768-"]


def give_up(hub: HubServer) -> Path:
    """Lets a download break for good after 1000 bytes; what is left of the weights."""
    hub.budget = 1000
    with pytest.raises(WeightsError, match=r"usad encoders get hf:me/model` again: what has come"):
        get()
    status = encoder_status(NAME)
    assert not status.available and "usad encoders get" in status.reason
    hub.budget, hub.asked = None, []
    (part,) = Path(hf_constants.HF_HUB_CACHE).rglob("*.part")
    return part


def test_another_get_goes_on_where_the_last_one_gave_up(hub: HubServer) -> None:
    part = give_up(hub)
    # Whole pieces of 256 bytes are on disk.
    assert part.read_bytes() == hub.files[WEIGHTS][:768]
    done: list[int] = []
    folder = get(lambda n, total, what: done.append(n))
    assert asked_of(hub, WEIGHTS) == ["bytes=768-"] and done[0] > 768 and done == sorted(done)
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS] and not part.exists()
    assert encoder_status(NAME).available and load_encoder(NAME).spec.n_layers == 2


def test_the_other_host_of_large_files_gets_no_token(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.redirects = True
    give_up(hub)
    get()
    assert asked_of(hub, WEIGHTS) == ["bytes=768-"] and encoder_status(NAME).available
    assert {token for _, token in hub.tokens} == {"Bearer hf_secret"}
    paths = {path for path, _ in hub.tokens}
    assert any(path.endswith(WEIGHTS) for path in paths)
    assert not any(path.startswith("/cdn/") for path in paths)


def test_what_was_left_and_is_damaged_is_thrown_away(hub: HubServer) -> None:
    part = give_up(hub)
    part.write_bytes(b"x" * 768)
    with pytest.raises(WeightsError, match=rf"{WEIGHTS} .*is damaged.*{hub.hashes[WEIGHTS]}"):
        get()
    assert not part.exists() and not encoder_status(NAME).available
    hub.asked = []
    assert get() and asked_of(hub, WEIGHTS) == [""]


def test_what_was_left_and_is_too_long_is_begun_anew(hub: HubServer) -> None:
    part = give_up(hub)
    part.write_bytes(hub.files[WEIGHTS] + b"x")
    assert get() and asked_of(hub, WEIGHTS) == [""]


def test_files_that_are_whole_are_kept(hub: HubServer) -> None:
    hub.files["second.safetensors"] = b"more weights"
    hub.hashes["second.safetensors"] = hashlib.sha256(b"more weights").hexdigest()
    hub.budget = len(hub.files[WEIGHTS])
    with pytest.raises(WeightsError, match="could not be downloaded"):
        get()
    hub.budget, hub.asked = None, []
    get()
    assert asked_of(hub, WEIGHTS) == [] and asked_of(hub, "second.safetensors") == [""]


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_with_another_content_is_refused_and_fetched_again(
    hub: HubServer, name: str
) -> None:
    good = hub.files[name]
    hub.files[name] = good[:-2] + bytes([good[-2] ^ 1]) + good[-1:]
    with pytest.raises(
        WeightsError, match=rf"{name} of hf:me/model is damaged.*{hub.hashes[name]}"
    ):
        get()
    assert not encoder_status(NAME).available
    hub.files[name] = good
    folder = get()
    assert (folder / name).read_bytes() == good and encoder_status(NAME).available


def test_what_was_damaged_later_is_found_by_get(hub: HubServer) -> None:
    blob = (get() / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="is damaged"):
        get()
    assert not encoder_status(NAME).available
    get()
    assert encoder_status(NAME).available


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((403, "GatedRepo"), r"is gated. Accept its terms on https://.*hf auth login"),
        ((404, "RepoNotFound"), r"no repository me/model, or it is private"),
        ((500, ""), r"could not be downloaded.*again"),
    ],
)
def test_a_refusal_says_what_to_do(hub: HubServer, refusal: tuple[int, str], words: str) -> None:
    hub.refusal = refusal
    with pytest.raises(WeightsError, match=words):
        get()
    assert not encoder_status(NAME).available


def test_without_a_network(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"could not be downloaded.*Check the network"):
        get()


def test_after_ctrl_c_nothing_counts_and_get_goes_on(hub: HubServer) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done > 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(interrupt)
    assert not encoder_status(NAME).available
    hub.asked = []
    get()
    assert encoder_status(NAME).available and asked_of(hub, WEIGHTS) == ["bytes=512-"]
