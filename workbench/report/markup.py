"""HTML and SVG in which nothing but this program's own tags is markup.

Text becomes markup in one place, ``tag``, and is escaped there. Names, labels and paths are
therefore never rendered, whatever they contain.
"""

import html
import re

VOID = frozenset({"meta", "img", "br", "hr"})
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that no HTML document may have."""


class Html(str):
    """Markup that stands in a page as it is. Made by ``tag`` and ``join`` only."""

    __slots__ = ()


def text(value: object) -> Html:
    """Any value as text.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(_CONTROL.sub("\ufffd", str(value))))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Children that are no ``Html`` are text; attributes without a value are left out.

    >>> tag("a", "1 < 2", href="#top", class_="link")
    '<a href="#top" class="link">1 &lt; 2</a>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: object) -> Html:
    """Elements one after the other; what is missing is left out.

    >>> join([tag("b", "x"), None, "&"])
    '<b>x</b>&amp;'
    """
    if isinstance(children, (list, tuple)):
        return Html("".join(join(one) for one in children))
    return Html("") if children is None else text(children)
