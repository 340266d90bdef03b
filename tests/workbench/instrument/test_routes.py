"""The routes as a browser sees them: bytes, versions, ranges, refusals."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from PIL import Image
from starlette.testclient import TestClient

from tests.workbench.instrument.conftest import RATE_HZ, N, client_of, fields_of, samples_of
from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.segment_table import SPAN, Column, SegmentTable, mixed
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace

MAP = "made-a/0/mean/umap"


def get(client: TestClient, route: str, **parameters: Any) -> Any:
    answer = client.get(f"/instrument/{route}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


def selected(client: TestClient, clauses: list[Any]) -> np.ndarray:
    body = get(client, "mask", select=json.dumps(clauses)).content
    count, n = np.frombuffer(body[:8], "<u4")
    bits = np.unpackbits(np.frombuffer(body[8:], "u1"), bitorder="little")
    assert n == N and not bits[N:].any()
    assert bits.sum() == count
    return bits[:N].astype(bool)


@pytest.fixture(scope="module")
def frame(made: Workspace) -> pd.DataFrame:
    """All segments in the order of rows."""
    frame = made.read("SELECT * FROM segments_of_clips")
    return frame.iloc[np.argsort(mixed(frame["segment_id"].to_numpy()))].reset_index(drop=True)


def test_the_collection_says_what_there_is(client: TestClient) -> None:
    found = get(client, "collection").json()
    assert (found["n_segments"], found["n_clips"]) == (N, N)
    kinds = {column["name"]: column["kind"] for column in found["columns"]}
    assert kinds["domain"] == kinds["quality"] == "category"
    assert kinds["pitch"] == kinds["duration_s"] == "number"
    assert not {"path", "clip_id", "audio_sha256", "split"} & set(kinds)
    assert [one["space"] for one in found["spaces"]] == ["made-a/0/mean", "made-b/0/mean"]
    assert [one["role"] for one in found["spaces"]] == ["student", "teacher"]
    assert found["maps"][0]["map"] == MAP and found["maps"][0]["n"] == N
    assert found["duration_s"] == pytest.approx(sum(len(samples_of(i)) for i in range(N)) / RATE_HZ)


def test_points_and_columns_are_in_the_order_of_rows(
    client: TestClient, made: Workspace, frame: pd.DataFrame
) -> None:
    body = get(client, "points", map=MAP).content
    assert np.frombuffer(body[:4], "<u4").tolist() == [N]
    x, y = np.frombuffer(body[4:], "<u2").reshape(2, N)
    stored = made.read(
        "SELECT segment_id, x, y FROM projections WHERE encoder = 'made-a'"
    ).set_index("segment_id")
    in_rows = stored.loc[frame["segment_id"]].to_numpy(float)
    middle = (in_rows.min(0) + in_rows.max(0)) / 2
    scaled = (in_rows - middle) / np.ptp(in_rows, axis=0).max() * SPAN + SPAN / 2
    assert np.abs(np.stack([x, y], axis=1) - scaled).max() < 0.51
    values = get(client, "categories", name="label").json()
    codes = np.frombuffer(get(client, "codes", name="label").content, "u1")
    assert [values["values"][code] for code in codes] == frame["label"].tolist()
    assert values["counts"] == frame["label"].value_counts()[values["values"]].tolist()
    quality = np.frombuffer(get(client, "codes", name="quality").content, "u1")
    np.testing.assert_array_equal(quality == 255, frame["quality"] == "")
    bins = np.frombuffer(get(client, "numbers", name="pitch").content, "u1")
    edges = get(client, "numbers", name="pitch", edges=1).json()["edges"]
    pitch = frame["pitch"].astype(float)
    assert all(edges[b] <= p <= edges[b + 1] for b, p in zip(bins, pitch, strict=True))


def test_facets_are_those_of_pandas(client: TestClient, frame: pd.DataFrame) -> None:
    clauses = [
        {"column": "domain", "in": ["speech", "music"]},
        {"column": "pitch", "between": [400, 900]},
    ]
    found = get(client, "facets", select=json.dumps(clauses)).json()
    pitch = frame["pitch"].astype(float)
    is_domain, is_pitch = frame["domain"].isin(["speech", "music"]), pitch.between(400, 900)
    assert (found["n"], found["n_selected"]) == (N, (is_domain & is_pitch).sum())
    for name, mask in (("domain", is_pitch), ("label", is_domain & is_pitch)):
        counts = found["columns"][name]
        every, chosen = frame[name].value_counts(), frame[name][mask].value_counts()
        assert counts["all"] == every[counts["values"]].tolist()
        assert counts["selected"] == chosen.reindex(counts["values"], fill_value=0).tolist()
    histogram = found["columns"]["pitch"]
    for key, mask in (("all", pitch.notna()), ("selected", is_domain)):
        np.testing.assert_array_equal(
            histogram[key], np.histogram(pitch[mask], histogram["edges"])[0]
        )


def test_masks_are_bits_in_the_order_of_rows(client: TestClient, frame: pd.DataFrame) -> None:
    assert selected(client, []).all()
    speech = selected(client, [{"column": "domain", "in": ["speech"]}])
    np.testing.assert_array_equal(speech, frame["domain"] == "speech")
    square = [[0.2, 0.2], [0.7, 0.2], [0.7, 0.7], [0.2, 0.7]]
    inside = selected(client, [{"polygon": square, "map": MAP}])
    x, y = np.frombuffer(get(client, "points", map=MAP).content[4:], "<u2").reshape(2, N) / SPAN
    np.testing.assert_array_equal(inside, (x > 0.2) & (x < 0.7) & (y > 0.2) & (y < 0.7))
    assert 10 < inside.sum() < N - 10


def test_rows_come_in_pages_and_sorted(client: TestClient, frame: pd.DataFrame) -> None:
    select = json.dumps([{"column": "domain", "in": ["sound"]}])
    sound = frame[frame["domain"] == "sound"]
    first = get(client, "rows", select=select, limit=7).json()
    second = get(client, "rows", select=select, limit=7, offset=7).json()
    assert first["n"] == len(sound)
    ids = [row["segment_id"] for row in first["rows"] + second["rows"]]
    assert ids == sound["segment_id"].tolist()[:14]
    assert [row["row"] for row in first["rows"]] == sound.index.tolist()[:7]
    for name in ("label", "pitch", "clip_id"):
        keys = sound[name].astype(float) if name == "pitch" else sound[name]
        for down in (0, 1):
            rows = get(client, "rows", select=select, limit=1000, sort=name, down=down).json()
            found = [row[name] for row in rows["rows"]]
            expected = sound[name].loc[keys.sort_values(ascending=not down).index].tolist()
            assert found == expected
    quality = get(client, "rows", limit=1000, sort="quality", down=1).json()["rows"]
    assert quality[-1]["quality"] == "" and quality[0]["quality"] == "good"


def test_a_row_is_found_by_its_number_and_by_its_segment(
    client: TestClient, frame: pd.DataFrame
) -> None:
    row = get(client, "row", row=17).json()
    assert row["clip_id"] == frame["clip_id"][17] and row["has_audio"] and row["note"] is None
    assert row == get(client, "row", segment=row["segment_id"]).json()
    assert "path" not in row and "audio_sha256" not in row


def test_sound_is_exactly_the_segment_and_comes_in_ranges(
    client: TestClient, frame: pd.DataFrame
) -> None:
    segment = int(frame["segment_id"][3])
    number = next(i for i in range(N) if fields_of(i)["clip_id"] == frame["clip_id"][3])
    whole = get(client, "sound", segment=segment)
    assert whole.headers["content-type"] == "audio/wav"
    samples, rate_hz = sf.read(io.BytesIO(whole.content), dtype="float32")
    assert rate_hz == RATE_HZ
    np.testing.assert_allclose(samples, samples_of(number), atol=1 / 32_000)
    n = len(whole.content)
    for asked, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, n),
        ("bytes=-20", n - 20, n),
        (f"bytes=5-{n + 100}", 5, n),
    ):
        part = client.get(
            "/instrument/sound", params={"segment": segment}, headers={"Range": asked}
        )
        assert part.status_code == 206
        assert part.content == whole.content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{n}"
    for asked in ("bytes=", "bytes=0-4,6-9", "lines=0-4", f"bytes={'9' * 5000}-"):
        every = client.get(
            "/instrument/sound", params={"segment": segment}, headers={"Range": asked}
        )
        assert every.status_code == 200 and every.content == whole.content
    beyond = client.get(
        "/instrument/sound", params={"segment": segment}, headers={"Range": f"bytes={n}-"}
    )
    assert beyond.status_code == 416 and beyond.headers["content-range"] == f"bytes */{n}"


def test_pictures_show_the_tone_where_it_is(client: TestClient, frame: pd.DataFrame) -> None:
    segment = int(frame["segment_id"][3])
    hz = float(frame["pitch"][3])
    for kind, height in (("linear", 200), ("mel", 100)):
        body = get(client, "spectrogram", segment=segment, kind=kind, width=80, height=height)
        picture = np.asarray(Image.open(io.BytesIO(body.content)).convert("L"), float)
        assert picture.shape == (height, 80)
        loudest = height - 1 - int(picture[:, 20:60].mean(1).argmax())
        if kind == "linear":
            assert abs(loudest - hz / (RATE_HZ / 2) * height) < 3
    peaks = get(client, "wave", segment=segment, n=50).json()
    assert len(peaks["peaks"]) == 50 and max(peaks["peaks"]) == 1
    assert peaks["duration_s"] == pytest.approx(frame["duration_s"][3])


def test_labels_stand_where_their_points_are(client: TestClient, frame: pd.DataFrame) -> None:
    found = get(client, "labels", map=MAP, column="domain").json()["labels"]
    counts = frame["domain"].value_counts()
    assert found and all(one["n"] == counts[one["text"]] for one in found)
    nowhere = json.dumps([{"column": "domain", "in": ["no such"]}])
    assert get(client, "labels", map=MAP, select=nowhere).json() == {"labels": []}


def test_a_workspace_of_nothing_is_shown(tmp_path: Path) -> None:
    client = client_of(Workspace.create(tmp_path / "empty").folder)
    described = get(client, "collection").json()
    assert (described["n_segments"], described["n_clips"], described["maps"]) == (0, 0, [])
    assert [one["name"] for one in described["columns"]] == ["domain"]
    assert get(client, "facets").json()["n_selected"] == 0
    assert get(client, "mask").content == bytes(8)
    assert get(client, "rows", sort="clip_id").json() == {"n": 0, "rows": []}
    assert get(client, "codes", name="domain").content == b""
    assert "1 to" in client.get("/instrument/export").json()["error"]


def test_an_address_of_an_old_version_is_refused(made: Workspace, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    client = client_of(workspace.folder)
    version = get(client, "collection").json()["version"]
    kept = get(client, "points", map=MAP, v=version)
    assert "immutable" in kept.headers["cache-control"]
    assert get(client, "points", map=MAP).headers["cache-control"] == "no-store"
    # A tag is no other version; another label is.
    tag = {"select": [], "tag": "all"}
    assert client.post("/instrument/tag", json=tag).json()["n"] == N
    assert get(client, "collection").json()["version"] == version
    assert get(client, "collection").json()["tags"] == [{"tag": "all", "n": N}]
    with workspace.database.write() as connection:
        connection.execute("UPDATE clips SET label = 'other' WHERE clip_id = 'clip <b>5</b>'")
    old = client.get("/instrument/points", params={"map": MAP, "v": version})
    assert old.status_code == 409
    now = get(client, "collection").json()["version"]
    assert old.json()["version"] == now != version
    chosen = json.dumps([{"column": "label", "in": ["other"]}])
    rows = get(client, "rows", select=chosen, v=now).json()
    assert [row["clip_id"] for row in rows["rows"]] == ["clip <b>5</b>"]


def test_rows_of_two_moments_are_never_put_together(
    made: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made.folder, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    client = client_of(workspace.folder)
    version = get(client, "collection").json()["version"]
    segment = int(workspace.read("SELECT min(segment_id) AS s FROM segments")["s"][0])
    read = SegmentTable.columns

    def columns(table: SegmentTable, names: list[str]) -> list[Column]:
        monkeypatch.setattr(SegmentTable, "columns", read)
        import_clips(workspace, [SourceClip(path=path, fields={"domain": "birds"})])
        return read(table, names)

    path = tmp_path / "new.wav"
    sf.write(path, samples_of(3)[::-1], RATE_HZ)
    monkeypatch.setattr(SegmentTable, "columns", columns)
    # The clip comes after the view was made and before its column is read.
    between = client.get("/instrument/codes", params={"name": "path_of", "v": version})
    assert between.status_code == 409 and between.json()["version"] != version
    monkeypatch.setattr(SegmentTable, "columns", columns)
    sf.write(path := tmp_path / "newer.wav", samples_of(4)[::-1], RATE_HZ)
    values = get(client, "categories", name="domain").json()
    assert values["counts"][values["values"].index("birds")] == 2
    assert len(get(client, "codes", name="domain").content) == N + 2
    # A selection that holds others by now is not tagged: its number stood on the screen.
    tag = {"select": [{"segments": [segment]}], "tag": "x"}
    old = client.post("/instrument/tag", json=tag, params={"v": version})
    assert old.status_code == 409
    now = get(client, "collection").json()["version"]
    assert client.post("/instrument/tag", json=tag, params={"v": now}).json()["n"] == 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("points", {"map": "nowhere"}),
        ("points", {"map": "made-a/9/mean/umap"}),
        ("points", {}),
        ("mask", {"select": "[{"}),
        ("codes", {"name": "pitch"}),
        ("numbers", {"name": "label"}),
        ("categories", {"name": "path"}),
        ("rows", {"limit": "100000"}),
        ("rows", {"sort": "'; DROP TABLE clips"}),
        ("row", {"segment": "99999"}),
        ("row", {"row": "-1"}),
        ("sound", {"segment": "../../etc/passwd"}),
        ("sound", {"segment": "99999"}),
        ("sound", {"query": "q0000"}),
        ("spectrogram", {"segment": "0", "width": "100000"}),
        ("spectrogram", {"segment": "0", "kind": "other"}),
        ("similar", {"for": "0"}),
        ("similar", {"for": "9" * 30, "space": "made-a/0/mean"}),
        ("similar", {"for": "9" * 5000, "space": "made-a/0/mean"}),
        ("similar", {"for": "٣", "space": "made-a/0/mean"}),
        ("mask", {"select": '[{"tag": "\\ud800"}]'}),
    ],
)
def test_what_cannot_be_answered_is_said(
    client: TestClient, name: str, parameters: dict[str, str]
) -> None:
    answer = client.get(f"/instrument/{name}", params=parameters)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_nothing_but_a_page_of_this_address_writes(client: TestClient) -> None:
    address, content = "/instrument/tag", {"select": [], "tag": "mine"}
    foreign = client.post(address, json=content, headers={"Origin": "http://other.example"})
    crossed = client.post(address, json=content, headers={"Sec-Fetch-Site": "cross-site"})
    assert (foreign.status_code, crossed.status_code) == (403, 403)
    form = client.post(address, data={"tag": "mine"})
    plain = client.post(
        address, content=json.dumps(content), headers={"Content-Type": "text/plain"}
    )
    assert (form.status_code, plain.status_code) == (415, 415)
    assert client.get(address).status_code == 405
    large = client.post(
        address, content=b" " * (5 << 20), headers={"Content-Type": "application/json"}
    )
    assert large.status_code == 413
    assert client.post(address, json=[1]).status_code == 400
    assert client.post(address, json={"select": [], "tag": " "}).status_code == 400
    assert get(client, "collection").json()["tags"] == []
