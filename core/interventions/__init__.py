"""Each clip changed in one known way, to see by cause what moves an encoder.

Functions on samples; no models, no storage, no torch.
"""

from usad_workbench.core.interventions.table import (
    INTERVENTIONS,
    Intervention,
    apply_intervention,
    intervention_rng,
)

__all__ = ["INTERVENTIONS", "Intervention", "apply_intervention", "intervention_rng"]
