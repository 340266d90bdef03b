"""The suite in one process and in several."""

import pytest

from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.workspace import Workspace

PANELS = ["similarity", "inheritance", "variance", "errors", "neighbourhoods"]


def test_two_processes_find_what_one_finds(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=19))
    calls: list[tuple[int, int, str]] = []
    alone = compute_diagnosis(data, PANELS)
    both = compute_diagnosis(data, PANELS, n_processes=2, progress=lambda *call: calls.append(call))
    assert list(both.panels) == list(alone.panels) == PANELS
    for name in PANELS:
        # Words, since NaN equals nothing; every digit counts.
        assert repr(both.panels[name].rows) == repr(alone.panels[name].rows), name
        assert repr(both.panels[name].influential) == repr(alone.panels[name].influential), name
    assert both.warnings == alone.warnings
    assert [done for done, _, _ in calls] == [1, 2, 3, 4, 5, 5]


def test_an_error_of_another_process_keeps_its_type_and_words(copied: Workspace) -> None:
    config = DiagnosisConfig(n_permutations=19, layers=(9,))
    data = load_diagnosis_data(copied, "s", config=config)
    with pytest.raises(UnknownNameError, match="no layer 9 of 's', expected one of"):
        compute_diagnosis(data, ["attribution", "partial"], n_processes=2)
