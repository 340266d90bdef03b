"""Templates and drawings of the report: whatever comes from outside is text."""

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from usad_workbench.workbench.report import svg
from usad_workbench.workbench.report.panel_section import PanelSection
from usad_workbench.workbench.report.rendering import escaped, render
from usad_workbench.workbench.report.svg import SYMBOLS

ATTACK = "<img src=x onerror=alert(1)> & \x00\ud800"


def test_a_template_escapes_every_value() -> None:
    panel = PanelSection(
        name='x" onload="y', title=ATTACK, question=ATTACK, reading=ATTACK, warnings=(ATTACK,)
    )
    html = render("panel.html", panel=panel, symbols=SYMBOLS)
    assert isinstance(html, Markup)
    assert "<img" not in html and 'onload="' not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt; &amp; \ufffd\ufffd") == 4


def test_a_name_that_a_template_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("panel.html", symbols=SYMBOLS)


def test_drawings_escape_texts_and_attributes() -> None:
    drawn = svg.element("text", ATTACK, class_='a" onload="b')
    assert "<img" not in drawn and 'onload="' not in drawn
    assert escaped(drawn) == drawn
    assert escaped(None) == ""
