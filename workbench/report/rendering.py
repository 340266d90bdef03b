"""Templates of the report, in which every value is text unless this program drew it.

Autoescape is on, an undefined name is an error, and characters that no HTML document may have
are replaced. Names, labels and paths are therefore never rendered, whatever they contain. Only
``escaped`` and the drawing of ``svg.element`` make markup outside the templates.
"""

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that no HTML document may have."""


def render(template: str, **values: object) -> Markup:
    """A template of the folder ``templates`` with its values.

    Args:
        template: Its file name.
        values: What the template names; plain text is escaped, ``Markup`` is not.
    """
    return Markup(_environment().get_template(template).render(**values))


def escaped(value: object) -> Markup:
    """Any value as text; markup stays as it is, nothing is nothing.

    >>> escaped("<script>"), escaped(None)
    (Markup('&lt;script&gt;'), Markup(''))
    """
    return escape(_printable(value))


def _printable(value: object) -> object:
    """What a template puts in place of a value, before it is escaped."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else _CONTROL.sub("\ufffd", str(value))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("usad_workbench.workbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
