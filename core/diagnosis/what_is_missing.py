"""What an open question lacks, and the command that gives it."""

from collections.abc import Mapping, Sequence

from usad_workbench.core.diagnosis.comparison import ComparisonRow, changed_by_stage_2
from usad_workbench.core.diagnosis.panels.errors import ErrorsRow
from usad_workbench.core.diagnosis.panels.routing import RoutingRow
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER
from usad_workbench.core.evaluation.systems import MIXTURE, ORACLE_ROUTER

EVALUATE = "`usad evaluate --workspace W`, then diagnose again"
NO_TASKS = {"labelled tasks": f"`usad import --tasks TASKS.csv --workspace W`, {EVALUATE}"}


def what_is_missing(
    diagnosis: Diagnosis, question: str, means: Sequence[RoutingRow], min_clips: int
) -> Mapping[str, str]:
    """What a question needs that this diagnosis has not, each with what to do about it.

    Args:
        diagnosis: Its panels, before any verdict.
        question: Of a verdict other than that on inheritance, which says so teacher by teacher.
        means: Of the tasks of each domain.
        min_clips: Fewer test clips than this decide nothing.
    """
    routing = diagnosis.rows_of(RoutingRow)
    systems = {row.system for row in routing}
    missing = {} if routing else dict(NO_TASKS)
    if question == "general-or-mixture":
        if MIXTURE not in systems:
            missing["the teachers' mixture"] = _how_to_get(MIXTURE, diagnosis)
        missing |= {
            f"the panel {name}": f"`usad diagnose --workspace W --student {diagnosis.student}`"
            for name in ("variance", "errors")
            if name not in diagnosis.panels
        }
        if "errors" in diagnosis.panels and not _were_errors_tested(diagnosis):
            missing["two controls or more, to hold shared errors against"] = (
                "`usad embed --workspace W --encoders NAMES`, or `usad import-embeddings --role "
                "control`, then "
                f"{EVALUATE}"
            )
    elif question == "universal-or-routing":
        lacking = [name for name in (ORACLE_ROUTER, LEARNED_ROUTER) if name not in systems]
        missing |= {
            f"the {name.replace('-', ' ')}": _how_to_get(name, diagnosis) for name in lacking
        }
        routers = [row for row in means if row.system == ORACLE_ROUTER]
        if routers and not all(row.n_params > 0 for row in routers):
            missing["how many parameters are in use"] = (
                "`usad evaluate --workspace W` where the encoders' weights are, then diagnose again"
            )
    elif changed_by_stage_2(diagnosis.rows_of(ComparisonRow)) is None:
        missing["the second stage against the first"] = (
            f"`usad diagnose --workspace W --student {diagnosis.student} --compare FIRST_STAGE`"
        )
    if question != "universal-or-routing" and not diagnosis.unseen_domains:
        missing["clips of a domain that no teacher is of"] = (
            "`usad import FOLDER --workspace W --domain NAME`, with a task for it"
        )
    for domain, n in {row.domain: row.n_clips for row in means if row.n_clips < min_clips}.items():
        missing[f"{min_clips} test clips of {domain}, of which there are {n}"] = (
            f"`usad import`, `usad embed`, {EVALUATE}"
        )
    return missing


def _how_to_get(system: str, diagnosis: Diagnosis) -> str:
    """What makes a system of teachers, which evaluating alone cannot where its parts are not here."""
    if len(diagnosis.teachers) < 2:
        return (
            f"it takes two teachers: `usad embed --workspace W --encoders NAMES`, then {EVALUATE}"
        )
    if system == LEARNED_ROUTER and not diagnosis.baselines:
        return (
            "it reads a baseline: `usad embed --workspace W --encoders log-mel-statistics`, then "
            f"{EVALUATE}"
        )
    return EVALUATE


def _were_errors_tested(diagnosis: Diagnosis) -> bool:
    return any(row.copied != "not testable" for row in diagnosis.rows_of(ErrorsRow))
