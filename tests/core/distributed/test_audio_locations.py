"""Where workers find audio: what lies below a folder is found below its URL, and fetched once."""

from pathlib import Path

import fsspec
import pytest

from usad_workbench.core.distributed.audio_locations import AudioFetcher, AudioRoot
from usad_workbench.core.errors import ConfigError, FileError
from usad_workbench.core.storage.segment_audio import SegmentAudio


@pytest.mark.parametrize("text", ["", "folder", "=s3://b", "/data="])
def test_a_root_is_a_folder_and_a_url(text: str) -> None:
    with pytest.raises(ConfigError, match="FOLDER=URL"):
        AudioRoot.parse(text)


def test_files_behind_urls_are_here_while_they_are_needed(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a", "b"):
        memory.pipe_file(f"/sounds/{name}.wav", name.encode() * 10)
    a, b = (SegmentAudio(i, f"memory://sounds/{n}.wav", 0.0, 1.0, None) for i, n in enumerate("ab"))
    gone = SegmentAudio(2, "memory://sounds/gone.wav", 0.0, 1.0, None)
    here = SegmentAudio(3, str(tmp_path / "here.wav"), 0.0, 1.0, None)
    fetcher = AudioFetcher()
    of_a, of_b, of_gone, of_here = fetcher.local([a, b, gone, here])
    assert isinstance(of_gone, FileError)
    assert "gone.wav" in str(of_gone)
    assert of_here == here
    assert isinstance(of_a, SegmentAudio)
    assert isinstance(of_b, SegmentAudio)
    assert Path(of_a.path).read_bytes() == b"a" * 10
    memory.rm("/sounds", recursive=True)
    assert fetcher.local([b]) == [of_b]  # kept, not fetched again
    assert not Path(of_a.path).exists()
    fetcher.local([])
    assert not Path(of_b.path).exists()
