"""A folder that is dropped on the page Data: what becomes clips, and what failed by its name."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.workbench.opened_app import PAGE_MS, app_in_browser
from tests.workbench.screenshots import open_by_link, settle
from usad_workbench.core.storage.workspace import Workspace

pytestmark = pytest.mark.browser
RATE_HZ = 16_000


def test_a_folder_with_a_broken_file_is_dropped(tmp_path: Path) -> None:
    sounds = tmp_path / "dropped"
    for number, name in enumerate(("bells/one.wav", "drums/two.wav")):
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
        page.get_by_role("tab", name="Clips").click()
        page.get_by_text("2 segments of 2.").wait_for(timeout=PAGE_MS)
        assert page.errors == []
    rows = made.read("SELECT label, domain FROM clips ORDER BY label")
    assert rows.label.tolist() == ["bells", "drums"] and set(rows.domain) == {"speech"}
    failed = made.read("SELECT item FROM failures")
    assert failed["item"].str.contains("broken.wav").tolist() == [True]
