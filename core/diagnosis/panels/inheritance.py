"""Inheritance: similarity to each teacher above that of exchangeable controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from usad_workbench.core.arrays import Indices, Matrix
from usad_workbench.core.diagnosis.controls import (
    MATCHED_ACCURACY,
    USERS_WORD,
    MatchTable,
    controls_for,
    no_peer_words,
    rests_on,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.inheritance_verdict import LARGEST_EXCESS, doubt_of
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    cell_name,
    most_influential,
)
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.teacher_similarity import MEASURES
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import (
    LayerMatrix,
    Measure,
    benjamini_hochberg,
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
SLOTS: tuple[ControlSlot, ...] = ("student", "teacher")
FORMS = {"student": "controls for the student", "teacher": "controls for the teacher"}
ENOUGH_CONTROLS = 4
"""With fewer, one case against them has little power (module ``similarity.excess``)."""
COLUMNS = {
    "teacher": "VARCHAR",
    "domain": "VARCHAR",
    "layer": "INTEGER",
    "teacher_layer": "INTEGER",
    "measure": "VARCHAR",
    "form": "VARCHAR",
    "excess": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "p_value": "DOUBLE",
    "p_kind": "VARCHAR",
    "q_value": "DOUBLE",
    "pair_p_value": "DOUBLE",
    "inherited": "VARCHAR",
    "detectable": "DOUBLE",
    "rests_on": "VARCHAR",
    "similarity": "DOUBLE",
    "control_similarity": "DOUBLE",
    "controls": "VARCHAR[]",
    "clips_ci_low": "DOUBLE",
    "clips_ci_high": "DOUBLE",
    "home_minus_others": "DOUBLE",
    "home_minus_others_ci_low": "DOUBLE",
    "home_minus_others_ci_high": "DOUBLE",
    "home_minus_others_p_value": "DOUBLE",
    "accuracy": "DOUBLE",
    "control_accuracy": "DOUBLE",
    "dim": "DOUBLE",
    "control_dim": "DOUBLE",
    "n_params": "DOUBLE",
    "control_n_params": "DOUBLE",
    "is_matched": "BOOLEAN",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
Row = dict[str, Any]
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
    in_student_place: Sequence[str]
    in_teacher_place: Sequence[str]
    matrix: LayerMatrix | None
    reason: str
    k: int

    def excess(self, teacher: str, slot: ControlSlot, controls: Sequence[str]) -> Excess:
        """The excess of student and teacher over the controls in one place."""
        if self.matrix is None:
            raise DegenerateError(self.reason)
        order = self.in_student_place if slot == "student" else self.in_teacher_place
        indices = [order.index(name) for name in controls]
        cell = (0, self.in_teacher_place.index(teacher))
        return excess_in(self.matrix, cell, indices, slot)

    def similarity(self, teacher: str) -> float:
        """Of student and teacher."""
        if self.matrix is None:
            return math.nan
        return float(self.matrix.values[0, self.in_teacher_place.index(teacher)])

    def influence(self, teacher: str, slot: ControlSlot, controls: Sequence[str]) -> Matrix:
        """What each clip adds to the excess `[clip]`; the mean over clips is the excess."""
        student = self.in_student_place[0]
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
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    known: dict[tuple[Any, ...], Excess] = {}
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        chosen = data.thinned_rows(domain)
        for measure in MEASURES:
            setting = _setting(data, domain, layer, measure, chosen, controls)
            for teacher in data.teachers:
                found, behind = _cells(data, setting, teacher, controls, matches, known)
                rows += found
                drivers += behind
        progress(done, len(jobs), NAME)
    _compare_home(data, rows, known)
    _answer(rows, data.config.rules)
    return Panel(
        name=NAME,
        columns=COLUMNS,
        rows=rows,
        drivers=drivers,
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
            {name for (_, one), names in controls.items() if one == slot for name in names}
        )

    mine = [data.student, *all_in("student")]
    theirs = [*data.teachers, *all_in("teacher")]
    vectors = {
        name: data.vectors(name, data.matching_layer(name, layer), rows)
        for name in (*mine, *theirs)
    }
    clusters = data.clusters(rows)
    matrix, reason = None, ""
    try:
        matrix = layer_similarity(
            [vectors[name] for name in mine],
            [vectors[name] for name in theirs],
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
        in_student_place=mine,
        in_teacher_place=theirs,
        matrix=matrix,
        reason=reason,
        k=data.config.k,
    )


def _cells(
    data: DiagnosisData,
    setting: _Setting,
    teacher: str,
    controls: Controls,
    matches: MatchTable,
    known: dict[tuple[Any, ...], Excess],
) -> tuple[list[Row], list[InfluentialClips]]:
    """One teacher's rows in one setting: one for each place that has controls."""
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    for slot in SLOTS:
        names = controls[teacher, slot]
        if not names:
            continue
        row = _empty(data, setting, teacher) | {
            "form": FORMS[slot],
            "controls": list(names),
            "rests_on": rests_on(data, names, slot),
        }
        instead_of = data.student if slot == "student" else teacher
        match = matches.match(instead_of, names, setting.layer, setting.domain)
        row |= {key: getattr(match, key) for key in MATCH_KEYS}
        rows.append(row)
        try:
            found = setting.excess(teacher, slot, names)
        except (ShapeError, DegenerateError) as error:
            row["reason"] = str(error)
            continue
        row |= _numbers(found, data.config.rules.alpha)
        known[_key(row)] = found
        cell = cell_name(**{name: row[name] for name in CELL_KEYS})
        influence = setting.influence(teacher, slot, names)
        kind = "overlap" if setting.measure == "mutual_knn" else "attribution"
        drivers.append(most_influential(cell, setting.clip_ids, influence, kind))
    if not rows:
        home = data.roles[teacher].domain or "any"
        reason = (
            f"no exchangeable control: no peer of the student without {teacher}, and no encoder of home "
            f"domain {home} that did not teach{no_peer_words(data)}"
        )
        rows.append(_empty(data, setting, teacher) | {"form": "none", "reason": reason})
    return rows, drivers


MATCH_KEYS = (
    "accuracy",
    "control_accuracy",
    "dim",
    "control_dim",
    "n_params",
    "control_n_params",
    "is_matched",
)
CELL_KEYS = ("teacher", "domain", "layer", "measure", "form")


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in CELL_KEYS)


def _empty(data: DiagnosisData, setting: _Setting, teacher: str) -> Row:
    row: Row = {name: math.nan if kind == "DOUBLE" else None for name, kind in COLUMNS.items()}
    return row | {
        "teacher": teacher,
        "domain": setting.domain,
        "layer": setting.layer,
        "teacher_layer": data.matching_layer(teacher, setting.layer),
        "measure": setting.measure,
        "p_kind": "none",
        "inherited": "not testable",
        "similarity": setting.similarity(teacher),
        "controls": [],
        "n_clips": len(setting.clip_ids),
        "n_clusters": len(set(setting.clusters)),
        "reason": "",
    }


def _numbers(found: Excess, alpha: float) -> Row:
    detectable = found.detectable(alpha)
    return {
        "excess": found.value,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p_value": found.p_value,
        "p_kind": found.p_kind,
        "control_similarity": float(found.control_values.mean()),
        "clips_ci_low": found.clips_low,
        "clips_ci_high": found.clips_high,
        "detectable": detectable if detectable < LARGEST_EXCESS else math.nan,
        "reason": found.reason,
    }


def _compare_home(
    data: DiagnosisData, rows: list[Row], known: Mapping[tuple[Any, ...], Excess]
) -> None:
    """Adds to each row of a teacher's home domain its excess minus that of other domains."""
    for row in rows:
        if row["domain"] != data.roles[row["teacher"]].domain or _key(row) not in known:
            continue
        others = [
            known[key]
            for domain in data.domains
            if domain != row["domain"] and (key := _key(row | {"domain": domain})) in known
        ]
        if others:
            found = difference_of_excesses(known[_key(row)], others)
            row |= {
                "home_minus_others": found.value,
                "home_minus_others_ci_low": found.ci_low,
                "home_minus_others_ci_high": found.ci_high,
                "home_minus_others_p_value": found.p_value,
            }


def _answer(rows: list[Row], rules: Rules) -> None:
    """q over the panel, one p for each teacher and domain, then yes, no or undecided.

    Yes needs three things: an excess that other encoders do not show (q); one that holds on
    other clips (the jackknife's interval), in case the controls happen to lie close together;
    and a pair of teacher and domain that stands when all pairs are asked (``pair_p_value``).
    With q alone students that inherit a lot got a wrong pair in 8% of planted worlds. What is
    not shown is a "no" only where ``doubt_of`` has nothing against it.
    """
    p = np.array([row["p_value"] for row in rows], dtype=np.float64)
    q = benjamini_hochberg(p)
    pair_p = family_p_values(p, [(row["teacher"], row["domain"]) for row in rows])
    for row, q_value, pair_p_value in zip(rows, q.tolist(), pair_p.tolist(), strict=True):
        row |= {"q_value": q_value, "pair_p_value": pair_p_value}
        if math.isfinite(q_value):
            is_above = row["excess"] > 0 and row["clips_ci_low"] > 0
            is_shown = max(q_value, pair_p_value) <= rules.alpha
            doubt = "" if is_shown and is_above else doubt_of(row, rules)
            row["inherited"] = "yes" if is_shown and is_above else "undecided" if doubt else "no"
            row["reason"] = "; ".join(filter(None, (row["reason"], doubt)))
        if row["is_matched"] is False:
            gap = row["accuracy"] - row["control_accuracy"]
            note = f"controls not matched: accuracy differs by {gap:+.2f}"
            row["reason"] = "; ".join(filter(None, (row["reason"], note)))


def _warnings(data: DiagnosisData, controls: Controls, rows: Sequence[Row]) -> list[str]:
    found = []
    few = []
    for teacher in data.teachers:
        counts = [len(controls[teacher, slot]) for slot in SLOTS]
        if max(counts) < ENOUGH_CONTROLS:
            few.append(
                f"{teacher} has {counts[0]} controls for the student and {counts[1]} for the teacher"
            )
    if few:
        found.append(
            f"{', '.join(few)}: fewer than {ENOUGH_CONTROLS} show only very large excesses, one "
            "shows none"
        )
    unmatched = sorted(
        {f"{r['teacher']} in {r['domain']}" for r in rows if r["is_matched"] is False}
    )
    if unmatched:
        found.append(
            f"controls differ by more than {MATCHED_ACCURACY:.0%} in accuracy from those they "
            f"stand for: {', '.join(unmatched)}"
        )
    others = no_peer_words(data)
    if others:
        found.append(f"controls that are left out in the student's place{others}")
    for words in dict.fromkeys(str(r["rests_on"]) for r in rows if r["rests_on"]):
        if USERS_WORD in words:
            found.append(f"that the controls are peers is taken from the user: {words}")
    return found


PANEL = PanelKind(
    name=NAME,
    question="What did the student take from each teacher, beyond what controls show?",
    columns=COLUMNS,
    compute=compute,
)
