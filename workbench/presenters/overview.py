"""What is in a workspace, in words and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.models.spec import is_non_commercial
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.encoders import encoder_table
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import count, duration, is_missing, parameters
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """The size of a workspace."""

    n_clips: int
    n_segments: int
    n_clusters: int
    n_domains: int
    seconds: float
    n_encoders: int
    n_spaces: int
    n_failures: int


ONE_VECTOR = "one vector a clip"
"""Of encoders whose vectors were made elsewhere: their frames were never here."""
UNSEEN = "unseen: no teacher of this domain taught the student"
NO_RECORD = "no teachers on record, encoders stand in that were named or have the role"


def totals(sql: Sql) -> Totals:
    """The size of the workspace."""
    row = sql(
        "SELECT (SELECT count(*) FROM clips) AS n_clips, "
        "(SELECT count(*) FROM segments) AS n_segments, "
        "(SELECT count(DISTINCT (domain, cluster_id)) FROM clips) AS n_clusters, "
        "(SELECT count(DISTINCT domain) FROM clips) AS n_domains, "
        "(SELECT coalesce(sum(duration_s), 0) FROM clips) AS seconds, "
        "(SELECT count(*) FROM encoders) AS n_encoders, "
        "(SELECT count(*) FROM spaces WHERE n > 0) AS n_spaces, "
        "(SELECT count(*) FROM failures) AS n_failures"
    ).iloc[0]
    return Totals(
        n_clips=int(row.n_clips),
        n_segments=int(row.n_segments),
        n_clusters=int(row.n_clusters),
        n_domains=int(row.n_domains),
        seconds=float(row.seconds),
        n_encoders=int(row.n_encoders),
        n_spaces=int(row.n_spaces),
        n_failures=int(row.n_failures),
    )


def describe_totals(totals: Totals) -> str:
    """The size of the workspace as one sentence."""
    return (
        f"{count(totals.n_clips, 'clip')} ({duration(totals.seconds)} of audio) from "
        f"{count(totals.n_clusters, 'speaker, track or recording', 'speakers, tracks and recordings')} "
        f"in {count(totals.n_domains, 'domain')}, cut into {count(totals.n_segments, 'segment')}; "
        f"{count(totals.n_encoders, 'encoder')} with {count(totals.n_spaces, 'embedding space')} "
        "(one for each layer)."
    )


def short_totals(totals: Totals) -> str:
    """The size of the workspace in a few words."""
    return " · ".join(
        [
            count(totals.n_clips, "clip"),
            duration(totals.seconds),
            count(totals.n_encoders, "encoder"),
            count(
                totals.n_clusters, "speaker, track or recording", "speakers, tracks and recordings"
            ),
        ]
    )


def collections(sql: Sql) -> pd.DataFrame:
    """Clips, minutes and clusters of each data set, by domain."""
    rows = sql(
        "SELECT domain, dataset, count(*) AS clips, sum(duration_s) / 60 AS minutes, "
        "count(DISTINCT cluster_id) AS clusters, count(DISTINCT label) AS labels "
        "FROM clips GROUP BY domain, dataset"
    )
    order = {domain: i for i, domain in enumerate(domain_order(rows["domain"]))}
    key = rows["domain"].map(order)
    return rows.assign(_key=key).sort_values(["_key", "dataset"]).drop(columns="_key")


def domains(sql: Sql) -> pd.DataFrame:
    """Clips, minutes and clusters of each domain."""
    rows = sql(
        "SELECT domain, count(*) AS clips, sum(duration_s) / 60 AS minutes, "
        "count(DISTINCT cluster_id) AS clusters FROM clips GROUP BY domain"
    )
    return rows.set_index("domain").loc[domain_order(rows["domain"])].reset_index()


def encoder_rows(sql: Sql) -> pd.DataFrame:
    """Encoders as a table for people."""
    table = encoder_table(sql)
    names = encoder_names(sql)
    rows = pd.DataFrame(
        {
            "role": table["role"],
            "encoder": [short_name(name, names) for name in table["encoder"]],
            "licence": [describe_licence(licence) for licence in table["licence"]],
            "domain": table["domain"].map(lambda d: "any" if is_missing(d) else d),
            "layers": table["n_layers"] + 1,
            "with vectors": table["n_spaces"],
            "width": [_range(dims) for dims in table["dims"]],
            "frames per second": [_range(r) or ONE_VECTOR for r in table["frame_rates_hz"]],
            "input rate (Hz)": table["sample_rate_hz"].where(table["sample_rate_hz"] > 0),
            "parameters": table["n_params"].map(parameters),
            "source": table["citation"],
            "full name": table["encoder"],
        }
    )
    return rows if (rows["encoder"] != rows["full name"]).any() else rows.iloc[:, :-1]


def describe_licence(licence: object) -> str:
    """A licence with what it means for use, where that is not free.

    >>> describe_licence("CC BY-NC 4.0"), describe_licence("MIT"), describe_licence("see its model card")
    ('non-commercial: CC BY-NC 4.0', 'MIT', 'not known: see its model card')
    """
    text = "" if is_missing(licence) or licence == "unknown" else str(licence)
    forbids = is_non_commercial(text)
    if forbids is None:
        return f"not known: {text}" if text else "not known"
    return f"non-commercial: {text}" if forbids else text


def licence_notes(sql: Sql) -> list[str]:
    """What to know of the encoders' licences before use, a sentence each; none where all is free."""
    table = encoder_table(sql)
    names = encoder_names(sql)
    kinds: dict[bool | None, list[str]] = {}
    for name, licence in zip(table["encoder"], table["licence"], strict=True):
        kind = is_non_commercial("" if is_missing(licence) else str(licence))
        kinds.setdefault(kind, []).append(short_name(name, names))
    notes = []
    if True in kinds:
        notes.append(f"Not for commercial use: {listing(kinds[True])}.")
    if None in kinds:
        notes.append(f"Licence not known, read its model card before use: {listing(kinds[None])}.")
    return notes


def describe_teachers(sql: Sql) -> list[str]:
    """Who taught each student, one sentence for those that learned the same in a stage."""
    lessons = sql("SELECT * FROM distillation ORDER BY student, stage, domain, teacher")
    learned: dict[tuple[int, str], list[str]] = {}
    for (student, stage), rows in lessons.groupby(["student", "stage"], sort=False):
        teachers = [
            f"{teacher} (any audio)" if is_missing(domain) else f"{teacher} ({domain})"
            for teacher, domain in zip(rows["teacher"], rows["domain"], strict=True)
        ]
        learned.setdefault((int(stage), listing(teachers)), []).append(str(student))
    return [
        f"{_some(students)} learned in stage {stage} from {teachers}."
        for (stage, teachers), students in learned.items()
    ]


def _some(names: Sequence[str]) -> str:
    """Names, of many the first two.

    >>> _some(["a", "b", "c"]), _some(["a", "b", "c", "d"])
    ('a, b and c', 'a, b and 2 more')
    """
    return listing(names) if len(names) < 4 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def students_on_record(sql: Sql) -> set[str]:
    """Students of which the workspace has it noted who taught them."""
    return set(sql("SELECT DISTINCT student FROM distillation")["student"])


def home(sql: Sql, encoder: str) -> str | None:
    """The domain that an encoder is a specialist of."""
    domains = sql("SELECT domain FROM encoders WHERE encoder = ?", [encoder])["domain"]
    return None if domains.empty or is_missing(domains.iloc[0]) else str(domains.iloc[0])


def measures(sql: Sql) -> list[str]:
    """Measures that were computed, CKA first."""
    rows = sql("SELECT DISTINCT measure FROM teacher_similarity")
    return sorted(rows["measure"], key=lambda m: (m != "debiased_linear_cka", m))


def _range(values: object) -> str:
    """Smallest to largest of a list, for a table cell; zeros are layers that are not there.

    >>> _range([0, 0, 128]), _range([0.0, 0.0]), _range([12.5, 50])
    ('128', '', '12.5 to 50')
    """
    numbers = sorted({float(v) for v in values} - {0.0})  # type: ignore[attr-defined]
    if not numbers:
        return ""
    shown = [f"{n:g}" if n == int(n) else f"{n:.1f}" for n in (numbers[0], numbers[-1])]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"
