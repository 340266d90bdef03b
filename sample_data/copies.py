"""Families of sounds that hold the same recordings under two names, found by listening with a computer.

Every pair of clips of one domain was compared by the peak of its cross-correlation, of the samples and of their
flattened spectra (``tests/sample_data/test_copies.py`` repeats it). Two takes of one sound reach 0.9 and 0.3, synthetic
drums of different people 0.73 and 0.5; what follows reaches 0.74 and 0.35 or more, in both, and belongs together:

- 1.00 and 1.00: the four steps of 0 A.D. called gravel are those called rock; only the first are kept;
- 0.99 and 0.96: Minetest's metal that is dug and metal that is placed;
- 0.87 and 0.36, 0.80 and 0.82: two breakdowns of OpenSFX and the same in its toy land, with a snare or a snap added;
- 0.80 and 0.54: Minetest's small and large fire, other parts of one recording;
- 0.75 and 0.48: 0 A.D.'s walks on gravel and on rock.
"""

from collections.abc import Iterable

SAME_RECORDINGS = {
    "0ad_fs_rock": "0ad_fs_gravel",
    "0ad_footstep_rock": "0ad_footstep_gravel",
    "minetest_default_place_node_metal": "minetest_default_dug_metal",
    "minetest_fire_large": "minetest_fire_fire",
    "opensfx_crash2-wav": "opensfx_dropping-a-large-gun-wav",
    "opensfx_wfl5-5-snap-wav": "opensfx_dumpster-diving-wav",
}
"""Cluster by its source's name, and the cluster that its clips are put into."""


def with_second_names(clusters: Iterable[str]) -> frozenset[str]:
    """The clusters with those that hold the same recordings under another name.

    >>> sorted(with_second_names(["minetest_fire_fire"]))
    ['minetest_fire_fire', 'minetest_fire_large']
    """
    known = frozenset(clusters)
    return known | {other for other, kept in SAME_RECORDINGS.items() if kept in known}
