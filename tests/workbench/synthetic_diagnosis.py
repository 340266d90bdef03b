"""A small diagnosis made by hand on the synthetic workspace: rows as the panels give them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from typing import Any

import numpy as np

from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelRow,
    cell_name,
    most_influential,
)
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import Diagnosis, Provenance, Settings
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.diagnosis.verdict_on_mixture import general_or_mixture
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.storage.workspace import Workspace

STUDENT = "tiny-student"
TEACHERS = ["speech-teacher", "sound-teacher", "music-teacher"]
DOMAINS = ["effects", "music", "sound", "speech"]
SCRIPT_TASK = "<script>window.executed=1</script>"
NO_CONTROL = "no exchangeable control of the domain"
TEXT, NUMBER, WHOLE, SHARES = str, float, int, Mapping[str, float]
N = {"n_clips": 27, "n_clusters": 9}


def _panel(
    name: str,
    columns: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    clips: Sequence[InfluentialClips] = (),
    warnings: Sequence[str] = (),
) -> Panel:
    """A panel whose rows have fewer columns than those of the program."""
    row_type = make_dataclass(
        f"{name.title()}Row",
        columns.items(),
        bases=(PanelRow,),
        frozen=True,
        kw_only=True,
        slots=True,
    )
    made = [row_type(**{column: row.get(column) for column in columns}) for row in rows]
    return Panel(name=name, row_type=row_type, rows=made, influential=clips, warnings=warnings)


def _clips(workspace: Workspace, domain: str) -> list[str]:
    found = workspace.sql("SELECT clip_id FROM clips WHERE domain = ? ORDER BY clip_id", [domain])
    return [str(one) for one in found["clip_id"]]


def inheritance(workspace: Workspace) -> Panel:
    """Teachers by domains by layers; sound has no control, the speech teacher stands out."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    drivers = []
    for teacher in TEACHERS:
        for domain in DOMAINS:
            for layer in (1, 2, 4):
                is_out = (teacher, domain) == ("speech-teacher", "speech")
                excess = 0.2 + 0.01 * layer if is_out else float(rng.normal(0, 0.02))
                excess = math.nan if domain == "sound" else excess
                rows.append(
                    {
                        "teacher": teacher,
                        "domain": domain,
                        "layer": layer,
                        "teacher_layer": 1,
                        "excess": excess,
                        "ci_low": excess - 0.05,
                        "ci_high": excess + 0.05,
                        "p_value": 0.0004 if is_out else 0.4,
                        "p_kind": "jackknife t",
                        "q_value": 0.004 if is_out else 0.6,
                        "inherited": "not testable"
                        if domain == "sound"
                        else "yes"
                        if is_out
                        else "no",
                        "reason": NO_CONTROL if domain == "sound" else "",
                        **N,
                    }
                )
                clips = _clips(workspace, domain)
                cell = cell_name(teacher=teacher, domain=domain, layer=layer)
                if domain != "sound":
                    influence = np.linspace(0.1, -0.1, len(clips))
                    drivers.append(most_influential(cell, clips, influence, "jackknife"))
    columns = {
        "teacher": TEXT,
        "domain": TEXT,
        "layer": WHOLE,
        "teacher_layer": WHOLE,
        "excess": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "p_value": NUMBER,
        "p_kind": TEXT,
        "q_value": NUMBER,
        "inherited": TEXT,
        "n_clips": WHOLE,
        "n_clusters": WHOLE,
        "reason": TEXT,
    }
    return _panel(
        "inheritance",
        columns,
        rows,
        drivers,
        warnings=["music has one control & its interval is wide"],
    )


def attribution() -> Panel:
    """Shares of two layers in each domain; one fits badly."""
    rows = [
        {
            "domain": domain,
            "layer": layer,
            "novel": 0.2,
            "fit_r2": 0.3 if layer == 1 else 0.8,
            "shares": dict(zip(TEACHERS, (0.5, 0.2, 0.1), strict=True)),
            "reason": "",
            **N,
        }
        for domain in DOMAINS
        for layer in (1, 4)
    ]
    columns = {
        "domain": TEXT,
        "layer": WHOLE,
        "shares": SHARES,
        "novel": NUMBER,
        "fit_r2": NUMBER,
        "n_clips": WHOLE,
        "n_clusters": WHOLE,
        "reason": TEXT,
    }
    return _panel("attribution", columns, rows)


def errors(workspace: Workspace) -> Panel:
    """Tasks by teachers; one task has a name that would be a script, and a clip that would."""
    rows = [
        {
            "task": task,
            "teacher": teacher,
            "kappa": 0.3,
            "excess": 0.1 + 0.1 * i,
            "ci_low": 0.05 + 0.1 * i,
            "ci_high": 0.15 + 0.1 * i,
            "copy_probability": 0.2,
            "n_test": 27,
            "n_clusters": 9,
            "reason": "",
        }
        for task in ("sound-kind", SCRIPT_TASK)
        for i, teacher in enumerate(TEACHERS)
    ]
    clips = _clips(workspace, "sound")
    cell = cell_name(task=SCRIPT_TASK, teacher="music-teacher")
    columns = {
        "task": TEXT,
        "teacher": TEXT,
        "kappa": NUMBER,
        "excess": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "copy_probability": NUMBER,
        "n_test": WHOLE,
        "n_clusters": WHOLE,
        "reason": TEXT,
    }
    influence = np.linspace(1, 0, len(clips))
    return _panel("errors", columns, rows, [most_influential(cell, clips, influence, "error")])


def routing() -> Panel:
    """Systems with value and cost."""
    systems = {STUDENT: 1_000_000, "speech-teacher": 400_000, "oracle-router": 500_000}
    rows = [
        {
            "system": name,
            "task": "speech-kind",
            "value": 0.5 + 0.1 * i,
            "ci_low": 0.4 + 0.1 * i,
            "ci_high": 0.6 + 0.1 * i,
            "n_params": float(n_params),
            "rtf": 0.01 * (i + 1),
            "n_test": 27,
            "reason": "",
        }
        for i, (name, n_params) in enumerate(systems.items())
    ]
    columns = {
        "system": TEXT,
        "task": TEXT,
        "value": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "n_params": NUMBER,
        "rtf": NUMBER,
        "n_test": WHOLE,
        "reason": TEXT,
    }
    return _panel("routing", columns, rows)


def diagnosis(workspace: Workspace, selection: str = "") -> Diagnosis:
    """All panels; one is empty, and one is unknown to whoever draws it."""
    unknown = _panel(
        "novelty",
        columns={"encoder": TEXT, "task": TEXT, "gain": NUMBER, "reason": TEXT},
        rows=[{"encoder": STUDENT, "task": "speech-kind", "gain": 0.25, "reason": ""}],
    )
    empty = _panel("partial", {"teacher": TEXT, "domain": TEXT, "value": NUMBER}, rows=[])
    panels = [inheritance(workspace), attribution(), errors(workspace), routing(), unknown, empty]
    return Diagnosis(
        student=STUDENT,
        layers=[1, 2, 4],
        domains=DOMAINS,
        unseen_domains=["effects"],
        teachers=TEACHERS,
        controls=["speech-control", "music-control"],
        baselines=["log-mel-statistics"],
        n_clips=108,
        n_clusters=36,
        seed=3,
        selection=selection,
        panels={panel.name: panel for panel in panels},
        warnings=["domain effects has 27 clips: too few for small differences"],
        alpha=0.05,
        margin=0.01,
        provenance=Provenance(
            usad_workbench="9.9.9",
            python="3.11",
            packages={"numpy": "1.2.3"},
            weights_sha256={"speech-teacher": "ab" * 32},
            settings=Settings(
                seed=3,
                n_permutations=29,
                k=10,
                max_clips=1000,
                max_domain_clips=5000,
                layers=(1, 2, 4),
                associations=(),
            ),
        ),
    )


def verdicts(found: Diagnosis) -> list[Verdict]:
    """One that is decided, one that is not."""
    rules, _ = load_rules()
    rows = [
        InheritanceRow(**row, measure="debiased_linear_cka")  # type: ignore[arg-type]
        for row in found.panels["inheritance"].documents()
    ]
    return [
        inherited(rows, rules),
        general_or_mixture({}, {}, {}, None, rules),
    ]
