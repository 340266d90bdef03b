"""The clips of a domain that n × n measures and nulls are computed on."""

from usad_workbench.core.arrays import Indices
from usad_workbench.core.diagnosis.material import Material
from usad_workbench.core.similarity.layers import thin_clusters


def thinned_rows(material: Material, domain: str) -> Indices:
    """Row numbers of at most ``max_clips`` clips of a domain, in whole clusters."""
    rows = material.rows(domain)
    config = material.config
    return rows[thin_clusters(material.clusters(rows), config.max_clips, config.seed)]
