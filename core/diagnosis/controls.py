"""Who stands in whose place: peers for the student, placebos and controls for the teacher.

A *peer* is a student that this teacher did not teach, of the same architecture and training as far
as these are on record (``comparable_students``). A *placebo* is an encoder that taught neither the
student nor its peers; it goes through the same test as the teacher. Where there are no peers, only
*controls of the home domain* can stand in the teacher's place: placebos made for the same audio.
Encoders of one family count once, and those of a teacher's family are no placebos: they are near
the student because the teacher is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usad_workbench.core.diagnosis.comparable_students import (
    differences,
    differences_as_told,
    student_record,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.encoders.registry import encoder_specs
from usad_workbench.core.encoders.students import trained_student_spec
from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.similarity.excess import ControlSlot
from usad_workbench.core.similarity.placebo_excess import MIN_FAMILIES, Places, counted

USERS_WORD = "--controls, the user's word"
SLOTS: tuple[ControlSlot, ...] = ("student", "teacher")
"""The slots that controls may take, in the order of the rows."""
NO_PEERS = "; no peers of the student: "
"""Before the names of those that are none."""
MIN_PEERS = 2
"""One peer has no spread."""
PEERS_AND_PLACEBOS, PLACEBOS_ALONE = "peers and placebos", "placebos of the home domain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """Who is compared with whom for one teacher."""

    teacher: str
    students: tuple[str, ...]
    """One student, or the seeds of one recipe."""
    peers: tuple[str, ...]
    placebos: tuple[str, ...]
    families: tuple[int, ...]
    """Number of the family of each placebo."""
    form: str
    """Peers and placebos, or placebos of the home domain; none where nobody is there."""
    rests_on: str = ""
    """What says that they may stand in these places."""
    outsiders: tuple[str, ...] = ()
    """Teachers of other families, beside whom it shows how near placebos are to each other."""
    is_on_record: bool = False
    """Whether architecture and training of students and peers are on record, and alike."""
    reason: str = ""
    """Why it cannot be tested, and what would make it testable."""

    @property
    def order(self) -> list[str]:
        """All of them: students, peers, teacher, placebos."""
        return [*self.students, *self.peers, self.teacher, *self.placebos]

    @property
    def places(self) -> Places:
        """How many stand in each place."""
        return Places(
            n_students=len(self.students), n_peers=len(self.peers), families=self.families
        )


def design_for(data: DiagnosisData, teacher: str) -> Design:
    """Who stands in whose place when this teacher is asked for."""
    peers = tuple(controls_for(data, teacher, "student"))
    if len(peers) < MIN_PEERS:
        peers = ()
    if peers:
        placebos = placebos_for(data, teacher, peers)
        form = PEERS_AND_PLACEBOS
    else:
        home = controls_for(data, teacher, "teacher")
        placebos = [name for name in placebos_for(data, teacher, ()) if name in home]
        form = PLACEBOS_ALONE
    numbers = {
        name: i for i, name in enumerate(dict.fromkeys(family_of(data, n) for n in placebos))
    }
    families = tuple(numbers[family_of(data, name)] for name in placebos)
    reason = ""
    if len(numbers) < MIN_FAMILIES:
        reason = _too_few(data, teacher, len(peers), len(numbers))
    on_record = bool(peers) and all(is_on_record(data, name) for name in (*data.group[1:], *peers))
    return Design(
        teacher=teacher,
        students=data.group,
        peers=peers,
        placebos=tuple(placebos),
        families=families,
        form=form if peers or placebos else "none",
        rests_on=_rests_on(data, peers, on_record) if peers or placebos else "",
        outsiders=tuple(
            name for name in data.teachers if family_of(data, name) != family_of(data, teacher)
        ),
        is_on_record=on_record,
        reason=reason,
    )


def _too_few(data: DiagnosisData, teacher: str, n_peers: int, n_families: int) -> str:
    """Why a teacher cannot be asked for, and what would make it possible."""
    home = data.roles[teacher].domain or "any"
    if n_peers:
        found = f"{counted(n_families, 'family')} of encoders that taught neither the student nor its peers"
        what = "encoders that never taught it (`usad embed --encoders`, `usad import-embeddings`)"
    else:
        found = (
            f"no two peers of the student without {teacher}, and {counted(n_families, 'family')} of encoders "
            f"of home domain {home} that did not teach"
        )
        what = (
            f"students of the same architecture and training without {teacher}, and encoders that "
            "never taught (`usad embed --encoders`, `usad import-embeddings`)"
        )
    return f"{found}, at least {MIN_FAMILIES} families are needed; add {what}" + describe_no_peers(
        data
    )


def controls_for(data: DiagnosisData, teacher: str, slot: ControlSlot) -> list[str]:
    """The controls that could stand in the teacher's or in the student's place.

    Args:
        data: Of one student.
        teacher: One of its teachers.
        slot: Whose place.
    """
    taught = _taught_by(data)
    if slot == "student":
        others = no_peers(data)
        return [
            n
            for n, teachers in taught.items()
            if teachers is not None and teacher not in teachers and n not in others
        ]
    home = data.roles[teacher].domain
    return [
        n
        for n, teachers in taught.items()
        if teachers is None and data.roles[n].domain == home and n not in data.once_taught
    ]


def placebos_for(data: DiagnosisData, teacher: str, peers: Sequence[str]) -> list[str]:
    """Encoders that taught neither the student nor its peers, of no teacher's family.

    Args:
        data: Of one student.
        teacher: The one that is asked for.
        peers: Who stands in the student's place.
    """
    taught = _taught_by(data)
    taught_peers = {name for peer in peers for name in taught.get(peer) or ()}
    who_taught = {*data.teachers, *data.once_taught, *taught_peers, teacher}
    families = {family_of(data, name) for name in who_taught}
    candidates = [name for name, teachers in taught.items() if teachers is None]
    return [
        name
        for name in dict.fromkeys([*candidates, *data.baselines, *data.bystanders])
        if name not in data.once_taught
        and name not in taught_peers
        and family_of(data, name) not in families
    ]


def family_of(data: DiagnosisData, name: str) -> str:
    """The family of an encoder, as somebody told or as its spec says; else its own name."""
    told = data.origins[name].family if name in data.origins else None
    spec = encoder_specs().get(name)
    return told or (spec.origin.family if spec else None) or name


def no_peers(data: DiagnosisData) -> dict[str, str]:
    """Controls that are known to be no peers of the student, and in what."""
    of_student = student_record(data.student)
    apart_in = {}
    for name in (*data.controls, *data.told_peers):
        record = student_record(name)
        apart = differences(of_student, record) if of_student and record else []
        apart = apart or differences_as_told(data.origins, data.student, name)
        if apart:
            apart_in[name] = ", ".join(apart)
    return apart_in


def is_on_record(data: DiagnosisData, name: str) -> bool:
    """Whether architecture and training of the student and another one are on record."""
    if student_record(data.student) and student_record(name):
        return True
    both = [data.origins.get(one) for one in (data.student, name)]
    return all(one and one.architecture and one.training for one in both)


def describe_no_peers(data: DiagnosisData) -> str:
    """The controls that are known to be no peers, each with its differences; empty for none."""
    others = {n: why for n, why in no_peers(data).items() if _taught_by(data)[n] is not None}
    if not others:
        return ""
    return NO_PEERS + "; ".join(f"{n} ({why})" for n, why in others.items())


def _rests_on(data: DiagnosisData, peers: Sequence[str], on_record: bool) -> str:
    """What it rests on that these encoders may stand in these places."""
    chosen = USERS_WORD if data.are_controls_named else "their roles here"
    if not peers:
        return f"controls for the teacher: the same home domain, and {chosen}"
    if on_record:
        return "peers of the student: architecture and training on record, alike"
    unknown = [name for name in peers if not is_on_record(data, name)] or list(peers)
    return (
        f"peers of the student: {chosen}, as architecture and training of "
        f"{_some(unknown)} beside {data.student} are not on record"
    )


def _some(names: Sequence[str], n: int = 4) -> str:
    more = len(names) - n
    return ", ".join(names[:n]) + (f" and {more} more" if more > 0 else "")


def _taught_by(data: DiagnosisData) -> Mapping[str, set[str] | None]:
    """Control to the teachers of a control that is a student; none for any other encoder.

    A student that is named as a control and whose teachers nobody recorded had none of ours.
    """
    recorded = data.workspace.read("SELECT student, teacher FROM distillation")
    kept = data.workspace.encoders()
    roles = dict(zip(kept.encoder, kept.role, strict=True))
    taught: dict[str, set[str] | None] = {}
    for name in (*data.controls, *data.told_peers):
        teachers = recorded[recorded.student == name].teacher
        if len(teachers):
            taught[name] = {str(name_of_teacher) for name_of_teacher in teachers}
            continue
        try:
            spec = trained_student_spec(name)
        except CheckpointError:  # its folder is gone; its vectors are still here
            spec = None
        if spec is not None:
            taught[name] = {teaching.teacher for teaching in spec.taught_by}
        else:
            taught[name] = set() if roles.get(name) == "student" else None
    return taught
