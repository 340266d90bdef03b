"""Disagreements: the nearest teacher by every family of measures, and where they differ."""

from dataclasses import asdict, dataclass, field, replace

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cells_of_domains_and_layers,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.disagreement import FAMILIES, nearest_by_measure

NAME = "disagreements"


@dataclass(frozen=True, kw_only=True, slots=True)
class DisagreementRow(PanelRow):
    """The nearest teacher of a student layer in one domain, by each family of measures."""

    domain: str
    layer: int
    debiased_linear_cka: str | None = None
    standardised_linear_cka: str | None = None
    mutual_knn: str | None = None
    rank_similarity: str | None = None
    second_order_cosine: str | None = None
    angular_procrustes: str | None = None
    rsa_spearman: str | None = None
    distance_correlation: str | None = None
    svcca: str | None = None
    gulp: str | None = None
    readings: Shares = field(default_factory=dict)
    """Values by measure and teacher, as ``measure|teacher``."""
    n_nearest: int = 0
    """How many teachers are nearest by some measure."""
    warning: str = ""
    n_clips: int
    n_clusters: int
    reason: str = ""

    @property
    def measures(self) -> dict[str, str]:
        """The nearest teacher by measure; measures without one left out."""
        nearest = {name: getattr(self, name) for name in FAMILIES}
        return {name: teacher for name, teacher in nearest.items() if teacher is not None}

    def document(self) -> dict[str, object]:
        """The row in the JSON document, where the measures also stand together."""
        return asdict(self) | {"measures": self.measures}


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row for each domain and each of the few student layers; teachers only.

    The values are the measures of each teacher without interval: who is nearest by a hair
    is nearest all the same, which the panel of similarities has intervals for.
    """
    rows, _ = cells_of_domains_and_layers(data, NAME, _cell, progress)
    differ = sorted({row.domain for row in rows if row.n_nearest > 1})
    warnings = []
    if differ:
        warnings.append(
            f"measures disagree on the nearest teacher in {', '.join(differ)}: what one of them "
            "says there is no finding"
        )
    return Panel(name=NAME, row_type=DisagreementRow, rows=rows, warnings=warnings)


def _cell(
    data: DiagnosisData, domain: str, layer: int
) -> tuple[DisagreementRow, list[InfluentialClips]]:
    clip_rows = data.thinned_rows(domain)
    clusters = data.clusters(clip_rows)
    row = DisagreementRow(
        domain=domain, layer=layer, n_clips=len(clip_rows), n_clusters=len(set(clusters))
    )
    try:
        disagreement = nearest_by_measure(
            data.vectors(data.student, layer, clip_rows),
            {
                name: data.vectors(name, data.matching_layer(name, layer), clip_rows)
                for name in data.teachers
            },
            k=data.config.k,
            clusters=clusters,
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), []
    nearest = disagreement.nearest
    row = replace(
        row,
        debiased_linear_cka=nearest.get("debiased_linear_cka"),
        standardised_linear_cka=nearest.get("standardised_linear_cka"),
        mutual_knn=nearest.get("mutual_knn"),
        rank_similarity=nearest.get("rank_similarity"),
        second_order_cosine=nearest.get("second_order_cosine"),
        angular_procrustes=nearest.get("angular_procrustes"),
        rsa_spearman=nearest.get("rsa_spearman"),
        distance_correlation=nearest.get("distance_correlation"),
        svcca=nearest.get("svcca"),
        gulp=nearest.get("gulp"),
        readings={
            f"{measure}|{name}": value
            for measure, by_encoder in disagreement.values.items()
            for name, value in by_encoder.items()
        },
        n_nearest=len(set(nearest.values())),
        warning=disagreement.warning,
        reason="values without interval",
    )
    return row, []


PANEL = PanelKind(
    name=NAME,
    question="Do the measures agree on which teacher is nearest?",
    row_type=DisagreementRow,
    compute=compute,
)
