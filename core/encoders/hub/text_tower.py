"""The tower of text of a model that has one for audio too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usad_workbench.core.encoders.hub.folder import sha256_of_model, transformers_errors
from usad_workbench.core.encoders.hub.snapshots import weight_files
from usad_workbench.core.encoders.hub.tensors import read_tensors
from usad_workbench.core.errors import ConfigError, WeightsError
from usad_workbench.core.models.encoder import FloatArray

_PREFIXES = ("", "clap.")


class TextEncoder:
    """Texts to vectors of the space that a model's tower of audio fills."""

    def __init__(self, net: nn.Module, tokenizer: Any, weights_sha256: str) -> None:
        self.net, self.tokenizer = net.eval().requires_grad_(False), tokenizer
        self.weights_sha256 = weights_sha256
        """Of the whole model, as its encoder of audio has it."""

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> FloatArray:
        """A vector of length one for each text, shape [text, dim]; long texts are cut.

        Raises:
            ConfigError: a text without words.
        """
        if not texts or not all(text.strip() for text in texts):
            raise ConfigError("Found a text without words, expected some such as 'dog barking'.")
        config: Any = self.net.config
        longest = config.max_position_embeddings - config.pad_token_id - 1
        inputs = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=min(self.tokenizer.model_max_length, longest),
            return_tensors="pt",
        )
        names = ("input_ids", "attention_mask")
        made = self.net(**{name: inputs[name] for name in names}).text_embeds
        vectors: FloatArray = nn.functional.normalize(made, dim=-1).float().numpy()
        return vectors


def load_text_tower(folder: Path) -> TextEncoder:
    """The tower of text of a folder as ``save_pretrained`` writes it.

    Raises:
        WeightsError: a folder that is damaged, or lacks tensors of it.
    """
    from transformers import AutoConfig, AutoTokenizer, ClapTextModelWithProjection

    weights = weight_files(folder)
    # Initial values are drawn and thrown away: a seeded run must not notice.
    with torch.random.fork_rng(devices=[]), transformers_errors(folder):
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        net: Any = ClapTextModelWithProjection(config.text_config)
        found = read_tensors(weights, _PREFIXES, set(net.state_dict()))
        missing = net.load_state_dict(found, strict=False).missing_keys
        load: Any = AutoTokenizer.from_pretrained
        tokenizer = load(folder, local_files_only=True)
    if missing:
        raise WeightsError(
            f"The weights in {folder} lack {len(missing)} tensors of the tower of text, the first is "
            f"{min(missing)}. Expected a whole model, and its config.json."
        )
    return TextEncoder(net.float(), tokenizer, sha256_of_model(folder, weights))
