"""Warnings of libraries that nobody who runs an encoder can act on."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_MEANT = (
    "At least one mel filter has all zero values",  # the published front end of AST is so
    "Support for mismatched key_padding_mask and attn_mask",  # transformers' WavLM mixes both
    "Detected pickle protocol",  # what torch cannot read is refused in words of our own
)


@contextmanager
def without_meant_warnings() -> Iterator[None]:
    """Keeps quiet about what published models are known to do; all other warnings pass.

    >>> import warnings
    >>> with without_meant_warnings():
    ...     warnings.warn("Detected pickle protocol 4 in the checkpoint")
    """
    with warnings.catch_warnings():
        for message in _MEANT:
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield
