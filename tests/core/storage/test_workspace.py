"""The workspace as a user, plain DuckDB and a crash see it."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.conftest import SpectrumEncoder
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import ProvenanceError, StoreError, UnknownNameError
from usad_workbench.core.storage.clip_fields import change_clips
from usad_workbench.core.storage.deletion import delete_encoder
from usad_workbench.core.storage.schema import TABLES
from usad_workbench.core.storage.workspace import QueryError, Workspace

CONTRACT = {
    "clips": "clip_id path domain dataset cluster_id label duration_s sample_rate_hz split",
    "segments": "segment_id clip_id start_s end_s segmentation",
    "encoders": "encoder role domain n_layers dims frame_rates_hz sample_rate_hz weights_sha256 "
    "licence n_params",
    "spaces": "space_id encoder layer pooling segmentation window_s hop_s weights_sha256 "
    "code_version n",
    "embeddings": "encoder layer pooling segment_id clip_id vector",
    "distillation": "student teacher domain stage",
    "tasks": "task label_column domain group_column metric",
    "teacher_similarity": "student student_layer teacher teacher_layer domain measure value "
    "ci_low ci_high null_kind null_q95 p_value q_value n_clips n_clusters",
    "clip_teacher_similarity": "student student_layer teacher teacher_layer clip_id measure value",
    "projections": "encoder layer pooling method segment_id x y",
}
"""Tables and columns of the design contract."""


@pytest.fixture
def embedded(workspace: Workspace) -> Workspace:
    embed(workspace, SpectrumEncoder())
    return workspace


def test_plain_duckdb_finds_the_contract_after_a_move(embedded: Workspace, tmp_path: Path) -> None:
    """Views and tables hold from any directory, in a copy, without our code."""
    copy = shutil.copytree(embedded.folder, tmp_path / "elsewhere")
    shutil.rmtree(embedded.folder)
    with duckdb.connect(str(copy / "workspace.duckdb"), read_only=True) as connection:
        for table, columns in CONTRACT.items():
            found = [d[0] for d in connection.execute(f"SELECT * FROM {table} LIMIT 0").description]
            assert [c for c in columns.split() if c not in found] == [], table
        rows = connection.execute(
            "SELECT e.layer, count(*), count(DISTINCT e.segment_id) FROM embeddings e "
            "JOIN clips c USING (clip_id) GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [(0, 30, 30), (1, 30, 30)]


def test_vectors_are_those_of_their_own_clips(embedded: Workspace, tones: list) -> None:  # type: ignore[type-arg]
    """Each stored vector equals the encoder's own for that file: shuffled rows would fail."""
    encoder = SpectrumEncoder()
    for layer in (0, 1):
        stored = embedded.embeddings("spectrum", layer)
        for clip_id, vector in zip(stored.clip_ids, stored.vectors, strict=True):
            (path,) = [s.path for s in tones if s.fields["clip_id"] == clip_id]
            expected = encoder.embed(read_audio(path), layer)[0]
            np.testing.assert_allclose(vector, expected, rtol=1e-5)


def test_second_run_does_nothing(embedded: Workspace) -> None:
    before = embedded.sql("SELECT * FROM spaces ORDER BY space_id")
    report = embed(embedded, SpectrumEncoder())
    assert (report.n_done, report.n_skipped, report.failed) == (0, 30, [])
    assert embedded.sql("SELECT * FROM spaces ORDER BY space_id").equals(before)


def test_negative_layer_and_unknown_names(embedded: Workspace) -> None:
    last = embedded.embeddings("spectrum", -1)
    np.testing.assert_array_equal(last.vectors, embedded.embeddings("spectrum", 1).vectors)
    with pytest.raises(UnknownNameError, match="expected one of"):
        embedded.embeddings("spectrum", 7)
    with pytest.raises(UnknownNameError, match="Did you mean spectrum"):
        embedded.embeddings("spectrun", 0)


def test_where_selects_clips(embedded: Workspace) -> None:
    speech = embedded.embeddings("spectrum", 0, where="domain = 'speech' AND pitch::INT < 9")
    assert sorted(speech.clip_ids) == ["tone00", "tone03", "tone06"]
    with pytest.raises(QueryError, match="not understood"):
        embedded.embeddings("spectrum", 0, where="domain = = 1")


def test_sql_cannot_write_nor_read_other_files(embedded: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in (
        "DELETE FROM clips",
        f"SELECT * FROM read_csv('{secret}')",
        f"COPY clips TO '{tmp_path / 'out.csv'}'",
    ):
        with pytest.raises(QueryError):
            embedded.sql(query)
    assert len(embedded.clips()) == 30
    assert not (tmp_path / "out.csv").exists()


def test_other_weights_under_the_same_name_are_refused(embedded: Workspace) -> None:
    other = SpectrumEncoder(exponent=3.0)
    other.weights_sha256 = "1" * 64
    with pytest.raises(ProvenanceError, match="--replace"):
        embed(embedded, other)
    kept = embedded.embeddings("spectrum", 1).vectors
    delete_encoder(embedded, "spectrum")
    assert embed(embedded, other).n_done == 30
    assert not np.allclose(embedded.embeddings("spectrum", 1).vectors, kept)


def test_layers_can_be_added_later(workspace: Workspace) -> None:
    assert embed(workspace, SpectrumEncoder(), layers=[1]).n_done == 30
    assert workspace.spaces().layer.tolist() == [1]
    assert embed(workspace, SpectrumEncoder()).n_done == 30
    assert workspace.spaces().n.tolist() == [30, 30]


def test_bad_vectors_leave_nothing(workspace: Workspace) -> None:
    """A segment whose vector is not finite is named; the others are stored."""

    class Broken(SpectrumEncoder):
        def _forward(self, samples, n_valid, layers, kind):  # type: ignore[no-untyped-def]
            features = super()._forward(samples, n_valid, layers, kind)
            if samples.shape[1] > 16_000:  # the longer half of the tones
                for frames in features.frames:
                    frames[:] = float("nan")
            return features

    report = embed(workspace, Broken())
    assert 0 < len(report.failed) < 30
    assert report.n_done + len(report.failed) == 30
    stored = workspace.embeddings("spectrum", 1)
    assert len(stored) == report.n_done
    assert np.isfinite(stored.vectors).all()


def test_long_clip_is_cut_and_covered(tmp_path: Path) -> None:
    from tests.conftest import write_tone
    from usad_workbench.core.storage.importing import SourceClip, import_clips

    workspace = Workspace.create(tmp_path / "w")
    import_clips(workspace, [SourceClip(path=write_tone(tmp_path / "long.wav", 440, 20.5))])
    embed(workspace, SpectrumEncoder())
    segments = workspace.sql("SELECT start_s, end_s FROM segments ORDER BY start_s")
    assert segments.values.tolist() == [[0.0, 10.0], [10.0, 20.5]]
    stored = workspace.embeddings("spectrum", 1)
    encoder = SpectrumEncoder()
    second = read_audio(tmp_path / "long.wav", start_s=10.0, end_s=20.5)
    np.testing.assert_allclose(stored.vectors[1], encoder.embed(second, 1)[0], rtol=1e-5)


def test_open_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="usad demo"):
        Workspace.open(tmp_path)
    (tmp_path / "workspace.duckdb").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Workspace.open(tmp_path)


def test_every_table_is_created(workspace: Workspace) -> None:
    found = workspace.sql("SELECT table_name FROM duckdb_tables()").table_name
    assert set(TABLES) <= set(found)


WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from tests.conftest import SpectrumEncoder
from usad_workbench.core import embedding
from usad_workbench.core.storage import segment_audio
from usad_workbench.core.storage.workspace import Workspace
segment_audio.PORTION_SEGMENTS = 2
class Slow(SpectrumEncoder):
    def features(self, *args, **kwargs):
        time.sleep(0.1)
        return super().features(*args, **kwargs)
embedding.embed(Workspace.open({folder!r}), Slow())
"""


def _start_writer(workspace: Workspace) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[3])
    code = textwrap.dedent(WRITER).format(root=root, folder=str(workspace.folder))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def _wait_for_rows(workspace: Workspace, n: int, writer: subprocess.Popen[bytes]) -> int:
    """Reads again and again while the other process writes."""
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = int(workspace.sql("SELECT count(*) AS n FROM embeddings").n[0])
        if found >= n:
            return found
        assert writer.poll() in (None, 0)
        time.sleep(0.02)
    raise AssertionError("the writer stored nothing")


def test_reading_while_another_process_writes(workspace: Workspace) -> None:
    writer = _start_writer(workspace)
    try:
        seen = [_wait_for_rows(workspace, n, writer) for n in (4, 20, 60)]
        assert writer.wait(60) == 0
    finally:
        writer.kill()
        writer.wait()
    assert seen == sorted(seen)
    assert workspace.spaces().n.tolist() == [30, 30]


def test_killed_writer_loses_no_more_than_its_batch(workspace: Workspace) -> None:
    writer = _start_writer(workspace)
    try:
        _wait_for_rows(workspace, 8, writer)
    finally:
        writer.kill()
        writer.wait()
    done = workspace.spaces().n.tolist()
    assert done[0] == done[1]
    assert 4 <= done[0] <= 30
    report = embed(workspace, SpectrumEncoder())
    assert report.n_done == 30 - done[0]
    counts = workspace.sql(
        "SELECT layer, count(*) AS n, count(DISTINCT segment_id) AS d FROM embeddings GROUP BY 1"
    )
    assert counts.n.tolist() == counts.d.tolist() == [30, 30]


def test_what_a_workspace_holds_is_one_question_each(embedded: Workspace) -> None:
    spaces = embedded.spaces()
    assert embedded.embedded() == ["spectrum"]
    assert embedded.embedded("native") == []
    assert embedded.embedded(None) == ["spectrum"]
    assert embedded.layers("spectrum") == sorted(spaces.layer)
    assert embedded.layers("spectrum", "native") == embedded.layers("nobody") == []
    assert len(embedded.spaces("mean")) == len(spaces) and embedded.spaces("native").empty
    assert embedded.has_table("clips") and embedded.has_table("segments_of_clips")
    assert not embedded.has_table("clip")


def test_every_segment_has_the_columns_of_its_clip(embedded: Workspace) -> None:
    found = embedded.sql("SELECT * FROM segments_of_clips ORDER BY segment_id")
    assert list(found.columns) == ["segment_id", "start_s", "end_s", *embedded.clips().columns]
    assert len(found) == len(embedded.read("FROM segments"))
    change_clips(embedded, {found.clip_id[0]: {"instrument": "flute"}})
    changed = embedded.sql("SELECT clip_id FROM segments_of_clips WHERE instrument = 'flute'")
    assert set(changed.clip_id) == {found.clip_id[0]}
    again = Workspace.open(embedded.folder).read("SELECT * FROM segments_of_clips")
    assert again.columns[-1] == "instrument"
