"""Near names for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps after a misspelt name.

    >>> did_you_mean("whisper", ["whisper-tiny.en", "ge2e"])
    'Did you mean whisper-tiny.en?'
    >>> did_you_mean("wavlm", ["ge2e"])
    'Known: ge2e.'
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
