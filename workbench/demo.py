"""The main job on the sample data, step by step, up to a diagnosis that has an answer.

Every step does what is missing and nothing twice, so the same call after a crash, or
after another encoder was fetched, finishes the work. Two students are diagnosed. The shipped one
has no peers, so what it has of its teachers cannot be told from likeness. The family is a recipe
with students without each teacher beside it, which can.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from usad_workbench.core.diagnosis.record import is_diagnosed
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.diagnosis.teacher_similarity import compare_with_teachers
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.registry import encoder_status, setup_encoders
from usad_workbench.core.encoders.students import FAMILY_FOLDER, PLACEBOS_FOLDER, UNTRAINED_NAME
from usad_workbench.core.errors import MissingExtraError, UsadError
from usad_workbench.core.evaluation.evaluate import evaluate, is_evaluated
from usad_workbench.core.models.spec import Role
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.importing import Failure, import_clips, read_manifest
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.task_file import read_tasks
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.told_recipes import told_recipes
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.files import clear_leftovers
from usad_workbench.indexes.projection import project
from usad_workbench.indexes.spaces import update_index
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.workbench.step_log import StepLog, only_one

STUDENT = "usad-demo"
"""The student that ships with the package."""
FAMILY = FAMILY_FOLDER / "students.parquet"
"""Vectors of students with all teachers and without each of them, of the sample clips."""
FAMILY_LICENCE = "CC-BY-SA-4.0"
"""As parts of the corpus have it."""
PLACEBOS = PLACEBOS_FOLDER / "placebos.parquet"
"""Vectors of encoders that never taught, likewise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What the demo left behind."""

    workspace: Path
    n_clips: int
    encoders: list[str]
    """What has embedded the clips here."""
    students: list[str]
    """Whose vectors came with the package."""
    placebos: list[str]
    """Encoders that never taught, likewise."""
    spaces: int
    seconds: float
    failed: list[Failure] = field(default_factory=list)


@dataclass(kw_only=True)
class _Demo:
    """What the steps know of each other."""

    workspace: Workspace
    failed: list[Failure] = field(default_factory=list)
    students: list[str] = field(default_factory=list)
    placebos: list[str] = field(default_factory=list)
    """Encoders that never taught, whose vectors came with the package too."""

    @property
    def embedded_here(self) -> list[str]:
        given = {*self.students, *self.placebos}
        return [name for name in self.workspace.embedded(None) if name not in given]

    @property
    def family(self) -> list[str]:
        """The seeds with all teachers; none where the family was not taken in."""
        of = [one.seeds for one in told_recipes(self.workspace) if one.seeds[0] in self.students]
        return list(of[0]) if of else []


def run_demo(
    folder: str | Path, progress: Progress = no_progress, *, is_short: bool = False
) -> DemoReport:
    """Does the main job on the sample data, as far as it is not done yet.

    An encoder whose weights are missing is named in ``failed``; the rest goes on.

    Args:
        folder: Of the workspace.
        progress: Called after each piece of work. Where the whole stands is in the workspace too.
        is_short: Leaves out probes and the panels that read them, minutes of computing.

    Raises:
        StoreError: another demo works in the folder.
    """
    started = time.perf_counter()
    demo = _Demo(workspace=Workspace.create(folder))
    steps = {name: do for name, do in STEPS.items() if not (is_short and do in LONG)}
    with only_one(demo.workspace.folder):
        log = StepLog(demo.workspace.folder, list(steps), progress)
        for do in steps.values():
            do(demo, log.begin())
        log.end()
    return DemoReport(
        workspace=demo.workspace.folder,
        n_clips=len(demo.workspace.clips()),
        encoders=demo.embedded_here,
        students=demo.students,
        placebos=demo.placebos,
        spaces=len(demo.workspace.spaces()),
        seconds=time.perf_counter() - started,
        failed=demo.failed,
    )


def _import(demo: _Demo, progress: Progress) -> None:
    source = sample_data_folder()
    report = import_clips(demo.workspace, read_manifest(source / "manifest.csv"), progress=progress)
    demo.failed += report.failed
    set_tasks(demo.workspace, read_tasks(source / "tasks.csv"))


def _embed_first(demo: _Demo, progress: Progress) -> None:
    """The student and its untrained self: the first map, while larger encoders embed."""
    _embed(demo, [STUDENT, UNTRAINED_NAME], part_of(progress, 0, 2))
    if STUDENT in demo.workspace.embedded():
        project(demo.workspace, STUDENT, progress=part_of(progress, 1, 2))


def _embed_all(demo: _Demo, progress: Progress) -> None:
    """Embeds with every encoder that is available; names the others."""
    status = {name: encoder_status(name) for name in setup_encoders()}
    demo.failed += [Failure(path=n, reason=s.reason) for n, s in status.items() if not s.available]
    _embed(demo, list(status), progress)


def _embed(demo: _Demo, names: Sequence[str], progress: Progress) -> None:
    available = [name for name in names if encoder_status(name).available]
    for name, outcome in embed(demo.workspace, available, progress=progress).items():
        if isinstance(outcome, UsadError):
            demo.failed.append(Failure(path=name, reason=str(outcome)))
        else:
            demo.failed += outcome.failed


def _take_in_family(demo: _Demo, progress: Progress) -> None:
    demo.students, not_taken = import_family(demo.workspace, part_of(progress, 0, 2))
    demo.placebos, neither = import_placebos(demo.workspace, part_of(progress, 1, 2))
    demo.failed += [*not_taken, *neither]


def import_family(
    workspace: Workspace, progress: Progress = no_progress
) -> tuple[list[str], list[Failure]]:
    """Adds the family of students that a diagnosis can ask about; their teachers come first.

    Returns:
        The students, and what could not be taken.
    """
    return _given(workspace, FAMILY, "student", progress, licence=FAMILY_LICENCE)


def import_placebos(
    workspace: Workspace, progress: Progress = no_progress
) -> tuple[list[str], list[Failure]]:
    """Adds encoders that never taught, beside those that are installed.

    Returns:
        The encoders, and what could not be taken.
    """
    return _given(workspace, PLACEBOS, "control", progress)


def _given(
    workspace: Workspace,
    file: Path,
    role: Role,
    progress: Progress,
    licence: str | None = None,
) -> tuple[list[str], list[Failure]]:
    try:
        report = import_embeddings(workspace, file, role=role, licence=licence, progress=progress)
    except UsadError as error:
        return [], [Failure(path=file.name, reason=str(error))]
    return report.encoders, report.failed


def _ask_family(demo: _Demo, progress: Progress) -> None:
    """What was inherited, before anything else: it reads neither probes nor maps."""
    _diagnose(demo, demo.family, ["inheritance"], progress)


def _index_and_project(demo: _Demo, progress: Progress) -> None:
    """What came as vectors is left out: nobody looks at maps of so many encoders in one layer."""
    workspace, encoders = demo.workspace, demo.embedded_here
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


def _compare(demo: _Demo, progress: Progress) -> None:
    if STUDENT in demo.workspace.embedded():
        compare_with_teachers(demo.workspace, STUDENT, progress=progress)


def _evaluate(demo: _Demo, progress: Progress) -> None:
    if not is_evaluated(demo.workspace):
        evaluate(demo.workspace, progress=progress)


def _diagnose_family(demo: _Demo, progress: Progress) -> None:
    _diagnose(demo, demo.family, None, progress)


def _diagnose_student(demo: _Demo, progress: Progress) -> None:
    if STUDENT in demo.workspace.embedded():
        _diagnose(demo, [STUDENT], None, progress)


def _diagnose(
    demo: _Demo, students: Sequence[str], panels: Sequence[str] | None, progress: Progress
) -> None:
    if not students or is_diagnosed(demo.workspace, students, panels):
        return
    try:
        diagnose(demo.workspace, students, panels=panels, progress=progress)
    except UsadError as error:  # such as teachers whose weights are missing
        demo.failed.append(Failure(path=f"diagnosis of {students[0]}", reason=str(error)))


STEPS: dict[str, Callable[[_Demo, Progress], None]] = {
    "taking in the sample clips": _import,
    "embedding with the student, and its map": _embed_first,
    "embedding with teachers and controls": _embed_all,
    "taking in a family of students": _take_in_family,
    "what the family has of its teachers": _ask_family,
    "indexes and maps": _index_and_project,
    "similarity of the student to each encoder": _compare,
    "probes on the labelled tasks": _evaluate,
    "diagnosis of the family": _diagnose_family,
    "diagnosis of the student": _diagnose_student,
}
"""In words for those who wait."""
LONG = (_evaluate, _diagnose_family, _diagnose_student)
FIRST_PICTURE = list(STEPS.values()).index(_embed_all) + 1
"""The step at which there is a map to look at."""
