"""Tests lie where their code lies: every folder of tests mirrors a folder of the packages."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
OF_NO_FOLDER = {
    "broken_inputs": "a thousand broken files through the commands",
    "contract": "what every encoder promises",
    "docs": "README and docs, run",
    "gpu": "what a machine with an accelerator runs, with torch alone",
    "kills": "commands stopped at single file operations",
    "numerics": "measures against literal definitions on planted truths",
}
"""Tests of no single folder, and what they are about."""


def test_folders_mirror_the_packages() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    assert len(folders) > 15
    alone = {str(f) for f in folders if not (ROOT / f / "__init__.py").exists()}
    assert alone == set(OF_NO_FOLDER)


def test_loose_tests_of_core_are_named_after_its_modules() -> None:
    modules = {path.stem for path in (ROOT / "core").glob("*.py")} | {"package"}
    for path in (TESTS / "core").glob("test_*.py"):
        words = path.stem.removeprefix("test_").split("_")
        names = {"_".join(words[:n]) for n in range(1, len(words) + 1)}
        assert names & modules, f"{path} is about no module of core/"
