"""The constructed step's values written into the learned stream, and what the estimate makes of them.

    encoder   h_k = b_k + (z_k - m_k) W + residual        least squares over training tasks, one a layer
    patch     h_k <- (h_k - b_k)(I - P) + b_k + (z'_k - m_k) W,      P the projection on the rows of W

at component tokens with z_k = (mu_k, log pi_k), what an M layer writes, and at points with the floored
log responsibilities, what an E layer writes; there the point x_i itself stands beside them in the
regression and is not patched, so that what is moved is not the place of the point. Fitted with
converged EM's values, its components in the order of the network's tokens. The fraction that arrives is

    f = sum_tasks <out(z') - out(z), t> / sum_tasks <t, t>

with out the network's means, z its own estimate, and t = mu' - mu the shift of the means put in
(tokens) or the shift of the M step's means (points): 0 where the network ignores the patch, 1 where it
adopts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em import em
from baselines.em_steps import e_step
from baselines.mixture import Mixture
from console.phrases import Interval
from constructions.language.shown import short_repr
from training.comparison.common.em_answers import AnsweredTasks
from training.model.estimate import Estimate

FLOOR = 1e-8
"""Responsibilities below it count as it, as in the constructed E layer (constructions.em.unit)."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """A linear map from inputs (B, S, V), such as named values, to outputs (B, S, D), as the stream.

    weight           (V, D).
    inputs, outputs  the averages m (S, V) and b (S, D), a row a token, or one row for points.
    basis            (r, D): orthonormal rows that span those of `weight`, held inputs left out.
    """

    weight: Tensor
    inputs: Tensor
    outputs: Tensor
    basis: Tensor

    __repr__ = short_repr

    def predicted(self, inputs: Tensor) -> Tensor:
        """Outputs (B, S, D), float64."""
        return self.outputs + (inputs.double() - self.inputs) @ self.weight

    def replaced(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The patch: outputs (B, S, D) with their part along the basis that of the prediction."""
        predicted = self.predicted(inputs)
        left = outputs.double() - predicted
        return (predicted + left - left @ self.basis.mT @ self.basis).to(outputs.dtype)

    def explained(self, inputs: Tensor, outputs: Tensor) -> float:
        """R^2 about the training average; on tasks it was not fitted on, below 0 is possible."""
        own = (outputs.double() - self.outputs).square().sum()
        return 1 - float((outputs.double() - self.predicted(inputs)).square().sum() / own)


def fit(inputs: Tensor, outputs: Tensor, per_token: bool, held: int = 0) -> LinearMap:
    """Least squares from inputs (B, S, V) to outputs (B, S, D), of least norm where it is not unique.

    per_token  averages for each of the S places; otherwise one for all.
    held       so many inputs, the last ones, explain but are not patched.
    """
    z, h = inputs.double(), outputs.double()
    over = (0,) if per_token else (0, 1)
    m, b = (part.mean(over).reshape(-1, part.shape[-1]) for part in (z, h))
    parts = ((z - m).flatten(0, 1), (h - b).flatten(0, 1))
    weight = torch.linalg.lstsq(*parts, driver="gelsd").solution
    moved = weight[: len(weight) - held]
    _, sizes, basis = torch.linalg.svd(moved, full_matrices=False)
    # What rounding leaves of a rank that is not there, as in numpy.linalg.matrix_rank.
    rank = int((sizes > sizes.max() * max(moved.shape) * torch.finfo(weight.dtype).eps).sum())
    return LinearMap(weight, m, b, basis[:rank])


def mixture_values(mixture: Mixture) -> Tensor:
    """z_k = (mu_k, log pi_k): (B, K, d + 1)."""
    return torch.cat([mixture.means, mixture.weights.log()[..., None]], dim=-1)


def estimate_values(estimate: Estimate) -> Tensor:
    """The same of a network's estimate, float64."""
    return torch.cat([estimate.means, estimate.log_weights[..., None]], dim=-1).double()


def to_mixture(values: Tensor) -> Mixture:
    """The mixture of values (B, K, d + 1), its weights made to sum to 1."""
    return Mixture(values[..., -1].softmax(-1), values[..., :-1].contiguous())


def point_values(X: Tensor, mixture: Mixture) -> Tensor:
    """Floored log responsibilities (B, N, K)."""
    return e_step(X, mixture)[0].mT.clamp_min(FLOOR).log()


def weighted_means(X: Tensor, log_resp: Tensor) -> Tensor:
    """The M step's means of floored responsibilities: (B, K, d)."""
    w = log_resp.exp()
    return w.mT @ X / w.sum(1)[..., None]


def em_from(tasks: AnsweredTasks, values: Tensor, steps: int) -> Tensor:
    """Values after exact EM steps (baselines.em); those of the last defined step where a task fails."""
    if not steps:
        return values
    found = em(tasks.X, init=to_mixture(values), max_iter=steps, tol=0.0)
    return mixture_values(found.mixture)


def ratio(moved: Tensor, size: Tensor) -> Interval:
    """f = sum moved / sum size over tasks (B,), with its 95 % interval by linearisation.

    Raises ValueError for fewer than two tasks, or sizes that sum to 0.
    """
    B, total = len(size), float(size.sum())
    if B < 2 or total <= 0:
        raise ValueError(
            f"a ratio over {B} tasks of total size {total:g}, needs two tasks and a positive size"
        )
    f = float(moved.sum()) / total
    error = float((moved - f * size).square().sum() * B / (B - 1)) ** 0.5 / total
    return Interval(f, f - 1.96 * error, f + 1.96 * error)


def along(shift: Tensor, target: Tensor) -> Tensor:
    """<shift, target> of each task: (B, K, d) twice -> (B,)."""
    return (shift * target).flatten(1).sum(1)
