"""Students that were told to be of one architecture and training: seeds of a recipe and their peers."""

from dataclasses import dataclass

from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldRecipe:
    """Students with vectors that differ in seed and teachers alone, by what was told of them."""

    students: tuple[str, ...]
    """All of them, those with the most teachers on record first, seed by seed."""
    seeds: tuple[str, ...]
    """Those with the teachers of the first, seed by seed."""


def told_recipes(workspace: Workspace) -> list[ToldRecipe]:
    """The recipes of which two students or more have vectors, by the name of their first student."""
    rows = workspace.read(
        "SELECT e.encoder, e.architecture, e.training, coalesce(list_sort(list(DISTINCT d.teacher) "
        "FILTER (d.teacher IS NOT NULL)), []) AS teachers "
        "FROM encoders e LEFT JOIN distillation d ON d.student = e.encoder "
        "WHERE e.role = 'student' AND e.architecture IS NOT NULL AND e.training IS NOT NULL "
        "GROUP BY e.encoder, e.architecture, e.training, e.training_seed "
        "ORDER BY len(teachers) DESC, e.training_seed, e.encoder"
    )
    rows = rows[rows.encoder.isin(workspace.embedded())]
    recipes = []
    for _, alike in rows.groupby(["architecture", "training"], sort=False):
        names = [str(name) for name in alike.encoder]
        first = list(alike.teachers.iloc[0])
        seeds = [n for n, had in zip(names, alike.teachers, strict=True) if list(had) == first]
        if len(names) > 1:
            recipes.append(ToldRecipe(students=tuple(names), seeds=tuple(seeds)))
    return sorted(recipes, key=lambda one: one.students[0])
