"""Shared by the tests of the tensor power constructions: instances, the exact iteration, checks of bounds."""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions import (
    TensorPowerRun,
    softmax_tensor_power_construction,
    tensor_power_construction,
)
from constructions.language.structured.evaluation import Evaluation
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import PathBound, path_bound, reference_steps

D0 = 6
DTYPES = [torch.float64, torch.float32]

# Starts have entries of at most 1: v_m s_j <= 1, or 6 where s_j = N v_j; unit vectors never exceed that.
PLAIN = {
    "pairs": {},
    "offset": {"offset": 4.0},
    "mean": {"divide_by_tokens": True},
    "mean, offset": {"offset": 8.0, "divide_by_tokens": True},
}
NORMALISED = {
    "pairs, rms": {"normalise": "rms"},
    "offset, rms": {"offset": 4.0, "normalise": "rms"},
    "piecewise": {"normalise": "piecewise"},
    "mean, rms": {"normalise": "rms", "divide_by_tokens": True},
    "mean, offset, rms": {"offset": 8.0, "normalise": "rms", "divide_by_tokens": True},
    "mean, piecewise": {"normalise": "piecewise", "divide_by_tokens": True},
}
SOFTMAX = {
    "softmax": {"epsilon": 1e-3, "pairs": 2, "normalise": "none", "bound": 1024.0},
    "softmax, rms": {"epsilon": 1e-3, "pairs": 2},
}
RELU = PLAIN | NORMALISED
FORMS = RELU | SOFTMAX


@functools.cache
def form(name: str, steps: int = 1, max_dim: int = D0) -> PowerIteration:
    """A construction of :data:`FORMS`; compiled once for all tests."""
    if name in SOFTMAX:
        return softmax_tensor_power_construction(max_dim, steps, **SOFTMAX[name])
    return tensor_power_construction(max_dim, steps, **RELU[name])


@functools.cache
def softmax_form(
    epsilon: float,
    pairs: int,
    sink: float,
    normalise: str = "rms",
    bound: float | None = None,
    max_dim: int = D0,
) -> PowerIteration:
    """One step of a softmax construction; compiled once."""
    return softmax_tensor_power_construction(max_dim, 1, epsilon, pairs, sink, normalise, bound)


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(v: Tensor) -> Tensor:
    """Each row divided by its length."""
    return v / v.norm(dim=-1, keepdim=True)


def contraction(T: Tensor, v: Tensor) -> Tensor:
    """``sum_jm T_ijm v_j v_m``: (B, d, d, d), (B, d) -> (B, d)."""
    return torch.einsum("bijm,bj,bm->bi", T, v, v)


def exact_path(T: Tensor, v: Tensor, steps: int, normalised: bool) -> Tensor:
    """(B, L + 1, d) the iteration itself, in float64."""
    path = [v]
    for _ in range(steps):
        x = contraction(T, path[-1])
        path.append(unit(x) if normalised else x)
    return torch.stack(path, 1)


KINDS = (
    "gaussian",
    "symmetric",
    "orthogonal",
    "nearly orthogonal start",
    "basis start",
    "zero entries",
    "zero rows",
    "rank one",
    "skew part",
    "cancelling",
    "sparse",
)


def instances(kind: str, count: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` tensors (B, d, d, d) and unit starts (B, d), float64, of one of :data:`KINDS`."""
    T, v = normal(count, d, d, d, seed=seed), unit(normal(count, d, seed=seed + 1))
    Q = torch.linalg.qr(normal(count, d, d, seed=seed + 2)).Q
    weights = torch.linspace(1, 2, d, dtype=torch.float64)
    orthogonal = torch.einsum("k,bik,bjk,bmk->bijm", weights, Q, Q, Q)
    if kind == "symmetric":
        T = sum(T.permute(0, *order) for order in SYMMETRIES) / 6
    elif kind == "orthogonal":
        T = orthogonal
    elif kind == "nearly orthogonal start" and d > 1:
        T = orthogonal  # less one component: T(I, v, v) is nearly 0 for a v along that one
        T = T - weights[0] * torch.einsum("bi,bj,bm->bijm", Q[..., 0], Q[..., 0], Q[..., 0])
        v = unit(Q[..., 0] + 0.03 * v)
    elif kind == "basis start":
        v = torch.eye(d, dtype=torch.float64)[torch.arange(count) % d]
    elif kind == "zero entries" and d > 1:
        v = v.clone()
        v[torch.arange(count), torch.arange(count) % d] = 0
        v = unit(v)
    elif kind == "zero rows" and d > 1:
        T = T.clone()
        T[torch.arange(count), torch.arange(count) % d] = 0
    elif kind == "rank one":
        a = unit(normal(count, d, seed=seed + 3))
        T = 3 * torch.einsum("bi,bj,bm->bijm", a, a, a)
    elif kind == "skew part":  # adds nothing to T(I, v, v), and much to every sum of absolute values
        T = orthogonal + 10 * (T - T.transpose(2, 3))
    elif kind == "cancelling":  # symmetric in j, m up to a little: large terms cancel
        T = T - T.transpose(2, 3) + 1e-3 * orthogonal
    elif kind == "sparse":
        T = T * (normal(count, d, d, d, seed=seed + 4) > 0.8)
        T[:, 0, 0, 0] += 1.0
    return T, v


SYMMETRIES = ((1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1))


@dataclass(frozen=True, eq=False)
class PathCheck:
    """Errors of a run against the exact iteration and what they may be.

    Attributes:
        error, limit: (B, L, d) for the plain iteration, (B, L, 1) Euclidean for the normalised one; the limit
            is the construction's bound plus that of the float64 reference itself.
    """

    run: TensorPowerRun
    bound: PathBound
    error: Tensor
    limit: Tensor

    @property
    def claimed(self) -> float:
        """Share of the steps of which the bound says anything."""
        return float(self.bound.error[:, 1:].isfinite().double().mean())

    @property
    def ratio(self) -> Tensor:
        """(B, L) largest error over limit; 0 where both are 0; a limit that is not a number counts as 0."""
        limit = self.limit.nan_to_num(nan=0.0, posinf=math.inf)
        return torch.where(self.error == 0, 0.0, self.error / limit).amax(-1)

    def broken(self) -> list[str]:
        """One line for every step outside of its bound."""
        return [
            f"tensor {b}, step {t + 1}: error {float(self.error[b, t].max()):.3e}, "
            f"limit {float(self.limit[b, t].max()):.3e}, ratio {float(self.ratio[b, t]):.3g}"
            for b, t in (self.ratio > 1).nonzero().tolist()
        ] + [f"tensor {b}, step {t + 1}: not a number" for b, t in self.ratio.isnan().nonzero().tolist()]


def check_path(
    power: PowerIteration,
    T: Tensor,
    v: Tensor,
    dtype: torch.dtype = torch.float64,
    steps: int | None = None,
    runner: PowerIteration | None = None,
    evaluation: Evaluation = "dense",
) -> PathCheck:
    """Run (B, d, d, d), (B, d) in ``dtype``; compare with the exact iteration on the rounded numbers.

    ``runner`` runs instead of ``power``, whose bounds are asked: for constructions with a mistake.
    """
    T, v = T.to(dtype).double(), v.to(dtype).double()
    run = (runner or power).run(T, v, dtype=dtype, steps=steps, evaluation=evaluation)
    bound = power.error_bounds(T, v, run, dtype)
    reference = exact_path(T, v, run.steps, power.normalised)
    own = path_bound(T, reference, reference_steps(T, reference, power.normalised), power.normalised)
    difference = (run.path.double() - reference)[:, 1:]
    if power.normalised:
        error, limit = difference.norm(dim=-1, keepdim=True), (bound.error + own.error)[:, 1:, None]
    else:
        error, limit = difference.abs(), (bound.entries + own.entries)[:, 1:]
    return PathCheck(run, bound, error, limit)
