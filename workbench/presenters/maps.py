"""The maps of a workspace, and how far each can be trusted."""

import json
from dataclasses import dataclass

import pandas as pd

from usad_workbench.workbench.presenters.numbers import is_missing, number
from usad_workbench.workbench.presenters.sql import Sql


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """What is known of a map."""

    n: int
    trustworthiness: float | None
    n_judged: int
    neighbours_kept: float | None = None
    """Share of the neighbours in the space that are neighbours on the map."""
    neighbour_recall: float | None = None
    """Share of true neighbours among those that the map was made of; none where it needs none."""


def available_maps(sql: Sql) -> pd.DataFrame:
    """Which spaces have a map: encoder, layer, pooling, method, n, trustworthiness."""
    return sql("SELECT * FROM projection_quality ORDER BY encoder, layer, pooling, method")


def faithfulness(maps: pd.DataFrame, layer: int, pooling: str, method: str) -> Faithfulness | None:
    """What is known of one map of the encoder that ``maps`` is about."""
    chosen = maps[(maps.layer == layer) & (maps.pooling == pooling) & (maps.method == method)]
    if chosen.empty:
        return None
    row = chosen.iloc[0]
    score = None if is_missing(row.trustworthiness) else float(row.trustworthiness)
    known = {} if is_missing(row.settings) else json.loads(row.settings)
    return Faithfulness(
        n=int(row.n),
        trustworthiness=score,
        n_judged=int(row.n_judged),
        neighbours_kept=known.get("neighbours_kept"),
        neighbour_recall=known.get("neighbour_recall"),
    )


def describe_faithfulness(faithfulness: Faithfulness | None) -> str:
    """How far a map can be trusted, in a sentence.

    >>> describe_faithfulness(Faithfulness(n=90, trustworthiness=0.914, n_judged=90))
    'Trustworthiness 0.91, judged on 90 points: how far neighbours on the map are neighbours \
in the space (1 is all of them).'
    """
    if faithfulness is None or faithfulness.trustworthiness is None:
        return "Too few points to judge how faithful this map is."
    among = "points" if faithfulness.n_judged == faithfulness.n else f"of {faithfulness.n:,} points"
    sentence = (
        f"Trustworthiness {number(faithfulness.trustworthiness)}, judged on "
        f"{faithfulness.n_judged:,} {among}: "
        "how far neighbours on the map are neighbours in the space (1 is all of them)."
    )
    if faithfulness.neighbours_kept is not None:
        sentence += f" {faithfulness.neighbours_kept:.0%} of the nearest are kept."
    recall = faithfulness.neighbour_recall
    if recall is not None and recall < 1:
        sentence += f" It was made of neighbours of recall {number(recall)}."
    return sentence
