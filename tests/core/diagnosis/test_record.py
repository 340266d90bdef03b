"""What a diagnosis leaves in the workspace: tables anybody can query, replaced as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np

from tests.planted import add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import (
    Panel,
    PanelRow,
    Shares,
    cell_name,
    most_influential,
)
from usad_workbench.core.diagnosis.record import (
    is_diagnosed,
    store_diagnosis,
    stored_influential_clips,
    stored_panels,
)
from usad_workbench.core.diagnosis.suite import Diagnosis, compute_diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeRow(PanelRow):
    domain: str
    value: float
    shares: Shares
    layers: tuple[int, ...]


VERDICT = Verdict(question="inherited", verdict="undecided", rule="r", evidence={"a": "b"})


def _diagnosis(
    workspace: Workspace, value: float, where: str = "", verdicts: Sequence[Verdict] = ()
) -> Diagnosis:
    data = load_diagnosis_data(
        workspace, "s", config=DiagnosisConfig(where=where, n_permutations=19)
    )
    found = compute_diagnosis(data, ["similarity"])
    row = MadeRow(domain="speech", value=value, shares={"a": 0.5, "b": np.nan}, layers=(1, 2))
    ids = data.clips.clip_id.tolist()
    clips = [
        most_influential(cell_name(domain="speech"), ids, np.arange(len(ids)) / 10, "jackknife")
    ]
    found.panels["made"] = Panel(name="made", row_type=MadeRow, rows=[row], influential=clips)
    return replace(found, verdicts=verdicts)


def test_plain_duckdb_reads_the_panels(copied: Workspace) -> None:
    store_diagnosis(copied, _diagnosis(copied, 0.25, verdicts=[VERDICT]))
    with duckdb.connect(str(copied.database.path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT value, shares['a'], shares['b'], layers FROM diagnosis_made"
        ).fetchall()
        assert rows == [(0.25, 0.5, None, [1, 2])]
        assert connection.execute(
            "SELECT question, evidence FROM diagnosis_verdicts"
        ).fetchall() == [("inherited", '{"a": "b"}')]


def test_the_same_again_replaces_and_a_selection_stands_beside(copied: Workspace) -> None:
    for value in (0.25, 0.5):
        store_diagnosis(copied, _diagnosis(copied, value, verdicts=[VERDICT]))
    store_diagnosis(copied, _diagnosis(copied, 0.75, "domain = 'speech'"))
    assert stored_panels(copied, "s")["made"].value.tolist() == [0.5]
    selected = stored_panels(copied, "s", "domain = 'speech'")
    assert selected["made"].value.tolist() == [0.75]
    assert set(selected["similarity"].domain) == {"speech"}
    assert len(stored_panels(copied, "s")["verdicts"]) == 1


def test_the_ends_of_a_cell_are_kept(copied: Workspace) -> None:
    store_diagnosis(copied, _diagnosis(copied, 0.25))
    behind = stored_influential_clips(copied, "s", "made", "domain=speech")
    assert len(behind) == 200
    assert behind.clip_id.iloc[0] == "c239"
    assert behind.clip_id.iloc[-1] == "c000"
    assert stored_influential_clips(copied, "s", "made", "domain=nowhere").empty


def test_a_selection_leaves_the_whole_table_alone(copied: Workspace) -> None:
    compute_diagnosis(
        load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=19)), ["similarity"]
    )
    before = copied.sql("SELECT * FROM teacher_similarity")
    panel = _diagnosis(copied, 0.0, "domain = 'speech'").panels["similarity"]
    after = copied.sql("SELECT * FROM teacher_similarity")
    assert before.equals(after)
    whole = before[(before.domain == "speech") & (before.teacher == "a")]
    mine = {
        (r["student_layer"], r["teacher_layer"], r["measure"]): r["value"]
        for r in panel.documents()
        if r["teacher"] == "a"
    }
    for row in whole.itertuples():
        assert mine[row.student_layer, row.teacher_layer, row.measure] == row.value


def test_a_further_encoder_or_other_vectors_ask_for_another_diagnosis(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=19))
    store_diagnosis(copied, compute_diagnosis(data, ["similarity"]))
    assert is_diagnosed(copied, ["s"], ["similarity"])
    assert not is_diagnosed(copied, ["s"], ["similarity", "inheritance"])
    shape = copied.embeddings("k", 2).vectors.shape
    rng = np.random.default_rng(5)
    add_encoder(copied, "new", "control", "speech", [rng.normal(size=shape)])
    assert not is_diagnosed(copied, ["s"], ["similarity"])
