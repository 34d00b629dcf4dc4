"""K of data sets by the learned criterion."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from baselines.choosing.select import select, select_many
from baselines.choosing.selection import Selections
from baselines.em_estimator import EMMixture
from baselines.estimator_sets import Array, DataWarning, check_sets
from constructions.language.shown import short_repr
from training.counting.evidence import evidence
from training.counting.head import CountHead, HeadConfig
from training.serving.shipped import WEIGHTS
from training.trainer.checkpoint import CheckpointError, load_model

CRITERIA = {"full-d2": WEIGHTS / "count_full-d2.safetensors"}
"""The criteria of this package by their names."""

REG_COVAR = 1e-6
"""Added to variances of data on [0, 1], the default of select_many."""


@dataclass(frozen=True, eq=False)
class LearnedCount:
    """Of B data sets.

    probabilities  (B, M): of K = 1..M. They are those of the law of training.
    n_components   (B,): the most probable K among those whose fit has no problem.
    selections     the fits of every K (baselines.choosing), to the data with each coordinate on [0, 1].
    sets           the data, as they came.
    """

    probabilities: NDArray[np.float64]
    n_components: NDArray[np.int64]
    selections: Selections
    sets: Sequence[Array]

    __repr__ = short_repr

    def fitted(self, place: int, n_components: int | None = None) -> EMMixture:
        """EM on a data set in its own units, of the K chosen or of another; ValueError where EM has none.

        Its reg_covar is REG_COVAR of the least width of a coordinate squared.
        """
        K = int(self.n_components[place]) if n_components is None else n_components
        X, kind = self.sets[place], self.selections[place].covariance_type
        widths = np.ptp(X, axis=0)
        unit = widths[widths > 0].min(initial=np.inf)
        reg_covar = REG_COVAR * (unit**2 if np.isfinite(unit) else 1.0)
        return select(X, [K], kind, reg_covar=reg_covar).estimator


def learned_count(
    X: ArrayLike | Sequence[ArrayLike], criterion: str | Path | CountHead = "full-d2"
) -> LearnedCount:
    """How many components, by a criterion learned on mixtures whose K is known.

    EM of every K = 1..M on the data with each coordinate scaled to [0, 1] (baselines.choosing.select_many:
    one start, nothing drawn), then P(K | the fits).

    Args:
        X: (B, N, d), or a sequence of arrays (N_b, d); d and the covariances are those of the criterion.
        criterion: a name in CRITERIA, the path of one that training.counting wrote, or the head itself.

    Raises:
        ValueError: another d, fewer points than M, no such criterion.

    A DataWarning where N is outside of what the criterion was trained on.
    """
    head = criterion if isinstance(criterion, CountHead) else load_criterion(criterion)
    config = head.config
    sets = check_sets(X, 1)
    d = sets[0].shape[1]
    if d != config.n_features:
        raise ValueError(f"X has d = {d}, the criterion is of mixtures in d = {config.n_features}")
    sizes = [len(points) for points in sets]
    if not config.low <= min(sizes) <= max(sizes) <= config.high:
        warnings.warn(
            f"N is {min(sizes)} to {max(sizes)}, the criterion was trained on {config.low} to {config.high} "
            "points; compare with baselines.choosing.select",
            DataWarning,
            stacklevel=2,
        )
    counts = range(1, config.most + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of K that BIC chose; ended_K tells the head
        found = select_many([_in_unit_box(points) for points in sets], counts, config.covariance_type)
    with torch.no_grad():
        log_probabilities = head(evidence(found, config.covariance_type)).double()
    # One covariance type and K = 1..M in turn: the candidates stand in the order of the probabilities.
    failed = torch.tensor([[bool(one.problem) for one in selection.candidates] for selection in found])
    usable = log_probabilities.masked_fill(failed, -torch.inf)
    return LearnedCount(log_probabilities.exp().numpy(), 1 + usable.argmax(1).numpy(), found, list(sets))


def _in_unit_box(X: Array) -> Array:
    """Each coordinate on [0, 1], as in training; one that is constant becomes 0.

    reg_covar and Ward's tree know units, so that without this the answer would depend on those of X.
    """
    least = X.min(0)
    width = X.max(0) - least
    return (X - least) / np.where(width > 0, width, 1.0)


def load_criterion(path_or_name: str | Path) -> CountHead:
    """The head, in evaluation mode; ValueError (one line) where there is none."""
    path = CRITERIA.get(str(path_or_name), Path(path_or_name))
    if not (path.exists() or path.with_name(path.name + ".safetensors").exists()):
        raise CheckpointError(f"{path}: no such file; needs a criterion, or one of {', '.join(CRITERIA)}")
    tensors, config, _ = load_model(path)
    try:
        head = CountHead(HeadConfig(**config))
        head.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise CheckpointError(f"{path}: is no criterion that training.counting wrote ({reason})") from None
    return head.eval().requires_grad_(False)
