"""Shortcuts: do neighbours share corpus, recorder, loudness, bandwidth or duration?"""

import math
from dataclasses import dataclass, replace

import numpy as np

from usad_workbench.core.arrays import Indices
from usad_workbench.core.bias.neighbourhoods import centred_neighbours
from usad_workbench.core.bias.shortcuts import neighbour_attribute
from usad_workbench.core.diagnosis.clip_factors import (
    ClipFactor,
    clip_factors,
    content_label,
    left_out_columns,
    spaces_of,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    cell_name,
    join_reasons,
    most_influential,
    q_values,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress

NAME = "shortcuts"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShortcutRow(PanelRow):
    """How much neighbours in one layer share an attribute of the recording, in one domain."""

    domain: str
    encoder: str
    layer: int
    attribute: str
    value: float = math.nan
    null: float = math.nan
    """What the labels alone explain."""
    excess: float = math.nan
    """Value minus null; the interval is of this."""
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    measure: str = "share"
    """share of neighbours, or correlation with their mean."""
    label_column: str
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per domain, space and attribute; its clips: those that share it most."""
    rows: list[ShortcutRow] = []
    clips: list[InfluentialClips] = []
    spaces = spaces_of(data)
    for done, domain in enumerate(data.domains, start=1):
        everyone, content = data.sample.all_of(domain), content_label(data, domain)
        factors = clip_factors(data, domain, everyone)
        for encoder, layer in spaces:
            near = _Neighbours(data, encoder, layer)
            for factor in factors:
                row, influence = _row(data, domain, near, factor, content)
                rows.append(row)
                if influence is not None:
                    cell = cell_name(
                        domain=domain, encoder=encoder, layer=layer, attribute=factor.name
                    )
                    asked = factor.rows[_queries(data, domain, factor)]
                    ids = data.clips.clip_id.iloc[asked].tolist()
                    clips.append(most_influential(cell, ids, influence, "overlap"))
        progress(done, len(data.domains), NAME)
    q = q_values(row.p_value for row in rows)
    rows = [replace(row, q_value=value) for row, value in zip(rows, q, strict=True)]
    warnings = left_out_columns(data, data.domains)
    return Panel(name=NAME, row_type=ShortcutRow, rows=rows, influential=clips, warnings=warnings)


class _Neighbours:
    """Neighbours in one space; factors that the same clips have share them."""

    def __init__(self, data: DiagnosisData, encoder: str, layer: int) -> None:
        self.encoder, self.layer = encoder, layer
        self._data = data
        self._found: dict[bytes, Indices] = {}

    def of(self, rows: Indices, queries: Indices) -> Indices:
        """The neighbours among these clips of some of them `[query, k]`."""
        key = rows.tobytes()
        if key not in self._found:
            x = self._data.vectors(self.encoder, self.layer, rows)
            clusters = self._data.clusters(rows)
            self._found[key] = centred_neighbours(x, self._data.config.k, clusters, queries)
        return self._found[key]


def _queries(data: DiagnosisData, domain: str, factor: ClipFactor) -> Indices:
    """Which of the clips that have the factor are in the sample: their neighbours are looked at."""
    return np.flatnonzero(np.isin(factor.rows, data.rows(domain)))


def _row(
    data: DiagnosisData,
    domain: str,
    near: _Neighbours,
    factor: ClipFactor,
    content: tuple[str, list[str]],
) -> tuple[ShortcutRow, np.ndarray | None]:
    column, labels = content
    clusters = data.clusters(factor.rows)
    queries = _queries(data, domain, factor)
    row = ShortcutRow(
        domain=domain,
        encoder=near.encoder,
        layer=near.layer,
        attribute=factor.name,
        label_column=column,
        n_clips=len(queries),
        n_clusters=len({clusters[i] for i in queries}),
        reason=factor.reason,
    )
    if factor.factor is None:
        return row, None
    of_domain = np.searchsorted(data.sample.all_of(domain), factor.rows)
    config = data.config
    try:
        shared = neighbour_attribute(
            near.of(factor.rows, queries),
            factor.factor,
            clusters,
            [labels[i] for i in of_domain],
            queries=queries,
            n_permutations=config.n_permutations,
            seed=config.seed,
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), None
    row = replace(
        row,
        value=shared.value,
        null=shared.null,
        excess=shared.excess,
        ci_low=shared.ci_low,
        ci_high=shared.ci_high,
        p_value=shared.p_value,
        measure="correlation" if factor.factor.is_continuous else "share",
        reason=join_reasons("" if column else "no content label", shared.reason),
    )
    return row, shared.influence


PANEL = PanelKind(
    name=NAME,
    question="Do neighbours share how they were recorded, beyond what their labels explain?",
    row_type=ShortcutRow,
    compute=compute,
)
