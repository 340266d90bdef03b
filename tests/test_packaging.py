"""What the packaging recipe promises."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREE_LIMIT_BYTES = 50 * 2**20


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


def test_no_extra_brings_two_builds_of_faiss() -> None:
    """Both have a module `faiss`: whichever is installed last overwrites the other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": [], **project["optional-dependencies"]}
    builds = {
        name: [one for one in [*project["dependencies"], *extra] if one.startswith("faiss")]
        for name, extra in extras.items()
    }
    assert builds[""] == []
    assert all(len(found) <= 1 for found in builds.values()), builds
    with_one = {name: found[0].split(">")[0] for name, found in builds.items() if found}
    assert with_one == {"faiss": "faiss-cpu", "faiss-gpu": "faiss-gpu", "dev": "faiss-cpu"}


def test_tracked_tree_stays_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    total = sum((ROOT / name).stat().st_size for name in listed if name and (ROOT / name).is_file())
    assert 2**20 < total < TREE_LIMIT_BYTES


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ships, built from a copy: building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    names = ("core", "training", "indexes", "workbench", "sample_data")
    for name in names:
        shutil.copytree(ROOT / name, folder / "source" / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--quiet",
            "-w",
            str(folder),
            str(folder / "source"),
        ],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    """All modules, the sample clips, the student and the recipes."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    suffixes = {".py", ".toml", ".ogg", ".csv", ".safetensors", ".typed", ".css", ".svg", ".html"}
    for folder in ("core", "training", "indexes", "workbench", "sample_data"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in suffixes:
                name = f"usad_workbench/{file.relative_to(ROOT).as_posix()}"
                assert name in inside, f"{name} is missing from the wheel"


def test_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import json, sys, usad_workbench.core as core\n"
        "from usad_workbench.sample_data import sample_data_folder\n"
        "from usad_workbench.core import load_encoder\n"
        "clip = next((sample_data_folder() / 'clips').rglob('*.ogg'))\n"
        "shape = load_encoder('usad-demo').embed(clip, -1)[0].shape\n"
        "sys.stdout.write(json.dumps([core.__file__, str(clip), list(shape)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    module, clip, shape = json.loads(done.stdout)
    assert module.startswith(str(site))
    assert clip.startswith(str(site))
    assert shape == [256]
