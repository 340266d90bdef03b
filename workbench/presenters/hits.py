"""Search results of two encoders side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.errors import AudioError
from usad_workbench.core.storage.workspace import SearchHits
from usad_workbench.workbench.presenters.clips import segments
from usad_workbench.workbench.presenters.numbers import count, digits_apart
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_markdown, shorten

LONGEST_QUERY_S = 30.0
"""A longer cut is no single sound, and takes an encoder too long while somebody waits."""


MAX_OPTIONS = 1000
"""More make a list that a browser is slow to open and nobody reads: the rest is searched for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What two lists have in common."""

    n_shared: int
    n: int

    @property
    def words(self) -> str:
        """How many hits two encoders share, as a sentence."""
        if self.n == 0:
            return "There is nothing to compare."
        return (
            f"{self.n_shared} of {self.n} hits are in both lists (marked ●): the query itself "
            "does not count."
        )


def hit_rows(sql: Sql, hits: SearchHits) -> pd.DataFrame:
    """Hits with rank, score and all columns of their segments and clips."""
    rows = segments(sql, [int(i) for i in hits.segment_ids])
    return rows.assign(rank=range(1, len(rows) + 1), score=hits.scores[: len(rows)])


def score_digits(sides: Sequence[pd.DataFrame]) -> int:
    """The digits of all scores on the page: where all are near 1, enough to tell them apart."""
    return max((digits_apart(side["score"]) for side in sides), default=digits_apart([]))


def n_searched(sql: Sql, encoder: str, layer: int, where: str | None) -> int:
    """How many segments were compared with the query."""
    space = sql(
        "SELECT space_id, n FROM spaces WHERE encoder = ? AND layer = ? AND pooling = 'mean'",
        [encoder, layer],
    )
    if where is None:
        return int(space["n"].iloc[0])
    counted = sql(
        f"SELECT count(*) AS n FROM vectors_{int(space['space_id'].iloc[0])} "
        "JOIN segments_of_clips USING (segment_id) "
        f"WHERE clip_id IN (SELECT clip_id FROM clips WHERE {where})"
    )
    return int(counted["n"].iloc[0])


def shared(left: pd.DataFrame, right: pd.DataFrame, query: int | None) -> set[int]:
    """Segments that both lists hold, the query itself left out."""
    return (set(left["segment_id"]) & set(right["segment_id"])) - {query}


def agreement(left: pd.DataFrame, right: pd.DataFrame, query: int | None) -> Agreement:
    """How many hits both lists share."""
    sizes = [len(set(side["segment_id"]) - {query}) for side in (left, right)]
    return Agreement(n_shared=len(shared(left, right, query)), n=min(sizes))


def query_options(sql: Sql, text: str = "", keep: int | None = None) -> pd.DataFrame:
    """Segments to choose a query from, with a line of text for each, in the order of their clips.

    Args:
        sql: Reads the workspace.
        text: Words that must all stand in a clip's id, label, domain, data set or path, in
            capitals or not; at most ``MAX_OPTIONS`` segments that match come back.
        keep: A segment that comes first, whether it matches or not.
    """
    words = text.casefold().split()
    matches = " AND ".join(
        "contains(lower(concat_ws(' ', clip_id, label, domain, dataset, path)), ?)" for _ in words
    )
    options = sql(
        "WITH chosen AS (SELECT * FROM segments_of_clips "
        f"WHERE {matches or 'true'} ORDER BY clip_id, start_s, segment_id "
        f"LIMIT {MAX_OPTIONS}), "
        "kept AS (SELECT *, false AS is_kept FROM chosen WHERE segment_id IS DISTINCT FROM ? "
        "UNION ALL SELECT *, true FROM segments_of_clips WHERE segment_id = ?), "
        "counted AS (SELECT clip_id, count(*) AS n_segments FROM segments "
        "WHERE clip_id IN (SELECT clip_id FROM kept) GROUP BY clip_id) "
        "SELECT segment_id, clip_id, start_s, end_s, domain, label, n_segments "
        "FROM kept JOIN counted USING (clip_id) "
        "ORDER BY is_kept DESC, clip_id, start_s, segment_id",
        [*words, keep, keep],
    )
    return options.assign(text=[option_text(row) for row in options.to_dict("records")])


def option_text(row: dict[str, object]) -> str:
    """One segment in a list to choose from."""
    words = [shorten(row["clip_id"], 48), str(row["domain"])]
    if isinstance(row["label"], str):
        words.append(shorten(row["label"], 32))
    if int(str(row["n_segments"])) > 1:
        words.append(f"{row['start_s']:.1f} to {row['end_s']:.1f} s")
    return " · ".join(words)


def describe_options(n_listed: int, n: int, text: str) -> str:
    """How much of the collection a list shows.

    >>> describe_options(1000, 20050, "")
    'The list shows 1,000 of 20,050 segments. Type to find any other.'
    """
    matching = (
        f": those that match “{escape_markdown(text)}”, and the chosen one" if text.strip() else ""
    )
    return f"The list shows {n_listed:,} of {n:,} segments{matching}. Type to find any other."


def window(duration_s: float, start_s: float, end_s: float) -> tuple[float, float]:
    """The part of a query that is embedded.

    Raises:
        AudioError: an empty part, or one longer than 30 s.

    >>> window(12.0, 2.0, 14.0)
    (2.0, 12.0)
    """
    end_s = min(end_s, duration_s)
    if not 0 <= start_s < end_s:
        raise AudioError(
            f"The part from {start_s:.2f} s to {end_s:.2f} s of {duration_s:.2f} s is empty. "
            "Choose a start before the end."
        )
    if end_s - start_s > LONGEST_QUERY_S + 1e-6:
        raise AudioError(
            f"The chosen part is {end_s - start_s:.1f} s long, at most {LONGEST_QUERY_S:.0f} s "
            "are embedded at once. Choose a shorter part."
        )
    return start_s, end_s


def describe_search(names: Sequence[str], n_vectors: int, k: int) -> str:
    """How many segments a search compared, of which domains, and how to read its scores."""
    return (
        f"The {k} nearest of {count(n_vectors, 'segment')}"
        + (f" in {escape_markdown(', '.join(names))}" if names else "")
        + " by cosine: 1 is the same direction, 0 is unrelated."
    )
