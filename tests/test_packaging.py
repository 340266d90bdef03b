"""What the packaging recipe promises."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREE_LIMIT_BYTES = 40 * 2**20


def test_every_package_is_listed() -> None:
    """An editable install hides a missing entry, the wheel does not have it."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    on_disk = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in setuptools["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert on_disk == set(setuptools["packages"])


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    first = lines.index("dependencies = [")
    listed = [line for line in lines[first : lines.index("[project.scripts]")] if ">=" in line]
    assert len(listed) > 15
    assert [line for line in listed if "#" not in line] == []


def test_tracked_tree_stays_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    total = sum((ROOT / name).stat().st_size for name in listed if name and (ROOT / name).is_file())
    assert 2**20 < total < TREE_LIMIT_BYTES


def test_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    """The wheel that ships has all modules, the sample clips, the student and the recipes."""
    import zipfile

    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet",
            "-w", str(tmp_path), str(ROOT),
        ],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("core", "training", "indexes", "workbench", "sample_data"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".py", ".toml", ".ogg", ".csv", ".safetensors", ".typed"}:
                name = f"usad_workbench/{file.relative_to(ROOT).as_posix()}"
                assert name in inside, f"{name} is missing from the wheel"
