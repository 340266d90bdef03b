"""The JSON document of ``usad diagnose``."""

from collections.abc import Sequence
from typing import Any

from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict


def document(diagnosis: Diagnosis, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything that was found, as plain values; panels that were not asked for are missing."""
    head = {
        "student": diagnosis.student,
        "layers": diagnosis.layers,
        "domains": diagnosis.domains,
        "unseen_domains": diagnosis.unseen_domains,
        "teachers": diagnosis.teachers,
        "are_teachers_known": diagnosis.are_teachers_known,
        "controls": diagnosis.controls,
        "baselines": diagnosis.baselines,
        "n_clips": diagnosis.n_clips,
        "n_clusters": diagnosis.n_clusters,
        "alpha": diagnosis.alpha,
        "margin": diagnosis.margin,
        "seed": diagnosis.seed,
        "selection": diagnosis.selection,
        "warnings": diagnosis.warnings,
        "provenance": diagnosis.provenance,
        "verdicts": [
            {"question": v.question, "verdict": v.verdict, "rule": v.rule, "evidence": v.evidence}
            for v in verdicts
        ],
    }
    panels = {name: [dict(row) for row in panel.rows] for name, panel in diagnosis.panels.items()}
    return head | panels
