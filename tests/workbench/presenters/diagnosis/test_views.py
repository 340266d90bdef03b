"""Views name the columns that they draw: each is a field of the rows of its panel."""

from dataclasses import fields

import pytest

from usad_workbench.core.diagnosis import comparison
from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.workbench.presenters.diagnosis.views import MORE_VIEWS, VIEWS, PanelView

ROW_TYPES = {kind.name: kind.row_type for kind in PANELS} | {
    comparison.NAME: comparison.ComparisonRow
}


def test_every_panel_has_a_view() -> None:
    assert set(VIEWS) == set(ROW_TYPES)
    assert set(MORE_VIEWS) < set(VIEWS)


@pytest.mark.parametrize(
    ("name", "view"),
    [(name, view) for name, main in VIEWS.items() for view in (main, *MORE_VIEWS.get(name, ()))],
    ids=lambda value: value.title if isinstance(value, PanelView) else value,
)
def test_what_a_view_draws_is_a_field_of_the_panels_rows(name: str, view: PanelView) -> None:
    named = {view.value, *view.series_more, *view.facets, *view.choices, *view.parts}
    named |= {view.series} if view.series else set()
    named |= {view.where[0]} if view.where else set()
    named |= {view.reference} if isinstance(view.reference, str) else set()
    assert named <= {field.name for field in fields(ROW_TYPES[name])}
