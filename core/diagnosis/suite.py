"""The panels of one student, computed from what is in memory: nothing is stored here.

``run.diagnose`` is the call from a workspace to a stored diagnosis.
"""

import platform
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.nearest import NearestTeacherRow
from usad_workbench.core.diagnosis.panel import Panel, PanelKind, RowT
from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.errors import UnknownNameError, did_you_mean
from usad_workbench.core.parallel import as_finished
from usad_workbench.core.progress import Progress, no_progress

PACKAGES = ("numpy", "scipy", "scikit-learn", "duckdb", "torch")
"""Versions that a report names: what the numbers were computed with."""
LISTED = "listed clips"
"""Ends the words for a selection that was handed in as a list."""
LONG_PANELS = ("variance", "nuisance", "inheritance", "errors", "disagreements")
"""In the order of their processor time on the sample data: 32, 31, 9, 8 and 8 of 121 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the numbers of a diagnosis depend on, beside clips and encoders."""

    seed: int
    n_permutations: int
    k: int
    max_clips: int
    max_domain_clips: int
    layers: tuple[int, ...]
    associations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """What the numbers of a diagnosis were made from."""

    usad_workbench: str
    python: str
    packages: Mapping[str, str]
    """Versions by name."""
    weights_sha256: Mapping[str, str]
    """By encoder."""
    settings: Settings


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Diagnosis:
    """All panels of one student on one selection of clips, and what follows from them."""

    student: str
    layers: list[int]
    domains: list[str]
    unseen_domains: list[str]
    teachers: list[str]
    controls: list[str]
    baselines: list[str]
    n_clips: int
    n_clusters: int
    seed: int
    selection: str
    """The filter and the list of clips in words; empty for the whole workspace."""
    panels: dict[str, Panel]
    warnings: list[str]
    """Each once."""
    provenance: Provenance
    """Versions, weights of each encoder, settings."""
    alpha: float
    """The level at which its panels say that something stands out."""
    margin: float
    """The difference of accuracies that they take for none."""
    are_teachers_known: bool = True
    """Whether somebody said who taught the student; else the default roles stand in."""
    verdicts: Sequence[Verdict] = ()
    """The answers that the rules give."""
    rules_text: str = ""
    """The rules as they were read."""
    students: Sequence[str] = ()
    """The seeds of one recipe that inheritance is a claim about; the student alone else."""
    nearest: Sequence[NearestTeacherRow] = ()
    """The nearest teacher by measure and domain; of whole workspaces only."""

    def rows_of(self, row_type: type[RowT]) -> list[RowT]:
        """The rows of one type, of whichever panel has them; none where it was not computed."""
        return [row for panel in self.panels.values() for row in panel.rows_of(row_type)]


def panel_kinds(asked: Sequence[str] | None = None) -> list[PanelKind]:
    """The panels by name, all where none is asked for.

    Raises:
        UnknownNameError: a panel that does not exist.
    """
    kinds = {kind.name: kind for kind in PANELS}
    for name in asked or ():
        if name not in kinds:
            raise UnknownNameError(f"There is no panel {name!r}. {did_you_mean(name, kinds)}")
    return [kind for name, kind in kinds.items() if not asked or name in asked]


def compute_diagnosis(
    data: DiagnosisData,
    panels: Sequence[str] | None = None,
    *,
    n_processes: int | None = 1,
    progress: Progress = no_progress,
) -> Diagnosis:
    """The panels of a student with all that is known of them, verdicts not yet given.

    Args:
        data: Made by ``load_diagnosis_data``.
        panels: Names; all where none.
        n_processes: 1 works in this process; none takes one for each core.
        progress: Called after each panel, and by panels that take long.

    Raises:
        UnknownNameError: a panel that does not exist.
    """
    kinds = panel_kinds(panels)
    return diagnosis_of(data, compute_panels(data, kinds, n_processes, progress))


def diagnosis_of(data: DiagnosisData, panels: Mapping[str, Panel]) -> Diagnosis:
    """Panels that were computed, with who takes part, the warnings and the provenance."""
    domains = data.domains
    used = data.clips[data.clips.domain.isin(domains)]
    of_panels = [warning for panel in panels.values() for warning in panel.warnings]
    return Diagnosis(
        student=data.student,
        students=data.group,
        layers=data.student_layers,
        domains=domains,
        unseen_domains=[domain for domain in domains if data.is_unseen(domain)],
        teachers=data.teachers,
        controls=data.controls,
        baselines=data.baselines,
        n_clips=len(used),
        n_clusters=int(used.cluster_id.nunique()),
        seed=data.config.seed,
        selection=describe_selection(data),
        panels=dict(panels),
        warnings=list(dict.fromkeys([*data.warnings, *of_panels])),
        are_teachers_known=data.are_teachers_known,
        alpha=data.config.rules.alpha,
        margin=data.config.rules.margin,
        provenance=provenance(data),
    )


def compute_panels(
    data: DiagnosisData,
    kinds: Sequence[PanelKind],
    n_processes: int | None = 1,
    progress: Progress = no_progress,
) -> dict[str, Panel]:
    """Panels by name, several at a time where there are processes for it.

    The numbers are the same for any number of processes: panels share nothing but the data.

    Args:
        data: Made by ``load_diagnosis_data``.
        kinds: Which panels, in the order of the result.
        n_processes: 1 works in this process; none takes one for each core.
        progress: Called after each panel, and by panels that take long.
    """
    panels: dict[str, Panel] = {}
    # Panels that spread themselves over the cores first: the rest then have them all.
    alone = kinds if n_processes == 1 else [kind for kind in kinds if kind.uses_processes]
    for kind in alone:
        progress(len(panels), len(kinds), kind.name)
        panels[kind.name] = kind.compute(data, progress)
    rest = sorted((kind for kind in kinds if kind.name not in panels), key=_rank_by_length)
    jobs = [(kind.name,) for kind in rest]
    with closing(as_finished(_compute_panel, jobs, n_processes, (data,))) as results:
        for index, panel in results:
            panels[rest[index].name] = panel
            progress(len(panels), len(kinds), rest[index].name)
    progress(len(kinds), len(kinds), "diagnose")
    return {kind.name: panels[kind.name] for kind in kinds}


def _rank_by_length(kind: PanelKind) -> int:
    """Long panels first, so that none is left alone at the end."""
    return LONG_PANELS.index(kind.name) if kind.name in LONG_PANELS else len(LONG_PANELS)


def _compute_panel(data: DiagnosisData, name: str) -> Panel:
    """One panel, in a process of its own."""
    return panel_kinds([name])[0].compute(data, no_progress)


def describe_selection(data: DiagnosisData) -> str:
    """The filter and the number of listed clips; empty for the whole workspace."""
    config = data.config
    conditions = [config.where] if config.where else []
    if config.clip_ids:
        conditions.append(f"{len(config.clip_ids)} {LISTED}")
    return ", ".join(conditions)


def provenance(data: DiagnosisData) -> Provenance:
    """What the numbers were made from: versions, weights, settings."""
    spaces = data.workspace.spaces()
    taking_part = spaces[spaces.encoder.isin(data.everybody)]
    weights = taking_part.groupby("encoder").weights_sha256.first().to_dict()
    config = data.config
    return Provenance(
        usad_workbench=metadata.version("usad-workbench"),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in PACKAGES if _is_installed(name)},
        weights_sha256={str(name): str(value) for name, value in weights.items()},
        settings=Settings(
            seed=config.seed,
            n_permutations=config.n_permutations,
            k=config.k,
            max_clips=config.max_clips,
            max_domain_clips=config.max_domain_clips,
            layers=tuple(data.student_layers),
            associations=tuple(test.name for test in config.associations),
        ),
    )


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
