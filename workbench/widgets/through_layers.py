"""Every task through the layers of some encoders, computed when somebody asks for it."""

import streamlit as st

from usad_workbench.core.evaluation.layer_scores import layer_scores
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import layer_curves
from usad_workbench.workbench.presenters.encoders import embedded, roles_of, student_of
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.job import await_result

ASKED = "probes.through"
PROTOCOLS = ("knn", "linear")
N_FIRST = 4


@st.fragment
def show_through_layers(protocol: str) -> None:
    """Which encoders, a button, and a small chart for each task."""
    if protocol not in PROTOCOLS:
        return
    page.section(
        "Through the layers",
        "Every layer by itself, on the same folds. The best of many is too high by its luck: the values "
        "above, of layers chosen on training folds, are the ones to quote.",
    )
    names, roles = encoder_names(state.sql), roles_of(state.sql)
    known = [name for name in roles if name in set(embedded(state.sql))]
    student = student_of(state.sql)
    first = [name for name in known if name == student or roles[name] == "teacher"][:N_FIRST]
    chosen = st.multiselect(
        "Encoders",
        known,
        default=first,
        format_func=lambda one: short_name(one, names),
        key="probes.through.encoders",
    )
    if st.button("Compute", key="probes.through.run", disabled=not chosen):
        st.session_state[ASKED] = (protocol, tuple(chosen))
    if ASKED not in st.session_state:
        return
    asked, encoders = st.session_state[ASKED]
    workspace = state.workspace()
    key = ("through", str(workspace.folder), workspace.database.state(), asked, encoders)
    scores = await_result(
        key,
        "Probing layers",
        lambda progress: layer_scores(workspace, encoders, protocol=asked, progress=progress),
    )
    if scores is None:
        return
    rows = layer_curves.score_table(scores)
    if rows.empty:
        st.caption("No probe can be asked any of the tasks.")
        return
    page.charts(
        layer_curves.curves(rows, names, roles),
        key="probes.through.chart",
        alt="Value of each encoder along its depth with intervals, one chart per task.",
    )
    st.caption("Depth: 0 enters the first block, 1 is the last layer. Dotted: chance. Bars: 95%.")
    with st.expander(f"All {len(rows):,} values as a table"):
        table.show(rows.drop(columns="depth"), file_name="layer_scores.csv")
