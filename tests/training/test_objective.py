"""The objective against slow, literal definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import LayerFeatures, frame_mask
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
from usad_workbench.training.recipe import MultiDomain
from usad_workbench.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ((12, 24), ((3, 6), (6, 12), (9, 18), (12, 24))),  # usual sizes, USAD sec. III-B
        ((32, 48), ((8, 12), (16, 24), (24, 36), (32, 48))),
        ((8, 4), ((2, 1), (4, 2), (6, 3), (8, 4))),
        ((5, 6), ((1, 2), (2, 3), (4, 4), (5, 6))),  # halves go to the even layer: 1.5, 4.5
        ((10, 14), ((2, 4), (5, 7), (8, 10), (10, 14))),  # 2.5, 7.5 and 3.5, 10.5
    ],
)
def test_layer_map(depths: tuple[int, int], expected: tuple[tuple[int, int], ...]) -> None:
    assert layer_map(4, *depths) == expected
    for k, (student, teacher) in enumerate(expected, start=1):
        assert student == round(k * depths[0] / 4) and teacher == round(k * depths[1] / 4)


@pytest.mark.parametrize(
    "arguments",
    [(4, 3, 12), (4, 12, 3), (4, 12, 2), (2, 4, 4, (3, 3)), (2, 4, 4, (1, 5)), (2, 4, 4, (0, 2))],
)
def test_a_layer_is_never_used_twice(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="different ones"):
        layer_map(*arguments)  # type: ignore[arg-type]


def test_one_layer_is_the_last() -> None:
    """Stage 2 of USAD 2.0: final layer to final layer."""
    assert layer_map(1, 24, 32) == ((24, 32),)


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


def literal_weights(
    domain: str, teachers: list[str], omega: float, multi_domain: str = "matched"
) -> list[float]:
    """USAD 2.0, eq. 3, and both readings of stage 2, teacher by teacher."""
    n = len(teachers)
    if "all" not in teachers:
        if domain not in teachers:
            return [1 / n] * n
        return [(omega if t == domain else 1.0) / (omega + n - 1) for t in teachers]
    if multi_domain == "half":
        return [
            1 / n if t == "all" else (omega if t == domain else 1.0) / (omega + n - 1)
            for t in teachers
        ]
    raw = [omega if t in (domain, "all") else 1.0 for t in teachers]
    return [weight / sum(raw) for weight in raw]


def test_weights_of_the_second_stage_by_hand() -> None:
    """A specialist of speech and a teacher of all domains, omega = 10 (USAD 2.0, stage 2)."""
    domains, teachers = ["speech", "music"], ["speech", "all"]
    matched = domain_weights(domains, teachers, 10.0, "matched")
    np.testing.assert_allclose(matched, [[1 / 2, 1 / 2], [1 / 11, 10 / 11]], rtol=1e-6)
    half = domain_weights(domains, teachers, 10.0, "half")
    np.testing.assert_allclose(half, [[10 / 11, 1 / 2], [1 / 11, 1 / 2]], rtol=1e-6)


@pytest.mark.parametrize("multi_domain", ["matched", "half"])
@pytest.mark.parametrize("omega", [0.5, 1.0, 10.0, 50.0])
@pytest.mark.parametrize(
    "teachers",
    [
        ["a"],
        ["all"],
        ["a", "b"],
        ["b", "all"],
        ["all", "c", "a"],
        ["all", "all", "b"],
        list("abcd"),
    ],
)
def test_weights_are_their_definition(
    teachers: list[str], omega: float, multi_domain: MultiDomain
) -> None:
    domains = ["a", "b", "c", "unknown", "a"]
    weights = domain_weights(domains, teachers, omega, multi_domain)
    literal = [literal_weights(domain, teachers, omega, multi_domain) for domain in domains]
    np.testing.assert_allclose(weights, literal, rtol=1e-6)


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


Problem = tuple[Objective, StudentOutput, dict[str, LayerFeatures]]
TEACHERS = {"slow": ("sound", 10.0, 3), "same": ("speech", 25.0, 4), "fast": ("music", 62.5, 5)}
"""Domain, frames per second and width of each."""


def make_problem(
    pooled: str,
    teachers: dict[str, tuple[str, float, int]] = TEACHERS,
    student_hz: float = 25.0,
    n_more: int = 0,
    multi_domain: MultiDomain = "matched",
) -> Problem:
    """Three clips of different lengths; teachers may have a frame more or less."""
    torch.manual_seed(0)
    specs = tuple(
        HeadSpec(
            teacher=name,
            student_layer=s,
            teacher_layer=t,
            kind="block",
            teacher_dim=dim,
            student_dim=8,
            hidden_dim=6,
        )
        for name, (_, _, dim) in teachers.items()
        for s, t in ((1, 2), (2, 4))
    )
    heads = Heads(specs)
    for head in heads:
        head.target_mean.normal_()
        head.target_std.uniform_(0.5, 2.0)
    n_valid = (torch.tensor([1.0, 0.52, 0.8]) * student_hz).long()
    states = tuple(torch.randn(3, int(n_valid.max()), 8) for _ in range(2))
    output = StudentOutput(
        x=states[1],
        mel=torch.zeros(0),
        stem=states[0],
        hidden_states=states,
        ffn=(),
        n_valid=n_valid,
    )
    targets = {}
    for name, (_, rate, dim) in teachers.items():
        n = (n_valid / student_hz * rate).long() + n_more
        frames = tuple(torch.randn(3, int(n.max()), dim) for _ in range(2))
        targets[name] = LayerFeatures(
            layers=(2, 4), frames=frames, n_valid=(n, n), frame_rates_hz=(rate, rate)
        )
    objective = Objective(
        heads,
        teacher_domains={name: domain for name, (domain, _, _) in teachers.items()},
        omega=10.0,
        frame_rate_hz=student_hz,
        pooled=pooled,  # type: ignore[arg-type]
        multi_domain=multi_domain,
    )
    return objective, output, targets


def literal_objective(
    objective: Objective,
    output: StudentOutput,
    targets: dict[str, LayerFeatures],
    domains: list[str],
    pooled: str,
) -> float:
    """Clip by clip, layer by layer, frame by frame."""
    total, mine = 0.0, objective.frame_rate_hz
    of_teachers = list(objective.teacher_domains.values())
    for m, name in enumerate(objective.teacher_domains):
        weighted, n_all, rate = 0.0, 0, targets[name].frame_rates_hz[0]
        for clip in range(3):
            weight = literal_weights(domains[clip], of_teachers, 10.0, objective.multi_domain)[m]
            layers = []
            for head in (h for h in objective.heads if h.spec.teacher == name):
                n = int(output.n_valid[clip])
                hidden = output.layer(head.spec.student_layer)[clip, :n]
                at = targets[name].layers.index(head.spec.teacher_layer)
                n_target = int(targets[name].n_valid[at][clip])
                wanted = head.scale(targets[name].frames[at][clip, :n_target]).numpy()
                predicted: Tensor | np.ndarray
                if rate < mine and pooled == "hidden":
                    mean = literal_pool(hidden.numpy(), n, mine, n_target, rate)
                    predicted = head(torch.from_numpy(mean).float()).numpy()
                elif rate < mine:
                    predicted = literal_pool(head(hidden).numpy(), n, mine, n_target, rate)
                else:
                    predicted = head(hidden).numpy()
                    if rate > mine:
                        wanted = literal_pool(wanted, n_target, rate, n, mine)
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
                take_output(output, rows),
                {t: take(f, rows) for t, f in targets.items()},
                [domains[row] for row in rows],
                counted,
            )
            for rows in parts
        ]
    assert float(sum(part.total for part in of_parts)) == pytest.approx(literal, rel=1e-4)


AISFX_HZ = 44_100 / 1024


@pytest.mark.parametrize("n_more", [-1, 0, 1])
@pytest.mark.parametrize(
    ("student_hz", "rate"),
    [
        (25.0, 50.0),
        (50.0, 25.0),
        (25.0, 25.0),
        (50.0, 50.0),  # the papers' students, teachers
        (25.0, 62.5),
        (50.0, 62.5),  # MusiCNN
        *((mine, AISFX_HZ / by) for mine in (25.0, 50.0) for by in (1, 2, 4, 8)),  # aiSFX
    ],
)
def test_rates_are_aligned_as_defined(student_hz: float, rate: float, n_more: int) -> None:
    teachers = {"one": ("speech", rate, 4), "all": ("all", rate, 3)}
    problem = make_problem("prediction", teachers, student_hz, n_more, "half")
    domains = ["speech", "music", "unknown"]
    with torch.no_grad():
        total = float(problem[0](problem[1], problem[2], domains).total)
        literal = literal_objective(*problem, domains, "prediction")
    assert total == pytest.approx(literal, rel=1e-4)


@pytest.mark.parametrize(("mine", "theirs"), [(25, 50), (50, 25)])
def test_twice_the_frames_are_averaged_in_pairs(mine: int, theirs: int) -> None:
    """Stride and kernel of two, whoever is faster (USAD sec. IV-A), by hand."""
    spec = HeadSpec(
        teacher="t",
        student_layer=1,
        teacher_layer=1,
        kind="ffn",
        teacher_dim=2,
        student_dim=2,
        hidden_dim=2,
    )
    heads = Heads((spec,))
    for layer in (next(iter(heads)).inner, next(iter(heads)).output):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    fast = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 6.0]]])
    slow = torch.tensor([[[2.0, 1.0], [0.0, 1.0]]])  # against means (2, 0) and (0, 4)
    hidden, wanted = (slow, fast) if mine < theirs else (fast, slow)
    n_mine, n_theirs = torch.tensor([hidden.shape[1]]), torch.tensor([wanted.shape[1]])
    output = StudentOutput(
        x=hidden, mel=hidden, stem=hidden, hidden_states=(hidden,), ffn=(), n_valid=n_mine
    )
    target = LayerFeatures(
        layers=(1,), frames=(wanted,), n_valid=(n_theirs,), frame_rates_hz=(float(theirs),)
    )
    objective = Objective(
        heads, teacher_domains={"t": "speech"}, omega=10.0, frame_rate_hz=float(mine)
    )
    with torch.no_grad():
        loss = objective(output, {"t": target}, ["speech"])
    cosines = 2 / math.sqrt(5), 1.0
    terms = [math.log(1 + math.exp(-c)) for c in cosines]
    assert float(loss.total) == pytest.approx((0.5 + terms[0] + 1.5 + terms[1]) / 2, rel=1e-6)


def take_output(output: StudentOutput, rows: list[int]) -> StudentOutput:
    return StudentOutput(
        x=output.x[rows],
        mel=output.mel,
        stem=output.stem[rows],
        hidden_states=tuple(frames[rows] for frames in output.hidden_states),
        ffn=(),
        n_valid=output.n_valid[rows],
    )


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


@pytest.mark.parametrize("rates", [(75.0, 50.0), (62.5, 25.0), (50.0, 20.0)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_frames_are_pooled_in_single_precision_under_autocast(
    rates: tuple[float, float], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = (torch.randn(2, 40, 6, generator=generator) * 3 + 100).to(dtype)
    n_valid = torch.tensor([40, 31])
    wanted = pool_frames(frames.double().float(), n_valid, rates[0], 16, rates[1])
    with torch.autocast("cpu", torch.bfloat16):
        found = pool_frames(frames, n_valid, rates[0], 16, rates[1])
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
    # Against the definition: a mean of values near 100 that half precision would round to 0.5.
    shared = overlap(16, rates[1], 40, rates[0]).double()
    valid = frame_mask(n_valid, 40).double()
    exact = torch.einsum("sf,cf,cfd->csd", shared, valid, frames.double())
    exact /= torch.einsum("sf,cf->cs", shared, valid).clamp(min=1e-30).unsqueeze(-1)
    for row, n in enumerate(found[1].tolist()):
        torch.testing.assert_close(found[0][row, :n].double(), exact[row, :n], rtol=1e-5, atol=0)


@pytest.mark.parametrize("pooled", ["prediction", "hidden"])
def test_half_precision_reaches_the_loss_through_the_heads_alone(pooled: str) -> None:
    """With heads in single precision the loss under autocast is that without."""
    heads = Heads(
        tuple(
            HeadSpec(
                teacher=name,
                student_layer=1,
                teacher_layer=1,
                kind="block",
                teacher_dim=6,
                student_dim=8,
                hidden_dim=8,
            )
            for name in ("fast", "slow")
        )
    )
    for head in heads:
        forward = head.forward
        head.forward = without_half(forward)  # type: ignore[method-assign]
    objective = Objective(
        heads,
        teacher_domains={"fast": "speech", "slow": "music"},
        omega=10.0,
        frame_rate_hz=50.0,
        pooled=pooled,  # type: ignore[arg-type]
    )
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 50, 8, generator=generator)
    n_valid = torch.tensor([50, 37])
    output = StudentOutput(
        x=hidden, mel=hidden, stem=hidden, hidden_states=(hidden,), ffn=(hidden,), n_valid=n_valid
    )
    targets = {
        name: LayerFeatures(
            layers=(1,),
            frames=(torch.randn(2, n, 6, generator=generator) + 50,),
            n_valid=(torch.tensor([n, n // 2]),),
            frame_rates_hz=(rate,),
        )
        for name, n, rate in (("fast", 62, 62.5), ("slow", 20, 20.0))
    }
    wanted = objective(output, targets, ["speech", "music"])
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(output, targets, ["speech", "music"])
    assert torch.equal(found.total, wanted.total) and torch.equal(found.sums, wanted.sums)


def without_half(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def whole(hidden: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(hidden.float())

    return whole
