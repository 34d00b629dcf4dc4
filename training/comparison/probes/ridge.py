"""Linear probes: ridge regression in closed form, judged on tasks that they have not seen.

    W_lambda = (Z^T Z / n + lambda I)^-1 Z^T (Y - m) / n,    prediction  m + z W_lambda

Z are the n training rows of the stream, each feature centred and divided by its deviation, m the
average of the training targets. lambda is the one of PENALTIES with the least error on validation
tasks; the test tasks take no part in any choice. A feature that is constant on the training rows is
left out: it says nothing.

    R^2 = 1 - sum |y - prediction|^2 / sum |y - m|^2        over the rows of the test tasks

so 0 is what one gets who knows nothing but the average of the *training* targets, and a probe that
generalises badly goes below 0.

Source: Alain and Bengio 2016 (linear probes); Hewitt and Liang 2019 (control tasks: the same probe on
targets that were shuffled; selectivity is the difference).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr

PENALTIES = (1e-8, 1e-4, 1e-2, 1.0)
TRAIN, VALIDATION = 0.55, 0.15
"""Shares of the tasks; the rest are for the test."""
FEWEST_TASKS = 7


@dataclass(frozen=True, eq=False)
class Split:
    """Which tasks are for fitting, for choosing the penalty, for the test: no task in two of them."""

    train: Tensor
    validation: Tensor
    test: Tensor

    __repr__ = short_repr

    def __post_init__(self) -> None:
        together = torch.cat([self.train, self.validation, self.test])
        values, counts = together.unique(return_counts=True)
        if bool((counts > 1).any()):
            raise ValueError(
                f"task {int(values[counts > 1][0])} is in two parts of the split, needs each in one"
            )
        if 0 in (len(self.train), len(self.validation), len(self.test)):
            raise ValueError("a part of the split is empty, needs tasks in each of the three")


def split_tasks(n_tasks: int, generator: torch.Generator) -> Split:
    """A random split of tasks 0..n_tasks - 1; ValueError for fewer than FEWEST_TASKS."""
    if n_tasks < FEWEST_TASKS:
        raise ValueError(f"n_tasks is {n_tasks}, needs at least {FEWEST_TASKS} to split them in three")
    order = torch.randperm(n_tasks, generator=generator)
    first, second = int(TRAIN * n_tasks), int((TRAIN + VALIDATION) * n_tasks)
    return Split(order[:first], order[first:second], order[second:])


class Ridge:
    """All ridge regressions on rows H (n, D), float64, for whatever targets and penalty.

    ValueError unless H is a float64 matrix with two rows or more and a feature that is not constant.
    """

    def __init__(self, H: Tensor) -> None:
        if H.dtype != torch.float64 or H.dim() != 2 or len(H) < 2:
            raise ValueError(f"H is {H.dtype} of shape {tuple(H.shape)}, needs float64 (n, D), n >= 2")
        self.centre = H.mean(0)
        deviation = H.std(0, correction=0)
        # Adding up n equal numbers rounds: up to n u of their size is left over as a deviation.
        self.kept = deviation > len(H) * torch.finfo(H.dtype).eps * H.abs().amax(0)
        if not bool(self.kept.any()):
            raise ValueError("every feature of H is constant, needs one that varies")
        self.scale = deviation[self.kept]
        Z = self.standardised(H)
        self.rows = Z
        self.values, self.vectors = torch.linalg.eigh(Z.mT @ Z / len(Z))

    def standardised(self, H: Tensor) -> Tensor:
        """(..., D) -> (..., kept features)."""
        return (H - self.centre)[..., self.kept] / self.scale

    def weights(self, Y: Tensor, penalties: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """W (penalties, kept features, M) for targets Y (n, M), and their average m (M,)."""
        average = Y.mean(0)
        projected = self.vectors.mT @ (self.rows.mT @ (Y - average)) / len(Y)
        found = [self.vectors @ (projected / (self.values + p)[:, None]) for p in penalties]
        return torch.stack(found), average


@dataclass(frozen=True, eq=False)
class Sums:
    """Squares summed over rows and outputs: error and total, each (B, G), 0 for tasks not tested.

    penalty (G,) is the one chosen for each group of outputs.
    """

    error: Tensor
    total: Tensor
    penalty: Tensor

    __repr__ = short_repr


def probe(H: Tensor, Y: Tensor, split: Split, penalties: tuple[float, ...] = PENALTIES) -> Sums:
    """Fit, choose and test a probe for each of G targets.

    Args:
        H: (B, P, D) the stream at P tokens of B tasks.
        Y: (B, P, G, W): G targets of W outputs.
        split: of the tasks: all rows of one task are in one part.

    Raises:
        ValueError: shapes that do not fit, a dtype other than float64, targets that are not finite.
    """
    if H.shape[:2] != Y.shape[:2] or Y.dim() != 4:
        wanted = f"(B, P, G, W) with B, P = {tuple(H.shape[:2])}"
        raise ValueError(f"Y has shape {tuple(Y.shape)}, needs {wanted}")
    if Y.dtype != torch.float64 or not bool(Y.isfinite().all()):
        raise ValueError("Y needs finite float64 numbers")
    ridge = Ridge(H[split.train].flatten(0, 1))
    W, average = ridge.weights(Y[split.train].flatten(0, 1).flatten(1), penalties)
    groups = Y.shape[2:]

    def residuals(tasks: Tensor, w: Tensor) -> Tensor:
        """(tasks, G) sums of squares."""
        wrong = Y[tasks].flatten(2) - average - ridge.standardised(H[tasks]) @ w
        return wrong.unflatten(-1, groups).square().sum((1, 3))

    errors = torch.stack([residuals(split.validation, w).sum(0) for w in W])
    choice = errors.argmin(0)
    chosen = W.unflatten(-1, groups).permute(2, 0, 1, 3)[torch.arange(len(choice)), choice]
    error, total = H.new_zeros(len(H), groups[0]), H.new_zeros(len(H), groups[0])
    error[split.test] = residuals(split.test, chosen.transpose(0, 1).flatten(1))
    around = (Y[split.test].flatten(2) - average).unflatten(-1, groups)
    total[split.test] = around.square().sum((1, 3))
    return Sums(error, total, torch.tensor(penalties, dtype=torch.float64)[choice])


def shuffled(Y: Tensor, generator: torch.Generator) -> Tensor:
    """Y (B, P, G, W) with its B P rows in random order: a control task of the same marginals."""
    order = torch.randperm(Y.shape[0] * Y.shape[1], generator=generator)
    return Y.flatten(0, 1)[order].unflatten(0, Y.shape[:2])
