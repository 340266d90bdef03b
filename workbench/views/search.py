"""Search: the nearest segments to a sound, in two encoders side by side."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import clips, hits, overview
from usad_workbench.workbench.presenters.encoders import layers_of, roles_for, roles_of
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.player import clip_player, segment_card, segment_player
from usad_workbench.workbench.widgets.query import FromCollection, Query, choose_query
from usad_workbench.workbench.widgets.space import choose_encoder, choose_layer


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two lists."""

    encoder: str
    layer: int
    rows: pd.DataFrame


def view() -> None:
    page.head(
        "Search",
        "The segments nearest to a sound, as two encoders see it: one clip of the collection, "
        "a file of yours, or a recording.",
    )
    if not page.is_embedded():
        return
    query = choose_query()
    if query is None:
        return
    show_query(query)
    k, domains = settings()
    sides: list[Side | None] = []
    for column, name in zip(st.columns(2, gap="medium"), ("left", "right"), strict=True):
        side = None
        with column, page.show_errors():
            side = one_side(name, query, k, domains)
        sides.append(side)
    show_hits(query, sides)


def show_query(query: Query) -> None:
    with st.container(border=True):
        if isinstance(query, FromCollection):
            segment_player(query.segment, key="search.query")
        else:
            clip_player(query.clip, key="search.query")


def settings() -> tuple[int, list[str]]:
    left, right = st.columns([1, 3])
    with left:
        k = st.slider("Hits", 1, 30, 5, key="search.k", persist_state="session")
    with right:
        domains = page.choose_several(
            "Domains to search", clips.distinct(state.sql, "domain"), key="search.domains"
        )
    return k, domains


def one_side(name: str, query: Query, k: int, domains: list[str]) -> Side:
    """Lets choose an encoder and a layer, and searches there."""
    first, second = st.columns([3, 2])
    with first:
        encoder = choose_encoder(f"search.{name}.encoder", default=default_encoder(name, query))
    with second:
        layer = choose_layer(
            f"search.{name}.layer", encoder, among=layers_of(state.sql, encoder) or [0]
        )
    where = clips.condition(domains)
    nearest = query.search(encoder, layer, k, where)
    if nearest.notice:
        st.warning(escape_markdown(nearest.notice), icon=":material/warning:")
    rows = hits.hit_rows(state.sql, nearest)
    st.caption(
        hits.describe_search(domains, hits.n_searched(state.sql, encoder, layer, where), len(rows))
    )
    return Side(encoder, layer, rows)


def default_encoder(name: str, query: Query) -> str:
    """The student on the left, on the right the teacher of the query's domain."""
    roles = roles_of(state.sql)
    names = list(roles)
    left = names[0]  # students come first
    if name == "left":
        return left
    seen = roles_for(state.sql, left)
    teachers = [n for n in names[1:] if seen[n] == "teacher"]
    domain = query.segment.domain if isinstance(query, FromCollection) else None
    at_home = [t for t in teachers if overview.home(state.sql, t) == domain]
    return [*at_home, *teachers, names[-1]][0]


def show_hits(query: Query, searched: list[Side | None]) -> None:
    own = query.segment.segment_id if isinstance(query, FromCollection) else None
    sides = [side.rows for side in searched if side is not None]
    both: set[int] = set()
    if len(sides) == 2:
        both = hits.shared(sides[0], sides[1], own)
        st.caption(hits.agreement(sides[0], sides[1], own).words)
    digits = hits.score_digits(sides)
    for rank in range(max((len(rows) for rows in sides), default=0)):
        # A row of two for each rank, so that equal ranks stand beside each other.
        for column, side in zip(st.columns(2, gap="medium"), searched, strict=True):
            if side is not None and rank < len(side.rows):
                with column:
                    card(side.rows.iloc[rank].to_dict(), own, both, digits)


def card(row: dict[Hashable, Any], own: int | None, both: set[int], digits: int) -> None:
    segment = clips.segment_of(row)
    mark = " ●" if segment.segment_id in both else ""
    note = "the query itself" if segment.segment_id == own else ""
    segment_card(segment, f"**{row['rank']}**{mark} · score {number(row['score'], digits)}", note)


if __name__ == "__main__":
    view()
