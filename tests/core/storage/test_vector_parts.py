"""Parts: whole or not there, of one origin, adopted for the segments that they were made of."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.errors import (
    ConfigError,
    DamagedFileError,
    FileError,
    MissingExtraError,
    ProvenanceError,
)
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.vector_parts import Part, PartOrigin, PartStore, decode, encode

ORIGIN = PartOrigin(
    encoder="spectrum",
    weights_sha256="0" * 64,
    code_version="1",
    precision="float32",
    segmentation="10s/10s",
    layers=(0, 1),
    pooling="mean",
    replaces=False,
)


def part_of(segments: list[SegmentAudio], origin: PartOrigin = ORIGIN) -> Part:
    """Vectors that say whose they are: the number of the segment is in every value."""
    ids = np.array([s.segment_id for s in segments], dtype=np.float32)[:, None]
    return Part(
        origin=origin,
        segments=segments,
        vectors={0: ids + np.arange(8) / 8, 1: -ids - np.arange(16) / 16},
        failed={99: "odd — «audio»"},
        audio_seconds=12.5,
    )


@pytest.fixture(params=["folder", "memory://parts"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PartStore]:
    """In a folder, and in what behaves as an object store does."""
    import fsspec

    made = PartStore(str(tmp_path / "p") if request.param == "folder" else request.param)
    yield made
    memory = fsspec.filesystem("memory")
    if memory.exists("/parts"):
        memory.rm("/parts", recursive=True)


def test_a_part_comes_back_as_it_was(store: PartStore) -> None:
    segments = [
        SegmentAudio(3, "x.wav", 0.1, 0.7, "ab"),
        SegmentAudio(1, "y.wav", 1 / 3, 2.0, None),
    ]
    part = part_of(segments)
    store.write("one", part)
    store.write("one", part)
    assert store.names(ORIGIN) == ["one"]
    found = store.read(ORIGIN, "one")
    assert found.origin == ORIGIN
    assert found.segments == [replace(s, path="") for s in segments]
    assert (found.failed, found.audio_seconds) == (part.failed, 12.5)
    for layer, values in part.vectors.items():
        np.testing.assert_array_equal(found.vectors[layer], values.astype(np.float32))
    store.remove(ORIGIN, ["one", "never-there"])
    assert store.names(ORIGIN) == []
    with pytest.raises(FileError, match="one"):
        store.read(ORIGIN, "one")


def test_a_part_without_vectors_keeps_its_reasons(store: PartStore) -> None:
    store.write("none", replace(part_of([]), vectors={}))
    found = store.read(ORIGIN, "none")
    assert (found.segments, dict(found.vectors), found.failed) == ([], {}, {99: "odd — «audio»"})


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("weights_sha256", "f" * 64),
        ("precision", "bfloat16"),
        ("segmentation", "5s/5s"),
        ("code_version", "0"),
        ("layers", (0,)),
        ("pooling", "native"),
        ("replaces", True),
    ],
)
def test_parts_of_another_origin_are_not_mistaken(
    store: PartStore, what: str, value: object
) -> None:
    other = replace(ORIGIN, **{what: value})
    part = part_of([SegmentAudio(0, "", 0.0, 1.0, None)], other)
    store.write("theirs", part)
    assert store.names(ORIGIN) == []
    assert store.foreign(ORIGIN) == [other.folder]
    # A file that somebody has copied under the name of the right ones tells by itself.
    right = store._files, f"{store._root}/{ORIGIN.folder}"
    right[0].makedirs(right[1], exist_ok=True)
    right[0].pipe_file(f"{right[1]}/copied.parquet", encode(part))
    assert store.names(ORIGIN) == ["copied"]
    with pytest.raises(ProvenanceError, match=what):
        store.read(ORIGIN, "copied")


def test_damage_is_noticed_wherever_it_is() -> None:
    data = encode(part_of([SegmentAudio(i, "", 0.0, 1.0, "ab") for i in range(40)]))
    whole = decode(data, "here")
    assert len(whole.segments) == 40
    n_noticed = 0
    for position in range(0, len(data), 97):
        broken = bytearray(data)
        broken[position] ^= 0x10
        try:
            found = decode(bytes(broken), "here")
        except DamagedFileError as error:
            assert "embedded again" in str(error)
            n_noticed += 1
        else:  # bits that nobody reads, such as a statistic
            assert found.segments == whole.segments
            for layer, values in whole.vectors.items():
                np.testing.assert_array_equal(found.vectors[layer], values)
    assert n_noticed > 10
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(DamagedFileError):
            decode(data[:cut], "here")


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    store = PartStore(str(tmp_path))
    store.write("whole", part_of([SegmentAudio(0, "", 0.0, 1.0, None)]))
    folder = tmp_path / ORIGIN.folder
    (folder / ".half-0123abcd").write_bytes(b"PAR1")
    assert store.names(ORIGIN) == ["whole"]
    store.remove(ORIGIN, ["whole"])
    assert not folder.exists()


def test_rows_of_other_segments_are_left_out() -> None:
    """The same number may be another segment: in another workspace, or of other audio."""
    segments = [SegmentAudio(i, f"{i}.wav", 0.0, 1.0 + i, f"{i:064}") for i in range(20)]
    part = decode(encode(part_of(segments[::-1])), "here")
    wanted = {s.segment_id: s for s in segments}
    ids, vectors = part.of(wanted)
    assert ids.tolist() == list(range(19, -1, -1))
    wanted[0] = replace(segments[0], audio_sha256="f" * 64)
    wanted[1] = replace(segments[1], end_s=segments[1].end_s + 1)
    wanted[2] = replace(segments[2], start_s=0.25)
    del wanted[3]
    ids, vectors = part.of(wanted)
    assert ids.tolist() == list(range(19, 3, -1))
    np.testing.assert_array_equal(vectors[0][:, 0], ids)
    np.testing.assert_array_equal(vectors[1][:, 0], -ids)
    assert part.of({})[0].tolist() == []


def test_values_that_are_not_finite_are_refused(store: PartStore) -> None:
    part = part_of([SegmentAudio(i, "", 0.0, 1.0, None) for i in range(5)])
    part.vectors[1][3, 2] = np.nan
    store.write("odd", part)
    with pytest.raises(DamagedFileError, match="not finite"):
        store.read(ORIGIN, "odd")


def test_urls_of_no_use_are_words() -> None:
    with pytest.raises(ConfigError, match="nonsense://"):
        PartStore("nonsense://bucket/parts")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("fsspec.registry")  # the attribute is something else
    monkeypatch.setitem(
        registry.known_implementations,
        "s3",
        {"class": "no_such_s3fs.S3FileSystem", "err": "Install s3fs to access S3"},
    )
    with pytest.raises(MissingExtraError, match=r"Install s3fs.*every machine"):
        PartStore("s3://bucket/parts")
