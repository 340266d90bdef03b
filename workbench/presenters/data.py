"""Tables of a workspace as they are, and counts that show whether they fit together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pandas as pd

from usad_workbench.core.storage.task_file import TASK_COLUMNS
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.encoders import roles_of
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.sql import Sql

MAX_ROWS = 10_000
"""More rows than this are neither read by people nor quickly sent to a browser."""
MAX_LINKED = 2000
"""Segments that one link names: servers and browsers cut longer addresses."""
NO_TASKS = (
    "There are no tasks: a task names a label column that probes learn to read. Write them to a "
    f"CSV with the columns {', '.join(TASK_COLUMNS)}."
)
TASKS = ("--tasks", "tasks.csv")
"""What adds them, behind ``usad import``."""
MAX_FAILURES = 200
"""More than this nobody reads one by one; the file has all."""
EXAMPLES = {
    "Clips per domain and label": (
        "SELECT domain, label, count(*) AS clips, round(sum(duration_s), 1) AS seconds\n"
        "FROM clips GROUP BY ALL ORDER BY clips DESC"
    ),
    "Best layer pair per teacher and domain": (
        "SELECT domain, teacher, max(value) AS best,\n"
        "       arg_max(student_layer, value) AS student_layer,\n"
        "       arg_max(teacher_layer, value) AS teacher_layer,\n"
        "       any_value(n_clips) AS n_clips, any_value(n_clusters) AS n_clusters\n"
        "FROM teacher_similarity WHERE measure = 'debiased_linear_cka'\n"
        "GROUP BY ALL ORDER BY domain, best DESC"
    ),
    "Length of vectors per layer": (
        "SELECT encoder, layer, count(*) AS n,\n"
        "       avg(sqrt(list_inner_product(vector, vector))) AS mean_length\n"
        "FROM embeddings GROUP BY ALL ORDER BY ALL"
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that should be zero."""

    what: str
    n: int
    of: int
    remedy: str

    @property
    def is_fine(self) -> bool:
        """Whether nothing is wrong."""
        return self.n == 0


def spaces(sql: Sql) -> pd.DataFrame:
    """Spaces with their provenance; hashes cut to what tells them apart."""
    table = sql("SELECT s.* FROM spaces s ORDER BY s.encoder, s.pooling, s.layer")
    table["role"] = table["encoder"].map(roles_of(sql))
    table["weights_sha256"] = table["weights_sha256"].str[:12]
    names = [
        "encoder",
        "role",
        "layer",
        "pooling",
        "n",
        "dim",
        "segmentation",
        "window_s",
        "hop_s",
        "sample_rate_hz",
        "weights_sha256",
        "code_version",
    ]
    return table[names]


def failures(sql: Sql) -> pd.DataFrame:
    """What could not be used, at which step, and why."""
    return sql("SELECT item AS path, step, reason FROM failures ORDER BY step, path, reason")


def indexes(sql: Sql) -> pd.DataFrame:
    """Indexes with what they give up and what they gain."""
    return sql(
        "SELECT s.encoder, s.layer, s.pooling, i.kind, i.n, s.n AS n_vectors, i.recall_at_10, "
        "i.ms_per_query, i.bytes / 1e6 AS megabytes FROM indexes i JOIN spaces s USING (space_id) "
        "ORDER BY ALL"
    )


def tasks(sql: Sql) -> pd.DataFrame:
    """Tasks, and how many clips have a value in the task's label column."""
    return sql("SELECT * FROM tasks ORDER BY task")


def checks(sql: Sql, workspace: Workspace) -> list[Check]:
    """Counts that should be zero: quick ones; ``usad check`` also reads what lies on disk."""
    clips = sql("SELECT clip_id, path FROM clips")
    missing = [p for p in clips["path"] if p and not workspace.audio_path(p).is_file()]
    row = sql(
        "SELECT (SELECT count(*) FROM segments) AS n_segments, "
        "(SELECT count(*) FROM spaces) AS n_spaces, "
        "(SELECT count(*) FROM indexes) AS n_indexes, "
        "(SELECT count(*) FROM projection_quality) AS n_maps, "
        "(SELECT count(*) FROM clips WHERE clip_id NOT IN (SELECT clip_id FROM segments)) AS uncut, "
        "(SELECT count(*) FROM spaces WHERE n < (SELECT count(*) FROM segments)) AS partial, "
        "(SELECT count(*) FROM indexes i JOIN spaces s USING (space_id) "
        "WHERE i.vectors_digest IS DISTINCT FROM s.digest) AS behind, "
        "(SELECT count(*) FROM projection_quality q JOIN spaces s USING (encoder, layer, pooling) "
        "WHERE q.n <> s.n) AS stale, "
        "(SELECT count(*) FROM failures) AS failures, "
        "(SELECT count(*) FROM failures WHERE step = 'import') AS not_imported"
    ).iloc[0]
    return [
        Check(
            what="Clips whose audio file is gone",
            n=len(missing),
            of=len(clips),
            remedy="Put the files back, or import them from where they are now.",
        ),
        Check(
            what="Clips without segments",
            n=int(row.uncut),
            of=len(clips),
            remedy="Import them again with `usad import`.",
        ),
        Check(
            what="Spaces that miss segments",
            n=int(row.partial),
            of=int(row.n_spaces),
            remedy="`usad embed` does what is missing.",
        ),
        Check(
            what="Indexes behind their space",
            n=int(row.behind),
            of=int(row.n_indexes),
            remedy="`usad index` brings them up to date.",
        ),
        Check(
            what="Maps behind their space",
            n=int(row.stale),
            of=int(row.n_maps),
            remedy="`usad project` makes them again.",
        ),
        Check(
            what="Files and segments that failed",
            n=int(row.failures),
            of=int(row.n_segments) + int(row.not_imported),
            remedy="See the table of failures.",
        ),
    ]


def check_table(checks: list[Check]) -> pd.DataFrame:
    """Checks as a table for people."""
    return pd.DataFrame(
        {
            "check": [c.what for c in checks],
            "found": [f"{c.n:,} of {c.of:,}" for c in checks],
            "state": ["fine" if c.is_fine else "look" for c in checks],
            "what to do": ["" if c.is_fine else c.remedy.replace("`", "") for c in checks],
        }
    )


def find_segments(sql: Sql, where: str | None, text: str) -> pd.DataFrame:
    """Segments of the clips that meet a condition and whose id or label has ``text`` in it."""
    conditions = [c for c in (where, "(clip_id || ' ' || coalesce(label, '')) ILIKE ?") if c]
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return sql(
        "SELECT * FROM segments_of_clips "
        f"WHERE clip_id IN (SELECT clip_id FROM clips WHERE {' AND '.join(conditions)} "
        f"ESCAPE '\\') ORDER BY clip_id, start_s LIMIT {MAX_ROWS}",
        [f"%{escaped}%"],
    )


def describe_answer(n_rows: int, n_shown: int, is_cut: bool) -> str:
    """How much of an answer stands on the page.

    >>> describe_answer(3, 3, False), describe_answer(100_000, 10_000, True)
    ('3 rows', 'The first 100,000 rows of more, the first 10,000 of them shown')
    """
    words = f"The first {count(n_rows, 'row')} of more" if is_cut else count(n_rows, "row")
    return words + (f", the first {n_shown:,} of them shown" if n_shown < n_rows else "")


def segment_ids(sql: Sql, ids: pd.Series) -> npt.NDArray[np.int64]:
    """The segments of the ids of an answer: as they are, else all segments of those clips."""
    if ids.name == "segment_id":
        return np.unique(ids.dropna().to_numpy().astype(np.int64))
    every = sql("SELECT segment_id, clip_id FROM segments ORDER BY segment_id")
    chosen: npt.NDArray[np.int64] = every[every["clip_id"].isin(set(ids))]["segment_id"].to_numpy()
    return chosen


def map_address(*, tag: str = "", map: str = "", segments: Sequence[int] = ()) -> str:
    """The page of maps with a map open and a tag or segments selected, relative to this page.

    Of segments 2,000 at most are named, as longer addresses are cut; the first is to be heard.

    >>> map_address(tag="a b")
    'map?select=%5B%7B%22tag%22%3A%20%22a%20b%22%7D%5D'
    >>> map_address(map="run:r@5/8/mean/umap")
    'map?map=run%3Ar%405%2F8%2Fmean%2Fumap'
    >>> map_address(segments=[7])
    'map?select=%5B%7B%22segments%22%3A%20%5B7%5D%7D%5D&focus=7'
    """
    clauses: list[dict[str, object]] = [{"tag": tag}] if tag else []
    if segments:
        clauses.append({"segments": list(segments[:MAX_LINKED])})
    asked = {
        "map": map,
        "select": json.dumps(clauses, ensure_ascii=False) if clauses else "",
        "focus": str(segments[0]) if segments else "",
    }
    return "map?" + "&".join(
        f"{key}={quote(value, safe='')}" for key, value in asked.items() if value
    )
