"""The record of the distillation corpus shares nothing with the sample data."""

import csv
import hashlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from usad_workbench.sample_data import sample_data_folder
from usad_workbench.sample_data.corpus import CorpusWriter, list_sources
from usad_workbench.sample_data.corpus_exclusions import Exclusions, read_exclusions
from usad_workbench.sample_data.corpus_sources import NOTE_PROGRAMS, RULES, CorpusRule, list_notes
from usad_workbench.sample_data.packages import BuildError, Package, load_packages


@cache
def read(name: str) -> list[dict[str, str]]:
    with (sample_data_folder() / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_no_recording_is_in_both() -> None:
    sample = {row["source_sha256"] for row in read("manifest.csv")}
    corpus = [row["source_sha256"] for row in read("corpus_manifest.csv")]
    assert len(set(corpus)) == len(corpus) > 1_000
    assert not sample & set(corpus)


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


def test_corpus_is_balanced_over_its_domains() -> None:
    minutes = defaultdict(float)
    for row in read("corpus_manifest.csv"):
        minutes[row["domain"]] += float(row["seconds"]) / 60
    assert 120 <= sum(minutes.values()) <= 300
    assert max(minutes.values()) <= 1.5 * min(minutes.values())


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


class FolderReader:
    """Stands for unpacked packages: one folder of WAV files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def package(self, name: str) -> Package:
        return Package(name=name, version="1", sha256="0" * 64)

    def folder(self, name: str) -> Path:
        return self._folder

    def read(self, package: str, source_path: str) -> tuple[np.ndarray, int, str]:
        path = self._folder / source_path
        samples, rate_hz = soundfile.read(path, dtype="float32")
        return samples, rate_hz, hashlib.sha256(path.read_bytes()).hexdigest()


RULE = CorpusRule(
    domain="sound",
    dataset="made",
    package="made",
    folder="audio",
    licence="CC0-1.0",
    author="nobody",
    cluster="family",
    leave_out="horse",
    cluster_cap_s=12.0,
)


def exclusions(**used: frozenset) -> Exclusions:
    nothing = {
        "hashes": frozenset(),
        "sources": frozenset(),
        "clusters": frozenset(),
        "packages": frozenset(),
    }
    return Exclusions(**(nothing | used))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "audio").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, duration_s in (("rain1", 8), ("rain2", 8), ("rain3", 8), ("wood1", 2), ("horse1", 2)):
        samples = noise.uniform(-0.5, 0.5, duration_s * 16_000)
        soundfile.write(folder / "audio" / f"{name}.wav", samples, 16_000, subtype="PCM_16")
    (folder / "audio" / "wood2.wav").write_bytes((folder / "audio" / "wood1.wav").read_bytes())
    return folder


def write_corpus(folder: Path, out: Path, used: Exclusions) -> CorpusWriter:
    reader = FolderReader(folder)
    writer = CorpusWriter(out, reader, used)
    for source in list_sources(RULE, reader, used):
        writer.add(source)
    return writer


def test_a_recording_is_used_once_and_a_cluster_up_to_its_cap(
    recordings: Path, tmp_path: Path
) -> None:
    writer = write_corpus(recordings, tmp_path / "out", exclusions())
    seconds = defaultdict(float)
    for row in writer.recordings.values():
        seconds[row["cluster_id"]] += float(row["seconds"])
    assert seconds == {"made_rain": 16.0, "made_wood": 2.0}  # the third rain would be beyond 12 s
    assert len(writer.rows) == 5
    for row in writer.rows:
        info = soundfile.info(tmp_path / "out" / row["path"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.duration <= 5.0


@pytest.mark.parametrize("kind", ["hashes", "sources", "clusters"])
def test_what_the_sample_data_uses_is_left_out(kind: str, recordings: Path, tmp_path: Path) -> None:
    wood = recordings / "audio" / "wood1.wav"
    used = {
        "hashes": frozenset({hashlib.sha256(wood.read_bytes()).hexdigest()}),
        "sources": frozenset({("made", "audio/wood1.wav"), ("made", "audio/wood2.wav")}),
        "clusters": frozenset({"made_wood"}),
    }
    writer = write_corpus(recordings, tmp_path / "out", exclusions(**{kind: used[kind]}))
    assert {row["cluster_id"] for row in writer.rows} == {"made_rain"}


def test_a_rule_for_an_excluded_package_is_refused(recordings: Path) -> None:
    with pytest.raises(BuildError, match="found package made"):
        list_sources(RULE, FolderReader(recordings), exclusions(packages=frozenset({"made"})))
