"""The main job on the sample data: import, embed, index, project, compare, take in a family.

Every step does what is missing and nothing twice, so the same call after a crash, or
after another encoder was fetched, finishes the work.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from usad_workbench.core.diagnosis.teacher_similarity import compare_with_teachers
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.registry import encoder_status, setup_encoders
from usad_workbench.core.encoders.students import FAMILY_FOLDER
from usad_workbench.core.errors import MissingExtraError, UsadError
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.importing import Failure, import_clips, read_manifest
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.task_file import read_tasks
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.files import clear_leftovers
from usad_workbench.indexes.projection import project
from usad_workbench.indexes.spaces import update_index
from usad_workbench.sample_data import sample_data_folder

STUDENT = "usad-demo"
"""The student that ships with the package."""
FAMILY = FAMILY_FOLDER / "students.parquet"
"""Vectors of students with all teachers and without each of them, of the sample clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What the demo left behind."""

    workspace: Path
    n_clips: int
    encoders: list[str]
    """What has embedded the clips here."""
    students: list[str]
    """Whose vectors came with the package."""
    spaces: int
    seconds: float
    failed: list[Failure] = field(default_factory=list)


def run_demo(folder: str | Path, progress: Progress = no_progress) -> DemoReport:
    """Does the main job on the sample data, as far as it is not done yet.

    An encoder whose weights are missing is named in ``failed``; the rest goes on.
    """
    started = time.perf_counter()
    workspace = Workspace.create(folder)
    source = sample_data_folder()
    report = import_clips(workspace, read_manifest(source / "manifest.csv"), progress=progress)
    failed = list(report.failed)
    set_tasks(workspace, read_tasks(source / "tasks.csv"))
    failed += _embed_all(workspace, progress)
    students, not_taken = import_family(workspace, progress)
    failed += not_taken
    present = [name for name in workspace.embedded(None) if name not in students]
    _index_and_project(workspace, present, progress)
    if STUDENT in present:
        compare_with_teachers(workspace, STUDENT, progress=progress)
    return DemoReport(
        workspace=workspace.folder,
        n_clips=len(workspace.clips()),
        encoders=present,
        students=students,
        spaces=len(workspace.spaces()),
        seconds=time.perf_counter() - started,
        failed=failed,
    )


def _embed_all(workspace: Workspace, progress: Progress) -> list[Failure]:
    """Embeds with every encoder that is available; names the others."""
    status = {name: encoder_status(name) for name in setup_encoders()}
    failed = [Failure(path=n, reason=s.reason) for n, s in status.items() if not s.available]
    available = [name for name in status if status[name].available]
    for name, outcome in embed(workspace, available, progress=progress).items():
        if isinstance(outcome, UsadError):
            failed.append(Failure(path=name, reason=str(outcome)))
        else:
            failed += outcome.failed
    return failed


def import_family(
    workspace: Workspace, progress: Progress = no_progress
) -> tuple[list[str], list[Failure]]:
    """Adds the family of students that a diagnosis can ask about; their teachers come first.

    Returns:
        The students, and what could not be taken.
    """
    try:
        report = import_embeddings(workspace, FAMILY, role="student", progress=progress)
    except UsadError as error:
        return [], [Failure(path=FAMILY.name, reason=str(error))]
    return report.encoders, report.failed


def _index_and_project(workspace: Workspace, encoders: list[str], progress: Progress) -> None:
    """The family is left out: nobody looks at maps of so many students in one layer."""
    clear_leftovers(workspace)
    spaces = workspace.spaces()
    spaces = spaces[spaces.encoder.isin(encoders)]
    with suppress(MissingExtraError):  # search compares with every vector then
        for number, space in enumerate(spaces.itertuples()):
            key = (str(space.encoder), int(space.layer), str(space.pooling))
            of_space = part_of(progress, number, len(spaces), f"{key[0]} layer {key[1]}")
            update_index(workspace, *key, progress=of_space)
            of_space(1, 1, "index")
    for name in encoders:
        project(workspace, name, progress=progress)
