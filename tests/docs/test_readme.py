"""The README's Python prints what is shown, in the workspace of the demo."""

import subprocess
import sys
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks


@pytest.mark.weights
def test_readme_prints_what_is_shown(demo: dict[str, Any]) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    code = block.text.replace('"demo-workspace"', repr(demo["workspace"]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert block.printed is not None
    assert done.stdout.strip() == block.printed.strip()
