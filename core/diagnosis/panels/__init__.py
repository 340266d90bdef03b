"""The panels of ``usad diagnose``, one file each, in the order of the report."""

from usad_workbench.core.diagnosis.panel import PanelKind
from usad_workbench.core.diagnosis.panels import (
    associations,
    attribution,
    disagreements,
    errors,
    inheritance,
    interventions,
    neighbourhoods,
    nuisance,
    partial,
    routing,
    shortcuts,
    similarity,
    subgroups,
    variance,
)

PANELS: tuple[PanelKind, ...] = (
    similarity.PANEL,
    inheritance.PANEL,
    attribution.PANEL,
    variance.PANEL,
    partial.PANEL,
    errors.PANEL,
    nuisance.PANEL,
    associations.PANEL,
    shortcuts.PANEL,
    subgroups.PANEL,
    neighbourhoods.PANEL,
    interventions.PANEL,
    routing.PANEL,
    disagreements.PANEL,
)
