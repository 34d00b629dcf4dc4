"""What a released network was trained on, and whether data lie outside of it.

The tasks of training are in the JSON beside the weights; a network without them has no known range but its K
and d, of which it refuses other K by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.model.tgmm import TGMM
from training.tasks import TaskDistribution
from training.trainer.config import RunConfig

TAIL = 6.0
"""Deviations from its mean within which all points of a task lie, but for one task in a million."""


def trained_tasks(facts: dict[str, Any]) -> TaskDistribution | None:
    """The tasks of a model's training facts, None where they do not say."""
    try:
        return RunConfig.from_dict(facts.get("config")).tasks
    except ValueError:
        return None


def remarks_on_range(
    model: TGMM, tasks: TaskDistribution | None, X: Tensor, mask: Tensor | None
) -> dict[int, str]:
    """{place: one line} for data sets outside of what it was trained on; X (B, N, d) centred, 0 at padding.

    Outside are other d, N beyond `tasks.samples`, coordinates beyond twice the box and TAIL deviations (the
    average of a task lies within the box too), and data whose deviation is below half of the least one within
    a component. A network that sees data in their own units (standardise) has no range of units.
    """
    d, own = X.shape[-1], model.config.n_features
    counts = X.new_full((len(X),), X.shape[1]).long() if mask is None else mask.sum(-1)
    largest = X.abs().amax((1, 2))
    deviation = (X.square().sum((1, 2)) / (d * counts)).sqrt()
    shared = [] if d == own else [f"d = {d}"]
    trained, most, least, low, high = f"d = {own}", torch.inf, 0.0, 0, X.shape[1]
    if tasks is not None and model.config.standardise:
        low, high = tasks.samples
        trained = f"N = {low} to {high}, d = {own}, {tasks.covariance} covariances in any units"
    elif tasks is not None:
        same = tasks.covariance in ("unit", "correlated")
        spread = (1.0, 1.0) if same else tasks.deviation_range
        reach = tasks.box if tasks.separation is None else tasks.separation
        most, least = 2 * reach + TAIL * (spread[1] + tasks.perturbation), spread[0] / 2
        low, high = tasks.samples
        units = "deviation 1" if same else f"deviations {spread[0]:g} to {spread[1]:g}"
        trained = (
            f"N = {low} to {high}, d = {own}, means within {reach:g} of the origin, "
            f"{units} within a component"
        )
    found = {}
    for place in range(len(X)):
        N, size, spread_here = int(counts[place]), float(largest[place]), float(deviation[place])
        units_off = size > most or spread_here < least
        outside = [f"N = {N}"] * (not low <= N <= high) + shared
        outside += [f"a coordinate {size:.3g} from the average"] * (size > most)
        outside += [f"a deviation of {spread_here:.3g} in all"] * (spread_here < least)
        if outside:
            remedy = "bring the data to such units, or compare" if units_off else "compare"
            found[place] = (
                f"the network was trained on {trained}, here is {', '.join(outside)}; {remedy} with EMMixture"
            )
    return found
