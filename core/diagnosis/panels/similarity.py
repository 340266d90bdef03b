"""Similarity: every student layer against every layer of every other encoder, per domain."""

from typing import Any

import numpy as np
import pandas as pd

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import Panel, PanelKind
from usad_workbench.core.diagnosis.teacher_similarity import (
    MEASURES,
    SimilarityConfig,
    compare_with_teachers,
    similarity_rows,
)
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg, layer_similarity
from usad_workbench.core.storage.schema import TABLES

NAME = "similarity"
COLUMNS = {
    name: kind
    for name, kind in (column.split(" ", 1) for column in TABLES["teacher_similarity"].split(", "))
    if name not in ("student", "fingerprint")
}


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """The table ``teacher_similarity``; of a selection its own, which leaves the table alone."""
    if data.config.where or data.config.clip_ids:
        rows = _of_selection(data, progress)
    else:
        rows = _of_workspace(data, progress)
    return Panel(
        name=NAME,
        columns=COLUMNS,
        rows=[{str(key): value for key, value in row.items()} for row in rows.to_dict("records")],
    )


def _of_workspace(data: DiagnosisData, progress: Progress) -> pd.DataFrame:
    # What the report warns of, domains that are too small, the data has said.
    report = compare_with_teachers(
        data.workspace,
        data.student,
        roles=data.roles,
        config=_config(data),
        progress=progress,
    )
    rows = data.workspace.read(
        "SELECT * EXCLUDE (student, fingerprint) FROM teacher_similarity WHERE student = ? "
        "ORDER BY domain, measure, teacher, student_layer, teacher_layer",
        [data.student],
    )
    return rows[rows.teacher.isin(report.encoders)]


def _of_selection(data: DiagnosisData, progress: Progress) -> pd.DataFrame:
    config = _config(data)
    found: list[pd.DataFrame] = []
    others = data.encoders[1:]
    jobs = [(d, o, m) for d in data.domains for o in others for m in MEASURES]
    for done, (domain, other, measure) in enumerate(jobs, start=1):
        rows = data.rows(domain)
        layers = {name: data.layers(name) for name in (data.student, other)}
        sides: dict[str, list[Any]] = {
            name: [data.vectors(name, layer, rows) for layer in layers[name]] for name in layers
        }
        matrix = layer_similarity(
            sides[data.student],
            sides[other],
            data.clusters(rows),
            measure=measure,
            k=config.k,
            n_permutations=config.n_permutations,
            seed=config.seed,
            max_clips=config.max_clips,
        )
        found.append(
            similarity_rows(
                data.student, layers[data.student], other, layers[other], domain, matrix, ""
            )
        )
        progress(done, len(jobs), NAME)
    table = pd.concat(found, ignore_index=True)
    for measure in MEASURES:
        mine = (table.measure == measure).to_numpy()
        table.loc[mine, "q_value"] = benjamini_hochberg(
            np.asarray(table.p_value[mine], dtype=float)
        )
    return table.drop(columns=["student", "fingerprint"])


def _config(data: DiagnosisData) -> SimilarityConfig:
    config = data.config
    return SimilarityConfig(
        k=config.k,
        n_permutations=config.n_permutations,
        seed=config.seed,
        max_clips=config.max_clips,
        alpha=config.rules.alpha,
    )


PANEL = PanelKind(
    name=NAME,
    question="Which layer of which encoder has the geometry of which student layer?",
    columns=COLUMNS,
    compute=compute,
)
