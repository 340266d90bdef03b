"""Results of an LLM benchmark come in as rows, stand as evidence, and decide nothing."""

from pathlib import Path

import pytest

from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.llm_results import import_llm_results, llm_panel
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.workspace import Workspace

HEAD = "encoder,benchmark,task,metric,value\n"


def write(folder: Path, rows: str) -> Path:
    path = folder / "llm.csv"
    path.write_text(HEAD + rows)
    return path


def test_the_student_stands_beside_every_encoder_with_the_same_task(
    copied: Workspace, tmp_path: Path
) -> None:
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=19))
    assert llm_panel(data) is None
    rows = "s,made,t1,accuracy,0.6\ns,made,t2,accuracy,0.2\na,made,t1,accuracy,0.7\n"
    assert import_llm_results(copied, write(tmp_path, rows + "a,made,t2,accuracy,0.5\n")) == 4
    panel = llm_panel(data)
    assert panel is not None
    assert [(r["task"], r["other"], round(r["student_minus"], 9)) for r in panel.documents()] == [
        ("t1", "a", -0.1),
        ("t2", "a", -0.3),
    ]


def test_the_same_row_again_replaces_it(copied: Workspace, tmp_path: Path) -> None:
    for value in ("0.6", "0.8"):
        import_llm_results(copied, write(tmp_path, f"s,made,t1,accuracy,{value}\n"))
    assert copied.sql("SELECT value FROM llm_results").value.tolist() == [0.8]


def test_it_is_evidence_of_the_falsifiers_and_no_verdict(copied: Workspace, tmp_path: Path) -> None:
    import_llm_results(copied, write(tmp_path, "s,made,t1,accuracy,0.1\na,made,t1,accuracy,0.9\n"))
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=19))
    found = compute_diagnosis(data, ["routing"])
    before = {v.question: v for v in decide(found, load_rules()[0])}
    panel = llm_panel(data)
    assert panel is not None
    found.panels[panel.name] = panel
    after = {v.question: v for v in decide(found, load_rules()[0])}
    assert before["falsified"].evidence["after alignment to an LLM"] == "not measured"
    assert after["falsified"].evidence["after alignment to an LLM"] == {
        "made, student minus a": "-0.800, no interval, n = 1 tasks"
    }
    assert after["falsified"].verdict == before["falsified"].verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder,benchmark,task,value\ns,b,t,1\n", "no column metric"),
        (HEAD + "s,b,t,m,much\n", "without a value"),
        (HEAD + "s,b,t,m,nan\n", "without a value"),
        (HEAD + "s,b,t,m,1\ns,b,t,m,2\n", "s/b/t/m twice"),
    ],
)
def test_what_is_refused(copied: Workspace, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "llm.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        import_llm_results(copied, path)
    assert copied.sql("SELECT * FROM llm_results").empty


def test_a_file_that_is_not_there(copied: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        import_llm_results(copied, tmp_path / "nothing.csv")
