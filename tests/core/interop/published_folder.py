"""A published student under other names: what the converter has to find out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from usad_workbench.core.models.sizes import SIZES
from usad_workbench.core.models.student import Student, build_student

SIZE: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 4, "conv_channels": 8}
CONFIG_CODE = """
from transformers import PreTrainedConfig


class USADConfig(PreTrainedConfig):
    model_type = "usad"
"""
MODEL_CODE = """
import torch
from dataclasses import replace
from torch import nn
from torch.func import functional_call
from transformers import PreTrainedModel

from usad_workbench.core.models.sizes import SIZES
from usad_workbench.core.models.student import build_student

from .configuration_usad import USADConfig


class USADModel(PreTrainedModel):
    config_class = USADConfig

    def __init__(self, config):
        super().__init__(config)
        with torch.device("cpu"):
            self.skeleton = [build_student(replace(SIZES["base"], **config.size)).eval()]
        shapes = {name: tensor.shape for name, tensor in self.skeleton[0].state_dict().items()}
        for ours, theirs in config.names.items():
            *path, last = theirs.split(".")
            module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(last, nn.Parameter(torch.zeros(shapes[ours])))
        self.post_init()

    def forward(self, wavs):
        tensors = {ours: self.get_parameter(theirs) for ours, theirs in self.config.names.items()}
        out = functional_call(self.skeleton[0], tensors, (wavs,))
        n_mel = wavs.shape[1] // 160
        hidden = [out.layer(i) for i in range(1, self.config.size["n_layers"] + 1)]
        return {"x": out.x, "mel": wavs.new_zeros(len(wavs), n_mel, 128),
                "hidden_states": hidden, "ffn": list(out.ffn)}
"""
MODULES = {
    "stem.conv1": "encoder.subsample.sequential.0",
    "stem.conv2": "encoder.subsample.sequential.2",
    "stem.projection": "encoder.input_projection.0",
    "stem.norm": "encoder.input_norm",
    "position.convs": "encoder.pos_convs",
    "blocks": "encoder.layers",
    "attention_norm": "self_attn.layer_norm",
    "attention.content_bias": "self_attn.attention.u_bias",
    "attention.position_bias": "self_attn.attention.v_bias",
    "attention.query": "self_attn.attention.query_proj",
    "attention.key": "self_attn.attention.key_proj",
    "attention.value": "self_attn.attention.value_proj",
    "attention.position": "self_attn.attention.pos_proj",
    "attention.output": "self_attn.attention.out_proj",
    "ffn_norm": "feed_forward.sequential.0",
    "ffn.inner": "feed_forward.sequential.1",
    "ffn.output": "feed_forward.sequential.4",
    "final_norm": "last_norm",
}
NAMES = {
    "stem.norm": "encoder.input_norm",
    "final_norm": "last_norm",
    **{
        f"blocks.{{i}}.{ours}": f"encoder.layers.{{i}}.{MODULES[ours]}"
        for ours in (
            "attention_norm",
            "ffn_norm",
            "attention.content_bias",
            "attention.position_bias",
            "attention.query",
            "attention.key",
            "attention.value",
            "attention.output",
        )
    },
}
"""What shapes cannot tell."""


def published_name(name: str) -> str:
    """Of a tensor of ours in the made-up checkpoint."""
    top = max((one for one in MODULES if name.startswith(f"{one}.")), key=len)
    if top != "blocks":
        return MODULES[top] + name.removeprefix(top)
    _, number, inner = name.split(".", 2)
    part = max((one for one in MODULES if inner == one or inner.startswith(f"{one}.")), key=len)
    return f"{MODULES[top]}.{number}.{MODULES[part]}{inner.removeprefix(part)}"


def write_published(folder: Path) -> Student:
    """Writes the folder, code included, and returns the student that it holds."""
    folder.mkdir(parents=True)
    student = build_student(replace(SIZES["base"], **SIZE), seed=3).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    tensors = student.state_dict()
    names = {name: published_name(name) for name in tensors}
    (folder / "configuration_usad.py").write_text(CONFIG_CODE)
    (folder / "modeling_usad.py").write_text(MODEL_CODE)
    config = {
        "model_type": "usad",
        "architectures": ["USADModel"],
        "size": SIZE,
        "names": names,
        "auto_map": {
            "AutoConfig": "configuration_usad.USADConfig",
            "AutoModel": "modeling_usad.USADModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    published = {names[name]: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(published, folder / "model.safetensors", metadata={"format": "pt"})
    return student
