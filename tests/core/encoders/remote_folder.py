"""Hub folders with code of their own, as the published students and MERT have."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

CONFIG_CODE = """
from transformers import PreTrainedConfig

print("code of a repository says what it likes on standard output")


class USADConfig(PreTrainedConfig):
    model_type = "usad"

    def __init__(self, encoder_dim=16, num_layers=3, **kwargs):
        self.encoder_dim = encoder_dim
        self.num_layers = num_layers
        super().__init__(**kwargs)
"""
MODEL_CODE = """
import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_usad import USADConfig


class USADModel(PreTrainedModel):
    config_class = USADConfig

    def __init__(self, config):
        super().__init__(config)
        dim = config.encoder_dim
        self.bands = nn.Linear(400, 128, bias=False)
        self.entry = nn.Linear(256, dim)
        self.blocks = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.num_layers))
        self.post_init()

    def forward(self, wavs, target_layer=None):
        mel = self.bands(wavs.unfold(1, 400, 160)).abs()
        pairs = mel[:, : mel.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)
        x, hidden, ffn = self.entry(pairs), [], []
        for block in self.blocks:
            made = torch.tanh(block(x))
            x = x + made
            ffn.append(made)
            hidden.append(x)
        return {"x": 2 * x, "mel": mel, "hidden_states": hidden, "ffn": ffn}
"""


NO_POST_INIT = MODEL_CODE.replace("        self.post_init()\n", "")
"""As the authors' first students: `all_tied_weights_keys` is never made."""
PLAIN_TABLE = NO_POST_INIT.replace(
    "        self.blocks",
    "        self.table = torch.sin(torch.arange(4096.0))\n        self.blocks",
).replace("self.entry(pairs)", "self.entry(pairs) + self.table[: pairs.shape[1], None]")
"""And a position table that is neither parameter nor buffer."""
HIDDEN_TABLE = MODEL_CODE.replace(
    "        self.blocks",
    "        self.register_buffer('table', torch.sin(torch.arange(4096.0)), persistent=False)\n"
    "        self.blocks",
).replace("self.entry(pairs)", "self.entry(pairs) + self.table[: pairs.shape[1], None]")
"""A table that no file holds."""


HUBERT_CONFIG_CODE = """
from transformers.configuration_utils import PretrainedConfig

print("code of a repository says what it likes on standard output")


class MERTConfig(PretrainedConfig):
    model_type = "mert_model"
"""
HUBERT_MODEL_CODE = """
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.hubert.modeling_hubert import (
    HubertEncoder, HubertFeatureEncoder, HubertFeatureProjection, HubertModel,
)

from .configuration_MERT import MERTConfig


class MERTModel(HubertModel):
    config_class = MERTConfig
    base_model_prefix = "mert_model"

    def __init__(self, config):
        super(HubertModel, self).__init__(config)
        self.feature_extractor = HubertFeatureEncoder(config)
        self.feature_projection = HubertFeatureProjection(config)
        self.encoder = HubertEncoder(config)
        self.post_init()

    def forward(self, input_values, attention_mask=None, output_hidden_states=None, return_dict=None):
        return_dict = self.config.use_return_dict if return_dict is None else return_dict
        x = self.feature_projection(self.feature_extractor(input_values).transpose(1, 2))
        done = self.encoder(
            x, attention_mask=attention_mask, output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )
        return BaseModelOutput(last_hidden_state=done[0], hidden_states=done.hidden_states)
"""


def give_own_code(folder: Path) -> None:
    """Makes the folder of a HuBERT one of the kind of MERT.

    That is a network of HuBERT's modules in code of the repository, which inherits from a class
    of transformers and was written for an older one: its configuration lacks what transformers
    added since, its weights are a pickle with the old names of a weight-normed convolution.
    """
    (folder / "configuration_MERT.py").write_text(HUBERT_CONFIG_CODE)
    (folder / "modeling_MERT.py").write_text(HUBERT_MODEL_CODE)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {
            "AutoConfig": "configuration_MERT.MERTConfig",
            "AutoModel": "modeling_MERT.MERTModel",
        },
    }
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in config.items() if k != "conv_pos_batch_norm"})
    )
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    renamed = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            name = name.replace(new, before)
        renamed[name] = tensor
    torch.save(renamed, folder / "pytorch_model.bin")


def keep_code_apart(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Neither finds nor leaves the copies that transformers makes of code, on disk or imported."""
    patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
    patch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        patch.delitem(sys.modules, name)


def write_remote_student(
    folder: Path, dim: int = 16, n_layers: int = 3, code: str = MODEL_CODE
) -> dict[str, torch.Tensor]:
    """Writes the folder and returns its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration_usad.py").write_text(CONFIG_CODE)
    (folder / "modeling_usad.py").write_text(code)
    config = {
        "model_type": "usad",
        "architectures": ["USADModel"],
        "auto_map": {
            "AutoConfig": "configuration_usad.USADConfig",
            "AutoModel": "modeling_usad.USADModel",
        },
        "encoder_dim": dim,
        "num_layers": n_layers,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    shapes = {"bands.weight": (128, 400), "entry.weight": (dim, 256), "entry.bias": (dim,)}
    for i in range(n_layers):
        shapes |= {f"blocks.{i}.weight": (dim, dim), f"blocks.{i}.bias": (dim,)}
    weights = {
        name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return weights


def reference(
    weights: dict[str, torch.Tensor], samples: torch.Tensor, *, has_table: bool = False
) -> dict[str, list[torch.Tensor]]:
    """What the model computes, written from its formulas: samples [sample] to layers."""
    windows = torch.stack([samples[at : at + 400] for at in range(0, len(samples) - 399, 160)])
    mel = (windows @ weights["bands.weight"].T).abs()
    n_pairs = len(mel) // 2
    x = mel[: 2 * n_pairs].reshape(n_pairs, 256) @ weights["entry.weight"].T + weights["entry.bias"]
    if has_table:
        x = x + torch.arange(float(n_pairs)).sin()[:, None]
    block, ffn = [mel], []
    for i in range(sum(name.startswith("blocks") for name in weights) // 2):
        made = torch.tanh(x @ weights[f"blocks.{i}.weight"].T + weights[f"blocks.{i}.bias"])
        x = x + made
        ffn.append(made)
        block.append(x)
    return {"block": block, "ffn": ffn, "output": [2 * x]}
