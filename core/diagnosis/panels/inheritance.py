"""Inheritance: what the student has of each teacher that neither peers nor placebos show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from usad_workbench.core.diagnosis.carriers import Carrier, carriers_of
from usad_workbench.core.diagnosis.controls import (
    PEERS_AND_PLACEBOS,
    PLACEBOS_ALONE,
    USERS_WORD,
    Design,
    describe_no_peers,
    design_for,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.excess_doubt import (
    doubt_of,
    is_partial,
)
from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.matching import Match, MatchTable
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    join_reasons,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import SHOWN_CONFIDENCE
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import family_p_values
from usad_workbench.core.similarity.compared_encoders import (
    ComparedEncoders,
    compare_encoders,
    nearness_of_placebos,
)
from usad_workbench.core.similarity.placebo_excess import READINGS, PlaceboExcess, Reading

NAME = "inheritance"
SHOWN_ALPHA = 1 - SHOWN_CONFIDENCE
"""Of the intervals in tables and figures."""
ONE_FAMILY = (
    "the controls are nearer to each other than to the teacher, beside what other teachers show, as "
    "encoders of one family are (or teachers that have something in common); tell their families "
    "(`usad import-embeddings --family`), or name others with --controls"
)
SAYS_NO_SIZE = (
    "a partial reading says no size, so it is a no only where those that are not partial are"
)
ENOUGH_FAMILIES = 4
"""With fewer placebos one case against them has little power."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Cell:
    """A row with the excess and the clips behind it; none where it could not be tested."""

    row: InheritanceRow
    excess: PlaceboExcess | None = None
    clips: InfluentialClips | None = None


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every teacher in every domain, home or not, at each of the few student layers."""
    with data.workspace.database.read():
        designs = {teacher: design_for(data, teacher) for teacher in data.teachers}
    return panel_of(data, designs, progress)


def panel_of(data: DiagnosisData, designs: Mapping[str, Design], progress: Progress) -> Panel:
    """The panel of some designs.

    Args:
        data: Of one student.
        designs: Who stands in whose place, by teacher.
        progress: Called after each layer of each domain.
    """
    matches = MatchTable(data)
    cells: list[_Cell] = []
    jobs = [(domain, layer) for domain in data.domains for layer in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        cells += _cells(data, domain, layer, designs, matches)
        progress(done, len(jobs), NAME)
    rows = _answered(data, designs, cells)
    return Panel(
        name=NAME,
        row_type=InheritanceRow,
        rows=rows,
        influential=[cell.clips for cell in cells if cell.clips is not None],
        warnings=_warnings(data, designs, rows),
    )


def _cells(
    data: DiagnosisData,
    domain: str,
    layer: int,
    designs: Mapping[str, Design],
    matches: MatchTable,
) -> list[_Cell]:
    """All teachers and readings at one student layer in one domain."""
    rows = data.thinned_rows(domain)
    clusters = data.clusters(rows)
    clip_ids = data.clips.clip_id.to_numpy()[rows].tolist()
    names = list(dict.fromkeys(name for one in designs.values() for name in one.order))
    empty = {
        teacher: _empty_row(data, design, domain, layer, len(rows), len(set(clusters)))
        for teacher, design in designs.items()
    }
    empty = {t: _with_match(row, designs[t], matches) for t, row in empty.items()}
    cells = []
    for is_standardised in (False, True):
        compared, reason = _compared(data, names, layer, domain, is_standardised)
        for teacher, design in designs.items():
            for measure in _readings(is_standardised):
                row = replace(empty[teacher], measure=measure)
                if compared is None or design.reason:
                    cells.append(_Cell(row=replace(row, reason=design.reason or reason)))
                    continue
                order = [names.index(name) for name in design.order]
                row = _with_families(row, design, compared, names, data.config.rules)
                cells.append(_tested(row, design, compared, order, clip_ids))
    return cells


def _readings(is_standardised: bool) -> list[Reading]:
    return [one for one in READINGS if ("standardised" in one) == is_standardised]


def _matching_in_words(row: InheritanceRow, design: Design) -> str:
    """What the comparison rests on, and that nobody knows whether those in one place match."""
    if design.is_on_record or not design.rests_on:
        return design.rests_on
    return f"{design.rests_on}; no task of {row.domain} tells whether their accuracies match"


def _compared(
    data: DiagnosisData, names: Sequence[str], layer: int, domain: str, is_standardised: bool
) -> tuple[ComparedEncoders | None, str]:
    """The products of all encoders, or why there are none."""
    rows = data.thinned_rows(domain)
    vectors = [data.vectors(name, data.matching_layer(name, layer), rows) for name in names]
    try:
        found = compare_encoders(vectors, data.clusters(rows), is_standardised=is_standardised)
    except (ShapeError, DegenerateError) as error:
        return None, str(error)
    return found, ""


def _empty_row(
    data: DiagnosisData, design: Design, domain: str, layer: int, n_clips: int, n_clusters: int
) -> InheritanceRow:
    home = data.roles[design.teacher].domain
    return InheritanceRow(
        teacher=design.teacher,
        domain=domain,
        layer=layer,
        teacher_layer=data.matching_layer(design.teacher, layer),
        measure="debiased_linear_cka",
        form=design.form,
        is_home=home is None or home == domain,
        students=design.students,
        peers=design.peers,
        n_families=len(set(design.families)),
        rests_on=design.rests_on or None,
        n_clips=n_clips,
        n_clusters=n_clusters,
    )


def _with_match(row: InheritanceRow, design: Design, matches: MatchTable) -> InheritanceRow:
    """Adds the accuracies of those who stand in one place."""
    if design.reason:
        return row
    is_of_peers = design.form == PEERS_AND_PLACEBOS
    sides = (design.students, design.peers) if is_of_peers else ((row.teacher,), design.placebos)
    match = matches.match(*sides, row.layer, row.domain)
    why = ""
    if _is_barred(match, design):
        who = "students and peers" if is_of_peers else f"{row.teacher} and its controls"
        why = (
            f"{who} do not match: {match.describe()}; name others of like accuracy with --controls, "
            "or tell architecture and training of all (`usad import-embeddings`)"
        )
    return replace(
        row,
        rests_on=(_matching_in_words(row, design) if match.is_matched is None else row.rests_on)
        or None,
        accuracy=match.accuracy,
        control_accuracy=match.control_accuracy,
        gap_low=match.gap_low,
        gap_high=match.gap_high,
        is_matched=match.is_matched,
        reason=why,
    )


def _is_barred(match: Match, design: Design) -> bool:
    """Whether encoders of other accuracy stand where only like ones may.

    Peers on record differ from the student in the teacher alone: a gap between them is what the
    teacher gave.
    """
    return match.is_matched is False and not design.is_on_record


def _with_families(
    row: InheritanceRow,
    design: Design,
    compared: ComparedEncoders,
    names: Sequence[str],
    rules: Rules,
) -> InheritanceRow:
    """Says where placebos that stand alone are so alike that they may be one family.

    Beside peers their spread is not the only one, and both must reject.
    """
    if design.form != PLACEBOS_ALONE:
        return row
    others = [name for name in names if name not in design.order]
    order = [row.teacher, *design.placebos, *(n for n in others if n in design.outsiders)]
    similarities = compared.similarities([names.index(name) for name in order])
    near = nearness_of_placebos(similarities, design.families)
    if not near > rules.inheritance.smallest_share:
        return row
    return replace(row, reason=join_reasons(row.reason, ONE_FAMILY))


def _tested(
    row: InheritanceRow,
    design: Design,
    compared: ComparedEncoders,
    order: Sequence[int],
    clip_ids: Sequence[str],
) -> _Cell:
    """A row with its excess, or why there is none."""
    try:
        placed = compared.placed(order, design.places, is_partial=is_partial(row.measure))
        excess = placed.excess()
    except DegenerateError as error:
        return _Cell(row=replace(row, reason=join_reasons(row.reason, str(error))))
    low, high = excess.limits(SHOWN_ALPHA)
    clips = excess.clips_limits(SHOWN_ALPHA)
    row = replace(
        row,
        excess=excess.value,
        ci_low=low,
        ci_high=high,
        p_value=excess.p_value,
        p_kind=excess.p_kind,
        p_peers=excess.p_peers,
        p_placebos=excess.p_placebos,
        over_peers=excess.over_peers,
        placebos=dict(zip(design.placebos, placed.placebo_gains().tolist(), strict=True)),
        similarity=excess.similarity,
        level=math.nan if is_partial(row.measure) else excess.level,
        detectable=min(excess.detectable(SHOWN_ALPHA), excess.largest),
        clips_ci_low=clips[0],
        clips_ci_high=clips[1],
        reason=join_reasons(row.reason, excess.reason),
    )
    driving = most_influential(row.cell, clip_ids, placed.influence(), "attribution")
    return _Cell(row=row, excess=excess, clips=driving)


def _answered(
    data: DiagnosisData, designs: Mapping[str, Design], cells: Sequence[_Cell]
) -> list[InheritanceRow]:
    """q over the panel, one p for each teacher and domain, then an answer to each cell.

    Yes needs an excess that neither peers nor placebos show, over all cells (q) and for teacher
    and domain when all pairs are asked (``pair_p_value``), that holds on other clips, and that no
    column carries. What is not shown is a "no" only where ``doubt_of`` has nothing against it.
    """
    rules = data.config.rules
    rows = [cell.row for cell in cells]
    p = np.array([row.p_value for row in rows], dtype=np.float64)
    p[[_is_unmatched(row, designs) or ONE_FAMILY in row.reason for row in rows]] = np.nan
    pair_p = family_p_values(p, [row.pair for row in rows], _weights(rows, p, rules))
    rows = [
        replace(row, q_value=q, pair_p_value=of_pair)
        for row, q, of_pair in zip(rows, q_values(p), pair_p.tolist(), strict=True)
    ]
    standing = [_stands_out(c.excess, row, rules) for c, row in zip(cells, rows, strict=True)]
    best = _best_of_pairs(rows, standing)
    carriers = {pair: _carriers(data, designs[pair[0]], row) for pair, row in best.items()}
    answered = [
        _answer(row, is_out, carriers.get(row.pair, []), cell.excess, rules)
        if row is not best.get(row.pair)
        else _with_carrier(
            _answer(row, is_out, carriers[row.pair], cell.excess, rules), carriers[row.pair]
        )
        for row, is_out, cell in zip(rows, standing, cells, strict=True)
    ]
    return _without_sizeless_no(answered)


def _without_sizeless_no(rows: Sequence[InheritanceRow]) -> list[InheritanceRow]:
    """A partial reading rules no size out, so it is a "no" only together with those that do."""
    plain: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if not is_partial(row.measure):
            plain.setdefault(row.pair, set()).add(row.inherited)
    return [
        replace(row, inherited="undecided", reason=join_reasons(row.reason, SAYS_NO_SIZE))
        if row.inherited == "no" and is_partial(row.measure) and plain.get(row.pair) != {"no"}
        else row
        for row in rows
    ]


def _is_unmatched(row: InheritanceRow, designs: Mapping[str, Design]) -> bool:
    return row.is_matched is False and not designs[row.teacher].is_on_record


def _weights(rows: Sequence[InheritanceRow], p: np.ndarray, rules: Rules) -> dict[object, float]:
    """What each pair has of the level: pairs at home together the home weight."""
    tested = {row.pair: row.is_home for row, one in zip(rows, p, strict=True) if not np.isnan(one)}
    n_home = sum(tested.values())
    n_away = len(tested) - n_home
    home = rules.inheritance.home_weight if n_away else 1.0
    return {
        row.pair: home / max(n_home, 1)
        if row.is_home
        else (1 - home if n_home else 1.0) / max(n_away, 1)
        for row in rows
    }


def _stands_out(excess: PlaceboExcess | None, row: InheritanceRow, rules: Rules) -> bool:
    if excess is None or not math.isfinite(row.q_value):
        return False
    is_shown = max(row.q_value, row.pair_p_value) <= rules.alpha
    return is_shown and excess.value > 0 and excess.clips_limits(rules.alpha)[0] > 0


def _best_of_pairs(
    rows: Sequence[InheritanceRow], standing: Sequence[bool]
) -> dict[tuple[str, str], InheritanceRow]:
    """The cell that stands out most of each pair that does."""
    best: dict[tuple[str, str], InheritanceRow] = {}
    for row, is_out in zip(rows, standing, strict=True):
        if is_out and (row.pair not in best or row.p_value < best[row.pair].p_value):
            best[row.pair] = row
    return best


def _carriers(data: DiagnosisData, design: Design, row: InheritanceRow) -> list[Carrier]:
    """Every column with what is left of the excess without it."""
    return carriers_of(
        data,
        design,
        row.domain,
        row.layer,
        is_standardised="standardised" in row.measure,
        is_partial=is_partial(row.measure),
    )


def _carrier(found: Sequence[Carrier]) -> Carrier | None:
    """The column that carries most of the excess; none where no column could be asked."""
    asked = [one for one in found if math.isfinite(one.left)]
    return min(asked, key=lambda one: one.left, default=None)


def _with_carrier(row: InheritanceRow, found: Sequence[Carrier]) -> InheritanceRow:
    """The cell that columns were erased in, with what that left, and which could not be asked."""
    carrier = _carrier(found)
    if carrier is not None:
        row = replace(
            row,
            carrier=carrier.column,
            excess_after_erasure=carrier.after,
            excess_by_chance=carrier.by_chance,
        )
    unasked = sorted({one.column for one in found if math.isnan(one.left)})
    if unasked and row.inherited == "yes":
        why = f"whether {', '.join(unasked)} carries it is not known: erasing any values takes most"
        row = replace(row, reason=join_reasons(row.reason, why))
    return row


def _answer(
    row: InheritanceRow,
    stands_out: bool,
    carriers: Sequence[Carrier],
    excess: PlaceboExcess | None,
    rules: Rules,
) -> InheritanceRow:
    if excess is None or not math.isfinite(row.q_value):
        return row
    if not stands_out:
        found = min(excess.detectable(rules.alpha), excess.largest)
        doubt = doubt_of(row.tested().at(*excess.limits(rules.alpha), found), rules)
        reason = join_reasons(row.reason, doubt)
        return replace(row, inherited="undecided" if doubt else "no", reason=reason)
    carrier = _carrier(carriers)
    if carrier is not None and 1 - carrier.left >= rules.inheritance.carried_share:
        return replace(row, inherited=f"through {carrier.column}")
    return replace(row, inherited="yes")


def _warnings(
    data: DiagnosisData, designs: Mapping[str, Design], rows: Sequence[InheritanceRow]
) -> list[str]:
    warnings = []
    few = [
        f"{one.teacher} ({len(set(one.families))})"
        for one in designs.values()
        if not one.reason and len(set(one.families)) < ENOUGH_FAMILIES
    ]
    if few:
        warnings.append(
            f"few families of placebos: {', '.join(few)}; fewer than {ENOUGH_FAMILIES} show only very "
            "large excesses; embed or import encoders that never taught the student"
        )
    unmatched = {f"{row.teacher} in {row.domain}" for row in rows if _is_unmatched(row, designs)}
    if unmatched:
        warnings.append(
            "accuracies differ between those that stand in one place, so nothing is tested there: "
            + ", ".join(sorted(unmatched))
        )
    others = describe_no_peers(data)
    if others:
        warnings.append(f"controls that are left out in the student's place{others}")
    if data.others_of_group:
        warnings.append(
            f"the panel {NAME} is about {', '.join(data.group)} as seeds of one recipe, all other "
            f"panels about {data.student}"
        )
    for words in dict.fromkeys(one.rests_on for one in designs.values()):
        if USERS_WORD in words:
            warnings.append(f"that the controls are peers is taken from the user: {words}")
    return warnings


PANEL = PanelKind(
    name=NAME,
    question="What has the student of each teacher that neither peers nor placebos show?",
    row_type=InheritanceRow,
    compute=compute,
)
