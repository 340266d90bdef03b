"""The objective against slow, literal definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.core.models.heads import Heads, HeadSpec
from usad_workbench.core.models.student import StudentOutput
from usad_workbench.training.objective import (
    Objective,
    domain_weights,
    l1_cosine,
    layer_map,
    overlap,
    pool_frames,
)
from usad_workbench.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ((12, 24), ((3, 6), (6, 12), (9, 18), (12, 24))),  # usual sizes, USAD sec. III-B
        ((32, 48), ((8, 12), (16, 24), (24, 36), (32, 48))),
        ((8, 4), ((2, 1), (4, 2), (6, 3), (8, 4))),
        ((5, 6), ((1, 2), (2, 3), (4, 4), (5, 6))),  # halves go to the even layer
    ],
)
def test_layer_map(depths: tuple[int, int], expected: tuple[tuple[int, int], ...]) -> None:
    assert layer_map(4, *depths) == expected
    for k, (student, teacher) in enumerate(expected, start=1):
        assert student == round(k * depths[0] / 4) and teacher == round(k * depths[1] / 4)


@pytest.mark.parametrize("arguments", [(4, 3, 12), (4, 12, 3), (4, 12, 2), (2, 4, 4, (3, 3)),
                                       (2, 4, 4, (1, 5)), (2, 4, 4, (0, 2))])  # fmt: skip
def test_a_layer_is_never_used_twice(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="different ones"):
        layer_map(*arguments)  # type: ignore[arg-type]


def test_a_teacher_without_a_stack_names_its_layers() -> None:
    assert layer_map(2, 4, 4, (4, 1)) == ((2, 4), (4, 1))


def test_domain_weights() -> None:
    teachers = ["speech", "sound", "music"]
    weights = domain_weights(["music", "speech", "effects"], teachers, omega=10.0)
    expected = [[1 / 12, 1 / 12, 10 / 12], [10 / 12, 1 / 12, 1 / 12], [1 / 3] * 3]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    for omega in (0.5, 1.0, 10.0, 50.0):
        for n in (1, 2, 5):
            weights = domain_weights(["a", "?"], ["a", *"bcde"[: n - 1]], omega)
            np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-6)
            assert weights[0, 0] == pytest.approx(omega / (omega + n - 1))
            np.testing.assert_allclose(weights[1], 1 / n, rtol=1e-6)


def literal_l1_cosine(predicted: np.ndarray, target: np.ndarray) -> float:
    """USAD (arXiv 2506.18843), sec. III-B, dimension by dimension."""
    l1 = sum(abs(p - z) for p, z in zip(predicted, target, strict=True)) / len(target)
    dot = sum(p * z for p, z in zip(predicted, target, strict=True))
    cosine = dot / math.sqrt(sum(p * p for p in predicted) * sum(z * z for z in target))
    return float(l1 - math.log(1 / (1 + math.exp(-cosine))))


def literal_pool(
    frames: np.ndarray, n_valid: int, rate: float, n_slow: int, slow_rate: float
) -> np.ndarray:
    """The mean over the interval of each slow frame, by how long each fast frame is in it."""
    means = []
    for j in range(n_slow):
        total, seconds = np.zeros(frames.shape[1]), 0.0
        for i in range(n_valid):
            start = max(j / slow_rate, i / rate)
            end = min((j + 1) / slow_rate, (i + 1) / rate)
            if end - start > 1e-12:
                total, seconds = total + (end - start) * frames[i], seconds + end - start
        if seconds == 0.0:
            break
        means.append(total / seconds)
    return np.array(means)


@pytest.mark.parametrize(
    ("rate", "slow_rate"), [(50.0, 25.0), (62.5, 25.0), (25.0, 44_100 / 1024 / 8), (50.0, 49.9)]
)
def test_pooling_is_the_mean_over_intervals(rate: float, slow_rate: float) -> None:
    frames = torch.randn(2, 40, 3)
    n_valid = torch.tensor([40, 17])
    n_slow = int(40 / rate * slow_rate)
    pooled, n_pooled = pool_frames(frames, n_valid, rate, n_slow, slow_rate)
    for row in range(2):
        literal = literal_pool(frames[row].numpy(), int(n_valid[row]), rate, n_slow, slow_rate)
        assert int(n_pooled[row]) == len(literal)
        np.testing.assert_allclose(pooled[row, : len(literal)], literal, atol=1e-5)


def test_overlap_covers_each_frame_once() -> None:
    shared = overlap(20, 5.0, 60, 15.0)
    np.testing.assert_allclose(shared.sum(0), 1 / 15, rtol=1e-4)
    np.testing.assert_allclose(shared.sum(1), 1 / 5, rtol=1e-4)


def test_pooling_by_two_is_the_published_one() -> None:
    """Kernel and stride of two (USAD sec. IV-A); an odd last frame stands for itself."""
    frames = torch.randn(1, 7, 2)
    pooled, n = pool_frames(frames, torch.tensor([7]), 50.0, 4, 25.0)
    expected = torch.nn.functional.avg_pool1d(frames.transpose(1, 2), 2, 2).transpose(1, 2)
    torch.testing.assert_close(pooled[:, :3], expected)
    torch.testing.assert_close(pooled[:, 3], frames[:, 6])
    assert n.tolist() == [4]


TEACHERS = {"slow": ("sound", 10.0, 3), "same": ("speech", 25.0, 4), "fast": ("music", 62.5, 5)}


def make_problem(pooled: str) -> tuple[Objective, StudentOutput, dict[str, LayerFeatures]]:
    torch.manual_seed(0)
    specs = tuple(
        HeadSpec(
            teacher=name, student_layer=s, teacher_layer=t, kind="block",
            teacher_dim=dim, student_dim=8, hidden_dim=6,
        )
        for name, (_, _, dim) in TEACHERS.items()
        for s, t in ((1, 2), (2, 4))
    )  # fmt: skip
    heads = Heads(specs)
    for head in heads:
        head.target_mean.normal_()
        head.target_std.uniform_(0.5, 2.0)
    n_valid = torch.tensor([25, 13, 20])
    states = tuple(torch.randn(3, 25, 8) for _ in range(2))
    output = StudentOutput(
        x=states[1], mel=torch.zeros(0), stem=states[0], hidden_states=states, ffn=(),
        n_valid=n_valid,
    )  # fmt: skip
    targets = {}
    for name, (_, rate, dim) in TEACHERS.items():
        n = (n_valid / 25 * rate).long()
        frames = tuple(torch.randn(3, int(n.max()), dim) for _ in range(2))
        targets[name] = LayerFeatures(
            layers=(2, 4), frames=frames, n_valid=(n, n), frame_rates_hz=(rate, rate)
        )
    objective = Objective(
        heads,
        teacher_domains={name: domain for name, (domain, _, _) in TEACHERS.items()},
        omega=10.0,
        frame_rate_hz=25.0,
        pooled=pooled,  # type: ignore[arg-type]
    )
    return objective, output, targets


def literal_objective(
    objective: Objective, output: StudentOutput, targets: dict[str, LayerFeatures],
    domains: list[str], pooled: str,
) -> float:  # fmt: skip
    """Clip by clip, layer by layer, frame by frame."""
    total = 0.0
    for name, (domain, rate, _) in TEACHERS.items():
        weighted, n_all = 0.0, 0
        for clip in range(3):
            weight = (10 if domains[clip] == domain else 1) / 12
            if domains[clip] not in ("speech", "sound", "music"):
                weight = 1 / 3
            layers = []
            for head in (h for h in objective.heads if h.spec.teacher == name):
                n = int(output.n_valid[clip])
                hidden = output.layer(head.spec.student_layer)[clip, :n]
                at = targets[name].layers.index(head.spec.teacher_layer)
                n_target = int(targets[name].n_valid[at][clip])
                wanted = head.scale(targets[name].frames[at][clip, :n_target]).numpy()
                predicted: Tensor | np.ndarray
                if rate < 25.0 and pooled == "hidden":
                    mean = literal_pool(hidden.numpy(), n, 25.0, n_target, rate)
                    predicted = head(torch.from_numpy(mean).float()).numpy()
                elif rate < 25.0:
                    predicted = literal_pool(head(hidden).numpy(), n, 25.0, n_target, rate)
                else:
                    predicted = head(hidden).numpy()
                    if rate > 25.0:
                        wanted = literal_pool(wanted, n_target, rate, n, 25.0)
                n_frames = min(len(predicted), len(wanted))
                frames = [literal_l1_cosine(predicted[t], wanted[t]) for t in range(n_frames)]
                layers.append(np.mean(frames))
            weighted += weight * n_frames * np.mean(layers)
            n_all += n_frames
        total += weighted / n_all
    return total


@pytest.mark.parametrize("pooled", ["prediction", "hidden"])
@pytest.mark.parametrize("domains", [["speech", "music", "sound"], ["effects", "music", "music"]])
def test_the_objective_is_its_definition(pooled: str, domains: list[str]) -> None:
    objective, output, targets = make_problem(pooled)
    with torch.no_grad():
        loss = objective(output, targets, domains)
        literal = literal_objective(objective, output, targets, domains, pooled)
    assert float(loss.total) == pytest.approx(literal, rel=1e-4)
    counted = objective.count_frames(output.n_valid, targets)
    assert loss.sums[..., 2].sum(0).tolist() == counted.tolist()
    assert float((loss.sums[..., :2].sum(2) / loss.sums[..., 2]).mean()) > 0
    parts = [[0], [1, 2]]
    with torch.no_grad():
        of_parts = [
            objective(
                take_output(output, rows), {t: take(f, rows) for t, f in targets.items()},
                [domains[row] for row in rows], counted,
            )
            for rows in parts
        ]  # fmt: skip
    assert float(sum(part.total for part in of_parts)) == pytest.approx(literal, rel=1e-4)


def take_output(output: StudentOutput, rows: list[int]) -> StudentOutput:
    return StudentOutput(
        x=output.x[rows], mel=output.mel, stem=output.stem[rows],
        hidden_states=tuple(frames[rows] for frames in output.hidden_states), ffn=(),
        n_valid=output.n_valid[rows],
    )  # fmt: skip


def take(features: LayerFeatures, rows: list[int]) -> LayerFeatures:
    return replace(
        features,
        frames=tuple(frames[rows] for frames in features.frames),
        n_valid=tuple(n[rows] for n in features.n_valid),
    )


def test_padding_changes_nothing() -> None:
    objective, output, targets = make_problem("prediction")
    with torch.no_grad():
        before = objective(output, targets, ["speech"] * 3)
        for frames in (*output.hidden_states, *(f for t in targets.values() for f in t.frames)):
            for clip, n in enumerate(output.n_valid / 25):
                frames[clip, math.ceil(float(n) * frames.shape[1]) :] = 1e3
        after = objective(output, targets, ["speech"] * 3)
    torch.testing.assert_close(before.total, after.total)


def test_terms_of_equal_and_opposite_vectors() -> None:
    z = torch.tensor([[3.0, -4.0]])
    l1, cosine = l1_cosine(z, z)
    assert (float(l1), float(cosine)) == (0.0, pytest.approx(math.log(1 + math.exp(-1))))
    l1, cosine = l1_cosine(-z, z)
    assert (float(l1), float(cosine)) == (7.0, pytest.approx(math.log(1 + math.exp(1))))


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    rates = [learning_rate(s, peak=2.0, warmup_steps=4, n_steps=12) for s in range(12)]
    assert max(rates) == rates[3] == 2.0
    np.testing.assert_allclose(np.diff(rates[:4]), 0.5)
    np.testing.assert_allclose(np.diff(rates[4:]), -0.25)
    assert learning_rate(0, peak=1.0, warmup_steps=0, n_steps=2) == 1.0
