"""Choosing a clip to look for: any clip of a large collection, and never another instead."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.stored_vectors import ENCODER, store
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import update_index
from usad_workbench.indexes.files import index_file
from usad_workbench.workbench.presenters.hits import MAX_OPTIONS, query_options

N = 3 * MAX_OPTIONS
SCRIPT = """
import streamlit as st
from usad_workbench.workbench import state
from usad_workbench.workbench.views import search
state.open_workspace({folder!r})
asked = {asked!r}
if "asked" not in st.session_state and asked is not None:
    st.session_state["asked"] = True
    state.ask_query(asked)
search.view()
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    vectors = np.random.default_rng(0).normal(size=(N, 4))
    workspace = store(tmp_path_factory.mktemp("large") / "w", vectors)
    with workspace.database.write() as connection:
        connection.execute("UPDATE clips SET label = 'Ünusual 50%' WHERE clip_id = 'c002990'")
    return workspace


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py"])


def page_of(folder: Path, asked: int | None = None) -> AppTest:
    script = SCRIPT.format(folder=str(folder), asked=asked)
    page = AppTest.from_string(script, default_timeout=60).run()
    assert not page.exception, page.exception
    return page


def chosen(page: AppTest) -> Any:
    return next(box for box in page.selectbox if box.label.startswith("Clip"))


def typed(page: AppTest, text: str) -> AppTest:
    page = page.text_input[0].set_value(text).run()
    assert not page.exception, page.exception
    return page


def shown(page: AppTest) -> str:
    return str(page.markdown[0].value)


@pytest.mark.parametrize("segment", [0, MAX_OPTIONS, N - 1])
def test_a_segment_that_another_page_asks_for_is_the_query(large: Workspace, segment: int) -> None:
    page = page_of(large.folder, segment)
    assert chosen(page).value == segment
    assert f"c{segment:06}" in shown(page)
    assert any("the query itself" in str(c.value) for c in page.caption)


def test_any_clip_is_found_by_its_words_and_chosen(large: Workspace) -> None:
    page = page_of(large.folder)
    assert len(chosen(page).options) == MAX_OPTIONS and chosen(page).value == 0
    for text, segment in (("C002777", 2777), ("ünusual 50% 2990", 2990)):
        page = typed(page, text)
        assert chosen(page).value != segment  # typing alone chooses nothing else
        page = chosen(page).set_value(segment).run()
        assert f"c{segment:06}" in shown(page)
    page = typed(page, "")
    assert chosen(page).value == 2990 and "c002990" in shown(page)


def test_words_that_match_nothing_leave_what_was_chosen(large: Workspace) -> None:
    page = typed(page_of(large.folder, 2500), "no such clip")
    assert chosen(page).value == 2500 and len(chosen(page).options) == 1
    assert "c002500" in shown(page)


def test_a_segment_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.eye(5))
    page = page_of(workspace.folder, 99)
    assert any("not in the collection any more" in str(w.value) for w in page.warning)
    assert chosen(page).value is None
    assert not any("score" in str(m.value) for m in page.markdown)


def test_small_collections_have_one_list(tmp_path: Path) -> None:
    page = page_of(store(tmp_path / "w", np.eye(5)).folder)
    assert not page.text_input and len(chosen(page).options) == 5


def test_options_match_every_word_and_take_signs_as_they_are(large: Workspace) -> None:
    def ids(text: str, keep: int | None = None) -> list[int]:
        return query_options(
            lambda query, parameters=(): large.read(query, parameters), text, keep
        )["segment_id"].tolist()

    assert ids("ÜNUSUAL") == [2990] and ids("50%") == [2990] and ids("5_%") == []
    assert ids("made c00012") == [*range(120, 130)]
    assert ids("' OR 1=1 --") == []
    assert ids("c000001", keep=2) == [2, 1]


def test_an_index_that_cannot_be_used_is_said_on_the_page(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.eye(5))
    update_index(workspace, ENCODER, 0)
    assert not page_of(workspace.folder, 2).warning
    file = index_file(workspace, workspace.space_id(ENCODER, 0))
    assert file is not None
    file.write_bytes(b"")
    page = page_of(workspace.folder, 2)
    assert any("cannot be used" in str(warning.value) for warning in page.warning)
    assert "c000002" in shown(page)
