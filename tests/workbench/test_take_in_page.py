"""A folder that is dropped on the page Data: what becomes clips, and what failed by its name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.workbench.opened_app import PAGE_MS, app_in_browser
from tests.workbench.screenshots import open_by_link, settle
from usad_workbench.core.embedding import embed
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.sources import labelled_by_folder
from usad_workbench.core.storage.workspace import Workspace

pytestmark = pytest.mark.browser
RATE_HZ = 16_000
NAMES = ("bells/one.wav", "drums/two.wav")


def embed_here(page: Any, encoder: str) -> None:
    """Chooses an encoder below what was taken in, and waits for its vectors."""
    box = page.get_by_role("combobox", name="Encoders whose weights are here")
    box.click()
    page.get_by_role("option", name=encoder).click()
    page.keyboard.press("Escape")
    settle(page)
    page.get_by_role("button", name="Embed", exact=True).click()
    page.get_by_text(f"{encoder} embedded 2 segments.").wait_for(timeout=PAGE_MS)
    settle(page)


def test_a_folder_with_a_broken_file_is_dropped(tmp_path: Path) -> None:
    sounds = tmp_path / "dropped"
    for number, name in enumerate(NAMES):
        (sounds / name).parent.mkdir(parents=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, RATE_HZ)
        soundfile.write(sounds / name, noise, RATE_HZ)
    (sounds / "drums/broken.wav").write_bytes(b"RIFF, and then nothing")
    made = Workspace.create(tmp_path / "w")
    with app_in_browser(made.folder, tmp_path / "log.txt") as page:
        open_by_link(page, "Data")
        page.get_by_role("tab", name="Import").click()
        page.get_by_text("A folder", exact=True).click()
        settle(page)
        page.get_by_text("The folder of a file is its label").click()
        settle(page)
        page.locator("input[type=file]").set_input_files(sounds)
        button = page.get_by_role("button", name="Import", exact=True)
        page.wait_for_function("(button) => !button.disabled", arg=button.element_handle())
        settle(page)
        button.click()
        page.get_by_text("2 clips added, 0 were there, 1 failed.").wait_for(timeout=PAGE_MS)
        settle(page)
        assert page.get_by_role("cell", name="broken.wav").first.is_visible()
        embed_here(page, "log-mel-statistics")
        page.get_by_role("tab", name="Clips").click()
        page.get_by_text("2 segments of 2.").wait_for(timeout=PAGE_MS)
        assert page.errors == []
    rows = made.read("SELECT label, domain FROM clips ORDER BY label")
    assert rows.label.tolist() == ["bells", "drums"] and set(rows.domain) == {"speech"}
    other = Workspace.create(tmp_path / "other")
    import_clips(other, labelled_by_folder([SourceClip(path=sounds / name) for name in NAMES]))
    embed(other, "log-mel-statistics")
    for label in ("bells", "drums"):  # each file has its own vector
        of = [
            w.embeddings("log-mel-statistics", -1, where=f"label = '{label}'")
            for w in (made, other)
        ]
        assert of[0].vectors == pytest.approx(of[1].vectors, rel=1e-5)
    failed = made.read("SELECT item FROM failures")
    assert failed["item"].str.contains("broken.wav").tolist() == [True]
