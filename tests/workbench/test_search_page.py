"""The page Search in a real browser: any sound or words, in any number of spaces."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from tests.core.encoders.hub_folders import save_clap_with_words
from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import require_browser
from tests.workbench.opened_instrument import (
    INSTRUMENT,
    WAIT_MS,
    hits_of,
    opened,
    rests,
    said,
    state,
)
from tests.workbench.screenshots import open_by_link, served
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.words import load_text_encoder
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import search
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap
from usad_workbench.indexes.duplicates import find_duplicates

pytestmark = pytest.mark.browser
RATE_HZ = 16_000
MEL = "log-mel-statistics/0/mean"
MFCC = "mfcc-statistics/0/mean"
STUDENT = "tiny-student/4/mean"
TEACHER = "sound-teacher/3/mean"


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hub") / "clap"
    save_clap_with_words(folder)
    return f"hf:{folder}"


@pytest.fixture(scope="module")
def searched(
    workspace: Workspace, clap: str, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A copy of the small workspace with a space that words can be looked for in."""
    copy = copy_into(tmp_path_factory.mktemp("searched"), workspace)
    embed(copy, clap, pooling="native")
    embed(copy, "mfcc-statistics")
    return copy


@pytest.fixture(scope="module")
def address(searched: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_browser()
    with served(searched.folder, tmp_path_factory.mktemp("server") / "log.txt") as found:
        yield f"{found}/search"


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Any:
    return opened(browser, address)


@pytest.fixture
def fresh(page: Any) -> Any:
    """The page with nothing to look for, nothing selected or ticked, and two spaces."""
    page.evaluate(
        f"""() => {{
          const {{ store, search }} = {INSTRUMENT};
          store.untick();
          store.set({{ select: [], for: [], unlike: [], within: false, duplicates: null, k: 6, spaces: {[STUDENT, MEL]} }});
          search.words.value = "";
        }}"""
    )
    rests(page)
    return page


def nearest(workspace: Workspace, vector: Any, space: str, k: int, where: Any = None) -> list[int]:
    encoder, layer, pooling = space.rsplit("/", 2)
    found = search(workspace, vector, encoder, int(layer), pooling=pooling, k=k, where=where)
    ids: list[int] = found.segment_ids.tolist()
    return ids


def similar_to(
    workspace: Workspace, segment: int, space: str, k: int, where: Any = None
) -> list[int]:
    encoder, layer, pooling = space.rsplit("/", 2)
    stored = workspace.embeddings(encoder, int(layer), pooling)
    vector = stored.vectors[stored.segment_ids.tolist().index(segment)]
    return [one for one in nearest(workspace, vector, space, k + 1, where) if one != segment][:k]


def found(page: Any, n_spaces: int) -> list[list[int]]:
    """The hits of each space, once they are there."""
    page.wait_for_function(
        f"() => {INSTRUMENT}.search.hits.found?.spaces.length === {n_spaces} && "
        f"!{INSTRUMENT}.search.host.classList.contains('busy')",
        timeout=3 * WAIT_MS,
    )
    return [hits_of(page, space) for space in range(n_spaces)]


def wav(samples: np.ndarray, rate_hz: int = RATE_HZ, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate_hz, format=kind, subtype="FLOAT" if kind == "WAV" else "PCM_16")
    return buffer.getvalue()


def noise(seconds: float, rate_hz: int = RATE_HZ, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    made: np.ndarray = 0.1 * rng.standard_normal((round(seconds * rate_hz), channels))
    return made


def upload(page: Any, name: str, data: bytes) -> None:
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "audio/wav", "buffer": data}
    )


def test_a_sound_of_the_collection_in_three_spaces(fresh: Any, searched: Workspace) -> None:
    row = fresh.locator(".rows .row").nth(1)
    segment = int(row.get_attribute("data-segment"))
    row.get_by_role("button", name=re.compile("^Find similar to ")).click()
    assert found(fresh, 2) == [similar_to(searched, segment, one, 6) for one in (STUDENT, MEL)]
    fresh.get_by_role("button", name="+ space").click()
    lists = found(fresh, 3)
    space = fresh.get_by_role("combobox", name="Space 3").input_value()
    assert lists[2] == similar_to(searched, segment, space, 6)
    framed = [int(hit.get_attribute("data-segment")) for hit in fresh.locator(".hit.only").all()]
    every = [one for ids in lists for one in ids]
    assert sorted(framed) == sorted(one for one in every if every.count(one) == 1)
    cells = fresh.locator(".agreement td").all_inner_texts()
    table = np.array(cells[1:]).reshape(3, 3)  # its head has a corner
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert table[i, j] == f"{round(6 * overlap_at_k(lists[i], lists[j], 6))} of 6"
        assert float(table[j, i]) == pytest.approx(
            rank_biased_overlap(lists[i], lists[j]), abs=0.006
        )
    fresh.get_by_role("button", name=re.compile("Hear the disagreement")).click()
    assert int(state(fresh)["focus"]) in framed
    fresh.get_by_role("button", name="Stop").click()
    assert fresh.failed == []


def test_an_upload_in_three_spaces_is_ticked_tagged_and_exported(
    fresh: Any, searched: Workspace, clap: str
) -> None:
    layer = int(searched.spaces("native").layer[0])
    spaces = [MEL, f"{clap}/{layer}/native", MFCC, STUDENT]
    fresh.evaluate(f"() => {INSTRUMENT}.store.set({{ spaces: {json.dumps(spaces)} }})")
    file = searched.folder.parent / "audio" / "music-003.wav"
    upload(fresh, file.name, file.read_bytes())
    mel, joint, mfcc, unknown = found(fresh, 4)
    clips = searched.read("SELECT segment_id, clip_id FROM segments").set_index("segment_id")
    assert [clips.clip_id[ids[0]] for ids in (mel, joint, mfcc)] == ["music-003"] * 3
    # The vectors of the student were made elsewhere: it cannot hear a new sound, and says so.
    assert unknown == [] and "tiny-student" in fresh.locator(".column .problem").inner_text()
    chosen = [mel[0], mel[2]]
    for segment in chosen:
        fresh.locator(f".hit[data-segment='{segment}'] input").first.check()
    fresh.keyboard.press("t")
    fresh.keyboard.type("from my file")
    fresh.keyboard.press("Enter")
    chip = fresh.locator(".facet .chip", has_text="from my file")
    chip.wait_for(timeout=WAIT_MS)
    assert chip.inner_text() == "from my file · 2"
    for kind in ("CSV", "WAV"):
        fresh.get_by_role("button", name="Export").click()
        with fresh.expect_download(timeout=WAIT_MS) as download:
            fresh.get_by_role("button", name=re.compile(f"^{kind}")).click()
        path = download.value.path()
        if kind == "CSV":
            assert sorted(pd.read_csv(path).segment_id) == sorted(chosen)
        else:
            names = zipfile.ZipFile(path).namelist()
            assert len([name for name in names if name.endswith(".wav")]) == 2
    fresh.get_by_role("button", name="Undo").click()
    chip.wait_for(state="detached", timeout=WAIT_MS)


def test_words_are_looked_for_and_their_link_opens_elsewhere(
    fresh: Any, browser: Any, searched: Workspace, clap: str
) -> None:
    layer = int(searched.spaces("native").layer[0])
    fresh.keyboard.press("/")
    fresh.keyboard.type("rain, on a roof")
    fresh.get_by_role("button", name="As a sound").click()
    vector = load_text_encoder(clap).embed(["rain, on a roof"])[0]
    expected = nearest(searched, vector, f"{clap}/{layer}/native", 6)
    assert found(fresh, 1) == [expected]
    third = fresh.locator(".hit").nth(2)
    third.hover()
    third.get_by_role("button", name=re.compile("^Example against")).click()
    rests(fresh)
    against = expected[2]
    mixed = found(fresh, 1)
    assert against not in mixed[0] and state(fresh)["unlike"] == f"[{against}]"
    there = opened(browser, fresh.url)
    assert found(there, 1) == mixed
    assert "rain, on a roof" in there.locator(".examples").inner_text()
    there.context.close()


def test_only_what_is_selected_is_found_if_one_says_so(fresh: Any, searched: Workspace) -> None:
    segment = int(fresh.locator(".rows .row").first.get_attribute("data-segment"))
    fresh.get_by_role("checkbox", name=re.compile("^domain music: ")).click()
    fresh.evaluate(f"() => {INSTRUMENT}.store.set({{ for: [{segment}] }})")
    assert found(fresh, 2)[1] == similar_to(searched, segment, MEL, 6)
    fresh.get_by_label("among the selected").check()
    rests(fresh)
    assert found(fresh, 2)[1] == similar_to(searched, segment, MEL, 6, "domain = 'music'")
    assert f"of {said(fresh)[0]} selected" in fresh.locator(".agreed").inner_text()


def test_a_part_of_a_sound_and_a_recording(fresh: Any) -> None:
    fresh.locator(".rows .row").nth(2).click()
    fresh.wait_for_function(f"() => {INSTRUMENT}.player.audio.duration > 0", timeout=WAIT_MS)
    box = fresh.locator(".screen img").bounding_box()
    fresh.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    fresh.mouse.down()
    fresh.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 20)
    fresh.mouse.up()
    fresh.evaluate(f"() => {INSTRUMENT}.store.set({{ spaces: ['{MEL}'] }})")
    fresh.get_by_role("button", name="Find this part").click()
    part = found(fresh, 1)
    name = fresh.locator(".examples .chip").inner_text()
    assert len(part[0]) == 6 and re.search(r"\d\.\d\d to \d\.\d\d s", name)
    fresh.evaluate(f"() => {INSTRUMENT}.root.focus()")
    fresh.keyboard.down("r")
    fresh.locator(".recording").wait_for(timeout=WAIT_MS)
    fresh.wait_for_timeout(700)  # of sound
    fresh.keyboard.up("r")
    fresh.get_by_text("+ recording").wait_for(timeout=WAIT_MS)
    rests(fresh)
    assert len(found(fresh, 1)[0]) == 6
    assert fresh.failed == []


def test_a_key_let_go_before_the_microphone_is_there_records_nothing(
    browser: Any, address: str
) -> None:
    """As while the browser asks for leave; pressed twice, it asks once."""
    there = opened(browser, address)
    there.evaluate("""() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      window.asked = 0;
      navigator.mediaDevices.getUserMedia = async (what) => {
        window.asked += 1;
        await new Promise((leave) => { window.leave = leave; });
        window.stream = await real(what);
        return window.stream;
      };
    }""")
    there.evaluate(f"() => {INSTRUMENT}.root.focus()")
    there.keyboard.press("r")
    there.wait_for_function("() => window.leave")
    there.evaluate("() => window.leave()")
    there.wait_for_function(
        "() => window.stream?.getTracks().every((one) => one.readyState === 'ended')"
    )
    assert there.locator(".recording").count() == 0
    assert there.evaluate(f"() => {INSTRUMENT}.search.recorder ?? null") is None
    there.keyboard.down("r")
    there.evaluate(f"() => {INSTRUMENT}.search.record()")  # the button, while the key is held
    there.keyboard.up("r")
    assert there.evaluate("() => window.asked") == 2
    there.evaluate("() => window.leave()")
    assert there.locator(".examples .chip").count() == 0
    there.evaluate(f"() => {{ {INSTRUMENT}.search.record(); }}")
    there.evaluate("() => window.leave()")
    there.locator(".recording").wait_for(timeout=WAIT_MS)
    open_by_link(there, "Data")  # the page is left while it records
    there.wait_for_function(
        "() => window.stream.getTracks().every((one) => one.readyState === 'ended')"
    )
    assert there.failed == []
    there.context.close()


def broken_samples() -> bytes:
    samples = noise(1.0)
    samples[100] = np.nan
    return wav(samples)


def truncated() -> bytes:
    whole = wav(noise(2.0), kind="FLAC")
    return whole[: len(whole) // 2]


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.wav": (lambda: b"", "cannot be used"),
    "notes.wav": (lambda: b"this is no audio", "It holds no audio"),
    "cut.flac": (truncated, "cannot be used"),
    "nan.wav": (broken_samples, "not finite"),
    "one.wav": (lambda: wav(np.array([0.5])), "25 ms"),
    "silent.wav": (lambda: wav(np.zeros(RATE_HZ)), "is silent"),
    "<script>window.executed=1<img src=x onerror=window.executed=1>.wav": (
        lambda: b"no audio",
        "holds no audio",
    ),
}


def test_bad_uploads_are_named(fresh: Any) -> None:
    fresh.evaluate(f"() => {INSTRUMENT}.store.set({{ spaces: ['{MEL}'] }})")
    for name, (data, message) in BAD.items():
        fresh.evaluate(f"() => {INSTRUMENT}.search.tell('')")
        upload(fresh, name, data())
        problem = fresh.locator(".search > .problem")
        problem.wait_for(timeout=WAIT_MS)
        assert message in problem.inner_text() and name in problem.inner_text()
    assert fresh.evaluate("window.executed") is None
    assert fresh.failed == []


def test_uploads_of_every_kind_are_searched(fresh: Any) -> None:
    fresh.evaluate(f"() => {INSTRUMENT}.store.set({{ spaces: ['{MEL}'] }})")
    for name, data in (
        ("eight.wav", wav(noise(2.0, channels=8))),
        ("high.wav", wav(noise(1.0, rate_hz=192_000), 192_000)),
        ("<img src=x onerror=window.executed=1>.wav", wav(noise(1.0))),
        ("long.flac", wav(noise(95.0), kind="FLAC")),
    ):
        upload(fresh, name, data)
        fresh.locator(".examples .chip", has_text=name[:10]).wait_for(timeout=WAIT_MS)
        assert len(found(fresh, 1)[0]) == 6
    assert "0.00 / 10.0 s" in fresh.locator(".time").inner_text()
    fresh.get_by_role("button", name="The part after").click()
    end = fresh.get_by_label("Part to, in seconds")
    fresh.wait_for_function(f"() => {INSTRUMENT}.search.given.start_s === 10", timeout=WAIT_MS)
    assert end.input_value() == "20.00"
    assert fresh.evaluate("window.executed") is None
    assert fresh.failed == []


def test_the_keyboard_alone_goes_from_a_name_to_what_is_similar(fresh: Any) -> None:
    fresh.evaluate(f"() => {INSTRUMENT}.root.focus()")
    fresh.keyboard.press("/")
    fresh.keyboard.type("music-00")
    fresh.keyboard.press("Enter")
    rests(fresh)
    assert said(fresh)[0] == 10
    fresh.evaluate(f"() => {INSTRUMENT}.root.focus()")
    fresh.keyboard.press("j")
    fresh.wait_for_function(f"() => {INSTRUMENT}.focused", timeout=WAIT_MS)
    heard = int(state(fresh)["focus"])
    fresh.keyboard.press("s")
    left, _ = found(fresh, 2)
    assert heard not in left and state(fresh)["for"] == f"[{heard}]"
    fresh.locator(".hear").first.press("Enter")
    fresh.wait_for_function(f"() => {INSTRUMENT}.focused.segment_id === {left[0]}")
    for key, place in (("j", 1), ("j", 2), ("k", 1)):
        fresh.keyboard.press(key)
        fresh.wait_for_function(f"() => {INSTRUMENT}.focused.segment_id === {left[place]}")


def test_duplicates_are_heard_and_all_but_one_ticked(fresh: Any, searched: Workspace) -> None:
    groups = find_duplicates(searched, "tiny-student", 4)
    fresh.get_by_role("button", name="Duplicates").click()
    rests(fresh)
    cards = fresh.locator(".column")
    assert len(groups) > 0 and cards.count() == min(len(groups), 20)
    first = cards.first.locator(".hit")
    assert first.count() == len(groups[0].clip_ids)
    first.nth(1).locator(".hear").click()
    assert fresh.locator(".player h2").inner_text() == groups[0].clip_ids[1]
    cards.first.get_by_role("button", name="tick all but the first").click()
    is_ticked = [box.is_checked() for box in cards.first.locator("input").all()]
    assert is_ticked == [False, *[True] * (len(is_ticked) - 1)]
    fresh.get_by_role("button", name="Duplicates").click()
    cards.first.wait_for(state="detached", timeout=WAIT_MS)
