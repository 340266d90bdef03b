"""Recordings that the training corpus leaves out: those of the shipped clips, under any name."""

from dataclasses import dataclass
from pathlib import Path

from usad_workbench.sample_data.copies import with_second_names
from usad_workbench.sample_data.rows import read_csv


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusions:
    """What the sample data uses and the corpus therefore may not."""

    hashes: frozenset[str]
    sources: frozenset[tuple[str, str]]
    clusters: frozenset[str]
    packages: frozenset[str]


def read_exclusions(manifest: Path) -> Exclusions:
    """Recordings, families and packages that a manifest of sample data uses."""
    rows = read_csv(manifest)
    return Exclusions(
        hashes=frozenset(row["source_sha256"] for row in rows),
        sources=frozenset((row["source_package"], row["source_path"]) for row in rows),
        clusters=with_second_names(
            row["cluster_id"] for row in rows if row["domain"] in CLUSTERED_DOMAINS
        ),
        packages=frozenset({"openttd-opensfx", "asterisk-moh-opsound-g722", "minetest-data"}),
    )


CLUSTERED_DOMAINS = ("sound", "music")
"""Here the whole cluster of a sample clip is left out; a speaker of the sample data may say other things."""
