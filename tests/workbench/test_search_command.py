"""``usad search`` inside long recordings, by several examples, in every space."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from tests.core.encoders.hub_folders import save_clap_with_words
from tests.stored_vectors import record
from usad_workbench.core.encoders.words import load_text_encoder
from usad_workbench.core.storage.spaces import append_vectors, register_encoder
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import update_index
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap
from usad_workbench.workbench.cli import main

N_CLIPS, PER_CLIP, DIM = 12, 50, 6
N = N_CLIPS * PER_CLIP
CLIP = np.arange(N) // PER_CLIP


def planted() -> np.ndarray:
    """Recording 3 is full of what is looked for; every other clip has one part near to it."""
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(N, DIM))
    vectors[:, 0] = -np.abs(vectors[:, 0])
    target = np.eye(DIM)[0] * 4
    vectors[CLIP == 3] = target + 0.05 * rng.normal(size=(PER_CLIP, DIM))
    for clip in set(range(N_CLIPS)) - {3}:
        vectors[clip * PER_CLIP + clip] = target + 0.2 * (clip + 1) * np.eye(DIM)[1 + clip % 5]
    return vectors.astype(np.float32)


VECTORS = planted()


@pytest.fixture(scope="module", params=["exact", "ivf"])
def recordings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace.create(tmp_path_factory.mktemp("search") / "w")
    table = pa.table(
        {
            "segment_id": np.arange(N),
            "clip_id": [f"r{c:02}" for c in CLIP],
            "start_s": (np.arange(N) % PER_CLIP) * 10.0,
        }
    )
    with workspace.database.write() as connection:
        connection.register("made", table)
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id) "
            "SELECT DISTINCT clip_id, '', 'sound', 'made', clip_id FROM made"
        )
        connection.execute(
            "INSERT INTO segments SELECT segment_id, clip_id, start_s, start_s + 10, '10.0s' FROM made"
        )
    made = record(DIM, n_layers=1)
    register_encoder(workspace, made)
    turned = VECTORS[:, ::-1] + 0.3
    append_vectors(
        workspace, made, "mean", np.arange(N), {0: VECTORS, 1: turned.astype(np.float32)}
    )
    if request.param == "ivf":
        update_index(workspace, "made", 0, kind="ivf")
    return workspace.folder


def ask(capsys: pytest.CaptureFixture[str], workspace: Path, *words: str) -> Any:
    code = main(["search", "--workspace", str(workspace), "--json", *words])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


SPACE = ("--encoder", "made", "--layer", "0")


def cosines(query: np.ndarray) -> np.ndarray:
    wide = VECTORS.astype(np.float64)
    return wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query)


def test_hits_inside_recordings_say_where(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that was stored is found at its own times."""
    hits = ask(capsys, recordings, "--clip", "r05", "--start", "50", "--end", "60", *SPACE)["hits"]
    assert (hits[0]["clip_id"], hits[0]["start_s"], hits[0]["end_s"]) == ("r05", 50.0, 60.0)
    expected = np.argsort(-cosines(VECTORS[5 * PER_CLIP + 5]), kind="stable")[:10]
    assert [hit["segment_id"] for hit in hits] == expected.tolist()


def test_grouped_by_clip_each_clip_comes_once_with_its_best_part(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One recording fills the first 50 hits alone: more are asked for until there are enough."""
    words = ("--clip", "r03", "-k", "6", *SPACE)
    alone = ask(capsys, recordings, *words)["hits"]
    assert {hit["clip_id"] for hit in alone} == {"r03"}
    hits = ask(capsys, recordings, *words, "--group-by", "clip")["hits"]
    found = cosines(VECTORS[3 * PER_CLIP])
    best = {c: int(np.flatnonzero(c == CLIP)[np.argmax(found[c == CLIP])]) for c in range(N_CLIPS)}
    expected = sorted(best.values(), key=lambda row: -found[row])[:6]
    assert [hit["segment_id"] for hit in hits] == expected
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    everything = ask(capsys, recordings, *words[:2], "-k", "99", *SPACE, "--group-by", "clip")
    assert len(everything["hits"]) == N_CLIPS


def test_several_examples_for_and_against(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hits = ask(
        capsys, recordings, "--clip", "r01", "--clip", "r02", "--unlike", "r03", "r04", *SPACE
    )["hits"]
    first = VECTORS[::PER_CLIP].astype(np.float64)  # of a clip without a part: its first segment
    unit = first / np.linalg.norm(first, axis=1, keepdims=True)
    query = unit[[1, 2]].mean(axis=0) - 0.5 * unit[[3, 4]].mean(axis=0)
    score = np.mean([cosines(first[i]) for i in (1, 2)], axis=0)
    score -= 0.5 * np.mean([cosines(first[i]) for i in (3, 4)], axis=0)
    assert [hit["segment_id"] for hit in hits] == np.argsort(-score, kind="stable")[:10].tolist()
    np.testing.assert_allclose(
        [hit["score"] for hit in hits], np.sort(cosines(query))[::-1][:10], atol=1e-6
    )


def test_diverse_hits_pass_over_what_is_alike(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--clip", "r03", "-k", "12", *SPACE)
    diverse = ask(capsys, recordings, *words, "--diverse", "0.3")["hits"]
    assert len({hit["clip_id"] for hit in diverse}) > 5
    assert diverse[0]["segment_id"] == 3 * PER_CLIP
    assert ask(capsys, recordings, *words, "--diverse", "1") == ask(capsys, recordings, *words)


def test_every_space_at_once_with_their_agreement(
    recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ask(capsys, recordings, "--clip", "r03", "--everywhere", "-k", "8")
    lists = {}
    for layer in (0, 1):
        alone = ask(
            capsys,
            recordings,
            "--clip",
            "r03",
            "-k",
            "8",
            "--encoder",
            "made",
            "--layer",
            str(layer),
        )["hits"]
        lists[layer] = [hit["segment_id"] for hit in alone]
        of_layer = [hit for hit in answer["hits"] if hit["layer"] == layer]
        assert [hit["segment_id"] for hit in of_layer] == lists[layer]
        assert {hit["encoder"] for hit in of_layer} == {"made"}
    (agreement,) = answer["agreement"]
    assert (agreement["first"], agreement["second"]) == ("made layer 0", "made layer 1")
    assert agreement["overlap_at_k"] == overlap_at_k(lists[0], lists[1], 8)
    assert agreement["rank_biased_overlap"] == rank_biased_overlap(lists[0], lists[1])


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_other_metrics(recordings: Path, capsys: pytest.CaptureFixture[str], metric: str) -> None:
    hits = ask(capsys, recordings, "--clip", "r07", "--metric", metric, *SPACE)["hits"]
    wide, query = VECTORS.astype(np.float64), VECTORS[7 * PER_CLIP].astype(np.float64)
    score = wide @ query if metric == "inner_product" else -np.linalg.norm(wide - query, axis=1)
    assert [hit["segment_id"] for hit in hits] == np.argsort(-score, kind="stable")[:10].tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(score)[::-1][:10], rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*SPACE,), "nothing to search for"),
        (("--clip", "r01", "--clip", "r02", "--start", "3", *SPACE), "expected one to cut"),
        (("--clip", "r01", "--encoder", "made"), "--everywhere"),
        (("--clip", "r01", "--everywhere", *SPACE), "--everywhere"),
        (("--clip", "r01", "--diverse", "1.5", *SPACE), "expected 0 to 1"),
        (("--clip", "r01", "--unlike", "r02", "--metric", "l2", *SPACE), "no meaning"),
        (("--clip", "r01", "--unlike", "nobody", *SPACE), "no clip 'nobody'"),
        (("--clip", "r01", "--unlike", "r01", "r01", "--clip", "r01", "-k", "0", *SPACE), "-k 0"),
    ],
)
def test_what_cannot_be_asked_is_said(
    recordings: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert main(["search", "--workspace", str(recordings), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Six sounds in the space of a small CLAP."""
    folder = tmp_path_factory.mktemp("words")
    save_clap_with_words(folder / "clap")
    rng = np.random.default_rng(0)
    for i in range(6):
        times = np.arange(8000) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * 200 * 1.7**i * times) + 0.05 * i * rng.normal(size=8000)
        soundfile.write(folder / f"tone-{i}.wav", tone, 16_000, subtype="FLOAT")
    where, name = ["--workspace", str(folder / "w")], f"hf:{folder / 'clap'}"
    files = [str(folder / f"tone-{i}.wav") for i in range(6)]
    assert main(["import", *files, *where]) == 0
    assert main(["embed", *where, "--encoders", name, "--pooling", "native"]) == 0
    return folder / "w", name


def test_words_find_what_lies_nearest_to_them(
    described: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = described
    stored = Workspace.open(folder).embeddings(name, -1, "native")
    unit = stored.vectors / np.linalg.norm(stored.vectors, axis=1, keepdims=True)
    words, rain = load_text_encoder(name).embed(["dog barking", "rain"])
    space = ("--encoder", name, "-k", "6")
    hits = ask(capsys, folder, "--text", "dog barking", *space)["hits"]
    assert [hit["segment_id"] for hit in hits] == stored.segment_ids[
        np.argsort(-unit @ words)
    ].tolist()
    np.testing.assert_allclose(
        [hit["score"] for hit in hits], np.sort(unit @ words)[::-1], atol=1e-5
    )
    both = ask(
        capsys,
        folder,
        "--text",
        "dog barking",
        "--text",
        "rain",
        "--clip",
        str(stored.clip_ids[3]),
        *space,
    )["hits"]
    mean = (words + rain + unit[3]) / 3
    assert [hit["segment_id"] for hit in both] == stored.segment_ids[
        np.argsort(-unit @ mean)
    ].tolist()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--text", "dog", "--everywhere"), "native space of one encoder"),
        (("--text", "dog", "--pooling", "mean", "--encoder", "{name}"), "native space"),
        (("--text", " ", "--encoder", "{name}"), "without words"),
        (("--text", "dog", "--encoder", "usad-demo"), "no embeddings of 'usad-demo'"),
    ],
)
def test_words_without_a_space_for_them_are_refused(
    described: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
    asked: tuple[str, ...],
    words: str,
) -> None:
    folder, name = described
    filled = [one.format(name=name) for one in asked]
    assert main(["search", "--workspace", str(folder), *filled, "--json"]) == 2
    assert words in capsys.readouterr().err
