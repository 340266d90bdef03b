"""What a student has of each teacher, in the words and the order of a first look."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from usad_workbench.core.diagnosis.controls import NO_PEERS
from usad_workbench.core.diagnosis.excess_doubt import (
    Kind,
    deciding_cell,
    kind_of,
    what_would_narrow,
)
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.numbers import (
    as_number,
    count,
    is_missing,
    is_number,
    signed,
)
from usad_workbench.workbench.presenters.text import measure_name, sentence

ANSWERS = {
    "yes": "inherited",
    "no": "nothing taken",
    "undecided": "undecided",
    "not testable": "not testable",
}
UNKNOWN = {
    "measure": "",
    "is_home": False,
    "placebos": None,
    "carrier": None,
    "excess_after_erasure": None,
    "layer": "–",
    "n_clips": 0,
    "n_clusters": 0,
    "excess": math.nan,
    "ci_low": math.nan,
    "ci_high": math.nan,
}
"""Of a diagnosis that was stored before it had these columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The answer for one teacher in one domain, with the reading that it rests on."""

    teacher: str
    domain: str
    kind: Kind
    answer: str
    """In words, such as "nearer through loudness_db": both may hear it, whoever taught whom."""
    at: int
    """Which row of the panel it rests on."""
    row: dict[str, Any] = field(repr=False, compare=False)
    """Of the panel ``inheritance``: for a yes the clearest reading, else the least certain one."""

    @property
    def is_found(self) -> bool:
        """Whether something stands out from peers and placebos."""
        return self.kind in ("yes", "through")

    @property
    def is_home(self) -> bool:
        """Whether the teacher was made for this domain."""
        return bool(self.row["is_home"])

    @property
    def placebos(self) -> list[tuple[str, float]]:
        """What each placebo gained in the teacher's place, the smallest first."""
        gains = self.row.get("placebos")
        if not isinstance(gains, Mapping):  # of a row that could not be tested
            return []
        found = [(str(name), float(value)) for name, value in gains.items() if is_number(value)]
        return sorted(found, key=lambda one: one[1])

    @property
    def words(self) -> str:
        """Excess, interval, placebos and n in one line; why there is none where there is none."""
        row = self.row
        if self.kind == "not testable" or not math.isfinite(row["excess"]):
            reason = row.get("reason")
            return "" if is_missing(reason) else str(reason).split("; ")[0]
        parts = [f"excess {signed(row['excess'])} {_interval(row)}"]
        gains = self.placebos
        if gains:
            parts.append(f"placebos {signed(gains[0][1])} to {signed(gains[-1][1])}")
        after = row["excess_after_erasure"]
        if self.is_found and not (is_missing(row["carrier"]) or is_missing(after)):
            parts.append(f"{signed(after)} once {row['carrier']} is erased")
        n_clips, n_clusters = count(row["n_clips"], "clip"), count(row["n_clusters"], "cluster")
        return ", ".join([*parts, f"n = {n_clips} in {n_clusters}"])

    @property
    def lacking(self) -> str:
        """The size that an undecided answer could have found; empty of others."""
        size = self.row.get("detectable")
        if self.kind != "undecided" or not is_number(size):
            return ""
        return f"From {signed(as_number(size))} on it would have been found."

    @property
    def advice(self) -> str:
        """What would decide an open answer, with the command for it; empty of others."""
        row = self.row
        if self.kind == "not testable":
            reason = "" if is_missing(row.get("reason")) else str(row["reason"])
            _, *rest = reason.split(NO_PEERS)[0].split("; ")  # who is no peer is a warning
            return sentence("; ".join(rest))
        if self.kind != "undecided" or not is_number(row.get("n_families")):
            return ""
        narrowing = what_would_narrow(
            n_peers=_length(row.get("peers")),
            p_peers=as_number(row.get("p_peers")),
            p_placebos=as_number(row.get("p_placebos")),
            n_families=int(row["n_families"]),
            n_students=_length(row.get("students")),
        )
        return sentence(narrowing)


def _length(names: Any) -> int:
    return 0 if is_missing(names) else len(names)


def _interval(row: dict[str, Any]) -> str:
    return f"[{signed(row['ci_low'])}, {signed(row['ci_high'])}]"


def findings(rows: pd.DataFrame) -> list[Finding]:
    """One answer for each teacher and domain, what was found first, then home domains.

    Args:
        rows: Of the panel ``inheritance``.

    >>> cell = {"teacher": "t", "domain": "speech", "inherited": "yes", "p_value": .001,
    ...     "is_home": True}
    >>> [one.answer for one in findings(pd.DataFrame([cell]))]
    ['inherited']
    """
    known = rows.assign(**{name: value for name, value in UNKNOWN.items() if name not in rows})
    found = [
        _finding(str(teacher), str(domain), cells)
        for (teacher, domain), cells in known.groupby(["teacher", "domain"], sort=False)
    ]
    rank = {domain: i for i, domain in enumerate(domain_order(rows["domain"]))}
    return sorted(found, key=lambda f: (not f.is_found, not f.is_home, rank[f.domain], f.teacher))


def _finding(teacher: str, domain: str, cells: pd.DataFrame) -> Finding:
    at = deciding_cell(
        [str(one) for one in cells["inherited"]],
        [str(one) for one in cells["measure"]],
        *(cells[name].astype(float).tolist() for name in ("p_value", "ci_high")),
    )
    row = {str(name): value for name, value in cells.iloc[at].items()}
    kind = kind_of(str(row["inherited"]))
    answer = f"nearer {row['inherited']}" if kind == "through" else ANSWERS[kind]
    label = int(cells.index[at])
    return Finding(teacher=teacher, domain=domain, kind=kind, answer=answer, at=label, row=row)


def rank_of(verdict: str) -> int:
    """How much a verdict on inheritance says: an answer before "undecided" before "not testable".

    >>> rank_of("inherited: t in speech"), rank_of("undecided"), rank_of("not testable")
    (0, 1, 2)
    """
    return {"undecided": 1, "not testable": 2}.get(verdict.split(":")[0], 0)


def describe_students(students: Sequence[str]) -> str:
    """Who the findings are about.

    >>> describe_students(["a"]), describe_students(["a-0", "a-1"])
    ('a', '2 seeds of one recipe (a-0, a-1)')
    """
    if len(students) < 2:
        return "".join(students)
    return f"{len(students)} seeds of one recipe ({', '.join(students)})"


def headline(found: Sequence[Finding], names: Mapping[str, str]) -> str:
    """What a diagnosis found, in one sentence: the clearest finding, else that there is none.

    Args:
        found: As ``findings`` orders them.
        names: Short names of encoders.
    """
    first = found[0]
    teacher = names.get(first.teacher, first.teacher)
    if first.kind == "yes":
        return f"In {first.domain}, the student took its geometry from {teacher}."
    if first.kind == "through":
        return f"In {first.domain}, the student is nearer to {teacher}, {first.row['inherited']}."
    kinds = {one.kind for one in found}
    if kinds == {"no"}:
        return "The student took nothing from its teachers that would matter."
    if kinds == {"not testable"}:
        return "What the student has of its teachers cannot be tested yet."
    return "What the student has of its teachers is not decided yet."


def describe_headline(found: Sequence[Finding]) -> str:
    """The number behind the headline: excess, interval, peers, n, and what placebos reach."""
    told = [one for one in found if math.isfinite(one.row["excess"])] if found else []
    if not told:
        return found[0].words if found else ""
    first = told[0] if told[0].is_found else max(told, key=lambda one: one.row["excess"])
    row = first.row
    where = "" if first.is_found else f"The largest excess, {first.teacher} in {first.domain}: "
    limits = f"[{signed(row['ci_low'], 2)}, {signed(row['ci_high'], 2)}]"
    name = measure_name(str(row["measure"]))
    measure = name[:1].lower() + name[1:]
    parts = [f"{where}{signed(row['excess'], 2)} {limits} in {measure} at layer {row['layer']}"]
    n_peers = _length(row.get("peers"))
    if n_peers:
        parts.append(f"over {count(n_peers, 'student')} of the same recipe without this teacher")
    n = f"{count(row['n_clips'], 'clip')} in {count(row['n_clusters'], 'cluster')}"
    words = f"{', '.join(parts)}; n = {n}."
    gains = first.placebos
    if gains:
        words += (
            f" {count(len(gains), 'encoder')} that taught nobody reach {signed(gains[-1][1], 2)} "
            "at most."
        )
    after = row["excess_after_erasure"]
    if first.is_found and not (is_missing(row["carrier"]) or is_missing(after)):
        words += f" Once {row['carrier']} is erased from all: {signed(after, 2)}."
    return words


def describe_elsewhere(found: Sequence[Finding]) -> str:
    """How many other answers there are, by what they say; empty where there are none.

    >>> cells = [{"teacher": "t", "domain": d, "inherited": "undecided", "p_value": .5,
    ...     "is_home": d == "speech"} for d in ("speech", "music", "sound")]
    >>> print(describe_elsewhere(findings(pd.DataFrame(cells))))
    Outside of the teachers' own domains: 2 undecided.
    """
    others = Counter(one.answer for one in found if not (one.is_found or one.is_home))
    if not others or not any(one.is_found or one.is_home for one in found):
        return ""
    counted = ", ".join(f"{n} {answer}" for answer, n in others.items())
    return f"Outside of the teachers' own domains: {counted}."
