"""Where a training run stands: errors on fixed tasks, of the network alone and after EM steps."""

from __future__ import annotations

from typing import Any

import torch

from baselines.em import em
from baselines.metrics import errors
from training.model.tgmm import TGMM
from training.tasks import sample_tasks
from training.trainer.config import RunConfig

N_SAMPLES = 128
EM_STEPS = 10
REG_COVAR = 1e-6
"""Of these steps, where they have covariances: as EMMixture's."""
TASKS_SEED = 20_251_118
"""Of the fixed tasks; training's own are hashes of (seed, step) and meet these with no more than chance."""


def check_progress(model: TGMM, config: RunConfig, n_tasks: int) -> dict[str, Any]:
    """Mean total error on n_tasks tasks of each K: {"network": {K: e}, "polished": {K: e}}.

    N is 128, or as many points as the network has positions for. "polished" needs N >= K.

    "polished" is after ten steps of exact EM (baselines.em) from the network's estimate, of the covariances
    that it says, and of unit ones for unit tasks only: the constructed layers, whose error is far below the
    sampling error, are slower.
    """
    plain = model.with_polish(0)
    n_samples = min(N_SAMPLES, config.model.max_positions or N_SAMPLES)
    device = model.device
    found: dict[str, dict[str, float]] = {"network": {}}
    for K in config.model.components:
        generator = torch.Generator(device).manual_seed(TASKS_SEED + K)
        batch = sample_tasks(
            config.tasks, n_tasks, K, n_samples, generator, dtype=torch.float64, device=device
        )
        estimate = plain.estimate(batch.X, K)
        found["network"][str(K)] = float(errors(estimate, batch.truth).total.mean())
        alike = config.tasks.covariance == "unit" or config.model.covariance != "unit"
        if alike and n_samples >= K:
            reg_covar = 0.0 if config.model.covariance == "unit" else REG_COVAR
            polished = em(batch.X, init=estimate, max_iter=EM_STEPS, tol=0.0, reg_covar=reg_covar).mixture
            found.setdefault("polished", {})[str(K)] = float(errors(polished, batch.truth).total.mean())
    return found
