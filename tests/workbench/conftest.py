import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import require_browser
from tests.workbench.screenshots import served
from usad_workbench.core.diagnosis.record import store_diagnosis
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed.browsing import chromium

MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""One that beeps, which pages may listen to unasked."""


def _beside(name: str) -> ModuleType:
    """A builder beside this file: tests are no package, so it is loaded by its path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    return _beside("synthetic_workspace")


@pytest.fixture(scope="session")
def synthetic_diagnosis() -> ModuleType:
    return _beside("synthetic_diagnosis")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, synthetic: ModuleType) -> Workspace:
    """A small workspace with everything the app shows; nobody may write to it."""
    built: Workspace = synthetic.build(
        tmp_path_factory.mktemp("workbench"), n_permutations=29, with_umap=False
    )
    return built


@pytest.fixture(scope="session")
def diagnosed(
    workspace: Workspace, synthetic_diagnosis: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A copy of it that holds two diagnoses: of all clips, and of a selection."""
    copy = copy_into(tmp_path_factory.mktemp("diagnosed"), workspace)
    for selection in ("", "domain = 'speech'"):
        found = synthetic_diagnosis.diagnosis(copy, selection)
        store_diagnosis(
            copy,
            replace(
                found,
                verdicts=synthetic_diagnosis.verdicts(found),
                rules_text=load_rules()[1],
            ),
        )
    return copy


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("empty") / "ws")


@pytest.fixture(scope="session")
def address(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app on the workspace, in a process of its own."""
    require_browser()
    with served(workspace.folder, tmp_path_factory.mktemp("server") / "log.txt") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    require_browser()
    with chromium(*MICROPHONE) as found:
        yield found
