"""Associations (D10): do two groups of a domain lie nearer to loud, long or other audio?

Default tests, from the columns at hand: targets are the two levels with most clusters of
each column of classes that is constant in clusters; attributes are the upper and lower
third of loudness and of duration among the clips of the other domains, and the two other
domains with most clips. So no clip is target and attribute.

Others come from the rules (``[[associations]]``): four conditions on the columns of clips,
the targets' taken domain by domain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from usad_workbench.core.arrays import Indices
from usad_workbench.core.bias.associations import (
    AssociationResult,
    AssociationTest,
    association,
    association_inheritance,
)
from usad_workbench.core.diagnosis.clip_factors import (
    BOOKKEEPING,
    CONTINUOUS,
    MAX_LEVELS,
    MIN_LEVELS,
    continuous_columns,
    spaces_of,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cell_name,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.rules import AssociationRule
from usad_workbench.core.errors import ConfigError, DegenerateError, QueryError, ShapeError
from usad_workbench.core.progress import Progress

NAME = "associations"


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationRow(PanelRow):
    """How much nearer the first target lies to the first attribute, in one layer."""

    test: str
    domain: str
    encoder: str
    layer: int
    d: float = math.nan
    """Effect size on centred vectors; ``d_raw`` without centring, as published."""
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    d_raw: float = math.nan
    n_clusters_x: int | None = None
    n_clusters_y: int | None = None
    confounds: Shares
    """Difference of the targets in loudness, duration and rate, in standard deviations."""
    slope: float = math.nan
    """Of the student's d on this encoder's, over tests."""
    sign_agreement: float = math.nan
    n_tests: int | None = None
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per test and space; its clips: targets that lie nearest to an attribute."""
    rows: list[AssociationRow] = []
    clips: list[InfluentialClips] = []
    asked, warnings = asked_tests(data)
    tests = [
        (domain, test)
        for domain in data.domains
        for test in (*default_tests(data, domain), *asked.get(domain, ()))
    ]
    spaces = spaces_of(data)
    numbers = continuous_columns(data)
    for done, (domain, test) in enumerate(tests, start=1):
        confounds = _confounds(numbers, test)
        for encoder, layer in spaces:
            row, result = _row(data, domain, test, encoder, layer, confounds)
            rows.append(row)
            if result is not None:
                ids = data.clips.clip_id.iloc[np.concatenate([test.x, test.y])].tolist()
                cell = cell_name(test=test.name, domain=domain, encoder=encoder, layer=layer)
                clips.append(most_influential(cell, ids, result.s, "overlap"))
        progress(done, len(tests), NAME)
    q = q_values(row.p_value for row in rows)
    rows = [replace(row, q_value=value) for row, value in zip(rows, q, strict=True)]
    return Panel(
        name=NAME,
        row_type=AssociationRow,
        rows=_with_slopes(data, rows),
        influential=clips,
        warnings=warnings,
    )


def asked_tests(data: DiagnosisData) -> tuple[dict[str, list[AssociationTest]], list[str]]:
    """The tests of the rules by domain, and a warning for each that has no targets in any.

    Raises:
        ConfigError: a condition that DuckDB does not take.
    """
    tests_of_domains: dict[str, list[AssociationTest]] = {}
    warnings = []
    for rule in data.config.associations:
        sets = {side: _selected(data, rule, side) for side in ("x", "y", "a", "b")}
        n_domains = 0
        for domain in data.domains:
            x, y = (np.intersect1d(sets[side], data.rows(domain)) for side in ("x", "y"))
            if len(x) and len(y):
                n_domains += 1
                test = AssociationTest(name=rule.name, x=x, y=y, a=sets["a"], b=sets["b"])
                tests_of_domains.setdefault(domain, []).append(test)
        if not n_domains:
            warnings.append(f"association test {rule.name}: no domain has clips of both targets")
    return tests_of_domains, warnings


def _selected(data: DiagnosisData, rule: AssociationRule, side: str) -> Indices:
    """Row numbers of the clips of this diagnosis that a condition holds for."""
    condition = str(getattr(rule, side))
    try:
        chosen = data.workspace.clips(condition)
    except QueryError as error:
        raise ConfigError(
            f"Association test {rule.name!r}, {side} = {condition!r}: {error}"
        ) from error
    is_chosen = data.clips.clip_id.isin(chosen.clip_id).to_numpy()
    return np.intersect1d(np.flatnonzero(is_chosen), data.sample.rows)


def default_tests(data: DiagnosisData, domain: str) -> list[AssociationTest]:
    """The tests of one domain that the columns at hand allow."""
    clips = data.clips.iloc[data.rows(domain)]
    everyone = data.sample.rows
    others = everyone[(data.clips.domain != domain).to_numpy()[everyone]]
    attributes = _attributes(data, others)
    tests, seen = [], set()
    for name in clips.columns:
        if name in CONTINUOUS or name in BOOKKEEPING - {"label"}:
            continue
        pair = _two_levels(clips, name)
        if (
            pair is None
            or (key := tuple(rows_of_level.tobytes() for rows_of_level in pair.values())) in seen
        ):
            continue
        seen.add(key)
        (x_name, x), (y_name, y) = pair.items()
        tests += [
            AssociationTest(name=f"{name}: {x_name} or {y_name} with {words}", x=x, y=y, a=a, b=b)
            for words, (a, b) in attributes.items()
        ]
    return tests


def _two_levels(clips: pd.DataFrame, name: str) -> dict[str, Indices] | None:
    """Rows of the two levels with most clusters, those that lie in both left out."""
    column = clips[name].dropna().astype(str)
    if not MIN_LEVELS <= column.nunique() <= MAX_LEVELS:
        return None
    clusters = clips.cluster_id[column.index]
    if (column.groupby(clusters).nunique() > 1).any():
        return None
    sizes = clusters.groupby(column).nunique().sort_values(ascending=False, kind="stable")
    return {
        str(level): column.index[column == level].to_numpy().astype(np.intp)
        for level in sizes.index[:2]
    }


def _attributes(data: DiagnosisData, others: Indices) -> dict[str, tuple[Indices, Indices]]:
    """Pairs of attribute sets among the clips of other domains."""
    pairs = {}
    numbers = continuous_columns(data)
    for name, words in (("loudness_db", "loud or quiet"), ("duration_s", "long or short")):
        if name not in numbers:
            continue
        values = numbers[name].to_numpy()[others]
        finite_rows = others[np.isfinite(values)]
        if len(finite_rows) < 6 or np.ptp(numbers[name].to_numpy()[finite_rows]) == 0:
            continue
        low, high = np.quantile(numbers[name].to_numpy()[finite_rows], [1 / 3, 2 / 3])
        level = numbers[name].to_numpy()[finite_rows]
        pair = finite_rows[level >= high], finite_rows[level <= low]
        if low < high:
            pairs[words] = pair
    sizes = data.clips.domain.iloc[others].value_counts()
    names = [str(domain) for domain in sizes.index if domain in data.domains][:2]
    if len(names) == 2:
        pairs[f"{names[0]} or {names[1]}"] = data.rows(names[0]), data.rows(names[1])
    return pairs


def _row(
    data: DiagnosisData,
    domain: str,
    test: AssociationTest,
    encoder: str,
    layer: int,
    confounds: Shares,
) -> tuple[AssociationRow, AssociationResult | None]:
    targets = np.concatenate([test.x, test.y])
    row = AssociationRow(
        test=test.name,
        domain=domain,
        encoder=encoder,
        layer=layer,
        confounds=confounds,
        n_clips=len(targets),
        n_clusters=len(set(data.clusters(targets))),
    )
    try:
        everyone = data.sample.rows
        x, y, a, b = (np.searchsorted(everyone, rows) for rows in (test.x, test.y, test.a, test.b))
        result = association(
            data.vectors(encoder, layer, everyone),
            AssociationTest(name=test.name, x=x, y=y, a=a, b=b),
            data.clusters(everyone),
            seed=data.config.seed,
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), None
    row = replace(row, n_clusters_x=result.n_x, n_clusters_y=result.n_y, reason=result.reason)
    if math.isnan(result.p_value):
        return row, None
    row = replace(
        row,
        d=result.d,
        ci_low=result.ci_low,
        ci_high=result.ci_high,
        p_value=result.p_value,
        d_raw=result.d_raw,
    )
    return row, result


def _confounds(numbers: pd.DataFrame, test: AssociationTest) -> dict[str, float]:
    """How far the targets differ in what was not matched, in standard deviations."""
    differences = {}
    for name, column in numbers.items():
        values = column.to_numpy()
        x, y = (values[rows][np.isfinite(values[rows])] for rows in (test.x, test.y))
        spread = float(np.std(np.concatenate([x, y]))) if len(x) and len(y) else 0.0
        if spread > 0:
            differences[str(name)] = float((x.mean() - y.mean()) / spread)
    return differences


def _with_slopes(data: DiagnosisData, rows: Sequence[AssociationRow]) -> list[AssociationRow]:
    """Adds to each other encoder's rows how the student's last layer follows it over tests."""
    last = data.student_layers[-1]
    student = [row.d for row in rows if row.encoder == data.student and row.layer == last]
    slopes = {}
    for encoder in data.encoders[1:]:
        of_encoder = [row.d for row in rows if row.encoder == encoder]
        try:
            slopes[encoder] = association_inheritance(student, of_encoder)
        except DegenerateError:
            continue  # no test of theirs has an effect: each row has its reason
    return [
        replace(
            row,
            slope=slopes[row.encoder].slope,
            sign_agreement=slopes[row.encoder].sign_agreement,
            n_tests=slopes[row.encoder].n_tests,
        )
        if row.encoder in slopes
        else row
        for row in rows
    ]


PANEL = PanelKind(
    name=NAME,
    question="Which groups of clips lie nearer to loud, long or other audio than others?",
    row_type=AssociationRow,
    compute=compute,
)
