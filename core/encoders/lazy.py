"""Objects named by text, so that what is not used is not imported."""

import importlib
from typing import Any


def import_object(target: str) -> Any:
    """What ``module:name`` names.

    >>> import_object("math:sqrt")(9.0)
    3.0
    """
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
