"""Charts that stand beside each other, put below each other for the screen of a phone."""

import plotly.graph_objects as go

FOOT_PX, HEAD_PX = 64, 30
"""Room below a chart for the numbers and the title of its axis; at least so much above for its own."""
NEAR = 1e-3
"""Two places on a figure that are this close, as parts of its size, are the same."""


def stacked(figure: go.Figure) -> go.Figure:
    """The figure with its charts in one column, each as high as before, with its own axes.

    Args:
        figure: Charts in rows and columns, as ``make_subplots`` places them, with titles over them.

    >>> from plotly.subplots import make_subplots
    >>> pair = make_subplots(cols=2, subplot_titles=["a", "b"]).update_layout(height=300)
    >>> _ = pair.add_bar(y=[1], row=1, col=1).add_bar(y=[2], row=1, col=2)
    >>> below = stacked(pair).layout
    >>> below.xaxis.domain, below.yaxis.domain[0] > below.yaxis2.domain[1]
    ((0, 1), True)
    """
    found = go.Figure(figure)
    charts = _charts(found)
    if not are_beside(found):
        return found
    margin = found.layout.margin
    edges_px = (margin.t or 0) + (margin.b or 0)
    inner_px = (found.layout.height or 0) - edges_px
    heights_px = [inner_px * (y.domain[1] - y.domain[0]) for _, y in charts]
    between_px = FOOT_PX + max(HEAD_PX, margin.t or 0)  # as much as the title of the first has
    total_px = sum(heights_px) + between_px * (len(charts) - 1)
    top_px = total_px
    places = []
    for height_px in heights_px:
        places.append((max(0.0, (top_px - height_px) / total_px), top_px / total_px))
        top_px -= height_px + between_px
    for note in found.layout.annotations:  # before the charts move: places tell whose each is
        at = _chart_of(note, charts)
        if at is not None:
            note.update(x=0.5, xref="paper", y=places[at][1], yref="paper")
    for (x, y), place in zip(charts, places, strict=True):
        x.update(domain=[0, 1], showticklabels=True)
        y.update(domain=place, showticklabels=True)
    found.update_layout(height=total_px + edges_px)
    return found


def are_beside(figure: go.Figure) -> bool:
    """Whether some charts of a figure stand beside each other.

    >>> are_beside(go.Figure(go.Bar(y=[1]))), are_beside(go.Figure(go.Pie(values=[1])))
    (False, False)
    """
    return len({x.domain for x, _ in _charts(figure)}) > 1


def _charts(figure: go.Figure) -> list[tuple[go.layout.XAxis, go.layout.YAxis]]:
    """The pairs of axes on which something is drawn, in reading order."""
    names = dict.fromkeys(
        (trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data if "xaxis" in trace
    )
    pairs = [
        (
            figure.layout[x.replace("x", "xaxis", 1)],
            figure.layout[y.replace("y", "yaxis", 1)],
        )
        for x, y in names
    ]
    drawn = [(x, y) for x, y in pairs if x.domain is not None and y.domain is not None]
    return sorted(drawn, key=lambda pair: (-pair[1].domain[1], pair[0].domain[0]))


def _chart_of(
    note: go.layout.Annotation, charts: list[tuple[go.layout.XAxis, go.layout.YAxis]]
) -> int | None:
    """The chart that an annotation is the title of; none where it is another."""
    for i, (x, y) in enumerate(charts):
        name = x.plotly_name.replace("axis", "")
        middle = (x.domain[0] + x.domain[1]) / 2
        is_over = note.y is not None and abs(note.y - y.domain[1]) < NEAR
        if is_over and (note.xref == f"{name} domain" or abs(note.x - middle) < NEAR):
            return i
    return None
