"""Whether code that comes with models of the hub may run: only where the user says so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "USAD_TRUST_REMOTE_CODE"
"""In the environment, so that processes which are started meanwhile know it too."""


def is_trusted() -> bool:
    """Whether it may run in this process.

    >>> with trusting_remote_code(True):
    ...     is_trusted()
    True
    """
    return os.environ.get(_VARIABLE) == "1"


@contextmanager
def trusting_remote_code(trust: bool) -> Iterator[None]:
    """While this is open, it may run if ``trust`` says so; if not, all stays as it was."""
    before = os.environ.get(_VARIABLE)
    if trust:
        os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
