"""Neighbourhoods (D12): hubs, label purity and cross-domain neighbours of each encoder."""

import math
from dataclasses import dataclass, replace

import numpy as np

from usad_workbench.core.bias.neighbourhoods import (
    Leakage,
    bad_occurrences,
    centred_neighbours,
    expected_purity,
    hubness,
    label_matches,
    leakage,
    neighbour_interval,
)
from usad_workbench.core.diagnosis.clip_factors import content_label, spaces_of
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cell_name,
    join_reasons,
    most_influential,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress

NAME = "neighbourhoods"


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourhoodRow(PanelRow):
    """Hubs, label purity and neighbours of other domains, of one layer in one domain."""

    domain: str
    encoder: str
    layer: int
    hubness: float = math.nan
    """Skewness of how often a clip is a neighbour of others."""
    hubness_ci_low: float = math.nan
    hubness_ci_high: float = math.nan
    antihub_share: float = math.nan
    """Clips that are nobody's neighbour."""
    robin_hood: float = math.nan
    max_occurrence: int | None = None
    purity: float = math.nan
    """Share of a clip's neighbours that have its label."""
    ci_low: float = math.nan
    """Of the purity, as ``ci_high``; hubness and leakage have their own."""
    ci_high: float = math.nan
    purity_expected: float = math.nan
    bad_hub_share: float = math.nan
    leakage: Shares | None = None
    """Share of neighbours that are of another domain, by domain."""
    leakage_ci_low: Shares | None = None
    leakage_ci_high: Shares | None = None
    leakage_expected: Shares | None = None
    label_column: str
    k: int
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per domain and space; its clips: hubs, and those whose neighbours are elsewhere."""
    rows: list[NeighbourhoodRow] = []
    clips: list[InfluentialClips] = []
    contents = {domain: content_label(data, domain) for domain in data.domains}
    spaces = spaces_of(data)
    for done, (encoder, layer) in enumerate(spaces, start=1):
        leaks = _leakages(data, encoder, layer)
        for domain in data.domains:
            row, influences = _row(data, domain, encoder, layer, contents[domain])
            leak = leaks.get(domain)
            if isinstance(leak, str):
                row = replace(row, reason=join_reasons(row.reason, leak))
            elif leak is not None:
                row = _with_leakage(row, leak)
            rows.append(row)
            cell = cell_name(domain=domain, encoder=encoder, layer=layer)
            ids = data.clips.clip_id.iloc[data.rows(domain)].tolist()
            clips += [most_influential(cell, ids, x, kind) for kind, x in influences.items()]
            if isinstance(leak, Leakage):
                of_all = data.clips.iloc[data.sample.across(data.domains)]
                ids = of_all.clip_id[of_all.domain == domain].tolist()
                clips.append(most_influential(cell, ids, leak.leaking, "leakage"))
        progress(done, len(spaces), NAME)
    return Panel(name=NAME, row_type=NeighbourhoodRow, rows=rows, influential=clips)


def _row(
    data: DiagnosisData, domain: str, encoder: str, layer: int, content: tuple[str, list[str]]
) -> tuple[NeighbourhoodRow, dict[str, np.ndarray]]:
    everyone, clip_rows = data.sample.all_of(domain), data.rows(domain)
    queries = np.searchsorted(everyone, clip_rows)
    x = data.vectors(encoder, layer, everyone)
    some, clusters = x[queries], data.clusters(clip_rows)
    column, labels = content
    k = data.config.k
    row = NeighbourhoodRow(
        domain=domain,
        encoder=encoder,
        layer=layer,
        label_column=column,
        k=k,
        n_clips=len(clip_rows),
        n_clusters=len(set(clusters)),
    )
    among = _hubs_among(len(some), len(x))
    try:
        hubs = hubness(some, k, clusters)
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), {}
    row = replace(
        row,
        hubness=hubs.skewness,
        hubness_ci_low=hubs.interval.ci_low,
        hubness_ci_high=hubs.interval.ci_high,
        antihub_share=hubs.antihub_share,
        robin_hood=hubs.robin_hood,
        max_occurrence=hubs.max_occurrence,
        reason=join_reasons(hubs.interval.reason, among),
    )
    influences = {"hub": hubs.occurrences.astype(np.float64)}
    if not column:
        why = "no purity: no label has two clusters or more"
        return replace(row, reason=join_reasons(why, among)), influences
    try:
        of_all = data.clusters(everyone)
        near = centred_neighbours(x, k, of_all, queries)
        purity = neighbour_interval(label_matches(near, labels, queries), near, of_all, queries)
        near_some = near if len(some) == len(x) else centred_neighbours(some, k, clusters)
        bad = bad_occurrences(near_some, [labels[i] for i in queries])
        row = replace(
            row,
            purity=purity.value,
            ci_low=purity.ci_low,
            ci_high=purity.ci_high,
            purity_expected=expected_purity(labels, of_all),
            bad_hub_share=float(np.mean(bad > k)),
        )
    except (ShapeError, DegenerateError) as error:
        row = replace(row, reason=join_reasons(str(error), among))
    return row, influences


def _hubs_among(n_clips: int, n_all: int) -> str:
    """What is said of hubs where not every clip is a query: who is near whom goes both ways."""
    return "" if n_clips == n_all else f"hubs are those of {n_clips} clips among themselves"


def _leakages(data: DiagnosisData, encoder: str, layer: int) -> dict[str, Leakage | str]:
    """By domain; a reason where there is none."""
    rows = data.sample.all_of(*data.domains)
    queries = np.searchsorted(rows, data.sample.across(data.domains))
    domains = data.clips.domain.iloc[rows].tolist()
    if len(data.domains) < 2:
        return {domain: "no leakage: one domain only" for domain in data.domains}
    try:
        clusters = data.clusters(rows)
        x = data.vectors(encoder, layer, rows)
        near = centred_neighbours(x, data.config.k, clusters, queries)
        return {one: leakage(near, domains, clusters, one, queries) for one in data.domains}
    except (ShapeError, DegenerateError) as error:
        return {domain: str(error) for domain in data.domains}


def _with_leakage(row: NeighbourhoodRow, leak: Leakage) -> NeighbourhoodRow:
    shares = leak.shares.items()
    n = len(leak.leaking)
    fewer = f"leakage rests on {n} clips" if n < row.n_clips else ""
    return replace(
        row,
        reason=join_reasons(row.reason, fewer),
        leakage={name: share.value for name, share in shares},
        leakage_ci_low={name: share.ci_low for name, share in shares},
        leakage_ci_high={name: share.ci_high for name, share in shares},
        leakage_expected=dict(leak.expected),
    )


PANEL = PanelKind(
    name=NAME,
    question="Are there hubs, do neighbours share the label, and do they come from the domain?",
    row_type=NeighbourhoodRow,
    compute=compute,
)
