"""The sentences that are stored with the numbers of a diagnosis: here and nowhere else.

They stand in tables and documents that people read without this program. What is only shown is
written by the presenters of the workbench.
"""

import math

from usad_workbench.core.diagnosis.lineage import Relation
from usad_workbench.core.similarity.comparison import BestPair, NearestTeacher

MEASURE_NAMES = {
    "debiased_linear_cka": "debiased CKA",
    "standardised_linear_cka": "debiased CKA of standardised dims",
    "mutual_knn": "mutual k-NN overlap",
}
_RELATIONS: dict[Relation, str] = {
    "second stage": "{student} is the second stage of {other}: it began with these weights, and "
    "a difference is what the second stage changed.",
    "first stage": "{student} is the first stage of {other}, which began with these weights: a "
    "difference is what the second stage changed, with the opposite sign.",
    "continuation": "{student} began with the weights of {other}, without a new stage: a "
    "difference is what more training changed.",
    "beginning": "{other} began with the weights of {student}, without a new stage: a difference "
    "is what more training changed, with the opposite sign.",
    "same weights": "{student} and {other} are two names of the same weights: nothing is compared.",
    "another checkpoint": "{student} and {other} are two checkpoints of one run: a difference is "
    "what the steps between them changed.",
    "another student": "No record says that one of {student} and {other} began with the weights "
    "of the other: these are differences between two students, not between stages.",
}


def describe_relation(relation: Relation, student: str, other: str) -> str:
    """What the first of two students is to the second, and what a difference then shows.

    >>> describe_relation("same weights", "a", "b")
    'a and b are two names of the same weights: nothing is compared.'
    """
    return _RELATIONS[relation].format(student=student, other=other)


def describe_nearest(nearest: NearestTeacher) -> str:
    """Who is nearest in a domain by a measure, how near, and what that does not show."""
    teacher, control, baseline = nearest.teacher, nearest.control, nearest.baseline
    if teacher is None:
        return f"in {nearest.domain} no teacher has been compared with the student"
    word = MEASURE_NAMES.get(nearest.measure, nearest.measure)
    start = (
        f"in {nearest.domain} the student's geometry is nearest to {teacher.encoder} "
        f"({word} {_with_interval(teacher)} at student layer {teacher.student_layer} × teacher "
        f"layer {teacher.teacher_layer}, {_describe_maximum(teacher)}; n = {teacher.n_clips} clips, "
        f"{teacher.n_clusters} clusters)"
    )
    if teacher.is_above_null is False:
        start += (
            "; that does not stand out from what the same clips give when exchanged within "
            f"their clusters ({teacher.describe_level}), so no teacher is near by this measure"
        )
    elif control is None:
        start += f"; {_describe_home(nearest.home)}, so nothing can be said about inheritance"
    else:
        start += f"; {_describe_control(nearest, control)}"
    if baseline is not None and baseline.value >= teacher.value:
        start += (
            f"; the baseline {baseline.encoder} is as near ({_with_interval(baseline)}), so "
            "simple properties of the sound may explain it"
        )
    return start


def _describe_home(home: str | None) -> str:
    if home is None:
        return "there is no control encoder that was made for any audio, as this teacher was"
    return f"there is no control encoder whose home domain is {home}, as this teacher's is"


def _describe_control(nearest: NearestTeacher, control: BestPair) -> str:
    start = (
        f"the nearest control, {control.encoder}, reaches {_with_interval(control)} "
        f"({_describe_maximum(control)})"
    )
    difference, is_nearer = nearest.difference, nearest.is_nearer_than_control
    by = ""
    if difference is not None and math.isfinite(difference.ci_low):
        by = f", a difference of {difference.value:.2f}"
        by += f" [{difference.ci_low:.2f}, {difference.ci_high:.2f}]"
    if is_nearer:
        return (
            f"{start}{by}: the teacher is nearer than this control, as inheritance would have "
            "it, but so would any other way in which the two encoders differ"
        )
    if is_nearer is None:
        return f"{start}; without intervals the two cannot be told apart"
    return f"{start}{by}, so this alone does not show inheritance"


def _describe_maximum(pair: BestPair) -> str:
    return "the only layer pair" if pair.n_pairs == 1 else f"the maximum of {pair.n_pairs} pairs"


def _with_interval(pair: BestPair) -> str:
    if pair.has_interval:
        return f"{pair.value:.2f} [{pair.ci_low:.2f}, {pair.ci_high:.2f}]"
    return f"{pair.value:.2f}, no interval"
