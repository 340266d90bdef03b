"""The objective: the student's layers predict the teachers' layers, frame by frame.

Per frame, teacher m and distilled layer k, with z the teacher's feature of D dimensions
and p the prediction of the head on the student's layer:

    l = |p - z|_1 / D - log sigmoid(cos(p, z))      USAD (arXiv 2506.18843), sec. III-B

averaged over the K layers and the frames, and summed over the teachers with weights
that depend on the clip's domain (USAD 2.0, arXiv 2606.06444, eq. 2 and 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import LayerFeatures, frame_mask
from usad_workbench.core.models.frontend import without_autocast
from usad_workbench.core.models.heads import Head, Heads
from usad_workbench.core.models.student import StudentOutput
from usad_workbench.training.recipe import ALL_DOMAINS, MultiDomain, Pooled

_SAME_RATE = 1 + 1e-6
"""Rates whose ratio is nearer to 1 than this are the same, but for rounding."""


def layer_map(
    n_distilled: int, n_student: int, n_teacher: int, teacher_layers: Sequence[int] = ()
) -> tuple[tuple[int, int], ...]:
    """Pairs of student and teacher layer: round(k L / K) for k = 1 .. K on both sides.

    The published depths and K = 4 need no rounding, so how a half is rounded is not
    published; here it goes to the even layer, as Python's ``round`` does. Rounding halves
    up gives other layers for depths such as 6 and K = 4 (2, 3, 5, 6, not 2, 3, 4, 6).
    K = 1 pairs the last layers (stage 2 of USAD 2.0).

    Args:
        n_distilled: K.
        n_student: Depth of the student.
        n_teacher: Depth of the teacher.
        teacher_layers: Used instead of the rule where given.

    Raises:
        ConfigError: a layer that would be used twice or does not exist.

    >>> layer_map(4, 12, 24)
    ((3, 6), (6, 12), (9, 18), (12, 24))
    """
    steps = range(1, n_distilled + 1)
    student = [round(k * n_student / n_distilled) for k in steps]
    teacher = list(teacher_layers) or [round(k * n_teacher / n_distilled) for k in steps]
    for whose, layers, depth in (("student", student, n_student), ("teacher", teacher, n_teacher)):
        if len(set(layers)) < len(layers) or min(layers) < 1 or max(layers) > depth:
            raise ConfigError(
                f"{n_distilled} distilled layers fall on layers {layers} of a {whose} with "
                f"{depth}; expected different ones from 1 to {depth}. Distil fewer layers, or "
                "name the teacher's layers."
            )
    return tuple(zip(student, teacher, strict=True))


def l1_cosine(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of the loss per frame: mean absolute error, and -log sigmoid(cosine).

    [..., dim] twice to [...] twice. The terms are added with weight 1 (as DistilHuBERT).
    """
    l1 = (predicted - target).abs().mean(-1)
    return l1, -F.logsigmoid(F.cosine_similarity(predicted, target, dim=-1))


def domain_weights(
    domains: Sequence[str],
    teacher_domains: Sequence[str],
    omega: float,
    multi_domain: MultiDomain = "matched",
) -> Tensor:
    """Weight of each teacher for each clip, shape [clip, teacher].

    omega / (omega + M - 1) for the teacher of the clip's domain, 1 / (omega + M - 1) for
    each other, and 1 / M each where no teacher has it. Source: USAD 2.0 (arXiv
    2606.06444), eq. 3; M = 3 and omega = 10 give 10 / 12 and 1 / 12.

    A teacher of domain ``all`` (stage 2) is "treated equally on all domains"; the formula
    for it is not published, so there are two readings. ``matched``: it matches every
    clip, and the weights (omega for a match, 1 for none) are divided by their sum.
    With a specialist and one such teacher: 1 / 2 each in the specialist's domain,
    1 / (omega + 1) and omega / (omega + 1) elsewhere. ``half``: it weighs 1 / M always,
    the half that the name says for M = 2, and each specialist what it would weigh in
    eq. 3 if no teacher were for all domains: omega / (omega + M - 1) in its domain,
    1 / (omega + M - 1) in each other one, known or not. The sum then is above 1 where a
    specialist matches and below 1 elsewhere, so that domains differ in step size too.
    Without such a teacher both are eq. 3.

    >>> domain_weights(["speech", "birds"], ["speech", "music"], 3.0).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    >>> domain_weights(["speech", "music"], ["speech", "all"], 3.0).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    >>> domain_weights(["speech", "music"], ["speech", "all"], 3.0, "half").tolist()
    [[0.75, 0.5], [0.25, 0.5]]
    """
    is_multi = torch.tensor([t == ALL_DOMAINS for t in teacher_domains])
    is_own = torch.tensor([[d == t for t in teacher_domains] for d in domains])
    if multi_domain == "matched" or not is_multi.any():
        weights = torch.where(is_own | is_multi, float(omega), 1.0)
        return weights / weights.sum(1, keepdim=True)
    n_teachers = len(teacher_domains)
    weights = torch.where(is_own, float(omega), 1.0) / (omega + n_teachers - 1)
    return weights.masked_fill(is_multi, 1 / n_teachers)


def overlap(n_slow: int, slow_hz: float, n_fast: int, fast_hz: float) -> Tensor:
    """Seconds that each slow frame shares with each fast one, shape [slow, fast].

    Frame i of a side with f frames per second lasts from i / f to (i + 1) / f.

    >>> overlap(2, 1.0, 3, 1.5).mul(3).round().tolist()
    [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
    """
    slow = torch.arange(n_slow, dtype=torch.float64).unsqueeze(1)
    fast = torch.arange(n_fast, dtype=torch.float64)
    end = torch.minimum((slow + 1) / slow_hz, (fast + 1) / fast_hz)
    return (end - torch.maximum(slow / slow_hz, fast / fast_hz)).clamp(min=0.0).float()


def pool_frames(
    frames: Tensor, n_valid: Tensor, rate_hz: float, n_slow: int, slow_hz: float
) -> tuple[Tensor, Tensor]:
    """Means of the valid frames over the intervals of a slower side.

    A frame that an interval covers in part counts for that part. In float32, at any precision
    of what surrounds it.

    Args:
        frames: Shape [clip, frame, dim].
        n_valid: Shape [clip].
        rate_hz: Of these frames.
        n_slow: Frames of the slower side.
        slow_hz: Their rate.

    Returns:
        Means [clip, slow frame, dim], and how many of them per clip have any valid frame.
    """
    frames = frames.float()
    is_valid = frame_mask(n_valid, frames.shape[1]).to(frames).unsqueeze(-1)
    shared = overlap(n_slow, slow_hz, frames.shape[1], rate_hz)
    shared = shared.to(frames, non_blocking=True)
    # Autocast would multiply in half precision, whatever is given.
    with without_autocast(frames.device):
        covered = shared @ is_valid
        sums = shared @ (frames * is_valid)
    means = sums / covered.clamp(min=torch.finfo(torch.float32).tiny)
    return means, n_covered(n_valid, rate_hz, slow_hz).clamp(max=n_slow)


def n_covered(n_valid: Tensor, rate_hz: float, slow_hz: float) -> Tensor:
    """How many frames of a slower side the first frames of a faster side reach.

    A sliver of a frame, from rounding in the rates, is not a frame.

    >>> n_covered(torch.tensor([0, 4, 5]), 50.0, 25.0).tolist()
    [0, 2, 3]
    """
    return ((n_valid.double() - 1e-6) * (slow_hz / rate_hz)).ceil().clamp(min=0).long()


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """The value that is minimised, and what it is made of."""

    total: Tensor
    per_clip: Tensor
    """Shape [clip]; weighted as in ``total``, for finding the clip that broke a step."""
    sums: Tensor
    """Shape [clip, teacher, 3]: both terms of ``l1_cosine`` summed over frames, not weighted
    by domain, and the number of frames; teachers in the order of the objective."""


class Objective(nn.Module):
    """Student output and targets of several teachers to one loss."""

    def __init__(
        self,
        heads: Heads,
        *,
        teacher_domains: Mapping[str, str],
        omega: float,
        frame_rate_hz: float,
        pooled: Pooled = "prediction",
        multi_domain: MultiDomain = "matched",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.teacher_domains = dict(teacher_domains)
        self.omega, self.multi_domain = omega, multi_domain
        self.frame_rate_hz, self.pooled = frame_rate_hz, pooled

    def forward(
        self,
        output: StudentOutput,
        targets: Mapping[str, LayerFeatures],
        domains: Sequence[str],
        n_frames: Tensor | None = None,
    ) -> Loss:
        """The loss of a batch: the mean over its frames, weighted by domain.

        Args:
            output: The student's, for the same clips as the targets.
            targets: By teacher, with the layers that the heads predict.
            domains: Of each clip.
            n_frames: Shape [teacher]; what the sums over frames are divided by where the
                clips are a part of a larger batch, so that the losses of the parts add up
                to the one of the batch. The frames of these clips where none.
        """
        teachers = list(self.teacher_domains)
        weights = domain_weights(
            domains, list(self.teacher_domains.values()), self.omega, self.multi_domain
        )
        weights = weights.to(output.x.device, non_blocking=True)
        total = torch.zeros((), device=output.x.device)
        per_clip = torch.zeros(len(domains), device=output.x.device)
        sums = []
        for m, teacher in enumerate(teachers):
            l1, cosine, n = self._teacher_terms(teacher, output, targets[teacher])
            # Sums over frames divided by all frames: long clips count for their length.
            weighted = weights[:, m] * (l1 + cosine)
            total = total + weighted.sum() / (n.sum() if n_frames is None else n_frames[m])
            per_clip = per_clip + weighted.detach() / n.clamp(min=1)
            sums.append(torch.stack((l1.detach(), cosine.detach(), n.to(l1)), dim=1))
        return Loss(total=total, per_clip=per_clip, sums=torch.stack(sums, dim=1))

    def count_frames(self, n_valid: Tensor, targets: Mapping[str, LayerFeatures]) -> Tensor:
        """Frames that the loss of each teacher is a mean over, shape [teacher].

        Args:
            n_valid: Frames of the student per clip, shape [clip].
            targets: As in ``forward``, for the same clips.
        """
        return torch.stack(
            [self._n_aligned(n_valid, targets[t]).sum() for t in self.teacher_domains]
        )

    def _n_aligned(self, n_valid: Tensor, target: LayerFeatures) -> Tensor:
        """Frames per clip that student and teacher share, at the slower one's rate."""
        # Layers of a teacher may differ in rate; the frames of a clip are the first one's.
        n_wanted, rate, student_rate = (
            target.n_valid[0],
            target.frame_rates_hz[0],
            self.frame_rate_hz,
        )
        if rate > student_rate * _SAME_RATE:
            n_wanted = n_covered(n_wanted, rate, student_rate)
        elif rate < student_rate / _SAME_RATE:
            n_valid = n_covered(n_valid, student_rate, rate)
        return torch.minimum(n_valid, n_wanted.to(n_valid))

    def _teacher_terms(
        self, teacher: str, output: StudentOutput, target: LayerFeatures
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over frames of both terms, mean over layers, and frames; each [clip]."""
        heads = [head for head in self.heads if head.spec.teacher == teacher]
        sums = []
        for head in heads:
            predicted, wanted, n = self._align(head, output, target)
            is_valid = frame_mask(n, wanted.shape[1])
            terms = l1_cosine(predicted.float(), head.scale(wanted.float()))
            l1, cosine = (term.masked_fill(~is_valid, 0.0).sum(1) for term in terms)
            sums.append((l1 / n.clamp(min=1), cosine / n.clamp(min=1), n))
        # Layers of a teacher may differ in rate (then in frames): each layer counts the
        # same, and the frames of the clip are those of the first.
        n_frames = sums[0][2]
        l1 = torch.stack([s[0] for s in sums]).mean(0) * n_frames
        cosine = torch.stack([s[1] for s in sums]).mean(0) * n_frames
        return l1, cosine, n_frames

    def _align(
        self, head: Head, output: StudentOutput, target: LayerFeatures
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction and target at the rate of the slower side, cut to the shorter."""
        at = target.layers.index(head.spec.teacher_layer)
        wanted, n_wanted, rate = target.frames[at], target.n_valid[at], target.frame_rates_hz[at]
        hidden, n_hidden = output.layer(head.spec.student_layer), output.n_valid
        student_rate = self.frame_rate_hz
        if rate > student_rate * _SAME_RATE:
            wanted, n_wanted = pool_frames(wanted, n_wanted, rate, hidden.shape[1], student_rate)
            predicted = head(hidden)
        elif rate < student_rate / _SAME_RATE and self.pooled == "hidden":
            hidden, n_hidden = pool_frames(hidden, n_hidden, student_rate, wanted.shape[1], rate)
            predicted = head(hidden)
        elif rate < student_rate / _SAME_RATE:
            predicted, n_hidden = pool_frames(
                head(hidden), n_hidden, student_rate, wanted.shape[1], rate
            )
        else:
            predicted = head(hidden)
        shortest = min(predicted.shape[1], wanted.shape[1])
        n = torch.minimum(n_hidden, n_wanted.to(n_hidden))
        return predicted[:, :shortest], wanted[:, :shortest], n
