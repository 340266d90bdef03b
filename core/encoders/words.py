"""Words in the spaces of an encoder that learned sounds together with what is said of them.

Such an encoder (CLAP, named by ``hf:``) has two towers, and was trained to bring together what they
make of a sound and of its description. What the tower of audio makes of a segment is its pooling
``native``: a native space is searched by what the tower of text makes of words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.encoders.catalogue import encoder_rows
from usad_workbench.core.encoders.hub.remote_code import description
from usad_workbench.core.encoders.registry import model_folder
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from usad_workbench.core.encoders.hub.text_tower import TextEncoder

_HUB_PREFIX = "hf:"
_JOINT_TYPES = ("clap",)
"""By ``model_type`` of ``config.json``."""
_TOKENIZERS = ("tokenizer.json", "vocab.json")


def check_reads_words(name: str, pooling: str) -> None:
    """Refuses a space that words cannot be looked for in; reads no weights.

    Args:
        name: Of the encoder.
        pooling: Of the space.

    Raises:
        ConfigError: no joint encoder, another pooling than ``native``, or no tokenizer.
        WeightsError: the model is not on this machine.
    """
    folder = _hub_folder(name)
    if folder is None or description(folder).get("model_type") not in _JOINT_TYPES:
        raise ConfigError(
            f"{name} reads no words, expected an encoder that learned sounds and words together. "
            "Embed with one: `usad embed --pooling native --encoders hf:laion/clap-htsat-unfused`."
        )
    if pooling != "native":
        raise ConfigError(
            f"Words are compared with what {name} makes of a whole segment, pooling 'native', found "
            f"{pooling!r}. `usad embed --pooling native --encoders {name}` makes it."
        )
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise ConfigError(
            f"{folder} has no tokenizer ({' or '.join(_TOKENIZERS)}), so it reads no words. Save the "
            "tokenizer of the same model to it."
        )


def reads_words(name: str, pooling: str) -> bool:
    """Whether words can be looked for in a space.

    >>> reads_words("usad-demo", "mean")
    False
    """
    if pooling != "native":
        return False
    try:
        check_reads_words(name, pooling)
    except (ConfigError, WeightsError):
        return False
    return True


def load_text_encoder(name: str) -> TextEncoder:
    """What turns words into vectors of an encoder's native space; its tower of text alone.

    Args:
        name: ``hf:FOLDER``, ``hf:OWNER/NAME`` or a listed encoder.

    Returns:
        ``embed`` of it gives a vector for each text.

    Raises:
        ConfigError: an encoder that reads no words.
        WeightsError: it is not on this machine, or damaged.
    """
    from usad_workbench.core.encoders.hub.text_tower import load_text_tower  # imports torch

    check_reads_words(name, "native")
    return load_text_tower(model_folder(name))


def _hub_folder(name: str) -> Path | None:
    """Where a model of the hub lies; nothing for encoders of other kinds."""
    row = encoder_rows().get(name)
    is_of_hub = row is not None and isinstance(row.source, HubSource)
    return model_folder(name) if is_of_hub or name.startswith(_HUB_PREFIX) else None
