"""The nearest segments in several spaces side by side, and how far these agree."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from usad_workbench.core.errors import ConfigError, UntrustedCodeError, UsadError, wrap_errors
from usad_workbench.core.storage.segment_table import Ids
from usad_workbench.core.storage.segment_vectors import vector_of_segment
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.workspace import FloatArray, SearchHits
from usad_workbench.indexes import search
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap
from usad_workbench.indexes.examples import query_of_examples
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.listing import described_segments
from usad_workbench.workbench.instrument.queries import Queries

MAX_SPACES, MAX_EXAMPLES, MAX_K = 12, 50, 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is looked for, and among what."""

    like: Sequence[str]
    """Segments by number, sounds that were handed in, words; one or more."""
    unlike: Sequence[str]
    """Those that hits should not be like."""
    k: int
    """Hits in each space."""
    among: Ids | None = None
    """The segments that may be found; all of them where none are named."""

    @property
    def segments(self) -> set[int]:
        """The examples that are of the collection: they are no hits."""
        return {int(one) for one in [*self.like, *self.unlike] if is_segment(one)}


def is_segment(example: str) -> bool:
    """Whether an example is of the collection: its number, as large as one can be.

    >>> is_segment("17"), is_segment("q17"), is_segment("9" * 30)
    (True, False, False)
    """
    return re.fullmatch(r"[0-9]{1,18}", example) is not None


def similar(view: View, queries: Queries, asked: Asked, spaces: Sequence[str]) -> dict[str, Any]:
    """Hits of one query in each space, those that it alone finds marked, and the agreement.

    A space that cannot answer says why, and the others answer: it counts for no agreement.

    Args:
        view: Of the collection.
        queries: Sounds that were handed in.
        asked: What is looked for.
        spaces: Texts of spaces, each once.

    Raises:
        ConfigError: no space, no example, or too many.
        UsadError: why no space can answer, where none can.
    """
    names = [SpaceName.parse(space) for space in dict.fromkeys(spaces)]
    n_examples = len([*asked.like, *asked.unlike])
    if not 1 <= len(names) <= MAX_SPACES or n_examples > MAX_EXAMPLES:
        raise ConfigError(
            f"Found {len(names)} spaces and {n_examples} examples, expected 1 to "
            f"{MAX_SPACES} and at most {MAX_EXAMPLES}."
        )
    answers = [_answer(view, queries, name, asked) for name in names]
    found = [answer for answer in answers if isinstance(answer, SearchHits)]
    if not found:
        raise next(answer for answer in answers if isinstance(answer, UsadError))
    rankings = [hits.segment_ids.tolist() for hits in found]
    rows = {
        row["segment_id"]: row
        for row in described_segments(view, sorted({one for ids in rankings for one in ids}))
    }
    n_lists = {one: sum(one in ids for ids in rankings) for one in rows}
    for segment_id, row in rows.items():
        row["only"] = len(found) > 1 and n_lists[segment_id] == 1
    return {
        "n": len(view) if asked.among is None else len(asked.among),
        "spaces": [
            {"space": str(name), **_shown(answer, rows)}
            for name, answer in zip(names, answers, strict=True)
        ],
        "overlap": _matrix(answers, lambda a, b: _overlap(a, b, asked.k)),
        "rbo": _matrix(answers, _rbo),
    }


def _shown(answer: SearchHits | UsadError, rows: dict[int, dict[str, Any]]) -> dict[str, Any]:
    if isinstance(answer, UsadError):
        return {"problem": str(answer), "notice": "", "hits": []}
    ranked = enumerate(zip(answer.segment_ids.tolist(), answer.scores, strict=True), start=1)
    return {
        "problem": "",
        "notice": answer.notice,
        "hits": [
            {**rows[segment_id], "rank": rank, "score": float(score)}
            for rank, (segment_id, score) in ranked
        ],
    }


def _answer(view: View, queries: Queries, space: SpaceName, asked: Asked) -> SearchHits | UsadError:
    try:
        with wrap_errors():
            return _hits(view, queries, space, asked)
    except UntrustedCodeError as error:
        command = f"usad workbench {view.workspace.folder} --trust-remote-code"
        return UntrustedCodeError(f"{error} Here: stop the app and start it with `{command}`.")
    except UsadError as error:
        return error


def _hits(view: View, queries: Queries, space: SpaceName, asked: Asked) -> SearchHits:
    def vector(one: str) -> FloatArray:
        if is_segment(one):
            return vector_of_segment(view.workspace, int(one), space)
        return queries.vector(view.workspace, one, space)

    query = query_of_examples(
        [vector(one) for one in asked.like], [vector(one) for one in asked.unlike]
    )
    hits = search(
        view.workspace,
        query,
        space.encoder,
        space.layer,
        pooling=space.pooling,
        k=asked.k + len(asked.segments),
        where=asked.among,
    )
    is_other = ~np.isin(hits.segment_ids, list(asked.segments))
    made_now = [one for one in [*asked.like, *asked.unlike] if not is_segment(one)]
    notices = {hits.notice, *(queries.notice(view.workspace, one, space) for one in made_now)}
    return SearchHits(
        segment_ids=hits.segment_ids[is_other][: asked.k],
        scores=hits.scores[is_other][: asked.k],
        notice=" ".join(sorted(filter(None, notices))),
    )


def _overlap(first: list[int], second: list[int], k: int) -> float:
    return overlap_at_k(first, second, k) if first or second else 1.0


def _rbo(first: list[int], second: list[int]) -> float:
    return rank_biased_overlap(first, second) if first or second else 1.0


def _matrix(
    answers: Sequence[SearchHits | UsadError], compare: Callable[[list[int], list[int]], float]
) -> list[list[float | None]]:
    """Each space with each; nothing where one of them has no answer."""
    lists = [
        answer.segment_ids.tolist() if isinstance(answer, SearchHits) else None
        for answer in answers
    ]
    return [[None if a is None or b is None else compare(a, b) for b in lists] for a in lists]
