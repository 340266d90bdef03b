"""The learned domain router: a probe on a baseline's embedding that sends each clip to a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.probes import LinearProbe, ProbeResult, evaluate_probe
from usad_workbench.core.probes.evaluate import MAX_TRAIN_CLIPS
from usad_workbench.core.probes.folds import codes_of, thin_training
from usad_workbench.core.storage.clip_vectors import clip_vectors, common_clips
from usad_workbench.core.storage.workspace import Workspace

LEARNED_ROUTER = "learned-domain-router"
UNSEEN_PENALTY = 3
"""Index into ``PENALTIES`` for clips of domains without a teacher, which cannot choose one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """Where the learned router sends each clip."""

    encoder: str
    """The encoder whose embedding it reads."""
    domains: Mapping[str, str]
    """Clip to the domain that the router takes it for."""
    accuracy: ProbeResult
    """How often it is right, on clips of the domains it knows."""


def learn_routes(workspace: Workspace, baseline: str | None, homes: Mapping[str, str]) -> Routes:
    """The router's choice for every clip that the baseline has, learned out of fold.

    Args:
        workspace: Whose clips.
        baseline: The encoder that the router reads.
        homes: Home domain to its teacher.

    Raises:
        ConfigError: no baseline to read, or fewer than two home domains.
    """
    if baseline is None or len(homes) < 2:
        raise ConfigError(
            f"The learned router needs a baseline encoder and teachers of two domains, found "
            f"{baseline} and {sorted(homes)}. Embed `log-mel-statistics`, or leave "
            f"out {LEARNED_ROUTER}."
        )
    clips = common_clips(workspace, [baseline])
    x = clip_vectors(workspace, baseline, -1, clips.clip_id.tolist())
    domains = clips.domain.to_numpy(dtype=object)
    labelled = np.flatnonzero(np.isin(domains, list(homes)))
    probe = evaluate_probe(
        x[labelled],
        domains[labelled].tolist(),
        clips.cluster_id.to_numpy()[labelled].tolist(),
        None,
        "linear",
        "accuracy",
        seeds=(0,),
    )
    taken = np.empty(len(clips), dtype=object)
    taken[labelled] = probe.predictions[0]
    other = np.setdiff1d(np.arange(len(clips)), labelled)
    if len(other):
        codes = np.zeros(len(clips), dtype=np.intp)
        codes[labelled] = codes_of(domains[labelled].tolist(), "domain")
        train = thin_training(labelled, codes, MAX_TRAIN_CLIPS)
        answers = LinearProbe(x, codes).predict(train, other, UNSEEN_PENALTY + 1)
        taken[other] = np.unique(domains[labelled])[answers[UNSEEN_PENALTY]]
    return Routes(
        encoder=baseline,
        domains=dict(zip(clips.clip_id.tolist(), taken.tolist(), strict=True)),
        accuracy=probe,
    )
