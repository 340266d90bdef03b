"""Errors of code that is not ours, such as plugins and models, which may raise anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from usad_workbench.core.errors import ConfigError, UsadError


def describe_error(error: Exception) -> str:
    """The message of an error, with its type where that is needed to understand it.

    >>> describe_error(ValueError("two channels")), describe_error(KeyError("mel"))
    ('two channels', "KeyError: 'mel'")
    """
    is_sentence = isinstance(error, (OSError, ValueError, ImportError)) and str(error)
    return str(error) if is_sentence else f"{type(error).__name__}: {error}"


@contextmanager
def foreign_code(what: str, advice: str) -> Iterator[None]:
    """Turns what is raised while this is open into one error.

    Args:
        what: Begins the sentence.
        advice: Ends it: what was expected, what to do.

    Raises:
        ConfigError: anything but an error of this package.
    """
    try:
        yield
    except UsadError:
        raise
    except Exception as error:
        raise ConfigError(f"{what} fails: {describe_error(error)}. {advice}") from error
