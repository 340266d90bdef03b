"""Makes the frozen values of test_erasure.py and test_associations.py. No test runs it.

Needs concept-erasure 0.2.4 (torch) and wefe 1.0.1; wefe pins an older NumPy and asks for
gensim and others on import, so install both without dependencies in a folder of its own, name it in
PYTHONPATH and run this file. What else wefe imports is stood in for: the effect size does not use it.
"""

import sys
from unittest.mock import MagicMock

import numpy as np
import torch

for name in ("gensim", "gensim.models", "gensim.downloader", "semantic_version", "tqdm", "plotly"):
    sys.modules[name] = MagicMock(__version__="4.3.0")
sys.modules["semantic_version"].Version.coerce.return_value.major = 4

from concept_erasure import LeaceFitter
from wefe.metrics import WEAT


def leace() -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    z = torch.nn.functional.one_hot(torch.tensor(rng.integers(0, 3, 40)), 3).double()
    fitter = LeaceFitter.fit(torch.tensor(x), z, shrinkage=False, svd_tol=1e-8)
    return fitter.eraser(torch.tensor(x)).numpy()[:3]


def weat() -> float:
    rng = np.random.default_rng(0)
    w, a, b = rng.normal(size=(10, 4)), rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    return float(WEAT()._calc_effect_size(w[:5], w[5:], a, b))


if __name__ == "__main__":
    np.set_printoptions(precision=10)
    sys.stdout.write(f"{leace()!r}\n{weat()!r}\n")
