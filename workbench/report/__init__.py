"""The report of a diagnosis: one HTML file that opens anywhere, without a network."""

from usad_workbench.workbench.report.write import write_report

__all__ = ["write_report"]
