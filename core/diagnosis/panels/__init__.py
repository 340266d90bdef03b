"""The panels of ``usad diagnose``, one file each, in the order of the report."""

from usad_workbench.core.diagnosis.panel import PanelKind
from usad_workbench.core.diagnosis.panels import inheritance, similarity

PANELS: tuple[PanelKind, ...] = (similarity.PANEL, inheritance.PANEL)
