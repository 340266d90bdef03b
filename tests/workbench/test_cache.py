"""What all sessions share stays within bounds: answers and uploads."""

import pytest
import streamlit.net_util
from streamlit.runtime import memory_uploaded_file_manager as file_manager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from usad_workbench.workbench import server, uploads
from usad_workbench.workbench.cache import BoundedCache
from usad_workbench.workbench.launch import is_private


def test_answers_are_kept_up_to_a_number_and_a_size() -> None:
    cache = BoundedCache(max_entries=5, max_bytes=100)
    made: list[int] = []

    def get(key: int, n_bytes: int) -> bytes:
        return cache.get(key, lambda: made.append(key) or b"x" * n_bytes, len)

    for key in range(8):
        assert len(get(key, 10)) == 10
    assert len(cache) == 5 and cache.n_bytes == 50
    get(7, 10), get(3, 10)
    assert made == list(range(8))
    get(0, 10)
    assert made[-1] == 0 and cache.n_bytes == 50
    for key in range(20, 26):
        get(key, 25)
    assert cache.n_bytes <= 100 and len(cache) == 4
    assert len(get(99, 80)) == 80  # given, but too large to be kept
    assert get(99, 80) and made.count(99) == 2 and cache.n_bytes <= 100


def test_an_error_is_not_kept() -> None:
    cache = BoundedCache(max_entries=2, max_bytes=100)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: bytes(1 // 0), len)
    assert cache.get("a", lambda: b"now", len) == b"now"


def test_uploads_of_all_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_FILES", 4)
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    kept_files = uploads.BoundedUploads("/upload")

    def add(session: str, name: str, n_bytes: int) -> None:
        kept_files.add_file(session, UploadedFileRec(name, name, "audio/wav", b"x" * n_bytes))

    def kept() -> set[str]:
        return {name for files in kept_files.file_storage.values() for name in files}

    for i in range(6):
        add(f"session{i % 3}", f"f{i}", 10)
    assert kept() == {"f2", "f3", "f4", "f5"}
    add("session0", "large", 975)
    assert kept() == {"f4", "f5", "large"}
    kept_files.remove_session_files("session0")
    add("session1", "a", 500)
    add("session2", "b", 400)
    assert kept() == {"f4", "f5", "a", "b"}
    assert kept_files.get_files("session1", ["a"])[0].data == b"x" * 500
    add("session1", "beyond", 1500)  # Streamlit refuses such a one before; it alone is kept
    assert kept() == {"beyond"}


def test_nobody_outside_is_asked_for_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        streamlit.net_util, "_make_blocking_http_get", lambda url, **_: asked.append(url)
    )
    monkeypatch.setattr(streamlit.net_util, "get_external_ip", streamlit.net_util.get_external_ip)
    monkeypatch.setattr(
        file_manager, "MemoryUploadedFileManager", file_manager.MemoryUploadedFileManager
    )
    server.prepare()
    assert streamlit.net_util.get_external_ip() is None and not asked
    assert file_manager.MemoryUploadedFileManager is server.BoundedUploads


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
    ],
)
def test_who_reaches_an_address(host: str, private: bool) -> None:
    assert is_private(host) == private
