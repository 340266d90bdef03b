"""Seeds of one recipe, their peers, and encoders beside them, by what was told of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.diagnosis.comparable_students import differences, student_record
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.spec import Origin
from usad_workbench.core.storage.clip_vectors import common_clips
from usad_workbench.core.storage.distillation import distillation_rows, recorded_teachers
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
        ConfigError: a name or weights that come twice, a teacher of the student, or a student of
            other teachers or of another recipe by what is on record or was told.
    """
    named = [student, *group]
    if len(set(named)) < len(named):
        raise ConfigError(f"Found {', '.join(named)} as students, expected each name once.")
    _check_weights(workspace, named)
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
        if name in teachers[0]:
            raise ConfigError(
                f"{name} taught {student}, expected seeds of one recipe. Name students alone."
            )
        apart = _differences_on_record(student, name)
        for what in ("architecture", "training"):
            pair = getattr(own, what), getattr(other, what)
            if all(pair) and pair[0] != pair[1]:
                apart.append(f"{what} {pair[1]}, not {pair[0]}")
        if apart:
            raise ConfigError(
                f"{name} has {', '.join(apart)} as {student} has; expected seeds of one recipe. "
                "Name students that differ in their seed alone."
            )
    return list(group)


def _check_weights(workspace: Workspace, named: Sequence[str]) -> None:
    """Refuses one student under two names, which is no second seed."""
    known = workspace.encoders()
    of = dict(zip(known.encoder, known.weights_sha256, strict=True))
    for i, name in enumerate(named):
        twin = next((one for one in named[:i] if name in of and of[name] == of.get(one)), None)
        if twin is not None:
            raise ConfigError(
                f"{twin} and {name} are two names of the same weights, expected seeds of one "
                "recipe. Name each student once."
            )


def _differences_on_record(student: str, name: str) -> list[str]:
    own, other = student_record(student), student_record(name)
    return differences(own, other) if own and other else []


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldPeers:
    """Other students of which architecture and training were told and are a student's."""

    names: tuple[str, ...] = ()
    """Those of which the teachers are on record too, and that have all clips."""
    warnings: tuple[str, ...] = ()
    """Who is left out."""


def peers_as_told(
    workspace: Workspace,
    origins: Mapping[str, Origin],
    student: str,
    clips: pd.DataFrame,
    named: set[str],
) -> ToldPeers:
    """Other students of a student's architecture and training, by what was told.

    One of which nobody said who taught it may be a further seed of all teachers. As a peer it would
    hide what all of them have of a teacher.

    Args:
        workspace: Where they are.
        origins: What was told of each encoder.
        student: Whose peers.
        clips: Which they must all have.
        named: Who takes part already.
    """
    own = origins.get(student, Origin())
    if not (own.architecture and own.training):
        return ToldPeers()
    kept = workspace.encoders()
    alike = {
        str(name)
        for name in kept.encoder[kept.role == "student"]
        if (origins[name].architecture, origins[name].training) == (own.architecture, own.training)
    } & set(workspace.embedded()) - named
    taught = alike & set(distillation_rows(workspace.read).student)
    whole = _with_all(workspace, taught, clips)
    return ToldPeers(
        names=whole,
        warnings=(
            *_left_out(alike - taught, "nobody told who taught them (--teachers)"),
            *_left_out(taught - set(whole), "they lack clips that all others have"),
        ),
    )


def _left_out(names: set[str], why: str) -> list[str]:
    if not names:
        return []
    return [f"{', '.join(sorted(names))}: of the student's recipe and no peers, as {why}"]


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
