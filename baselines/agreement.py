"""How well the components of a mixture agree with labels that no fit has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.metrics import adjusted_rand_index
from baselines.mixture import Mixture


@dataclass(frozen=True)
class Agreement:
    """Points of each component by their label.

    Attributes:
        label: what the labels are called. groups: the G different ones. counts: K rows of G numbers.
        index: the adjusted Rand index (Hubert and Arabie 1985): 1 for equal groupings, 0 on average for
            random ones.
        compared: points that have a label.
    """

    label: str
    groups: list[str]
    counts: list[list[int]]
    index: float
    compared: int


def agreement(mixture: Mixture, X: Tensor, label: str, values: Sequence[str]) -> Agreement:
    """Each point of X (N, d) in its likeliest component, beside its label; "" is none, and left out.

    Raises ValueError unless there are N labels, one of them not empty.
    """
    if len(values) != len(X) or not any(values):
        raise ValueError(
            f"{label}: {len(values)} labels for {len(X)} points, needs as many, one of them not empty"
        )
    groups = list(dict.fromkeys(filter(None, values)))
    known = torch.tensor([bool(value) for value in values])
    numbers = torch.tensor([groups.index(value) for value in values if value])
    found = mixture.responsibilities(X).argmax(-2)[known]
    shape = mixture.n_components, len(groups)
    counts = torch.bincount(found * shape[1] + numbers, minlength=shape[0] * shape[1]).reshape(shape)
    return Agreement(label, groups, counts.tolist(), float(adjusted_rand_index(found, numbers)), len(numbers))
