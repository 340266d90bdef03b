"""A student that copies teacher ``a`` in speech, and a twin that copies nobody."""

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

N_CLIPS, N_CLUSTERS, DIM = 80, 10, 24
DOMAINS = ("speech", "music", "machines")


@pytest.fixture
def copied(tmp_path) -> Workspace:  # type: ignore[no-untyped-def]
    """240 clips in three domains, the last unseen; ``word`` is in the vectors of ``a``."""
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path / "w")
    n = N_CLIPS * len(DOMAINS)
    domains = [DOMAINS[i // N_CLIPS] for i in range(n)]
    words = [f"w{i % 4}" for i in range(n)]
    add_clips(
        workspace,
        {
            "domain": domains,
            "cluster_id": [f"{domain}{i % N_CLUSTERS}" for i, domain in enumerate(domains)],
            "word": words,
        },
    )

    def noise() -> np.ndarray:
        return rng.normal(size=(n, DIM))

    a, b, control = ([noise() for _ in range(3)] for _ in range(3))
    a[2][:, :4] += 4 * np.eye(4)[[int(word[1]) for word in words]]
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    in_speech = (np.arange(n) < N_CLIPS)[:, None]
    student = np.where(in_speech, a[2] @ turn, noise()) + 0.3 * noise()
    add_encoder(workspace, "s", "student", None, [noise(), noise(), student])
    add_encoder(workspace, "twin", "student", None, [noise(), noise(), noise()])
    add_encoder(workspace, "a", "teacher", "speech", a)
    add_encoder(workspace, "b", "teacher", "music", b)
    add_encoder(workspace, "k", "control", "speech", control)
    set_distillation(workspace, "s", [("a", "speech", 1), ("b", "music", 1)])
    set_tasks(
        workspace,
        [
            {
                "task": "word",
                "label_column": "word",
                "domain": "speech",
                "group_column": "cluster_id",
                "metric": "accuracy",
            },
        ],
    )
    return workspace
