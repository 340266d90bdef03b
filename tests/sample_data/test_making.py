"""The steps that make clips, on sounds and files made here."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from usad_workbench.sample_data import audio, packages
from usad_workbench.sample_data.build import build
from usad_workbench.sample_data.corpus import pieces
from usad_workbench.sample_data.effects import kind_of, read_catalogue
from usad_workbench.sample_data.notes import midi_of_notes
from usad_workbench.sample_data.packages import BuildError, Package
from usad_workbench.sample_data.rows import ClipSource
from usad_workbench.sample_data.sound import material_of, zero_ad_family

RATE_HZ = audio.SAMPLE_RATE_HZ


def tone(duration_s: float, frequency_hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    times_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * frequency_hz * times_s)).astype(np.float32)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    audio.write_ogg(tmp_path / "one.ogg", tone(1.0))
    audio.write_ogg(tmp_path / "two.ogg", tone(1.0))
    assert (tmp_path / "one.ogg").read_bytes() == (tmp_path / "two.ogg").read_bytes()


def test_a_fixed_serial_leaves_the_sound_as_it_is() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(1.0), RATE_HZ, format="OGG", subtype="VORBIS")
    before, _ = soundfile.read(io.BytesIO(buffer.getvalue()))
    fixed = audio.with_fixed_serial(buffer.getvalue(), serial=7)
    after, _ = soundfile.read(io.BytesIO(fixed))  # a wrong page checksum would lose pages here
    assert fixed[14:18] == b"\x07\x00\x00\x00"
    np.testing.assert_array_equal(after, before)


def test_what_is_no_ogg_is_refused() -> None:
    with pytest.raises(BuildError, match="no Ogg page at byte 0"):
        audio.with_fixed_serial(b"RIFF" + bytes(100))


def test_a_loud_clip_does_not_overshoot(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).choice([-0.95, 0.95], RATE_HZ).astype(np.float32)
    audio.write_ogg(tmp_path / "loud.ogg", noise)
    decoded, _ = soundfile.read(tmp_path / "loud.ogg")
    assert 0.5 < np.max(np.abs(decoded)) <= 1.0


def test_a_long_clip_begins_where_it_is_no_longer_silent() -> None:
    samples = np.concatenate([np.zeros(2 * RATE_HZ, np.float32), tone(5.0)])
    piece, start_s = audio.cut(samples, None, 4.0)
    assert piece.size == 4 * RATE_HZ
    assert start_s == pytest.approx(2.0, abs=1e-3)


def test_a_short_clip_is_kept_whole_and_filled_up() -> None:
    samples = tone(0.15)
    piece, start_s = audio.cut(samples, None, 4.0)
    filled = audio.fill_up(piece)
    assert start_s == 0.0
    assert filled.size == RATE_HZ // 4
    np.testing.assert_array_equal(filled[: samples.size], samples)
    assert not filled[samples.size :].any()


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (tone(0.05), "shorter than"),
        (np.zeros(RATE_HZ, np.float32), "silent"),
        (np.full(RATE_HZ, np.nan, np.float32), "not finite"),
    ],
)
def test_useless_clips_are_dropped_with_a_reason(samples: np.ndarray, reason: str) -> None:
    assert reason in str(audio.reason_to_drop(samples))


def test_good_clips_are_not_dropped() -> None:
    assert audio.reason_to_drop(tone(0.3)) is None


def test_resampling_keeps_pitch_and_length() -> None:
    times_s = np.arange(44_100) / 44_100
    samples = audio.resample(np.sin(2 * np.pi * 1_000 * times_s).astype(np.float32), 44_100)
    assert samples.size == RATE_HZ
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 1_000


def test_stereo_becomes_the_mean_of_its_channels() -> None:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.stack([tone(0.5), np.zeros(RATE_HZ // 2)], axis=1), RATE_HZ, format="WAV"
    )
    samples, rate_hz = audio.decode_bytes(buffer.getvalue(), "x.wav")
    assert rate_hz == RATE_HZ
    np.testing.assert_allclose(samples, tone(0.5) / 2, atol=1e-4)


def test_a_file_that_is_not_audio_is_named() -> None:
    with pytest.raises(BuildError, match=r"readme\.wav: found no audio"):
        audio.decode_bytes(b"hello", "readme.wav")


def test_a_missing_tool_is_named_with_its_package() -> None:
    with pytest.raises(
        BuildError, match=r"no command 'no-such-tool'.*apt-get install some-package"
    ):
        packages.require_tool("no-such-tool", "some-package")


def test_building_without_tools_says_which_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="apt-get"):
        build(tmp_path / "out", tmp_path / "work")


def test_a_sound_in_two_files_with_other_tags_becomes_one_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def source(name: str) -> ClipSource:
        return ClipSource(
            clip_id=name,
            domain="sound",
            dataset="d",
            package="p",
            source_path=name,
            cluster_id=name,
            label=name,
            licence="MIT",
            author="a",
        )

    class Reader:
        def __init__(self, *_: object) -> None:
            pass

        def package(self, name: str) -> Package:
            return Package(name=name, version="1", sha256="0" * 64)

        def folder(self, name: str) -> Path:
            return tmp_path

        def read(self, package: str, source_path: str) -> tuple[np.ndarray, int, str]:
            sound = tone(0.5, 300.0 if source_path == "wood" else 440.0)
            return sound, RATE_HZ, f"hash of {source_path}"

    sources = [source(name) for name in ("gravel", "rock", "wood")]
    monkeypatch.setattr("usad_workbench.sample_data.build._TOOLS", ())
    monkeypatch.setattr("usad_workbench.sample_data.build.SourceReader", Reader)
    monkeypatch.setattr("usad_workbench.sample_data.build.list_sources", lambda _: sources)
    monkeypatch.setattr("usad_workbench.sample_data.build.licence_text", lambda *_: "text")
    rows, dropped = build(tmp_path / "out", tmp_path / "work")
    assert [row["clip_id"] for row in rows] == ["gravel", "wood"]
    assert dropped == [("rock", "the same sound as gravel")]
    assert sorted(path.stem for path in (tmp_path / "out").rglob("*.ogg")) == ["gravel", "wood"]


def test_a_package_with_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deb").mkdir()
    (tmp_path / "deb" / "thing.deb").write_bytes(b"something else")
    with pytest.raises(BuildError, match="expected 0000"):
        packages.fetch_package(Package(name="thing", version="1", sha256="0" * 64), tmp_path)


def test_archives_in_a_package_are_reduced_to_their_audio(tmp_path: Path) -> None:
    dpkg_deb = shutil.which("dpkg-deb")
    if dpkg_deb is None:
        pytest.skip("dpkg-deb is not on this machine; packages can only be unpacked with it")
    import subprocess
    import zipfile

    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: thing\n"
    )
    with zipfile.ZipFile(tree / "all.zip", "w") as archive:
        archive.writestr("a/b.ogg", b"sound")
        archive.writestr("a/b.png", b"picture")
    (tmp_path / "deb").mkdir()
    deb = tmp_path / "deb" / "thing.deb"
    subprocess.run([dpkg_deb, "-b", str(tree), str(deb)], check=True, capture_output=True)
    package = Package(name="thing", version="1", sha256=packages.sha256_of_file(deb))
    folder = packages.unpack_package(package, tmp_path)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["b.ogg"]
    assert (folder / "all.zip.d/a/b.ogg").read_bytes() == b"sound"


def test_unknown_tags_are_refused() -> None:
    with pytest.raises(ValueError, match="found tags \\['colour'\\]"):
        ClipSource(
            clip_id="x",
            domain="sound",
            dataset="d",
            package="p",
            source_path="f",
            cluster_id="c",
            label="l",
            licence="MIT",
            author="a",
            tags={"colour": "red"},
        )


@pytest.mark.parametrize(
    ("name", "material"),
    [
        ("default_ice_dug", "ice"),
        ("xpanes_steel_bar_door_open", "metal"),
        ("mine_stone_03", "stone"),
        ("fs_rock1", ""),  # the same recording is also called gravel
        ("Footstep_Gravel_Walking", ""),  # and this one rock
        ("Footstep_Rock_Running", "stone"),
        ("fire_flint_and_steel", ""),  # names two materials
        ("default_cool_lava", ""),  # the same recording is also called extinguished fire
        ("heartbeat", ""),
    ],
)
def test_material_is_read_from_the_name_only(name: str, material: str) -> None:
    assert material_of(name) == material


def test_variants_are_one_family() -> None:
    assert {zero_ad_family(name) for name in ("fs_snow_11", "fs_snow_18")} == {"fs_snow"}
    assert zero_ad_family("mine_metal_03") != zero_ad_family("mine_stone_03")


def test_kind_of_an_effect_is_read_from_its_title() -> None:
    assert kind_of("Train/ship breakdown") == "impact"
    assert kind_of("Ferry horn") == "vehicle"
    assert kind_of("Wind") == ""


def test_a_sound_set_is_read_entry_by_entry(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(0.1), RATE_HZ, format="WAV", subtype="PCM_16")
    name = b'"Cow". Original "moo.wav" by "A". Edited by "B". License: Creative Commons Zero 1.0.'
    entry = bytes([len(name) + 1]) + name + b"\x00" + buffer.getvalue()
    path = tmp_path / "set.cat"
    path.write_bytes((8).to_bytes(4, "little") + len(entry).to_bytes(4, "little") + entry)
    (found,) = read_catalogue(path)
    assert (found.title, found.recording, found.licence) == ("Cow", "moo.wav", "CC0-1.0")
    assert found.wav == buffer.getvalue()


def test_midi_file_says_how_long_its_track_is() -> None:
    data = midi_of_notes(40, range(60, 63), 1.0)
    assert data.startswith(b"MThd") and data.endswith(b"\xff\x2f\x00")
    assert int.from_bytes(data[18:22], "big") == len(data) - 22
    assert bytes([0xC0, 40]) in data and data.count(bytes([0x90, 60])) == 1


def test_pieces_of_a_long_recording_are_spread_and_do_not_overlap() -> None:
    samples = np.arange(100 * RATE_HZ, dtype=np.float32)
    found = list(pieces(samples, 20.0))
    assert [piece.size for _, piece in found] == [5 * RATE_HZ] * 4
    starts = [start for start, _ in found]
    assert min(np.diff(starts)) >= 5.0
    assert all(piece[0] == round(start * RATE_HZ) for start, piece in found)


def test_pieces_of_a_short_recording_are_neighbours_without_a_splinter() -> None:
    found = list(pieces(np.ones(int(10.5 * RATE_HZ), np.float32), 30.0))
    assert [(start, piece.size) for start, piece in found] == [
        (0.0, 5 * RATE_HZ),
        (5.0, 5 * RATE_HZ),
    ]
