"""Downloads of the hub's client against a hub on the loopback, whole and broken."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants as hf_constants
from safetensors.torch import load
from safetensors.torch import save as save_tensors

from tests.core.encoders.hub_folders import SAMPLES, save
from tests.core.encoders.hub_server import HubServer
from usad_workbench.core.encoders.hub.snapshots import get_snapshot, local_snapshot, weight_files
from usad_workbench.core.encoders.registry import encoder_status, get_weights, load_encoder
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import WeightsError

NAME = "hf:me/model"
WEIGHTS = "model.safetensors"
NOT_ASKED_FOR = (
    "notes.md",
    "pytorch_model.bin",
    "tf_model.h5",
    "model.fp32-00001-of-00001.safetensors",
)
"""Repositories of the hub hold the same weights in several formats and precisions."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    save(SAMPLES["wavlm-large"], tmp_path / "original")
    for name in NOT_ASKED_FOR:
        (tmp_path / "original" / name).write_text("not asked for")
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
    assert {path.name for path in folder.iterdir()} == set(hub.files) - set(NOT_ASKED_FOR)
    n_bytes = sum(len(hub.files[path.name]) for path in folder.iterdir())
    assert reports[-1] == (n_bytes, n_bytes)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert encoder_status(NAME).available
    expected = load_encoder(f"hf:{tmp_path / 'original'}")
    assert load_encoder(NAME).weights_sha256 == expected.weights_sha256
    hub.asked.clear()
    assert get() == folder and hub.asked == []


def in_shards(hub: HubServer) -> dict[str, bytes]:
    """Serves the weights in two files, convolutions apart from blocks, and gives these."""
    tensors = load(hub.files.pop(WEIGHTS))
    is_front = {name: name.startswith("feature_") for name in tensors}
    shards = {
        "model-00001-of-00002.safetensors": {n: t for n, t in tensors.items() if not is_front[n]},
        "model-00002-of-00002.safetensors": {n: t for n, t in tensors.items() if is_front[n]},
    }
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    files = {shard: save_tensors(held, {"format": "pt"}) for shard, held in shards.items()}
    for name, content in files.items():
        hub.add(name, content)
    hub.add(
        f"{WEIGHTS}.index.json", json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    )
    return files


def test_weights_in_several_files(hub: HubServer, tmp_path: Path) -> None:
    expected = load_encoder(f"hf:{tmp_path / 'original'}").net.state_dict()
    shards = in_shards(hub)
    folder = get()
    assert {path.name for path in folder.glob("*.safetensors")} == set(shards)
    for name, tensor in load_encoder(NAME).net.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_only_files_with_needed_tensors(hub: HubServer) -> None:
    """As of a model whose language model has most of the files."""
    first, second = in_shards(hub)
    source = HubSource(repo="me/model", licence="?", size_mb=1, tensors=("encoder.", "masked"))
    assert local_snapshot(source) is None
    folder = get_snapshot("part", source)
    assert asked_of(hub, first) == [""] and asked_of(hub, second) == []
    assert local_snapshot(source) == folder and weight_files(folder, source.tensors) == [
        folder / first
    ]
    # The whole model is not there, and what is there is not fetched again.
    assert not encoder_status(NAME).available
    assert get() == folder and asked_of(hub, first) == [""] and asked_of(hub, second) == [""]
    assert encoder_status(NAME).available


def test_small_files_come_before_weights(hub: HubServer) -> None:
    """So that what has its weights has all that it needs, its own code too."""
    hub.add("modeling.py", b"pass")
    get()
    order = [name for method, name, _ in hub.asked if method == "GET"]
    assert order.index(WEIGHTS) == len(order) - 1 and "modeling.py" in order


def test_get_completes_what_another_program_fetched(hub: HubServer) -> None:
    """One that had no use for the front end, at the commit that it found."""
    folder = get()
    shutil.rmtree(folder.parents[1] / "trees", ignore_errors=True)
    (folder / "preprocessor_config.json").resolve().unlink()
    (folder / "preprocessor_config.json").unlink()
    assert encoder_status(NAME).available
    with pytest.raises(WeightsError, match=r"preprocessor_config.*usad encoders get"):
        load_encoder(NAME)
    hub.asked = []
    assert get() == folder and asked_of(hub, "preprocessor_config.json") == [""]
    assert asked_of(hub, WEIGHTS) == [] and load_encoder(NAME).spec.n_layers == 2


def test_what_is_whole_needs_no_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = get()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert get() == folder
    blob = (folder / WEIGHTS).resolve()
    blob.write_bytes(b"x" * blob.stat().st_size)
    with pytest.raises(WeightsError, match="is damaged"):
        get()


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
    (first, content), (second, _) = in_shards(hub).items()
    hub.budget = len(content)
    with pytest.raises(WeightsError, match="could not be downloaded"):
        get()
    hub.budget, hub.asked = None, []
    get()
    assert asked_of(hub, first) == [] and asked_of(hub, second) == [""]


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


def test_the_licence_is_that_of_the_model_card(hub: HubServer) -> None:
    for card, licence, non_commercial in (
        (b"no header", "see its model card", None),
        (b"---\nlicense: cc-by-nc-4.0\n---\nA model.", "cc-by-nc-4.0", True),
        (b"---\nlicense: other\nlicense_name: my-terms\n---\n", "my-terms", False),
        (b"---\nlicense: [\n---\n", "see its model card", None),
    ):
        hub.add("README.md", card)
        shutil.rmtree(hf_constants.HF_HUB_CACHE, ignore_errors=True)
        get()
        spec = load_encoder(NAME).spec
        assert (spec.licence, spec.is_non_commercial) == (licence, non_commercial)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, ""), r"does not take the token.*hf auth login"),
        ((404, "RevisionNotFound"), r"me/model has no revision main"),
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
    n_small = sum(len(hub.files[name]) for name in hub.files if name.endswith(".json"))

    def interrupt(done: int, total: int, what: str) -> None:
        if done > n_small + 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(interrupt)
    assert not encoder_status(NAME).available
    hub.asked = []
    get()
    assert encoder_status(NAME).available and asked_of(hub, WEIGHTS) == ["bytes=512-"]
