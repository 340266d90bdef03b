"""Depth scaling: the published layer lists, and what a scaled student keeps of its source."""

from dataclasses import replace

import pytest
import torch

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.depth import check_scalable, scale_weights, source_layers
from usad_workbench.core.models.sizes import Depth, StudentConfig
from usad_workbench.core.models.student import Student, build_student

SHALLOW = StudentConfig(
    dim=32, n_layers=4, n_heads=2, conv_channels=4, pos_groups=4, dropout=0.0, frame_rate_hz=25
)


def scaled(method: Depth, n_layers: int) -> tuple[Student, Student, tuple[int | None, ...]]:
    source = build_student(SHALLOW, seed=1).eval()
    with torch.no_grad():  # norms and biases of a new student are 1 and 0: make them tell
        for parameter in source.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    deeper = build_student(replace(SHALLOW, n_layers=n_layers), seed=2).eval()
    layers = source_layers(method, SHALLOW.n_layers, n_layers)
    deeper.load_state_dict(scale_weights(source.state_dict(), deeper.state_dict(), layers))
    return source, deeper, layers


def test_up_scaling_as_published() -> None:
    """USAD 2.0: layers 1 to 24 and 9 to 32 of XLarge make the 48 of XXLarge."""
    assert source_layers("upscale", 32, 48) == (*range(1, 25), *range(9, 33))


def test_duplication_is_uniform() -> None:
    layers = source_layers("duplicate", 32, 48)
    counts = [layers.count(layer) for layer in range(1, 33)]
    assert list(layers) == sorted(layers)  # type: ignore[type-var]
    assert set(counts) == {1, 2}
    assert all(a + b == 3 for a, b in zip(counts[::2], counts[1::2], strict=True))


@pytest.mark.parametrize("method", ["upscale", "duplicate", "top"])
def test_each_layer_is_a_copy_of_its_source(method: Depth) -> None:
    source, deeper, layers = scaled(method, 6)
    for block, layer in zip(deeper.blocks, layers, strict=True):
        if layer is not None:
            theirs = source.blocks[layer - 1].state_dict()
            for name, value in block.state_dict().items():
                torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)


@pytest.mark.parametrize(("method", "n_same"), [("upscale", 3), ("duplicate", 1), ("top", 4)])
def test_what_comes_before_the_first_change_is_the_same(method: Depth, n_same: int) -> None:
    source, deeper, _ = scaled(method, 6)
    audio = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, mine = source(audio), deeper(audio)
    for layer in range(n_same + 1):
        torch.testing.assert_close(mine.layer(layer), theirs.layer(layer), rtol=0, atol=0)
    assert not torch.allclose(mine.layer(n_same + 1), theirs.layer(min(n_same + 1, 4))) or (
        method == "top"
    )


def test_new_top_layers_give_what_the_source_gives_and_learn() -> None:
    source, deeper, _ = scaled("top", 6)
    audio = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    output = deeper(audio)
    torch.testing.assert_close(output.x, source(audio).x, rtol=0, atol=0)
    output.x.square().sum().backward()
    for block in deeper.blocks[4:]:
        assert block.attention.output.weight.grad.abs().max() > 0
        assert block.ffn.output.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("method", "n"), [("same", 5), ("upscale", 9), ("upscale", 3), ("duplicate", 3), ("top", 2)]
)
def test_depths_out_of_reach_are_refused(method: Depth, n: int) -> None:
    with pytest.raises(ConfigError, match=rf"{method}.*from 4 layers to {n}"):
        source_layers(method, 4, n)


def test_other_architectures_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="dim = 32 there, 64 here; conv_channels = 4 there"):
        check_scalable(SHALLOW, replace(SHALLOW, dim=64, conv_channels=8), "same")
    check_scalable(SHALLOW, replace(SHALLOW, n_layers=6, dropout=0.1), "upscale")
    normed = replace(SHALLOW, block_norm=True)
    with pytest.raises(ConfigError, match="block_norm"):
        check_scalable(normed, normed, "top")
