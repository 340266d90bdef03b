"""A hub folder with code of its own, as the published students have."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

CONFIG_CODE = """
from transformers import PreTrainedConfig


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


def write_remote_student(folder: Path, dim: int = 16, n_layers: int = 3) -> dict[str, torch.Tensor]:
    """Writes the folder and returns its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration_usad.py").write_text(CONFIG_CODE)
    (folder / "modeling_usad.py").write_text(MODEL_CODE)
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
    weights: dict[str, torch.Tensor], samples: torch.Tensor
) -> dict[str, list[torch.Tensor]]:
    """What the model computes, written from its formulas: samples [sample] to layers."""
    windows = torch.stack([samples[at : at + 400] for at in range(0, len(samples) - 399, 160)])
    mel = (windows @ weights["bands.weight"].T).abs()
    n_pairs = len(mel) // 2
    x = mel[: 2 * n_pairs].reshape(n_pairs, 256) @ weights["entry.weight"].T + weights["entry.bias"]
    block, ffn = [mel], []
    for i in range(sum(name.startswith("blocks") for name in weights) // 2):
        made = torch.tanh(x @ weights[f"blocks.{i}.weight"].T + weights[f"blocks.{i}.bias"])
        x = x + made
        ffn.append(made)
        block.append(x)
    return {"block": block, "ffn": ffn, "output": [2 * x]}
