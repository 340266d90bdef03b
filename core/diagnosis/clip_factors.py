"""Which columns of ``clips`` are factors that content should not depend on, and loudness.

Rules, the same for every workspace: a column is a factor of a domain if it is neither the
label nor a task's label there, nor says the same as one of these, as the cluster or as an
earlier column, nor is bookkeeping (ids, paths, hashes, licences). Classes need 2 to 20 levels with at least
2 clusters each, and 8 clusters in all. Duration, source sampling rate, loudness and every other
column of numbers with more levels are continuous, so are numbers of which no level has 2
clusters. A column that is neither is named, with the reason (``left_out_columns``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from usad_workbench.core.arrays import Indices
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.bias.factors import Factor, categorical, continuous
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.errors import UsadError
from usad_workbench.core.similarity import MIN_CLUSTERS
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.diagnosis_tables import add_loudness, stored_loudness

CONTINUOUS = ("duration_s", "source_sample_rate_hz", "loudness_db")
"""Columns that are numbers however few levels they have."""
BOOKKEEPING = frozenset(
    [
        "clip_id",
        "path",
        "domain",
        "cluster_id",
        "label",
        "split",
        "sample_rate_hz",
        "audio_sha256",
        "samples_digest",
        "source_version",
        "source_path",
        "source_start_s",
        "source_sha256",
        "author",
        "licence",
    ]
)
MIN_LEVELS, MAX_LEVELS = 2, 20
MAX_DECODED_S = 7200.0
"""More audio than two hours is not decoded for its loudness."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipFactor:
    """One factor on the clips of one domain that have it."""

    name: str
    rows: Indices
    factor: Factor | None
    """None where ``reason`` says why it cannot be asked."""
    reason: str = ""


def clip_factors(data: DiagnosisData, domain: str, rows: Indices) -> list[ClipFactor]:
    """The factors of these clips of one domain, classes first, in the order of the columns."""
    kinds = _column_kinds(data, domain, rows)
    clips = data.clips.iloc[rows]
    numbers = {name: _as_numbers(data.clips[name]) for name in kinds.numbers}
    of_classes = []
    for name in kinds.classes:
        found = _categorical(name, clips[name], clips.cluster_id, rows)
        if found.factor is None and _are_numbers(clips[name]):
            numbers[name] = _as_numbers(data.clips[name])
        else:
            of_classes.append(found)
    columns = {**continuous_columns(data).to_dict("series"), **numbers}
    return [*of_classes, *_continuous(data, rows, columns)]


def left_out_columns(data: DiagnosisData, domains: Sequence[str]) -> list[str]:
    """A sentence on the columns that are no factor of some domains; none where there is none.

    Bookkeeping, columns of one value and what the clips hold are not named.
    """
    domains_of: dict[tuple[str, str], list[str]] = {}
    for domain in domains:
        kinds = _column_kinds(data, domain, data.rows(domain))
        for name, why in kinds.left_out.items():
            domains_of.setdefault((name, why), []).append(domain)
    said = [f"{name} in {', '.join(of)} ({why})" for (name, why), of in domains_of.items()]
    return [f"columns that are asked as no factor: {'; '.join(said)}"] if said else []


@dataclass(frozen=True, kw_only=True, slots=True)
class _ColumnKinds:
    """Columns of the clips of one domain by what they can be."""

    classes: list[str]
    numbers: list[str]
    left_out: dict[str, str]
    """With the reason."""


def _column_kinds(data: DiagnosisData, domain: str, rows: Indices) -> _ColumnKinds:
    clips = data.clips.iloc[rows]
    content = content_columns(data, domain)
    seen = {name: pd.factorize(clips[name])[0] for name in (*content, "cluster_id")}
    kinds = _ColumnKinds(classes=[], numbers=[], left_out={})
    for name in clips.columns:
        column = clips[name]
        n_levels = column.nunique()
        is_known = name in (*content, *CONTINUOUS) or name in BOOKKEEPING
        if is_known or n_levels < MIN_LEVELS:
            continue
        if n_levels > MAX_LEVELS and _are_numbers(column):
            kinds.numbers.append(name)
            continue
        codes = pd.factorize(column)[0]
        same = next((other for other, of_it in seen.items() if _is_same(codes, of_it)), None)
        if same is not None:
            kinds.left_out[name] = f"it parts the clips as {same} does"
        elif n_levels <= MAX_LEVELS:
            seen[name] = codes
            kinds.classes.append(name)
        else:
            kinds.left_out[name] = f"more than {MAX_LEVELS} levels, which are no numbers"
    return kinds


def _as_numbers(column: "pd.Series[Any]") -> "pd.Series[float]":
    return pd.to_numeric(column, errors="coerce").astype(float)


def _are_numbers(column: "pd.Series[Any]") -> bool:
    """Whether every value that is there is a finite number, however it is stored."""
    there = column.dropna()
    return len(there) > 0 and bool(np.isfinite(_as_numbers(there)).all())


def content_factors(data: DiagnosisData, domain: str, rows: Indices) -> list[ClipFactor]:
    """What the clips hold, as factors: the label and the labels of tasks, each saying once."""
    clips = data.clips.iloc[rows]
    seen: list[Indices] = []
    factors = []
    for name in content_columns(data, domain):
        codes = pd.factorize(clips[name])[0]
        if clips[name].nunique() < MIN_LEVELS or any(_is_same(codes, other) for other in seen):
            continue
        seen.append(codes)
        factors.append(_categorical(name, clips[name], clips.cluster_id, rows))
    return factors


def content_columns(data: DiagnosisData, domain: str) -> list[str]:
    """The label, and the labels of the tasks of the domain."""
    tasks = data.workspace.read(
        "SELECT label_column FROM tasks WHERE domain IS NULL OR domain = ? ORDER BY task", [domain]
    )
    names = dict.fromkeys(["label", *tasks.label_column])
    return [name for name in names if name in data.clips]


def content_label(data: DiagnosisData, domain: str) -> tuple[str, list[str]]:
    """The column that says what the clips hold, and its value for every clip of the domain.

    The first content column whose levels mostly have two clusters or more; no column, and
    one label for all, where there is none. Clips without a label get one of their own.
    """
    clips = data.clips.iloc[data.sample.all_of(domain)]
    for name in content_columns(data, domain):
        values = clips[name].dropna()
        clusters = clips.cluster_id[values.index].groupby(values).nunique()
        if len(values) * 2 > len(clips) and (values.map(clusters) >= 2).mean() > 0.5:
            return name, [str(value) for value in clips[name].fillna("no label")]
    return "", ["any"] * len(clips)


def loudness_db(data: DiagnosisData) -> "pd.Series[float]":
    """Level of each clip in dB re full scale (root mean square), NaN where there is no audio.

    None of a file that holds other audio by now either. Decoded once: kept in the table
    ``clip_loudness``; what has no level is asked for again.
    """
    workspace, clips = data.workspace, data.clips
    levels = stored_loudness(workspace)
    missing = clips[~clips.clip_id.isin(list(levels))]
    missing = missing[missing.path.astype(bool)]
    if len(missing) and missing.duration_s.sum() <= MAX_DECODED_S:
        asked = zip(missing.clip_id, missing.path, missing.audio_sha256, strict=True)
        measured = {
            clip_id: _level(workspace.audio_path(path), sha256) for clip_id, path, sha256 in asked
        }
        new = {clip_id: level for clip_id, level in measured.items() if not np.isnan(level)}
        add_loudness(workspace, new)
        levels |= new
    return clips.clip_id.map(levels).astype(float)


def continuous_columns(data: DiagnosisData) -> pd.DataFrame:
    """The continuous factors that the clips have, as numbers; NaN where missing."""
    columns = {
        name: pd.to_numeric(data.clips[name], errors="coerce")
        for name in CONTINUOUS
        if name in data.clips
    }
    if "loudness_db" not in columns:
        columns["loudness_db"] = loudness_db(data)
    return pd.DataFrame(columns)


def _level(file: Path, audio_sha256: object) -> float:
    try:
        samples = read_audio(unchanged(file, audio_sha256)).samples.astype(np.float64)
    except (UsadError, OSError):
        return float("nan")  # the clip has no level; its other factors stand
    return float(10 * np.log10(np.mean(samples**2)))


def _is_same(a: Indices, b: Indices) -> bool:
    """Whether two columns part the clips alike, missing values as a level of their own."""
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))


def _categorical(
    name: str, column: "pd.Series[str]", clusters: "pd.Series[str]", rows: Indices
) -> ClipFactor:
    column = column.dropna().astype(str)
    per_level = clusters[column.index].groupby(column).nunique()
    n_clusters = clusters[column.index].nunique()
    kept = column[column.map(per_level) >= 2]
    kept_rows = rows[clusters.index.get_indexer(kept.index)]
    reason = ""
    if n_clusters < MIN_CLUSTERS:
        reason = f"{n_clusters} clusters have it, at least {MIN_CLUSTERS} are needed"
    elif kept.nunique() < MIN_LEVELS:
        reason = f"{kept.nunique()} levels have 2 clusters or more, at least {MIN_LEVELS} needed"
    factor = None if reason else categorical(kept.tolist())
    return ClipFactor(name=name, rows=kept_rows, factor=factor, reason=reason)


def _continuous(
    data: DiagnosisData, rows: Indices, columns: Mapping[str, "pd.Series[float]"]
) -> Sequence[ClipFactor]:
    factors = []
    clusters = np.asarray(data.clusters())
    for name, column in columns.items():
        values = column.to_numpy()[rows]
        is_finite = np.isfinite(values)
        kept_rows = rows[is_finite]
        if len(kept_rows) < 2 or np.ptp(values[is_finite]) == 0:
            continue
        n_clusters = len(np.unique(clusters[kept_rows]))
        reason = ""
        if n_clusters < MIN_CLUSTERS:
            reason = f"{n_clusters} clusters have it, at least {MIN_CLUSTERS} are needed"
        factor = None if reason else continuous(values[is_finite])
        factors.append(ClipFactor(name=name, rows=kept_rows, factor=factor, reason=reason))
    return factors


def spaces_of(data: DiagnosisData) -> list[tuple[str, int]]:
    """Student layers, and of each other encoder the layer at the depth of the last one."""
    layers = data.student_layers
    return [
        *((data.student, layer) for layer in layers),
        *((name, data.matching_layer(name, layers[-1])) for name in data.encoders[1:]),
    ]
