"""The nearest segments in several spaces side by side, and how far these agree."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from usad_workbench.core.errors import ConfigError
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


def similar(
    view: View,
    queries: Queries,
    *,
    like: Sequence[str],
    unlike: Sequence[str],
    spaces: Sequence[str],
    k: int,
) -> dict[str, Any]:
    """Hits of one query in each space, those that it alone finds marked, and the agreement.

    A segment that is an example is no hit.

    Args:
        view: Of the collection.
        queries: Sounds that were handed in.
        like: Segments or queries, one or more.
        unlike: Segments or queries that hits should not be like.
        spaces: Texts of spaces, each once.
        k: Hits in each.

    Raises:
        ConfigError: no space, no example, or too many.
        UsadError: an example that one of the spaces has no vector of, where no space has one.
    """
    names = [SpaceName.parse(space) for space in dict.fromkeys(spaces)]
    if not 1 <= len(names) <= MAX_SPACES or len([*like, *unlike]) > MAX_EXAMPLES:
        raise ConfigError(
            f"Found {len(names)} spaces and {len([*like, *unlike])} examples, expected 1 to "
            f"{MAX_SPACES} and at most {MAX_EXAMPLES}."
        )
    examples = {int(one) for one in [*like, *unlike] if one.isdecimal()}
    found = [_hits(view, queries, name, like, unlike, k, examples) for name in names]
    rankings = [hits.segment_ids.tolist() for hits in found]
    rows = {
        row["segment_id"]: row
        for row in described_segments(view, sorted({one for ids in rankings for one in ids}))
    }
    n_lists = {one: sum(one in ids for ids in rankings) for one in rows}
    return {
        "spaces": [
            {
                "space": str(name),
                "notice": hits.notice,
                "hits": [
                    {
                        **rows[segment_id],
                        "rank": rank,
                        "score": float(score),
                        "only": len(names) > 1 and n_lists[segment_id] == 1,
                    }
                    for rank, (segment_id, score) in enumerate(
                        zip(ids, hits.scores, strict=True), start=1
                    )
                ],
            }
            for name, hits, ids in zip(names, found, rankings, strict=True)
        ],
        "overlap": _matrix([_overlap(a, b, k) for a, b in product(rankings, repeat=2)]),
        "rbo": _matrix([_rbo(a, b) for a, b in product(rankings, repeat=2)]),
    }


def _hits(
    view: View,
    queries: Queries,
    space: SpaceName,
    like: Sequence[str],
    unlike: Sequence[str],
    k: int,
    examples: set[int],
) -> SearchHits:
    def vector(one: str) -> FloatArray:
        if one.isdecimal():
            return vector_of_segment(view.workspace, int(one), space)
        return queries.vector(view.workspace, one, space)

    query = query_of_examples([vector(one) for one in like], [vector(one) for one in unlike])
    hits = search(
        view.workspace,
        query,
        space.encoder,
        space.layer,
        pooling=space.pooling,
        k=k + len(examples),
    )
    is_other = [int(one) not in examples for one in hits.segment_ids]
    is_audio = any(not one.isdecimal() for one in [*like, *unlike])
    notices = (hits.notice, queries.notice(view.workspace, space) if is_audio else "")
    return SearchHits(
        segment_ids=hits.segment_ids[is_other][:k],
        scores=hits.scores[is_other][:k],
        notice=" ".join(filter(None, notices)),
    )


def _overlap(first: list[int], second: list[int], k: int) -> float:
    return overlap_at_k(first, second, k) if first or second else 1.0


def _rbo(first: list[int], second: list[int]) -> float:
    return rank_biased_overlap(first, second) if first or second else 1.0


def _matrix(values: list[float]) -> list[list[float]]:
    n = int(len(values) ** 0.5)
    return [values[i * n : (i + 1) * n] for i in range(n)]
