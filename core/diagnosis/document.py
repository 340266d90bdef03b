"""The JSON document of ``usad diagnose``."""

from collections.abc import Mapping, Sequence
from typing import Any

from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict


def document(
    diagnosis: Diagnosis,
    verdicts: Sequence[Verdict],
    similarity: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Everything that was found, as plain values; panels that were not asked for are missing.

    Args:
        diagnosis: The panels.
        verdicts: What follows from them.
        similarity: Rows of ``teacher_similarity``.
    """
    head = {
        "student": diagnosis.student, "layers": diagnosis.layers, "domains": diagnosis.domains,
        "unseen_domains": diagnosis.unseen_domains, "teachers": diagnosis.teachers,
        "controls": diagnosis.controls, "baselines": diagnosis.baselines,
        "n_clips": diagnosis.n_clips, "n_clusters": diagnosis.n_clusters,
        "seed": diagnosis.seed, "selection": diagnosis.selection,
        "warnings": diagnosis.warnings, "provenance": diagnosis.provenance,
        "verdicts": [
            {"question": v.question, "verdict": v.verdict, "rule": v.rule, "evidence": v.evidence}
            for v in verdicts
        ],
    }  # fmt: skip
    panels = {
        kind.name: [dict(row) for row in diagnosis.panels[kind.name].rows]
        for kind in PANELS
        if kind.name in diagnosis.panels
    }
    return head | ({"similarity": [dict(row) for row in similarity]} if similarity else {}) | panels
