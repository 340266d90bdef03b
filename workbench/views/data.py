"""Data: the tables of the workspace as they are, and a box for SQL."""

from typing import Any

import pandas as pd
import streamlit as st

from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.label_edits import MAX_LABEL, label_clips, label_history
from usad_workbench.core.storage.saved_queries import save_query, saved_queries
from usad_workbench.indexes.check import check_workspace
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import clips, data, maps
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.behind import show_tasks_behind
from usad_workbench.workbench.widgets.embed_here import show_embed
from usad_workbench.workbench.widgets.player import segment_player
from usad_workbench.workbench.widgets.take_in import take_in

QUICK_S = 1.0  # most answers are there before a word about waiting can be read
REFRESH_S = 0.5
TABS = ("Clips", "Import", "Checks", "Failures", "Spaces", "Indexes", "Maps", "Tasks", "SQL")


def view() -> None:
    page.head("Data", "The tables of this workspace as they are.")
    tabs = dict(zip(TABS, st.tabs(list(TABS)), strict=True))
    for name, show in (
        ("Clips", all_clips),
        ("Import", imports),
        ("Checks", checks),
        ("Failures", failures),
        ("Spaces", spaces),
        ("Indexes", indexes),
        ("Maps", all_maps),
        ("Tasks", tasks),
        ("SQL", sql_box),
    ):
        with tabs[name], page.show_errors():
            show()


def all_clips() -> None:
    left, middle, right = st.columns([2, 2, 3])
    with left:
        domains = page.choose_several(
            "Domains", clips.distinct(state.sql, "domain"), key="data.domains"
        )
    with middle:
        datasets = page.choose_several(
            "Data sets", clips.distinct(state.sql, "dataset"), key="data.datasets"
        )
    with right:
        text = st.text_input("Clip or label contains", key="data.text")
    segments = data.find_segments(state.sql, clips.condition(domains, datasets), text)
    total = int(state.sql("SELECT count(*) AS n FROM segments")["n"][0])
    st.caption(f"{count(len(segments), 'segment')} of {total:,}. Click a row to hear it.")
    picked = table.pick_row(segments, key="data.clips", height=390)
    if picked is not None:
        with st.container(border=True):
            segment_player(
                clips.segment_of(segments.iloc[picked].to_dict()), key="data.spectrogram"
            )
            edit_label(segments.iloc[picked])
    labels_changed()


def imports() -> None:
    """Sounds that are dropped here, and vectors for clips that have none."""
    take_in()
    if clips.distinct(state.sql, "domain"):
        st.divider()
        page.section("Vectors", "Each encoder embeds the clips that it has not embedded yet.")
        show_embed("data.embed")


def edit_label(row: "pd.Series[Any]") -> None:
    """Another label for the clip of a segment; who gave it when is kept."""
    with (
        st.form("data.label", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        was = "" if pd.isna(row["label"]) else str(row["label"])
        label = st.text_input("Label of the clip", was, max_chars=MAX_LABEL)
        if st.form_submit_button("Keep") and label != was:
            with page.show_errors():
                label_clips(state.workspace(), [str(row["clip_id"])], label)
                st.rerun()


def labels_changed() -> None:
    """What people made of the labels, and what is to be computed again after it."""
    changed = label_history(state.workspace())
    if changed.empty:
        return
    page.section("Labels that were changed")
    show_tasks_behind()
    table.show(changed, file_name="label_edits.csv")


def checks() -> None:
    st.caption("Quick counts of what should fit together.")
    table.show(data.check_table(data.checks(state.sql, state.workspace())))
    st.caption("The full check also verifies hashes, vectors and indexes, as `usad check` does.")
    if st.button("Run the full check"):
        bar = st.progress(0.0)

        def report(done: int, total: int, what: str) -> None:
            if done % max(1, total // 100) == 0:  # each is a message to the browser
                bar.progress(done / total, escape_markdown(what))

        problems = check_workspace(state.workspace(), report)
        bar.empty()
        if problems:
            table.show(pd.DataFrame({"problem": problems}))
        else:
            st.success("Nothing is wrong.")


def failures() -> None:
    failures = data.failures(state.sql)
    if failures.empty:
        page.empty("Nothing has failed.")
        return
    listed = failures.head(data.MAX_FAILURES)
    rest = f" The first {len(listed)} are listed." if len(listed) < len(failures) else ""
    st.caption(f"{count(len(failures), 'item')} could not be used, each with its reason.{rest}")
    table.show_whole(listed)
    page.download(failures, "failures.csv")


def spaces() -> None:
    spaces = data.spaces(state.sql)
    if spaces.empty:
        page.is_embedded()
        return
    st.caption(
        "A space is one layer of one encoder with one way of pooling frames into a vector. What "
        "made it (weights, window, rate, code version) is stored, so that only vectors that fit "
        "are ever compared."
    )
    table.show(spaces, file_name="spaces.csv")


def indexes() -> None:
    indexes = data.indexes(state.sql)
    if indexes.empty:
        if page.is_embedded():
            page.empty(
                "There are no indexes yet: search compares with every vector.",
                page.command("index"),
            )
        return
    st.caption(
        "Recall at 10: the share of the ten nearest that the index finds, against exact search "
        "on up to 1,000 queries. Empty until `usad index test` has measured it."
    )
    table.show(indexes, file_name="indexes.csv")


def all_maps() -> None:
    available = maps.available_maps(state.sql)
    if available.empty:
        if page.is_embedded():
            page.empty("There are no maps yet.", page.command("project"))
        return
    st.caption("Trustworthiness: 1 where every neighbour on the map is one in the space.")
    table.show(available, file_name="maps.csv")


def tasks() -> None:
    tasks = data.tasks(state.sql)
    if tasks.empty:
        page.empty(data.NO_TASKS, page.command("import", *data.TASKS))
        return
    table.show(tasks, file_name="tasks.csv")


def sql_box() -> None:
    st.caption(
        "One statement of read-only DuckDB SQL over the tables of this workspace; it can reach "
        f"nothing else. It runs beside everything else, at most {state.TYPED.time_s:.0f} s."
    )
    kept = saved_queries(state.workspace())
    queries = {**data.EXAMPLES, **kept}
    example = page.choose("Example or saved query", list(queries), key="data.example")
    query = st.text_area("Query", queries[example], key=f"data.sql.{example}", height=130)
    run, name, save = st.columns([1, 3, 1], vertical_alignment="bottom")
    if run.button("Run", type="primary", width="stretch"):
        state.ask_sql(query)
    called = name.text_input("Save as", example if example in kept else "", key="data.sql.name")
    if save.button("Save", width="stretch", disabled=not called.strip()):
        save_query(state.workspace(), called, query)
        st.toast("Saved. An empty query removes its name.")
        st.rerun()
    asked = state.asked_sql()
    if asked is None:
        return
    if not asked.is_done:
        asked.wait(QUICK_S)
    if not asked.is_done:
        # Only this part is drawn again and again, and only while the query runs.
        st.fragment(running, run_every=REFRESH_S)(asked)
        return
    show_answer(asked)


def running(asked: state.Asked) -> None:
    """What stands where the answer will be, with a way to end it."""
    if asked.is_done:
        st.rerun()
    words, button = st.columns([4, 1], vertical_alignment="center")
    words.caption(f"Running for {asked.seconds:.0f} s…")
    if button.button("Cancel", icon=":material/stop:"):
        asked.cancel()
        st.rerun()


def show_answer(asked: state.Asked) -> None:
    answer = asked.future.result()
    rows = answer.frame()
    shown = rows.head(data.MAX_ROWS)
    st.caption(data.describe_answer(len(rows), len(shown), answer.is_cut))
    table.show(shown, is_raw=True)
    page.download(rows, "query.csv")
    as_selection(rows)


def as_selection(rows: pd.DataFrame) -> None:
    """A tag for the segments of an answer, which the map takes as a selection."""
    name = next((one for one in ("segment_id", "clip_id") if one in rows), None)
    if name is None or rows.empty:
        st.caption("Rows with a column segment_id or clip_id can be selected on the map.")
        return
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    tag = left.text_input("Tag for these rows", key="data.tag", placeholder="check by ear")
    if right.button("Tag", width="stretch", disabled=not tag.strip()):
        ids = data.segment_ids(state.sql, rows[name])
        edit = tag_segments(state.workspace(), ids, tag)
        st.toast(f"{count(edit.n, 'segment')} have the tag. Ctrl-Z on the map removes it.")
        st.session_state["data.tagged"] = tag
    if tagged := st.session_state.get("data.tagged"):
        st.link_button(
            "Open the tag on the map", data.map_address(tag=tagged), icon=":material/scatter_plot:"
        )


if __name__ == "__main__":
    view()
