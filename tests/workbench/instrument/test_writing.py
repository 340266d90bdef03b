"""Tags, notes, undo and sounds that are handed in, through the routes."""

import io
import json
import shutil
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile as sf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.planted import add_clips, add_encoder
from tests.workbench.instrument.conftest import RATE_HZ, N, client_of, samples_of
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import AudioError, UnknownNameError
from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import search
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap
from usad_workbench.indexes.duplicates import find_duplicates
from usad_workbench.workbench.instrument import queries
from usad_workbench.workbench.instrument.http import posted
from usad_workbench.workbench.instrument.queries import Queries, window


@pytest.fixture
def client(made: Workspace, tmp_path: Path) -> TestClient:
    """On a copy that may be written."""
    shutil.copytree(made.folder, tmp_path / "w")
    return client_of(tmp_path / "w")


def post(client: TestClient, name: str, **content: Any) -> Any:
    answer = client.post(f"/instrument/{name}", json=content)
    assert answer.status_code == 200, answer.text
    return answer.json()


def tags(client: TestClient, segment: int) -> list[str]:
    found: list[str] = client.get("/instrument/row", params={"segment": segment}).json()["tags"]
    return found


def test_tags_are_given_taken_and_undone_by_who_gave_them(client: TestClient) -> None:
    both = [{"segments": [3, 4]}]
    assert post(client, "tag", select=both, tag=" check  by ear ", author="Ada")["n"] == 2
    assert post(client, "tag", select=both, tag="check by ear", author="Ada")["n"] == 0
    assert post(client, "tag", select=[{"segments": [4]}], tag="loud", author="Bob")["n"] == 1
    assert (tags(client, 3), tags(client, 4)) == (["check by ear"], ["check by ear", "loud"])
    gone = post(client, "tag", select=[{"segments": [3]}], tag="loud", remove=True, author="Ada")
    assert gone["n"] == 0
    gone = post(
        client, "tag", select=[{"segments": [3]}], tag="check by ear", remove=True, author="Ada"
    )
    assert gone["tags"] == [{"tag": "check by ear", "n": 1}, {"tag": "loud", "n": 1}]
    assert tags(client, 3) == []
    # Ada's last edit comes back, then the one before; Bob's stays.
    assert post(client, "undo", author="Ada")["undone"] == "removed “check by ear”"
    assert tags(client, 3) == ["check by ear"]
    assert post(client, "undo", author="Ada")["undone"] == "added “check by ear”"
    assert post(client, "undo", author="Ada")["undone"] is None
    assert (tags(client, 3), tags(client, 4)) == ([], ["loud"])
    mask = client.get("/instrument/mask", params={"select": json.dumps([{"tag": "loud"}])})
    assert np.frombuffer(mask.content[:4], "<u4").tolist() == [1]


def test_a_window_undoes_its_own_edit_and_not_that_of_another(client: TestClient) -> None:
    mine = post(client, "tag", select=[{"segments": [3]}], tag="loud")["edit"]
    theirs = post(client, "tag", select=[{"segments": [4]}], tag="loud")["edit"]
    assert post(client, "tag", select=[{"segments": [4]}], tag="loud")["edit"] is None
    assert post(client, "undo", edit=mine)["undone"] == "added “loud”"
    assert (tags(client, 3), tags(client, 4)) == ([], ["loud"])
    assert post(client, "undo", edit=mine)["undone"] is None
    assert post(client, "undo", edit=theirs)["tags"] == []
    for edit in ("1", True, -1, 1 << 63, 1.5):
        assert client.post("/instrument/undo", json={"edit": edit}).status_code == 400


def test_labels_of_a_selection_change_and_are_given_back(
    client: TestClient, tmp_path: Path
) -> None:
    copy = Workspace.open(tmp_path / "w")
    rows = copy.read("SELECT segment_id, clip_id, label FROM segments_of_clips ORDER BY 1")
    chosen = rows.iloc[:2]
    version = client.get("/instrument/collection").json()["version"]
    select = [{"segments": chosen.segment_id.tolist()}]
    told = post(client, f"label?v={version}", select=select, label="a bell", author="Ada")
    assert told["n"] == chosen.clip_id.nunique()
    held = copy.read("SELECT clip_id FROM clips WHERE label = 'a bell'").clip_id
    assert set(held) == set(chosen.clip_id)
    # Somebody else still sees the labels before: what they select may hold others by now.
    answer = client.post(f"/instrument/label?v={version}", json={"select": select, "label": "x"})
    assert answer.status_code == 409
    post(client, "unlabel", edit=told["edit"])
    after = copy.read("SELECT segment_id, clip_id, label FROM segments_of_clips ORDER BY 1")
    assert after.equals(rows)
    for wrong in (None, "1", -1, True):
        answer = client.post("/instrument/unlabel", json={"edit": wrong})
        assert answer.status_code == 400 and "edit" in answer.json()["error"]


def test_a_note_is_the_last_one_written(client: TestClient) -> None:
    def note() -> Any:
        return client.get("/instrument/row", params={"segment": 7}).json()["note"]

    post(client, "note", segment=7, text="hum at 50 Hz <script>", author="Ada")
    post(client, "note", segment=7, text="no hum", author="Bob")
    assert (note()["text"], note()["author"]) == ("no hum", "Bob")
    # Whoever clicks a row of the table sees it too, before it is written over.
    rows = client.get("/instrument/rows", params={"select": '[{"segments": [7, 8]}]'}).json()
    assert {row["segment_id"]: row["note"] for row in rows["rows"]} == {7: note(), 8: None}
    assert note()["made_at"].endswith("Z")
    post(client, "undo", author="Bob")
    assert (note()["text"], note()["author"]) == ("hum at 50 Hz <script>", "Ada")
    post(client, "note", segment=7, text="", author="Ada")
    assert note() is None
    for content in ({"segment": 99999, "text": "x"}, {"segment": "7", "text": "x"}, {"segment": 7}):
        assert client.post("/instrument/note", json=content).status_code == 400


def test_similar_is_the_search_of_each_space(client: TestClient, made: Workspace) -> None:
    spaces = ["made-a/0/mean", "made-b/0/mean"]
    found = client.get(
        "/instrument/similar", params={"for": ["5", "6"], "unlike": "9", "space": spaces, "k": 8}
    ).json()
    rankings = []
    for side, name in zip(found["spaces"], ("made-a", "made-b"), strict=True):
        stored = made.embeddings(name, 0)
        unit = stored.vectors / np.linalg.norm(stored.vectors, axis=1, keepdims=True)
        scores = unit @ (unit[[5, 6]].mean(0) - 0.5 * unit[9])
        order = [int(i) for i in np.argsort(-scores) if i not in (5, 6, 9)][:8]
        ids = [hit["segment_id"] for hit in side["hits"]]
        assert ids == stored.segment_ids[order].tolist()
        assert [hit["rank"] for hit in side["hits"]] == list(range(1, 9))
        rankings.append(ids)
    for side, other in zip(found["spaces"], rankings[::-1], strict=True):
        for hit in side["hits"]:
            assert hit["only"] == (hit["segment_id"] not in other)
    assert found["overlap"][0][1] == pytest.approx(overlap_at_k(*rankings, 8))
    assert found["rbo"][1][0] == pytest.approx(rank_biased_overlap(*rankings))
    assert found["rbo"][0][0] == pytest.approx(1)


def test_only_what_is_selected_is_found(client: TestClient, made: Workspace) -> None:
    chosen = [{"column": "domain", "in": ["music"]}]
    asked = {"for": "5", "space": "made-a/0/mean", "k": 6, "among": json.dumps(chosen)}
    found = client.get("/instrument/similar", params=asked).json()
    hits = search(
        made, made.embeddings("made-a", 0).vectors[5], "made-a", 0, k=7, where="domain = 'music'"
    )
    others = [one for one in hits.segment_ids.tolist() if one != 5]
    assert [hit["segment_id"] for hit in found["spaces"][0]["hits"]] == others[:6]
    assert found["n"] == N // 3


def test_a_space_that_cannot_answer_says_why_and_the_others_answer(client: TestClient) -> None:
    asked = {"for": "5", "space": ["made-a/0/mean", "made-b/7/mean", "made-b/0/mean"]}
    found = client.get("/instrument/similar", params=asked).json()
    first, wrong, last = found["spaces"]
    assert "made-b" in wrong["problem"] and wrong["hits"] == []
    assert len(first["hits"]) == len(last["hits"]) == 10
    ids = [{hit["segment_id"] for hit in side["hits"]} for side in (first, last)]
    assert all(hit["only"] == (hit["segment_id"] not in ids[1]) for hit in first["hits"])
    assert found["overlap"][0][1] is None and found["rbo"][1] == [None] * 3
    assert found["overlap"][0][2] == pytest.approx(len(ids[0] & ids[1]) / 10)
    for example, words in (("99999", "no vector"), ("text:dogs", "reads no words")):
        refused = client.get(
            "/instrument/similar", params={"for": example, "space": asked["space"][0]}
        )
        assert refused.status_code == 400 and words in refused.json()["error"]


@pytest.mark.parametrize("part", [(5.0, 5.0), (6.0, 5.0), (0.0, 31.0)])
def test_parts_that_cannot_be_embedded_are_refused(part: tuple[float, float]) -> None:
    with pytest.raises(AudioError):
        window(60.0, *part)


def test_a_sound_that_is_handed_in_is_heard_and_seen(client: TestClient) -> None:
    buffer = io.BytesIO()
    sf.write(buffer, samples_of(100), RATE_HZ, format="WAV", subtype="FLOAT")
    headers = {"Content-Type": "audio/wav"}
    answer = client.post("/instrument/query", content=buffer.getvalue(), headers=headers)
    query = answer.json()
    assert query["duration_s"] == pytest.approx(len(samples_of(100)) / RATE_HZ)
    heard = client.get("/instrument/sound", params={"query": query["query"]})
    samples, _ = sf.read(io.BytesIO(heard.content), dtype="float32")
    np.testing.assert_allclose(samples, samples_of(100), atol=1 / 32_000)
    part = client.post(
        "/instrument/query",
        params={"start_ms": 100, "end_ms": 200},
        content=buffer.getvalue(),
        headers=headers,
    ).json()
    assert (part["start_s"], part["duration_s"]) == (pytest.approx(0.1), pytest.approx(0.1))
    again = post(client, "query", segment=100, start_s=0.1, end_s=0.2)
    assert again["duration_s"] == pytest.approx(0.1)
    for content in (b"", b"no audio at all"):
        refused = client.post("/instrument/query", content=content, headers=headers)
        assert refused.status_code == 400 and refused.json()["error"]


def test_large_bodies_lie_on_the_disk_and_are_bounded(client: TestClient) -> None:
    seen: list[bool] = []

    def answer(request: Request, body: BinaryIO) -> Response:
        assert isinstance(body, SpooledTemporaryFile)
        seen.append(bool(body._rolled))  # type: ignore[attr-defined]
        return PlainTextResponse(str(len(body.read())))

    route = Route("/q", posted(answer, "audio/", max_bytes=20 << 20), methods=["POST"])
    posting = TestClient(Starlette(routes=[route]))
    sizes = (100, 9 << 20, 20 << 20)
    for size in sizes:
        found = posting.post("/q", content=bytes(size), headers={"Content-Type": "audio/wav"})
        assert found.text == str(size)
    assert seen == [False, True, True]
    large = posting.post("/q", content=bytes((20 << 20) + 1), headers={"Content-Type": "audio/wav"})
    assert large.status_code == 413 and "20 MiB" in large.json()["error"]


def test_sounds_that_are_kept_are_bounded_in_number_and_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "MAX_QUERIES", 5)
    monkeypatch.setattr(queries, "MAX_QUERY_BYTES", 4 * 1000)
    kept = Queries()
    whole = Clip(samples=np.arange(100_000, dtype=np.float32), sample_rate_hz=1000)
    parts = [kept.keep_part(whole, "a", i, i + length) for i, length in enumerate([0.1] * 8)]
    assert all(part.clip.samples.base is None for part in parts)
    with pytest.raises(UnknownNameError, match="Hand it in again"):
        kept.get(parts[2].query_id)
    for part in parts[3:]:
        assert kept.get(part.query_id) is part
    large = kept.keep_part(whole, "b", 20, 20.9)
    assert kept.get(parts[-1].query_id) and kept.get(large.query_id)
    with pytest.raises(UnknownNameError):
        kept.get(parts[6].query_id)
    alone = kept.keep_part(whole, "c", 30, 35)
    assert kept.get(alone.query_id)
    with pytest.raises(UnknownNameError):
        kept.get(large.query_id)


@pytest.mark.parametrize("time", ["1e999", "NaN", "-1", "true", "1" + "0" * 400, '"1"'])
def test_times_that_are_none_are_refused(client: TestClient, time: str) -> None:
    content = f'{{"segment": 3, "start_s": {time}, "end_s": 0.2}}'
    answer = client.post(
        "/instrument/query", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400 and answer.json()["error"]


def test_groups_of_duplicates_have_a_sound_of_each_clip(made: Workspace, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "w")
    copy = Workspace.open(tmp_path / "w")
    source = copy.read("SELECT path FROM clips WHERE clip_id = 'clip <b>7</b>'").path[0]
    again = tmp_path / "again.wav"
    shutil.copy(made.audio_path(source), again)
    import_clips(copy, [SourceClip(path=again, fields={"clip_id": "copy of 7"})])
    client = client_of(tmp_path / "w")
    found = client.get("/instrument/duplicates", params={"space": "made-a/0/mean"}).json()
    expected = find_duplicates(copy, "made-a", 0)
    assert found["n"] == len(expected) > 0
    for group, one in zip(found["groups"], expected, strict=True):
        assert (group["kind"], group["n"]) == (one.kind, len(one.clip_ids))
        assert [row["clip_id"] for row in group["rows"]] == one.clip_ids
        assert all(row["has_audio"] for row in group["rows"])
    assert found["groups"][0]["kind"] == "file"
    page = client.get(
        "/instrument/duplicates", params={"space": "made-a/0/mean", "offset": 1, "limit": 1}
    ).json()
    assert page["groups"] == found["groups"][1:2] and page["n"] == found["n"]


def test_a_passage_is_heard_where_it_is(tmp_path: Path) -> None:
    """Two long clips share their third and second segment: these are played, not the first."""
    vectors = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float32)
    vectors[4] = vectors[2] + 0.001
    workspace = Workspace.create(tmp_path / "w")
    add_clips(workspace, {"domain": ["music"] * 2, "cluster_id": ["a", "b"]})
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM segments")
        for i in range(6):
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, '10s/10s')",
                [i, f"c{i // 3:03}", 10.0 * (i % 3), 10.0 * (i % 3) + 10],
            )
    add_encoder(workspace, "e", "teacher", "music", [vectors])
    client = client_of(tmp_path / "w")
    found = client.get("/instrument/duplicates", params={"space": "e/0/mean"}).json()
    (group,) = found["groups"]
    assert group["kind"] == "passage"
    assert [row["segment_id"] for row in group["rows"]] == [2, 4]
