"""Map: one embedding space in two dimensions, the sound one click away."""

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import clips, data, maps
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.player import segment_player
from usad_workbench.workbench.widgets.scatter import Picked, pick_points
from usad_workbench.workbench.widgets.space import choose_encoder, choose_layer

METHODS = {"umap": "UMAP", "pca": "PCA"}


def view() -> None:
    page.head(
        "Map",
        "Each point is a segment of a clip; near points are alike to this layer of this encoder. "
        "Click a point to hear it. To select many, take the box or the lasso from the bar above "
        "the map.",
    )
    available = maps.available_maps(state.sql)
    if available.empty:
        if page.is_embedded():
            page.empty("There are no maps yet.", page.command("project"))
        return
    points, faithfulness, column = choose(available)
    domains, datasets = filters()
    shown, context = maps.split(points, domains, datasets)
    n_all = int(state.sql("SELECT count(*) AS n FROM segments")["n"][0])
    st.caption(
        f"{len(shown):,} of {count(n_all, 'segment')} shown"
        + (f", {len(context):,} in grey for context" if len(context) else "")
        + f".{maps.describe_sample(max(len(shown), len(context)))} {maps.describe_faithfulness(faithfulness)}"
    )
    left, right = st.columns([8, 5], gap="medium")
    with left:
        picked = pick_points(maps.map_figure(shown, context, column), key="map.chart")
    row = below(shown, picked)
    with right:
        listen(row)


def choose(available: pd.DataFrame) -> tuple[pd.DataFrame, maps.Faithfulness | None, str]:
    """The points of the chosen map, how faithful it is, and the colour column."""
    columns = st.columns([4, 3, 2, 3])
    with columns[0]:
        encoder = choose_encoder("map.encoder", among=available["encoder"].unique().tolist())
    of_encoder = available[available["encoder"] == encoder]
    with columns[1]:
        layer = choose_layer(
            "map.layer", encoder, among=sorted(of_encoder["layer"].unique().tolist())
        )
    of_encoder = of_encoder[of_encoder["layer"] == layer]
    with columns[2]:
        names = list(dict.fromkeys(zip(of_encoder["method"], of_encoder["pooling"], strict=True)))
        method, pooling = page.choose(
            "Method",
            sorted(names, key=lambda m: (m[0] != "umap", m[1])),
            key="map.method",
            show=lambda m: METHODS.get(m[0], m[0]) + ("" if m[1] == "mean" else f" · {m[1]}"),
            note="UMAP keeps neighbourhoods, PCA keeps the directions of largest spread.",
        )
    points = maps.map_points(state.sql, encoder, layer, pooling, method)
    with columns[3]:
        column = page.choose("Colour", maps.colour_columns(points), key="map.colour")
    return points, maps.faithfulness(of_encoder, layer, pooling, method), column


def filters() -> tuple[list[str], list[str]]:
    left, right = st.columns(2)
    with left:
        domains = page.choose_several(
            "Domains", clips.distinct(state.sql, "domain"), key="map.domains"
        )
    with right:
        datasets = page.choose_several(
            "Data sets", clips.distinct(state.sql, "dataset"), key="map.datasets"
        )
    return domains, datasets


def below(shown: pd.DataFrame, picked: Picked) -> clips.Segment | None:
    """The table of the selection; the segment whose sound is asked for."""
    chosen = picked.of(shown) if picked.ids or picked.outlines else shown
    is_all = chosen is shown
    listed = chosen.head(data.MAX_ROWS)
    page.section(
        "Segments on the map" if is_all else "Selected segments",
        f"{len(chosen):,} of {len(shown):,}"
        + (f", the first {len(listed):,} of them listed" if len(listed) < len(chosen) else "")
        + ". Click a row to hear it"
        + ("." if is_all else "; double-click the map to select nothing."),
    )
    # Another selection is another table: a row clicked before has no meaning in it.
    ids = tuple(listed["segment_id"]) if not is_all else ()
    row = table.pick_row(listed, key=f"map.table.{hash(ids)}")
    if row is not None:
        return clips.segment_of(listed.iloc[row].to_dict())
    is_single = not is_all and len(chosen) == 1
    return clips.segment_of(chosen.iloc[0].to_dict()) if is_single else None


def listen(segment: clips.Segment | None) -> None:
    with st.container(border=True):
        if segment is None:
            st.markdown("**Nothing to hear yet**")
            st.caption("Click a point of the map or a row of the table.")
            return
        segment_player(segment, key="map.spectrogram")
        st.caption("Picture and sound are exactly the part that was embedded.")
        if st.button("Find similar", icon=":material/search:"):
            state.ask_query(segment.segment_id)
            st.switch_page("views/search.py")


if __name__ == "__main__":
    view()
