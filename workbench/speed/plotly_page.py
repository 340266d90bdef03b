"""A map as Streamlit and plotly make one: what ``usad bench app`` runs beside the instrument."""

import sys

import pandas as pd
import plotly.graph_objects as go
import streamlit as st


@st.cache_data
def points(path: str) -> pd.DataFrame:
    """The table of points, read once."""
    return pd.read_parquet(path)


def page(path: str) -> None:
    """A box for the layer, a chart that answers lassos, a table."""
    frame = points(path)
    layers = sorted(name[1:] for name in frame if name.startswith("x"))
    layer = st.selectbox("Layer", layers, index=len(layers) - 1)
    figure = go.Figure(
        [
            go.Scattergl(
                x=part[f"x{layer}"],
                y=part[f"y{layer}"],
                mode="markers",
                marker={"size": 3},
                name=str(domain),
                customdata=part.index.to_numpy(),
            )
            for domain, part in frame.groupby("domain")
        ]
    )
    figure.update_layout(
        title=f"layer {layer}",
        dragmode="lasso",
        height=560,
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        xaxis={"range": [-1.2, 1.2]},
        yaxis={"range": [-1.2, 1.2]},
    )
    event = st.plotly_chart(figure, on_select="rerun", selection_mode="lasso", key="map")
    chosen = [point["customdata"] for point in event["selection"]["points"]]
    rows = [int(one[0] if isinstance(one, list) else one) for one in chosen]
    st.caption(f"{len(rows):,} of {len(frame):,} selected")
    st.dataframe(frame.iloc[rows[:1000]][["clip_id", "domain", "label"]])


if __name__ == "__main__":
    page(sys.argv[1])
