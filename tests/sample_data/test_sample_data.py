"""The committed clips against their manifest, their licences and the tasks that are asked of them."""

import csv
import hashlib
import itertools
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from usad_workbench.sample_data import sample_data_folder
from usad_workbench.sample_data.rows import MANIFEST_COLUMNS, TASK_COLUMNS

SAMPLE_RATE_HZ = 16_000
MAX_S = 4.0
MAX_AUDIO_BYTES = 10_000_000
DOMAINS = {"speech", "sound", "music", "effects"}
UNNAMED_VOICE_SETS = {
    "tuxpaint-en",
    "tuxpaint-fr",
    "tuxpaint-it",
    "tuxpaint-ru",
    "tuxpaint-zh",
    "gcin-3",
}


@cache
def read(name: str) -> list[dict[str, str]]:
    with (sample_data_folder() / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def clips_of(task: dict[str, str]) -> list[dict[str, str]]:
    return [
        row
        for row in read("manifest.csv")
        if row["domain"] == task["domain"] and row[task["label_column"]]
    ]


def test_manifest_has_the_agreed_columns() -> None:
    assert tuple(read("manifest.csv")[0]) == MANIFEST_COLUMNS
    assert tuple(read("tasks.csv")[0]) == TASK_COLUMNS


def test_clip_ids_are_unique_and_safe_as_file_names() -> None:
    ids = [row["clip_id"] for row in read("manifest.csv")]
    assert len(set(ids)) == len(ids)
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert [clip_id for clip_id in ids if not set(clip_id) <= allowed or len(clip_id) > 80] == []


def test_files_and_manifest_list_each_other() -> None:
    folder = sample_data_folder()
    on_disk = {
        path.relative_to(folder).as_posix()
        for path in (folder / "clips").rglob("*")
        if path.is_file()
    }
    assert on_disk == {row["path"] for row in read("manifest.csv")}


def test_every_file_has_its_recorded_hash() -> None:
    hashes = {row["path"]: row["sha256"] for row in read("checksums.csv")}
    found = {
        row["path"]: hashlib.sha256((sample_data_folder() / row["path"]).read_bytes()).hexdigest()
        for row in read("manifest.csv")
    }
    assert found == hashes


def test_the_audio_is_small() -> None:
    assert (
        sum(
            path.stat().st_size
            for path in (sample_data_folder() / "clips").rglob("*")
            if path.is_file()
        )
        < MAX_AUDIO_BYTES
    )


def test_every_clip_is_short_mono_16_khz_and_audible() -> None:
    wrong = []
    for row in read("manifest.csv"):
        samples, rate_hz = soundfile.read(
            sample_data_folder() / row["path"], dtype="float32", always_2d=True
        )
        peak = float(np.max(np.abs(samples)))
        fits = 0.25 * SAMPLE_RATE_HZ <= len(samples) <= MAX_S * SAMPLE_RATE_HZ
        sound = np.all(np.isfinite(samples)) and 1e-3 <= peak <= 1.0
        if rate_hz != SAMPLE_RATE_HZ or samples.shape[1] != 1 or not fits or not sound:
            wrong.append((row["clip_id"], rate_hz, samples.shape, peak))
    assert wrong == []


def test_domains_are_those_that_were_promised() -> None:
    assert {row["domain"] for row in read("manifest.csv")} == DOMAINS


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_every_domain_has_clusters_enough_for_an_interval(domain: str) -> None:
    assert len({row["cluster_id"] for row in read("manifest.csv") if row["domain"] == domain}) >= 8


def test_speech_has_at_least_eight_persons_whom_the_source_names() -> None:
    speakers = {row["speaker"] for row in read("manifest.csv") if row["domain"] == "speech"}
    assert len(speakers - UNNAMED_VOICE_SETS) >= 8


def test_the_english_and_spanish_voice_is_one_person() -> None:
    languages = {row["language"] for row in read("manifest.csv") if row["speaker"] == "allison"}
    assert languages == {"en", "es"}
    assert {row["cluster_id"] for row in read("manifest.csv") if row["speaker"] == "allison"} == {
        "allison"
    }


def test_every_licence_has_its_text_and_its_own_folder() -> None:
    folder = sample_data_folder()
    licences = {row["licence"] for row in read("manifest.csv")}
    assert {path.stem for path in (folder / "LICENSES").glob("*.txt")} == licences
    assert all(
        (folder / "LICENSES" / f"{licence}.txt").stat().st_size > 1_000 for licence in licences
    )
    assert [
        row["clip_id"]
        for row in read("manifest.csv")
        if row["path"].split("/")[1] != row["licence"]
    ] == []


def test_every_author_and_package_is_attributed() -> None:
    page = (sample_data_folder() / "ATTRIBUTION.md").read_text(encoding="utf-8")
    named = {
        (row["author"], row["source_package"], row["source_version"])
        for row in read("manifest.csv")
    }
    missing = [
        entry
        for entry in named
        if f"- {entry[0]} (" not in page or f"### {entry[1]} {entry[2]}\n" not in page
    ]
    assert missing == []
    assert all(row["author"] for row in read("manifest.csv"))
    assert "http://www.voip.ammdomus.it" in page  # the condition of that licensor


def test_every_clip_says_where_it_comes_from() -> None:
    needed = (
        "source_package",
        "source_version",
        "source_path",
        "source_start_s",
        "source_sample_rate_hz",
    )
    assert [
        row["clip_id"] for row in read("manifest.csv") if not all(row[column] for column in needed)
    ] == []
    assert {len(row["source_sha256"]) for row in read("manifest.csv")} == {64}


def test_prompts_are_parallel_across_voices() -> None:
    prompts = defaultdict(set)
    for row in read("manifest.csv"):
        if row["voice"]:
            prompts[row["voice"], row["language"]].add(row["prompt"])
    july = prompts.pop(("july", "es"))  # this set has no letters
    assert len(prompts) == 7
    assert len(set(map(frozenset, prompts.values()))) == 1
    shared = next(iter(prompts.values()))
    assert len(shared) == 40
    assert july == {prompt for prompt in shared if not prompt.startswith(("letters/", "phonetic/"))}


def test_every_language_of_the_digit_task_has_several_speakers() -> None:
    speakers = defaultdict(set)
    for row in read("manifest.csv"):
        if row["digit"]:
            speakers[row["language"]].add(row["speaker"])
    assert len(speakers) == 6
    assert min(len(names) for names in speakers.values()) >= 2


@pytest.mark.parametrize("task", read("tasks.csv"), ids=lambda task: task["task"])
def test_task_has_classes_and_groups_enough(task: dict[str, str]) -> None:
    groups = defaultdict(set)
    for row in clips_of(task):
        groups[row[task["label_column"]]].add(row[task["group_column"]])
    assert len(groups) >= 2
    assert len(set.union(*groups.values())) >= 3
    assert min(len(names) for names in groups.values()) >= 2
    assert "" not in set.union(*groups.values())
    assert task["metric"] in {"accuracy", "balanced_accuracy"}


def test_leaving_an_instrument_set_out_leaves_every_family_in() -> None:
    families = defaultdict(set)
    for row in read("manifest.csv"):
        if row["instrument"]:
            families[row["instrument_set"]].add(row["instrument_family"])
    everything = set.union(*families.values())
    for left_out in families:
        assert (
            set.union(*(names for name, names in families.items() if name != left_out))
            == everything
        )


def test_notes_are_balanced() -> None:
    notes = [row for row in read("manifest.csv") if row["instrument"]]
    assert set(Counter((row["instrument"], row["pitch_class"]) for row in notes).values()) == {1}
    assert len({row["instrument"] for row in notes}) == 16
    assert len({row["pitch_class"] for row in notes}) == 12


def test_time_blocks_of_a_track_do_not_touch() -> None:
    tracks = defaultdict(list)
    for row in read("manifest.csv"):
        if row["track"]:
            tracks[row["track"]].append((float(row["source_start_s"]), row["time_block"]))
    assert len(tracks) == 5
    for cuts in tracks.values():
        cuts.sort()
        pairs = list(itertools.pairwise(cuts))
        assert all(later - earlier >= MAX_S - 1e-3 for (earlier, _), (later, _) in pairs)
        gaps = [later - earlier - MAX_S for (earlier, one), (later, other) in pairs if one != other]
        assert len(gaps) == 6
        assert min(gaps) > 2.0


def test_the_unseen_domain_is_of_packages_that_give_no_other_sounds() -> None:
    packages = defaultdict(set)
    for row in read("manifest.csv"):
        packages[row["domain"]].add(row["source_package"])
    assert packages["effects"] == {"openttd-opensfx", "tuxpaint-stamps-default"}
    assert not packages["effects"] & (packages["sound"] | packages["music"])
    # Of the stamps, speech has the voices that say a name, and the corpus nothing else.
    both = [
        row for row in read("manifest.csv") if row["source_package"] == "tuxpaint-stamps-default"
    ]
    voices = {row["source_path"] for row in both if row["domain"] == "speech"}
    assert all("_desc" in path or "/symbols/math/" in path for path in voices)
    assert not any("_desc" in row["source_path"] for row in both if row["domain"] == "effects")
    of_stamps = [
        row
        for row in read("corpus_manifest.csv")
        if row["source_package"] == "tuxpaint-stamps-default"
    ]
    assert of_stamps and all("_desc_" in row["source_path"] for row in of_stamps)


def test_the_unseen_domain_has_a_hundred_labelled_clips_of_four_kinds() -> None:
    kinds = defaultdict(set)
    labelled = [row for row in read("manifest.csv") if row["effect_kind"]]
    for row in labelled:
        kinds[row["effect_kind"]].add(row["cluster_id"])
    assert len(labelled) >= 100
    assert set(kinds) == {"animal", "impact", "machine", "vehicle"}
    assert min(len(clusters) for clusters in kinds.values()) >= 8


def test_no_recording_occurs_twice() -> None:
    used = Counter((row["source_sha256"], row["source_start_s"]) for row in read("manifest.csv"))
    assert [key for key, n_clips in used.items() if n_clips > 1] == []


def test_nothing_names_a_machine_of_ours() -> None:
    for path in sorted(sample_data_folder().rglob("*")):
        if path.suffix in {".py", ".csv", ".md"}:
            assert str(Path("/", "work", "")) + "/" not in path.read_text(encoding="utf-8"), path
