"""Seeds of one recipe, their peers, and encoders beside them, by what was told of each."""

from collections.abc import Mapping, Sequence

import pandas as pd

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.spec import Origin
from usad_workbench.core.storage.clip_vectors import common_clips
from usad_workbench.core.storage.distillation import recorded_teachers
from usad_workbench.core.storage.workspace import Workspace


def told_origins(workspace: Workspace) -> dict[str, Origin]:
    """What was told of family, architecture and training of each encoder."""
    kept = workspace.read(
        "SELECT encoder, family, architecture, training, training_seed FROM encoders"
    )
    told = kept.astype(object).where(kept.notna(), None).itertuples(index=False)
    return {
        str(name): Origin(
            family=family,
            architecture=architecture,
            training=training,
            training_seed=None if seed is None else int(seed),
        )
        for name, family, architecture, training, seed in told
    }


def checked_group(
    workspace: Workspace, origins: Mapping[str, Origin], student: str, group: Sequence[str]
) -> list[str]:
    """The further seeds of a student's recipe.

    Raises:
        ConfigError: a name that comes twice, or a student of other teachers or of another recipe
            by what was told.
    """
    named = [student, *group]
    if len(set(named)) < len(named):
        raise ConfigError(f"Found {', '.join(named)} as students, expected each name once.")
    own = origins.get(student, Origin())
    for name in group:
        other = origins.get(name, Origin())
        teachers = [sorted(recorded_teachers(workspace, one)) for one in (student, name)]
        if teachers[1] and teachers[0] != teachers[1]:
            raise ConfigError(
                f"{name} was taught by {', '.join(teachers[1])}, {student} by "
                f"{', '.join(teachers[0]) or 'nobody on record'}; expected seeds of one recipe. "
                "Name students of the same teachers."
            )
        for what in ("architecture", "training"):
            pair = getattr(own, what), getattr(other, what)
            if all(pair) and pair[0] != pair[1]:
                raise ConfigError(
                    f"{name} has {what} {pair[1]}, {student} {pair[0]}; expected seeds of one "
                    "recipe. Name students that differ in their seed alone."
                )
    return list(group)


def peers_as_told(
    workspace: Workspace,
    origins: Mapping[str, Origin],
    student: str,
    clips: pd.DataFrame,
    named: set[str],
) -> tuple[str, ...]:
    """Other students of which architecture and training were told and are this student's.

    Args:
        workspace: Where they are.
        origins: What was told of each encoder.
        student: Whose peers.
        clips: Which they must all have.
        named: Who takes part already.
    """
    own = origins.get(student, Origin())
    if not (own.architecture and own.training):
        return ()
    kept = workspace.encoders()
    alike = {
        str(name)
        for name in kept.encoder[kept.role == "student"]
        if (origins[name].architecture, origins[name].training) == (own.architecture, own.training)
    }
    return _with_all(workspace, alike - named, clips)


def bystanders_of(
    workspace: Workspace, clips: pd.DataFrame, named: set[str], record: set[str]
) -> tuple[str, ...]:
    """Encoders beside the named ones that are no students and have vectors of all clips."""
    kept = workspace.encoders()
    return _with_all(workspace, set(kept.encoder[kept.role != "student"]) - named - record, clips)


def _with_all(workspace: Workspace, names: set[str], clips: pd.DataFrame) -> tuple[str, ...]:
    """The encoders that have vectors of all clips, by name."""
    wanted = set(clips.clip_id)
    return tuple(
        name
        for name in sorted(names & set(workspace.embedded()))
        if wanted <= set(common_clips(workspace, [name]).clip_id)
    )
