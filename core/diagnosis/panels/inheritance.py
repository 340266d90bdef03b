"""Inheritance: similarity to each teacher above that of exchangeable controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from usad_workbench.core.arrays import Indices, Matrix
from usad_workbench.core.diagnosis.controls import (
    MATCHED_ACCURACY,
    SLOTS,
    USERS_WORD,
    MatchTable,
    controls_for,
    describe_no_peers,
    rests_on,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.excess_doubt import (
    LARGEST_EXCESS,
    NOT_TESTABLE,
    TestedExcess,
    doubt_of,
)
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    cell_name,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.teacher_similarity import MEASURES
from usad_workbench.core.diagnosis.verdicts import limit_at
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import (
    LayerMatrix,
    Measure,
    family_p_values,
    layer_similarity,
)
from usad_workbench.core.similarity._shares import clip_shares
from usad_workbench.core.similarity.excess import (
    ControlSlot,
    Excess,
    difference_of_excesses,
    excess_in,
)
from usad_workbench.core.storage.clip_vectors import ClipVectors

NAME = "inheritance"
FORMS = {"student": "controls for the student", "teacher": "controls for the teacher"}
ENOUGH_CONTROLS = 4
"""With fewer, one case against them has little power (module ``similarity.excess``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InheritanceRow(PanelRow):
    """Similarity of student and teacher above that of the controls in one slot."""

    teacher: str
    domain: str
    layer: int
    teacher_layer: int
    measure: Measure
    form: str = "none"
    """Whose slot the controls take; none without any."""
    excess: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    p_kind: str = "none"
    q_value: float = math.nan
    pair_p_value: float = math.nan
    """Of teacher and domain as a whole."""
    inherited: str = NOT_TESTABLE
    """yes, no, undecided, or not testable."""
    detectable: float = math.nan
    """The excess that so few controls could show."""
    rests_on: str | None = None
    """What says that these controls are peers."""
    similarity: float = math.nan
    control_similarity: float = math.nan
    controls: tuple[str, ...] = ()
    clips_ci_low: float = math.nan
    """Limits of the excess over other clips, the controls as they are."""
    clips_ci_high: float = math.nan
    home_minus_others: float = math.nan
    """The excess in the teacher's home domain minus that in the others."""
    home_minus_others_ci_low: float = math.nan
    home_minus_others_ci_high: float = math.nan
    home_minus_others_p_value: float = math.nan
    accuracy: float = math.nan
    """Of the one whose slot it is, beside the mean of the controls; so for dims and sizes."""
    control_accuracy: float = math.nan
    dim: float = math.nan
    control_dim: float = math.nan
    n_params: float = math.nan
    control_n_params: float = math.nan
    is_matched: bool | None = None
    n_clips: int
    n_clusters: int
    reason: str = ""

    @property
    def cell(self) -> str:
        """The name of the cell that the row is about."""
        return cell_name(
            teacher=self.teacher,
            domain=self.domain,
            layer=self.layer,
            measure=self.measure,
            form=self.form,
        )


Controls = Mapping[tuple[str, ControlSlot], Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Setting:
    """One student layer in one domain by one measure: everyone against everyone."""

    domain: str
    layer: int
    measure: Measure
    clip_ids: Sequence[str]
    clusters: Sequence[str]
    vectors: Mapping[str, ClipVectors]
    in_student_slot: Sequence[str]
    in_teacher_slot: Sequence[str]
    matrix: LayerMatrix | None
    reason: str
    k: int

    def excess(self, teacher: str, slot: ControlSlot, controls: Sequence[str]) -> Excess:
        """The excess of student and teacher over the controls in one place."""
        if self.matrix is None:
            raise DegenerateError(self.reason)
        order = self.in_student_slot if slot == "student" else self.in_teacher_slot
        indices = [order.index(name) for name in controls]
        cell = (0, self.in_teacher_slot.index(teacher))
        return excess_in(self.matrix, cell, indices, slot)

    def similarity(self, teacher: str) -> float:
        """Of student and teacher."""
        if self.matrix is None:
            return math.nan
        return float(self.matrix.values[0, self.in_teacher_slot.index(teacher)])

    def influence(self, teacher: str, slot: ControlSlot, controls: Sequence[str]) -> Matrix:
        """What each clip adds to the excess `[clip]`; the mean over clips is the excess."""
        student = self.in_student_slot[0]
        pairs = [(c, teacher) if slot == "student" else (student, c) for c in controls]
        others = np.mean([self._shares(*pair) for pair in pairs], axis=0)
        return np.asarray(self._shares(student, teacher) - others)

    def _shares(self, a: str, b: str) -> Matrix:
        x, y = self.vectors[a], self.vectors[b]
        return clip_shares(x, y, self.clusters, measure=self.measure, k=self.k)


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every teacher in every domain, home or not, at each of the few student layers."""
    controls: dict[tuple[str, ControlSlot], list[str]] = {
        (teacher, slot): controls_for(data, teacher, slot)
        for teacher in data.teachers
        for slot in SLOTS
    }
    matches = MatchTable(data)
    rows: list[InheritanceRow] = []
    clips: list[InfluentialClips] = []
    excesses: dict[str, Excess] = {}
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        chosen = data.thinned_rows(domain)
        for measure in MEASURES:
            setting = _setting(data, domain, layer, measure, chosen, controls)
            for teacher in data.teachers:
                cells = _cells(data, setting, teacher, controls, matches)
                rows += [cell.row for cell in cells]
                clips += [cell.clips for cell in cells if cell.clips is not None]
                excesses |= {c.row.cell: c.excess for c in cells if c.excess is not None}
        progress(done, len(jobs), NAME)
    rows = [_with_home_minus_others(row, data, excesses) for row in rows]
    rows = _answered(rows, data.config.rules)
    return Panel(
        name=NAME,
        row_type=InheritanceRow,
        rows=rows,
        influential=clips,
        warnings=_warnings(data, controls, rows),
    )


def _setting(
    data: DiagnosisData,
    domain: str,
    layer: int,
    measure: Measure,
    rows: Indices,
    controls: Controls,
) -> _Setting:
    def all_in(slot: ControlSlot) -> list[str]:
        return sorted(
            {
                name
                for (_, slot_of_names), names in controls.items()
                if slot_of_names == slot
                for name in names
            }
        )

    in_student_slot = [data.student, *all_in("student")]
    in_teacher_slot = [*data.teachers, *all_in("teacher")]
    vectors = {
        name: data.vectors(name, data.matching_layer(name, layer), rows)
        for name in (*in_student_slot, *in_teacher_slot)
    }
    clusters = data.clusters(rows)
    matrix, reason = None, ""
    try:
        matrix = layer_similarity(
            [vectors[name] for name in in_student_slot],
            [vectors[name] for name in in_teacher_slot],
            clusters,
            measure=measure,
            k=data.config.k,
            n_permutations=0,
            seed=data.config.seed,
            max_clips=len(rows),
        )
    except (ShapeError, DegenerateError) as error:
        reason = str(error)
    return _Setting(
        domain=domain,
        layer=layer,
        measure=measure,
        clusters=clusters,
        clip_ids=data.clips.clip_id.to_numpy()[rows].tolist(),
        vectors=vectors,
        in_student_slot=in_student_slot,
        in_teacher_slot=in_teacher_slot,
        matrix=matrix,
        reason=reason,
        k=data.config.k,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Cell:
    """A row with the excess and the clips behind it; none where it could not be tested."""

    row: InheritanceRow
    excess: Excess | None = None
    clips: InfluentialClips | None = None


def _cells(
    data: DiagnosisData,
    setting: _Setting,
    teacher: str,
    controls: Controls,
    matches: MatchTable,
) -> list[_Cell]:
    """One teacher's rows in one setting: one for each slot that has controls."""
    empty = InheritanceRow(
        teacher=teacher,
        domain=setting.domain,
        layer=setting.layer,
        teacher_layer=data.matching_layer(teacher, setting.layer),
        measure=setting.measure,
        similarity=setting.similarity(teacher),
        n_clips=len(setting.clip_ids),
        n_clusters=len(set(setting.clusters)),
    )
    cells = []
    for slot in SLOTS:
        names = controls[teacher, slot]
        if names:
            instead_of = data.student if slot == "student" else teacher
            match = matches.match(instead_of, names, setting.layer, setting.domain)
            row = replace(
                empty,
                form=FORMS[slot],
                controls=tuple(names),
                rests_on=rests_on(data, names, slot),
                accuracy=match.accuracy,
                control_accuracy=match.control_accuracy,
                dim=match.dim,
                control_dim=match.control_dim,
                n_params=match.n_params,
                control_n_params=match.control_n_params,
                is_matched=match.is_matched,
            )
            cells.append(_tested(row, setting, slot, data.config.rules.alpha))
    if cells:
        return cells
    home = data.roles[teacher].domain or "any"
    reason = (
        f"no exchangeable control: no peer of the student without {teacher}, and no encoder of home "
        f"domain {home} that did not teach{describe_no_peers(data)}"
    )
    return [_Cell(row=replace(empty, reason=reason))]


def _tested(row: InheritanceRow, setting: _Setting, slot: ControlSlot, alpha: float) -> _Cell:
    """A row with its excess over the controls, or why there is none."""
    try:
        excess = setting.excess(row.teacher, slot, row.controls)
    except (ShapeError, DegenerateError) as error:
        return _Cell(row=replace(row, reason=str(error)))
    detectable = excess.detectable(alpha)
    row = replace(
        row,
        excess=excess.value,
        ci_low=excess.ci_low,
        ci_high=excess.ci_high,
        p_value=excess.p_value,
        p_kind=excess.p_kind,
        control_similarity=float(excess.control_values.mean()),
        clips_ci_low=excess.clips_low,
        clips_ci_high=excess.clips_high,
        detectable=detectable if detectable < LARGEST_EXCESS else math.nan,
        reason=excess.reason,
    )
    influence = setting.influence(row.teacher, slot, row.controls)
    kind = "overlap" if setting.measure == "mutual_knn" else "attribution"
    clips = most_influential(row.cell, setting.clip_ids, influence, kind)
    return _Cell(row=row, excess=excess, clips=clips)


def _with_home_minus_others(
    row: InheritanceRow, data: DiagnosisData, excesses: Mapping[str, Excess]
) -> InheritanceRow:
    """Adds, in a teacher's home domain, its excess minus that of other domains."""
    if row.domain != data.roles[row.teacher].domain or row.cell not in excesses:
        return row
    cells = [replace(row, domain=domain).cell for domain in data.domains if domain != row.domain]
    others = [excesses[cell] for cell in cells if cell in excesses]
    if not others:
        return row
    difference = difference_of_excesses(excesses[row.cell], others)
    return replace(
        row,
        home_minus_others=difference.value,
        home_minus_others_ci_low=difference.ci_low,
        home_minus_others_ci_high=difference.ci_high,
        home_minus_others_p_value=difference.p_value,
    )


def _answered(rows: Sequence[InheritanceRow], rules: Rules) -> list[InheritanceRow]:
    """q over the panel, one p for each teacher and domain, then yes, no or undecided.

    Yes needs three things: an excess that other encoders do not show (q); one that holds on
    other clips (the jackknife's interval), in case the controls happen to lie close together;
    and a pair of teacher and domain that stands when all pairs are asked (``pair_p_value``).
    With q alone students that inherit a lot got a wrong pair in 8% of planted worlds. What is
    not shown is a "no" only where ``doubt_of`` has nothing against it.
    """
    p = np.array([row.p_value for row in rows], dtype=np.float64)
    pair_p = family_p_values(p, [(row.teacher, row.domain) for row in rows])
    return [
        _answer(replace(row, q_value=q_value, pair_p_value=pair_p_value), rules)
        for row, q_value, pair_p_value in zip(rows, q_values(p), pair_p.tolist(), strict=True)
    ]


def _answer(row: InheritanceRow, rules: Rules) -> InheritanceRow:
    if math.isfinite(row.q_value):
        # Stored is the limit of the 95% interval.
        df = max(row.n_clusters - 1, 1)
        clips_low = limit_at(row.excess, row.clips_ci_low, rules.alpha, df)
        is_above = row.excess > 0 and clips_low > 0
        is_shown = max(row.q_value, row.pair_p_value) <= rules.alpha and is_above
        doubt = "" if is_shown else doubt_of(tested_excess(row), rules)
        row = replace(
            row,
            inherited="yes" if is_shown else "undecided" if doubt else "no",
            reason="; ".join(filter(None, (row.reason, doubt))),
        )
    if row.is_matched is False:
        gap = row.accuracy - row.control_accuracy
        note = f"controls not matched: accuracy differs by {gap:+.2f}"
        row = replace(row, reason="; ".join(filter(None, (row.reason, note))))
    return row


def tested_excess(row: InheritanceRow) -> TestedExcess:
    """What the rules read of a row."""
    return TestedExcess(
        measure=row.measure,
        value=row.excess,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        n_controls=len(row.controls),
    )


def _warnings(data: DiagnosisData, controls: Controls, rows: Sequence[InheritanceRow]) -> list[str]:
    warnings = []
    few = []
    for teacher in data.teachers:
        counts = [len(controls[teacher, slot]) for slot in SLOTS]
        if max(counts) < ENOUGH_CONTROLS:
            few.append(
                f"{teacher} has {counts[0]} controls for the student and {counts[1]} for the teacher"
            )
    if few:
        warnings.append(
            f"{', '.join(few)}: fewer than {ENOUGH_CONTROLS} show only very large excesses, one "
            "shows none"
        )
    unmatched = sorted(
        {f"{row.teacher} in {row.domain}" for row in rows if row.is_matched is False}
    )
    if unmatched:
        warnings.append(
            f"controls differ by more than {MATCHED_ACCURACY:.0%} in accuracy from those they "
            f"stand for: {', '.join(unmatched)}"
        )
    others = describe_no_peers(data)
    if others:
        warnings.append(f"controls that are left out in the student's place{others}")
    for words in dict.fromkeys(row.rests_on for row in rows if row.rests_on):
        if USERS_WORD in words:
            warnings.append(f"that the controls are peers is taken from the user: {words}")
    return warnings


PANEL = PanelKind(
    name=NAME,
    question="What did the student take from each teacher, beyond what controls show?",
    row_type=InheritanceRow,
    compute=compute,
)
