"""The record of the distillation corpus shares nothing with the sample data."""

import csv
from collections import defaultdict
from functools import cache

import pytest

from usad_workbench.sample_data import sample_data_folder
from usad_workbench.sample_data.corpus import read_exclusions
from usad_workbench.sample_data.corpus_sources import NOTE_PROGRAMS, RULES, list_notes
from usad_workbench.sample_data.packages import load_packages


@cache
def read(name: str) -> list[dict[str, str]]:
    with (sample_data_folder() / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_no_recording_is_in_both() -> None:
    sample = {row["source_sha256"] for row in read("manifest.csv")}
    assert [
        row["clip_id"] for row in read("corpus_manifest.csv") if row["source_sha256"] in sample
    ] == []


def test_no_source_file_is_in_both() -> None:
    sample = {(row["source_package"], row["source_path"]) for row in read("manifest.csv")}
    both = [
        row
        for row in read("corpus_manifest.csv")
        if (row["source_package"], row["source_path"]) in sample
    ]
    assert both == []


def test_no_family_of_sounds_and_no_instrument_is_in_both() -> None:
    sample = {row["cluster_id"] for row in read("manifest.csv") if row["domain"] != "speech"}
    both = {
        row["cluster_id"] for row in read("corpus_manifest.csv") if row["domain"] != "speech"
    } & sample
    assert both == set()


def test_clip_ids_differ_between_the_two_and_within() -> None:
    corpus = [row["clip_id"] for row in read("corpus_manifest.csv")]
    assert len(set(corpus)) == len(corpus)
    assert not set(corpus) & {row["clip_id"] for row in read("manifest.csv")}


@pytest.mark.parametrize("package", ["openttd-opensfx", "asterisk-moh-opsound-g722"])
def test_the_unseen_domain_and_the_sample_tracks_stay_out(package: str) -> None:
    assert package in {row["source_package"] for row in read("manifest.csv")}
    assert package not in {row["source_package"] for row in read("corpus_manifest.csv")}
    assert package not in {rule.package for rule in RULES}
    assert package in read_exclusions(sample_data_folder() / "manifest.csv").packages


def test_corpus_has_the_three_domains_and_only_those() -> None:
    clusters = defaultdict(set)
    for row in read("corpus_manifest.csv"):
        clusters[row["domain"]].add(row["cluster_id"])
    assert set(clusters) == {"speech", "sound", "music"}
    assert min(len(names) for names in clusters.values()) >= 20


def test_notes_of_the_corpus_use_other_programs() -> None:
    sample = {
        int(row["source_path"].split("#")[1].split(",")[0])
        for row in read("manifest.csv")
        if row["instrument"]
    }
    assert len(sample) == 16
    assert not sample & set(NOTE_PROGRAMS)
    assert len(set(list_notes())) == 12 * len(NOTE_PROGRAMS)


def test_every_package_of_a_rule_is_pinned() -> None:
    pinned = load_packages()
    assert {rule.package for rule in RULES} <= set(pinned)
    assert all(len(package.sha256) == 64 and package.version for package in pinned.values())
