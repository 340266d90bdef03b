"""ATST-Frame and MuQ, small and random, in the files in which their authors publish them."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.core.encoders.planted_weights import planted
from usad_workbench.core.encoders.networks.atst import AtstConfig, AtstNet

SMALL_ATST = AtstConfig(dim=24, n_layers=3, n_heads=4)
PREFIX = "model.teacher.encoder."
MUQ_AUTHORS = np.load(Path(__file__).parent / "fixtures" / "muq_reference.npz")
"""Of 24,777 samples of ``planted_weights.noise``."""


def small_atst(config: AtstConfig = SMALL_ATST, seed: int = 0) -> AtstNet:
    """Random weights far from their initial values, norms included."""
    torch.manual_seed(seed)
    net = AtstNet(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return net


def atst_checkpoint(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What Lightning writes for ATST-Frame: teacher, student, settings, optimiser."""
    student = {name: torch.randn_like(value) for name, value in state.items()}
    heads = {"model.teacher.projector.0.weight": torch.randn(3, 3)}
    return {
        "epoch": 199,
        "pytorch-lightning_version": "1.5.0",
        "state_dict": {
            **{f"model.student.encoder.{name}": value for name, value in student.items()},
            **{f"{PREFIX}{name}": value for name, value in state.items()},
            f"{PREFIX}mask_embed": torch.zeros(1, 1, 24),
            **heads,
        },
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.randn(4)}}}],
        "hyper_parameters": {"arch": "base", "args": Namespace(learning_rate=5e-4)},
    }


def muq_checkpoint() -> dict[str, Tensor]:
    """All that the authors' class of MuQ saves, parts that are no encoder included."""
    shapes: dict[str, list[int]] = json.loads(str(MUQ_AUTHORS["names"]))
    state = {name: torch.from_numpy(planted(name, tuple(s))) for name, s in shapes.items()}
    for name in shapes:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        if name.endswith("inv_freq"):
            state[name] = 1.0 / 10_000 ** (torch.arange(0, 8, 2).float() / 8)
    return state


def write_muq(folder: Path) -> None:
    """A repository of the hub as the authors' ``save_pretrained`` writes it."""
    (folder / "config.json").write_text(str(MUQ_AUTHORS["config"]))
    save_file(muq_checkpoint(), folder / "model.safetensors")
