"""The student: published counts, frames, padding, attention by its formula."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from usad_workbench.core.clips import ClipBatch
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.models.blocks import RelativeAttention, distance_table, shift_to_keys
from usad_workbench.core.models.sizes import (
    PUBLISHED_SIZES,
    SIZES,
    StudentConfig,
    count_parameters,
    published_sizes,
)
from usad_workbench.core.models.student import (
    Student,
    StudentEncoder,
    build_student,
    build_untrained_student,
)

PUBLISHED_COUNTS = {
    "small": 24_749_504,
    "base": 97_218_752,
    "large": 335_825_600,
    "xlarge": 694_501_568,
    "xxlarge": 1_035_595_968,
}


def tiny(**changes: object) -> StudentConfig:
    values = {"dim": 32, "n_layers": 3, "n_heads": 4, "pos_groups": 4, "conv_channels": 8}
    return StudentConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_counts_of_the_published_sizes(size: str) -> None:
    with torch.device("meta"):
        student = Student(SIZES[size])
    counted = count_parameters(SIZES[size])
    ours = {
        name: parameter.numel()
        for name, parameter in student.named_parameters()
        if name.startswith(("stem.norm.", "final_norm."))
    }
    total = sum(parameter.numel() for parameter in student.parameters())
    assert counted.published == PUBLISHED_COUNTS[size] == total - sum(ours.values())
    assert counted.total == total
    assert counted.added == {
        "stem_norm": 2 * student.config.dim,
        "final_norm": 2 * student.config.dim,
    }


@pytest.mark.parametrize(
    "config",
    [
        tiny(stem_norm="bands", block_norm=True),
        tiny(stem_norm="none", final_norm=False, frame_rate_hz=25),
        SIZES["demo"],
    ],
)
def test_counts_of_other_readings(config: StudentConfig) -> None:
    with torch.device("meta"):
        student = Student(config)
    assert count_parameters(config).total == sum(p.numel() for p in student.parameters())


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_each_published_size_runs_forward_and_backward(size: str) -> None:
    """Shapes of everything, on a device that holds no values."""
    config = SIZES[size]
    with torch.device("meta"):
        student = Student(config)
        output = student(torch.zeros(2, 32_000), torch.full((2,), 32_000))
        loss = output.x.sum() + sum(frames.sum() for frames in output.ffn)
        loss.backward()
    n_frames = 2 * config.frame_rate_hz - (config.frame_rate_hz == 50)
    assert {frames.shape for frames in output.ffn} == {(2, n_frames, config.dim)}
    assert len(output.hidden_states) == len(output.ffn) == config.n_layers
    for parameter in student.parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape


def test_the_shipped_size_is_small() -> None:
    assert count_parameters(SIZES["demo"]).total <= 10_000_000


def test_the_table_of_sizes() -> None:
    rows = {row["size"]: row for row in published_sizes()}
    assert {name: row["n_params"] for name, row in rows.items()} == PUBLISHED_COUNTS
    assert rows["xxlarge"]["frame_rate_hz"] == 25 and rows["large"]["n_heads"] == 16


@pytest.mark.parametrize(
    ("rate_hz", "frames"), [(50, {1: 49, 10: 499, 30: 1499}), (25, {1: 25, 10: 250, 30: 750})]
)
def test_frames_per_second(rate_hz: int, frames: dict[int, int]) -> None:
    student = build_student(tiny(frame_rate_hz=rate_hz, n_layers=1)).eval()
    for seconds, expected in frames.items():
        with torch.no_grad():
            output = student(torch.zeros(1, 16_000 * seconds))
        assert output.x.shape == (1, expected, 32)
        assert output.n_valid.tolist() == [expected]


def test_the_output_has_the_published_parts() -> None:
    output = build_student(tiny()).eval()(torch.randn(2, 16_000) * 0.1)
    assert output.mel.shape == (2, 98, 128)
    assert len(output.hidden_states) == len(output.ffn) == 3
    assert output.layer(0) is output.stem and output.layer(3) is output.hidden_states[2]
    for frames in (output.x, output.stem, *output.hidden_states, *output.ffn):
        assert frames.shape == (2, 49, 32)


@pytest.mark.parametrize(("target_layer", "depth"), [(0, 0), (2, 2), (-2, 2), (3, 3), (-1, 3)])
def test_nothing_runs_behind_the_target_layer(target_layer: int, depth: int) -> None:
    student = build_student(tiny()).eval()
    samples = torch.randn(2, 16_000) * 0.1
    whole = student(samples)
    ran = []
    for block in student.blocks:
        block.register_forward_hook(lambda *_: ran.append(1))
    output = student(samples, target_layer=target_layer)
    assert len(ran) == len(output.hidden_states) == len(output.ffn) == depth
    for layer in range(depth + 1):
        torch.testing.assert_close(output.layer(layer), whole.layer(layer))
    torch.testing.assert_close(output.x, whole.x if depth == 3 else whole.layer(depth))
    with pytest.raises(UnknownNameError, match="from 0 to 3"):
        student(samples, target_layer=4)


@pytest.mark.parametrize("rate_hz", [50, 25])
@pytest.mark.parametrize("stem_norm", ["projected", "bands"])
def test_a_clip_alone_equals_the_clip_in_a_batch(rate_hz: int, stem_norm: str) -> None:
    student = build_student(tiny(frame_rate_hz=rate_hz, stem_norm=stem_norm)).eval()
    lengths = [400, 401, 719, 720, 1_000, 5_555, 16_000, 20_001]
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(len(lengths), max(lengths), generator=generator) * 0.1
    with torch.no_grad():
        padded = student(batch, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = student(batch[row : row + 1, :length])
            n = int(alone.n_valid)
            assert int(padded.n_valid[row]) == n == alone.x.shape[1]
            pairs = [(alone.x, padded.x), (alone.stem, padded.stem)]
            pairs += list(zip(alone.hidden_states, padded.hidden_states, strict=True))
            pairs += list(zip(alone.ffn, padded.ffn, strict=True))
            for one, other in pairs:
                torch.testing.assert_close(one[0], other[row, :n], atol=1e-5, rtol=0)


def test_long_clips_go_through_in_parts_also_beside_short_ones() -> None:
    student = build_student(tiny(max_mel_frames=100)).eval()
    samples = torch.randn(2, 50_000) * 0.1
    with torch.no_grad():
        both = student(samples, torch.tensor([50_000, 9_000]))
        alone = student(samples[1:, :9_000])
        first = student(samples[:1] - samples[0].mean(), torch.tensor([16_240]))
    assert both.n_valid.tolist() == [156, 27] and both.x.isfinite().all()
    torch.testing.assert_close(both.x[1, :27], alone.x[0], atol=1e-5, rtol=0)
    # The first 100 mel frames are a part of their own (the mean over the clip apart).
    assert torch.nn.functional.cosine_similarity(both.x[0, :50], first.x[0, :50]).min() > 0.98


def literal_attention(attention: RelativeAttention, frames: Tensor, n_valid: int) -> Tensor:
    """Transformer-XL (arXiv 1901.02860), eq. 5, frame by frame."""
    n, dim = frames.shape
    n_heads = attention.n_heads
    width = dim // n_heads
    query, key, value = (
        projection(frames) for projection in (attention.query, attention.key, attention.value)
    )
    output = torch.zeros(n, dim)
    for head in range(n_heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(n):
            scores = torch.full((n,), -math.inf)
            for j in range(n_valid):
                sinusoid = torch.zeros(dim)
                for pair in range(dim // 2):
                    angle = (i - j) / 10_000 ** (2 * pair / dim)
                    sinusoid[2 * pair] = math.sin(angle)
                    sinusoid[2 * pair + 1] = math.cos(angle)
                position = (attention.position.weight @ sinusoid)[part]
                content = (query[i, part] + attention.content_bias[head]) @ key[j, part]
                place = (query[i, part] + attention.position_bias[head]) @ position
                scores[j] = (content + place) / math.sqrt(width)
            output[i, part] = scores.softmax(0) @ value[:, part]
    return attention.output(output)


@pytest.mark.parametrize("at_once", [256, 3, 1])
def test_relative_attention_is_its_formula(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RelativeAttention.__module__}.QUERIES_AT_ONCE", at_once)
    torch.manual_seed(0)
    attention = RelativeAttention(tiny(dim=12, n_heads=3, pos_groups=1)).eval()
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    frames = torch.randn(2, 7, 12)
    n_valid = [7, 5]
    is_valid = torch.arange(7) < torch.tensor(n_valid)[:, None]
    with torch.no_grad():
        ours = attention(frames, is_valid, distance_table(7, 12, frames.device))
        for row, n in enumerate(n_valid):
            literal = literal_attention(attention, frames[row], n)
            torch.testing.assert_close(ours[row], literal, atol=1e-5, rtol=1e-5)


def test_blocks_of_queries_give_the_frames_and_gradients_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(tiny()).eval()
    torch.nn.init.normal_(attention.position_bias)
    frames, weights = torch.randn(2, 37, 32), torch.randn(2, 37, 32)
    is_valid = torch.arange(37) < torch.tensor([37, 20])[:, None]
    found = []
    for at_once in (37, 8):
        monkeypatch.setattr(f"{RelativeAttention.__module__}.QUERIES_AT_ONCE", at_once)
        attention.zero_grad()
        output = attention(frames, is_valid, distance_table(37, 32, frames.device))
        (output * weights).sum().backward()
        found.append([output.detach(), *[p.grad.clone() for p in attention.parameters()]])
    for whole, in_blocks in zip(*found, strict=True):
        torch.testing.assert_close(in_blocks, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("m", [5, 2])
def test_shift_to_keys_takes_the_score_of_the_distance(m: int) -> None:
    """Queries 0 to m - 1 of 5 keys: column c of query 0 is key c - m, at distance m - c."""
    n = 5
    scores = torch.randn(2, 3, m, m + n)
    shifted = shift_to_keys(scores)
    for i in range(m):
        for j in range(n):
            assert torch.equal(shifted[..., i, j], scores[..., i, m - (i - j)])


def test_the_encoder_meets_the_contract() -> None:
    encoder = StudentEncoder(build_student(tiny()), name="x", weights_sha256="0")
    clips = np.random.default_rng(0).standard_normal((2, 9_000)).astype(np.float32) * 0.1
    batch = ClipBatch(samples=clips, n_valid=np.array([9_000, 100]), sample_rate_hz=16_000)
    blocks = encoder.features(batch)
    assert blocks.layers == (0, 1, 2, 3) and encoder.spec.dims == (32,) * 4
    ffn = encoder.features(batch, [1, -1], kind="ffn")
    assert ffn.layers == (1, 3)
    # Residual: layer i is what enters the feed-forward block, plus its output.
    assert not torch.allclose(ffn.of(3), blocks.of(3))
    assert [n.tolist() for n in ffn.n_valid] == [[27, 1], [27, 1]]
    output = encoder.features(batch, [1, -1], kind="output")  # only the last is normed
    torch.testing.assert_close(output.of(1), blocks.of(1))
    torch.testing.assert_close(output.of(3), encoder.student.final_norm(blocks.of(3)))
    assert all(not p.requires_grad for p in encoder.student.parameters())


def test_ffn_is_what_the_block_adds_last() -> None:
    student = build_student(tiny(n_layers=1)).eval()
    block = student.blocks[0]
    with torch.no_grad():
        output = student(torch.randn(1, 8_000) * 0.1)
        valid = torch.ones(1, output.x.shape[1], dtype=torch.bool)
        table = distance_table(output.x.shape[1], 32, output.x.device)
        after = output.stem + block.attention(block.attention_norm(output.stem), valid, table)
    torch.testing.assert_close(after + output.ffn[0], output.layer(1))


def test_the_untrained_student_is_always_the_same() -> None:
    one, same, other = (build_untrained_student(seed) for seed in (0, 0, 1))
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    assert one.student.config == SIZES["demo"] and one.spec.role == "baseline"


@pytest.mark.parametrize(
    "changes", [{"n_heads": 5}, {"pos_groups": 3}, {"dropout": 1.0}, {"max_mel_frames": 101}]
)
def test_sizes_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        tiny(**changes)
