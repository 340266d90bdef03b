"""Vectors made elsewhere: taken as they are, once, whole clips only, under their own name."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stored_vectors import store
from usad_workbench.core.errors import ConfigError, ProvenanceError, UnknownNameError, UsadError
from usad_workbench.core.evaluation.cost import encoder_costs
from usad_workbench.core.models.spec import Origin
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage import vectors_file
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.distillation import recorded_teachers
from usad_workbench.core.storage.exporting import export_clips
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.spaces import pending_segments
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace
from usad_workbench.indexes.spaces import describe_hits, search
from usad_workbench.workbench.presenters.numbers import MISSING
from usad_workbench.workbench.presenters.overview import encoder_rows

N, WIDTHS = 600, {0: 5, 2: 7}
"""More clips than one batch holds; layer 1 has no vectors."""


def rows_of(encoder: str, seed: int = 0, clips: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "clip_id": f"x{i:03}",
                "encoder": encoder,
                "layer": layer,
                "vector": rng.normal(size=dim).astype(np.float32),
            }
            for i in range(clips)
            for layer, dim in WIDTHS.items()
        ]
    )


def write(path: Path, rows: pd.DataFrame, shuffled: bool = True) -> Path:
    """In any order of rows and in small row groups, as files from elsewhere come."""
    if shuffled:
        rows = rows.sample(frac=1, random_state=0)
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=100)
    return path


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of clips and a workspace of them, which each test gets a copy of."""
    folder = tmp_path_factory.mktemp("clips")
    manifest = folder / "clips.csv"
    pd.DataFrame(
        {
            "clip_id": [f"x{i:03}" for i in range(N)],
            "domain": ["speech", "whales"] * (N // 2),
            "cluster_id": [f"k{i % 20}" for i in range(N)],
            "label": [f"l{i % 3}" for i in range(N)],
            "Recorder Type": ["=cmd()", "<b>x</b>"] * (N // 2),
        }
    ).to_csv(manifest, index=False)
    made = Workspace.create(folder / "w")
    assert import_clips_without_audio(made, manifest) == N
    assert import_clips_without_audio(made, manifest) == 0
    return folder


@pytest.fixture
def workspace(made_once: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path / "w")


def test_vectors_come_back_where_they_belong(workspace: Workspace, tmp_path: Path) -> None:
    rows = rows_of("elsewhere")
    report = import_embeddings(
        workspace, write(tmp_path / "v.parquet", rows), role="control", domain="speech"
    )
    assert (report.encoders, report.n_rows, report.n_skipped) == (["elsewhere"], 2 * N, 0)
    assert report.failed == []
    for layer in WIDTHS:
        stored = workspace.embeddings("elsewhere", layer)
        expected = rows[rows.layer == layer].set_index("clip_id").vector
        assert stored.clip_ids.tolist() == list(expected.index)
        assert np.array_equal(stored.vectors, np.stack(expected.to_numpy()))
    entry = workspace.encoders().iloc[0]
    assert (entry.role, entry.domain, entry.n_layers, list(entry.dims)) == (
        "control",
        "speech",
        2,
        [5, 0, 7],
    )
    assert workspace.clips("clip_id = 'x001'").recorder_type[0] == "<b>x</b>"


def test_who_taught_and_how_an_encoder_was_made_come_with_the_vectors(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_embeddings(workspace, write(tmp_path / "t.parquet", rows_of("t")), role="teacher")
    import_embeddings(workspace, write(tmp_path / "u.parquet", rows_of("u")), role="teacher")
    told = {"full-0": ("t, u", 0), "without-t-1": ("u", 1)}
    rows = pd.concat(
        rows_of(name, seed).assign(
            family="small",
            architecture="8 of 128",
            training_seed=seed,
            teachers=teachers,
            licence=f"licence {seed}",
        )
        for name, (teachers, seed) in told.items()
    )
    file = write(tmp_path / "s.parquet", rows)
    import_embeddings(workspace, file, role="student", origin=Origin(training="2000 steps"))
    kept = workspace.encoders().set_index("encoder")
    for name, (teachers, seed) in told.items():
        row = kept.loc[name]
        assert (row.family, row.architecture, row.training, row.training_seed) == (
            "small",
            "8 of 128",
            "2000 steps",
            seed,
        )
        assert row.licence == f"licence {seed}"
        assert recorded_teachers(workspace, name) == set(teachers.split(", "))
    assert kept.family.isna()["t"]
    assert kept.licence["t"] == "unknown"
    with pytest.raises(ConfigError, match="licence 'MIT' for 'full-0' beside 'licence 0'"):
        import_embeddings(workspace, file, role="student", licence="MIT")
    with pytest.raises(ConfigError, match="family 'other' for 'full-0' beside 'small'"):
        import_embeddings(workspace, file, role="student", origin=Origin(family="other"))
    mixed = rows_of("mixed").assign(family=["a", "b"] * N)
    with pytest.raises(ConfigError, match="expected one value"):
        import_embeddings(workspace, write(tmp_path / "m.parquet", mixed), role="student")
    lists = rows_of("lists", 7).assign(teachers=[["t", "u"]] * (2 * N), training_seed="one")
    with pytest.raises(ConfigError, match="whole number"):
        import_embeddings(workspace, write(tmp_path / "l.parquet", lists), role="student")
    lists = write(tmp_path / "l.parquet", lists.drop(columns="training_seed"))
    import_embeddings(workspace, lists, role="student")
    assert recorded_teachers(workspace, "lists") == {"t", "u"}


def test_the_same_again_adds_nothing_and_others_are_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_embeddings(workspace, write(tmp_path / "a.parquet", rows_of("e")), role="teacher")
    other_order = write(tmp_path / "b.parquet", rows_of("e"), shuffled=False)
    again = import_embeddings(workspace, other_order, role="teacher")
    assert (again.n_rows, again.n_skipped) == (0, 2 * N)
    with pytest.raises(ProvenanceError, match="must not be mixed"):
        import_embeddings(workspace, write(tmp_path / "c.parquet", rows_of("e", 1)), role="teacher")
    assert len(workspace.embeddings("e", 0)) == N


def test_replaced_vectors_are_the_new_ones_and_the_lineage_stays(
    workspace: Workspace, tmp_path: Path
) -> None:
    import_embeddings(workspace, write(tmp_path / "t.parquet", rows_of("t")), role="teacher")
    student = write(tmp_path / "s.parquet", rows_of("s"))
    import_embeddings(workspace, student, role="student", teachers=["t"])
    others = rows_of("t", 1, clips=40)
    report = import_embeddings(
        workspace, write(tmp_path / "n.parquet", others), role="teacher", replace=True
    )
    assert (report.n_rows, report.n_skipped) == (80, 0)
    stored = workspace.embeddings("t", 2)
    expected = others[others.layer == 2].set_index("clip_id").vector
    assert stored.clip_ids.tolist() == list(expected.index)
    assert np.array_equal(stored.vectors, np.stack(expected.to_numpy()))
    assert len(workspace.embeddings("s", 0)) == N
    assert workspace.sql("SELECT teacher FROM distillation").teacher.tolist() == ["t"]


def test_the_number_of_parameters_is_unknown_not_zero(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", rows_of("e", clips=4))
    import_embeddings(workspace, path, role="teacher")
    assert workspace.encoders().n_params.isna().all()
    assert np.isnan(encoder_costs(workspace, ["e"])["e"].n_params)
    table = encoder_rows(workspace.sql)
    assert table.parameters.tolist() == [MISSING]


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_a_killed_import_is_finished(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layer_by_layer: bool,
) -> None:
    rows = rows_of("e")
    monkeypatch.setattr(vectors_file, "BLOCK_ROWS", 50)
    monkeypatch.setattr(vectors_file, "PORTION_BYTES", 1)
    if layer_by_layer:  # a clip is complete at the end only, unless rows are brought together
        monkeypatch.setattr(vectors_file, "SPREAD_BYTES", 1)
        rows = rows.sort_values(["layer", "clip_id"])
    path = write(tmp_path / "v.parquet", rows, shuffled=not layer_by_layer)

    def stop(done: int, total: int, what: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        import_embeddings(workspace, path, role="teacher", progress=stop)
    half = len(workspace.embeddings("e", 0))
    assert 0 < half < N
    assert len(workspace.embeddings("e", 2)) == half
    report = import_embeddings(workspace, path, role="teacher")
    assert (report.n_rows, report.n_skipped) == (2 * (N - half), 2 * half)


def test_what_does_not_fit_is_named_clip_by_clip(workspace: Workspace, tmp_path: Path) -> None:
    rows = rows_of("e", clips=5)
    rows.at[0, "vector"] = np.full(5, np.nan, dtype=np.float32)
    rows = rows.drop(index=3)  # x001 without layer 2
    rows = pd.concat([rows, rows[rows.clip_id == "x002"]])
    stranger = rows[rows.clip_id == "x003"].assign(clip_id="stranger")
    report = import_embeddings(
        workspace, write(tmp_path / "v.parquet", pd.concat([rows, stranger])), role="control"
    )
    reasons = {one.path.split(": ")[1]: one.reason for one in report.failed}
    assert "not finite" in reasons["x000"]
    assert "layers [0], expected each of [0, 2]" in reasons["x001"]
    assert "layers [0, 0, 2, 2]" in reasons["x002"]
    assert "no such clip" in reasons["stranger"]
    assert workspace.embeddings("e", 0).clip_ids.tolist() == ["x003", "x004"]


def test_an_encoder_without_a_single_known_clip_leaves_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    rows = pd.concat([rows_of("known", clips=3), rows_of("e", clips=3).assign(encoder="strange")])
    rows.loc[rows.encoder == "strange", "clip_id"] += "-elsewhere"
    report = import_embeddings(
        workspace, write(tmp_path / "v.parquet", rows), role="student", teachers=[]
    )
    assert (report.encoders, report.n_rows, len(report.failed)) == (["known"], 6, 3)
    assert workspace.encoders().encoder.tolist() == ["known"]
    assert set(workspace.spaces().encoder) == {"known"}
    assert workspace.sql("SELECT * FROM distillation").empty


def test_students_name_their_teachers(workspace: Workspace, tmp_path: Path) -> None:
    teacher = write(tmp_path / "t.parquet", rows_of("t"))
    import_embeddings(workspace, teacher, role="teacher", domain="speech")
    student = write(tmp_path / "s.parquet", rows_of("s", 1))
    with pytest.raises(UnknownNameError, match="no teacher 'tt'"):
        import_embeddings(workspace, student, role="student", teachers=["tt"])
    import_embeddings(workspace, student, role="student", teachers=["t"])
    found = workspace.sql("SELECT student, teacher, domain, stage FROM distillation")
    assert found.values.tolist() == [["s", "t", "speech", 1]]


def _without(column: str) -> pd.DataFrame:
    return rows_of("e", clips=3).drop(columns=column)


def _ragged() -> pd.DataFrame:
    rows = rows_of("e", clips=3)
    rows.at[0, "vector"] = np.ones(4, dtype=np.float32)
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (_without("layer"), "Add layer"),
        (_without("vector"), "Add vector"),
        (_ragged(), "vectors of 4 to 5 values"),
        (rows_of("e", clips=3).assign(layer=-1), "has layer -1 of 'e', expected a layer from 0 on"),
        (rows_of("e", clips=3).assign(layer="first"), "expected whole numbers"),
        (rows_of("e", clips=3).assign(vector=1.0), "lists of numbers"),
        (rows_of("e", clips=3).assign(clip_id=None), "without clip_id or vector"),
    ],
)
def test_a_file_of_another_shape_is_refused_whole(
    workspace: Workspace, tmp_path: Path, rows: pd.DataFrame, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        import_embeddings(workspace, write(tmp_path / "v.parquet", rows), role="control")
    assert workspace.encoders().empty


def test_no_parquet_and_no_manifest_are_named(workspace: Workspace, tmp_path: Path) -> None:
    text = tmp_path / "notes.parquet"
    text.write_text("clip_id,encoder")
    for path in (text, tmp_path / "missing.parquet"):
        with pytest.raises(ConfigError, match="Parquet"):
            import_embeddings(workspace, path, role="control")
    for content in (
        "clip_id,domain\na,speech\n",
        "clip_id,domain,cluster_id\na,,k\n",
        "clip_id,domain,cluster_id\na,s,k\na,s,k\n",
    ):
        manifest = tmp_path / "m.csv"
        manifest.write_text(content)
        with pytest.raises(UsadError):
            import_clips_without_audio(workspace, manifest)


def test_measures_read_what_was_imported(workspace: Workspace, tmp_path: Path) -> None:
    rows = rows_of("a")
    import_embeddings(workspace, write(tmp_path / "a.parquet", rows), role="teacher")
    turned = rows.assign(encoder="b", vector=[-2 * v[::-1] for v in rows.vector])
    import_embeddings(workspace, write(tmp_path / "b.parquet", turned), role="student")
    x, y = (workspace.embeddings(name, 2).vectors for name in "ab")
    assert debiased_linear_cka(x, y) == pytest.approx(1.0)


def test_clips_without_audio_fail_nowhere(workspace: Workspace, tmp_path: Path) -> None:
    import_embeddings(workspace, write(tmp_path / "a.parquet", rows_of("a")), role="teacher")
    assert check_workspace(workspace) == []
    for name in ("a", "other"):
        rows, total = pending_segments(workspace, name, [0], "mean")
        assert (len(rows), total) == (0, 0)
    vector = workspace.embeddings("a", 0).vectors[3]
    hits = describe_hits(workspace, search(workspace, vector, "a", 0, k=2))
    assert (hits.clip_id[0], hits.path[0]) == ("x003", "")
    files, failed = export_clips(workspace, "clip_id < 'x002'", tmp_path / "clips")
    assert [path.name for path in files] == ["manifest.csv"]
    assert [(one.path, "without audio" in one.reason) for one in failed] == [
        ("x000", True),
        ("x001", True),
    ]


def one_clip(folder: Path, name: str, encoder: str, **columns: object) -> Path:
    """A file with one vector, some of its columns as given."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"clip_id": ["x000"], "encoder": [encoder], "layer": [0], "vector": [[1.0, 2.0]]}
    pq.write_table(pa.table({**plain, **columns}), path)
    return path


def test_a_tilde_in_front_of_a_name_is_a_letter(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_clip(tmp_path, "~v.parquet", "e")
    monkeypatch.chdir(tmp_path)
    report = import_embeddings(workspace, "~v.parquet", role="teacher")
    assert (report.encoders, report.failed) == (["e"], [])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("v?.parquet", "vw.parquet"),
        ("v*.parquet", "v1.parquet"),
        ("[ab].parquet", "a.parquet"),
        ("encoder=wrong/layer=7/v.parquet", "v.parquet"),
        ("**/v.parquet", "x/v.parquet"),
    ],
)
def test_a_name_is_no_pattern(workspace: Workspace, tmp_path: Path, name: str, other: str) -> None:
    one_clip(tmp_path, other, "other")
    report = import_embeddings(workspace, one_clip(tmp_path, name, "mine"), role="control")
    assert report.encoders == ["mine"]
    assert workspace.spaces().layer.tolist() == [0]


@pytest.mark.parametrize(
    "columns",
    [
        {"vector": pa.array([["a", "b"]])},
        {"vector": pa.array([[True, False]])},
        {"vector": pa.array([[[1.0], [2.0]]])},
        {"vector": pa.array([{"a": 1.0}])},
        {"layer": pa.array([2**40])},
        {"layer": pa.array([2_000_000_000])},
        {"layer": pa.array([10_000])},
        {"layer": pa.array([0.0])},
        {"layer": pa.array([2**64 - 1], pa.uint64())},
    ],
    ids=lambda columns: "-".join(f"{name} {values.type}" for name, values in columns.items()),
)
def test_columns_of_other_types_are_refused_in_words(
    workspace: Workspace, tmp_path: Path, columns: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="xpected"):
        import_embeddings(
            workspace, one_clip(tmp_path, "v.parquet", "e", **columns), role="control"
        )
    assert workspace.encoders().empty


@pytest.mark.parametrize("value", [1e300, -1e39, float("inf"), float("nan"), None])
def test_values_that_are_no_float32_name_their_clip(
    workspace: Workspace, tmp_path: Path, value: float | None
) -> None:
    vector = pa.array([[1.0, value]], pa.list_(pa.float64()))
    path = one_clip(tmp_path, "v.parquet", "e", vector=vector)
    report = import_embeddings(workspace, path, role="control")
    assert [one.path for one in report.failed] == ["e: x000"]
    assert workspace.encoders().empty


@pytest.mark.parametrize("kind", [pa.float64(), pa.int16(), pa.float16(), pa.decimal128(9, 2)])
def test_numbers_of_other_types_are_taken(
    workspace: Workspace, tmp_path: Path, kind: pa.DataType
) -> None:
    vector = pa.array([[3, -4]], pa.list_(pa.float64())).cast(pa.list_(kind))
    import_embeddings(
        workspace, one_clip(tmp_path, "v.parquet", "e", vector=vector), role="control"
    )
    assert workspace.embeddings("e", 0).vectors.tolist() == [[3.0, -4.0]]


@pytest.mark.parametrize("text", [b"", b"a,b\n1,2\n", b"\x93NUMPY", b"PAR1garbagePAR1"])
def test_a_file_of_another_format_is_refused_without_sql(
    workspace: Workspace, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "v.npy").write_bytes(text)
    with pytest.raises(ConfigError, match="Expected a Parquet file") as caught:
        import_embeddings(workspace, tmp_path / "v.npy", role="control")
    assert "VIEW" not in str(caught.value)


def test_a_damaged_file_is_named_and_the_old_vectors_stay(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path / "v.parquet", rows_of("e"))
    import_embeddings(workspace, path, role="control")
    before = workspace.space("e", 0)
    data = bytearray(path.read_bytes())
    data[200:4000] = bytes(3800)
    path.write_bytes(data)
    with pytest.raises(UsadError):
        import_embeddings(workspace, path, role="control", replace=True)
    assert workspace.space("e", 0) == before


def test_check_names_what_is_wrong_with_vectors(workspace: Workspace, tmp_path: Path) -> None:
    import_embeddings(workspace, write(tmp_path / "v.parquet", rows_of("e")), role="control")
    assert check_workspace(workspace) == []
    with workspace.database.write() as connection:
        connection.execute("UPDATE vectors_1 SET vector = [0,0,0,0,0,0,0] WHERE segment_id = 3")
        connection.execute("DROP TABLE vectors_0")
    problems = check_workspace(workspace)
    assert any("layer 2 (mean): the vectors are not those that were stored" in p for p in problems)
    assert any(p.startswith("e layer 0 (mean)") and "--replace" in p for p in problems)
    import_embeddings(
        workspace, write(tmp_path / "v.parquet", rows_of("e")), role="control", replace=True
    )
    assert check_workspace(workspace) == []


def test_what_is_refused_adds_no_clips(workspace: Workspace, tmp_path: Path) -> None:
    import_embeddings(workspace, write(tmp_path / "a.parquet", rows_of("e")), role="teacher")
    others = write(tmp_path / "c.parquet", rows_of("e", 1))
    with pytest.raises(ProvenanceError, match="must not be mixed"):
        import_embeddings(
            workspace, others, role="teacher", add_clips=lambda: pytest.fail("clips were added")
        )


def test_vectors_that_changed_places_are_other_vectors(
    workspace: Workspace, tmp_path: Path
) -> None:
    """What stands for the weights is a sum over rows, whose order is not a part of it."""
    rows = rows_of("e")
    import_embeddings(workspace, write(tmp_path / "a.parquet", rows), role="teacher")
    rows.clip_id = rows.clip_id.replace({"x000": "x001", "x001": "x000"})
    with pytest.raises(ProvenanceError, match="must not be mixed"):
        import_embeddings(workspace, write(tmp_path / "b.parquet", rows), role="teacher")


def test_a_layer_more_is_not_taken_for_what_is_stored(workspace: Workspace, tmp_path: Path) -> None:
    rows = rows_of("e")
    import_embeddings(
        workspace, write(tmp_path / "a.parquet", rows[rows.layer == 0]), role="teacher"
    )
    both = write(tmp_path / "b.parquet", rows)
    with pytest.raises(ProvenanceError, match="must not be mixed"):
        import_embeddings(workspace, both, role="teacher")
    import_embeddings(workspace, both, role="teacher", replace=True)
    assert workspace.layers("e") == [0, 2]


@pytest.mark.parametrize("n_stored", [N, 200])
def test_vectors_that_schema_2_stored_are_the_same_vectors(
    workspace: Workspace, tmp_path: Path, n_stored: int
) -> None:
    """It hashed a sorted file; a part is what a killed import had stored."""
    rows = rows_of("e")
    some = write(tmp_path / "some.parquet", rows[rows.clip_id < f"x{n_stored:03}"])
    import_embeddings(workspace, some, role="teacher")
    with workspace.database.write() as connection:
        connection.execute("UPDATE spaces SET weights_sha256 = repeat('a', 64)")
        connection.execute("UPDATE encoders SET weights_sha256 = repeat('a', 64)")
    report = import_embeddings(workspace, write(tmp_path / "all.parquet", rows), role="teacher")
    assert (report.n_rows, report.n_skipped) == (2 * (N - n_stored), 2 * n_stored)
    assert check_workspace(workspace) == []
    with pytest.raises(ProvenanceError, match="must not be mixed"):
        import_embeddings(workspace, write(tmp_path / "c.parquet", rows_of("e", 1)), role="teacher")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Of the vectors only the portions in hand are in it: 400 to 600 MB at any size."""
    peaks = []
    for n in (120_000, 240_000):
        folder = tmp_path / str(n)
        store(folder / "w", np.ones((n, 1), np.float32))
        vectors = np.random.default_rng(0).normal(size=(n, 384)).astype(np.float32)
        table = pa.table(
            {
                "clip_id": [f"c{i:06}" for i in range(n)],
                "encoder": ["e"] * n,
                "layer": np.zeros(n, np.int32),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 384),
            }
        )
        pq.write_table(table, folder / "v.parquet", row_group_size=10_000)
        script = (
            "import re, sys\n"
            "from usad_workbench.core.storage.importing_embeddings import import_embeddings\n"
            "from usad_workbench.core.storage.workspace import Workspace\n"
            "import_embeddings(Workspace.open(sys.argv[1]), sys.argv[2], role='teacher')\n"
            # Its own peak: ``ru_maxrss`` begins with that of the process that started it.
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read()).group(1))"
        )
        arguments = [sys.executable, "-c", script, str(folder / "w"), str(folder / "v.parquet")]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        peaks.append(1024 * int(done.stdout.split()[-1]))  # behind DuckDB's bar: a script has none
    assert max(peaks) < 800e6
    assert peaks[1] - peaks[0] < 120_000 * 384 * 4
