"""From a workspace to a stored diagnosis, in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from usad_workbench.core.diagnosis.comparison import compare_students
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.llm_results import import_llm_results, llm_panel
from usad_workbench.core.diagnosis.nearest import stored_nearest_teachers
from usad_workbench.core.diagnosis.record import store_diagnosis
from usad_workbench.core.diagnosis.rules import Rules, load_rules, rules_as_toml
from usad_workbench.core.diagnosis.suite import (
    Diagnosis,
    compute_panels,
    diagnosis_of,
    panel_kinds,
)
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace


def diagnose(
    workspace: Workspace,
    student: str | Sequence[str],
    *,
    teachers: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    layers: Sequence[int] = (),
    where: str = "",
    clip_ids: Sequence[str] = (),
    panels: Sequence[str] | None = None,
    rules: str | Path | Rules | None = None,
    compare: str | None = None,
    llm_results: str | Path | None = None,
    n_permutations: int = 200,
    seed: int = 0,
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> Diagnosis:
    """A student beside its teachers and controls: panels, verdicts, warnings, all of it stored.

    The same diagnosis again (student and selection of clips) replaces what the workspace holds
    of it. Every number is computed on the clips that all encoders have.

    Args:
        workspace: Holds the embeddings; ``usad evaluate`` before gives better predictions.
        student: Who is diagnosed; or several students of one recipe that differ in their seed.
            Inheritance is then a claim about the recipe, all other panels are about the first.
        teachers: Who taught it; where none, what is on record, else the encoders of that role.
        controls: Who did not; every other encoder but baselines and students where none.
        layers: Student layers of the panels that take few; four over the depth where empty.
        where: SQL condition on the columns of ``clips``.
        clip_ids: Only these clips, where not empty.
        panels: Names of panels; all where none.
        rules: Thresholds, or a TOML file of them; the shipped ones where none.
        compare: A second student, whose paired differences become a panel of their own.
        llm_results: A CSV file of an LLM benchmark that ran elsewhere, taken in first.
        n_permutations: Size of the permutation nulls.
        seed: Of nulls, intervals and folds.
        n_processes: 1 works in this process; none takes one for each core.
        progress: Called after each panel, and by panels that take long.

    Returns:
        The diagnosis as it is stored: its panels by name, verdicts with their rules and evidence,
        warnings, the clips and clusters that it rests on.

    Raises:
        UnknownNameError: an encoder without embeddings, a layer or a panel that does not exist.
        ConfigError: rules that cannot be read, or an encoder with two roles.
        DegenerateError: fewer clips than one domain needs.
        QueryError: a condition that DuckDB does not take.
    """
    first, *group = [student] if isinstance(student, str) else student or [""]
    kinds = panel_kinds(panels)  # a wrong name is refused before anything is done
    if isinstance(rules, Rules):
        rules_text = rules_as_toml(rules)
    else:
        rules, rules_text = load_rules(rules)
    if llm_results is not None:
        import_llm_results(workspace, llm_results)
    config = DiagnosisConfig(
        seed=seed,
        n_permutations=n_permutations,
        where=where,
        layers=tuple(layers),
        clip_ids=tuple(clip_ids),
        associations=rules.associations,
        rules=rules,
    )
    data = load_diagnosis_data(
        workspace, first, config=config, teachers=teachers, controls=controls, group=group
    )
    computed = compute_panels(data, kinds, n_processes, progress)
    beside = [compare_students(data, compare, progress, n_processes=n_processes)] if compare else []
    llm = llm_panel(data)
    computed |= {panel.name: panel for panel in (*beside, *([llm] if llm else []))}
    diagnosis = diagnosis_of(data, computed)
    is_whole = "similarity" in computed and not diagnosis.selection
    diagnosis = replace(
        diagnosis,
        verdicts=decide(diagnosis, rules),
        rules_text=rules_text,
        nearest=stored_nearest_teachers(workspace, first) if is_whole else (),
    )
    store_diagnosis(workspace, diagnosis)
    return diagnosis
