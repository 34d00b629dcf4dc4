"""Shared by the tests of the EM construction: instances, plain EM, and the checks against the bounds."""

import functools
import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from constructions import EMConstruction, EMRun, Pieces, em_construction
from constructions.em.bounds import StepBound, one_step_bound
from constructions.em.path_bounds import PathBound, path_bound
from constructions.em.step_rounding import StepData
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.evaluation import Evaluation

KINDS = ("mixture", "near-equal means", "duplicated points", "edge of the radius", "far apart", "one point")


@functools.cache
def construction(
    max_dim: int, max_components: int, pieces: int | Pieces, floor: float = 1e-8, radius: float = 12.0
) -> EMConstruction:
    """One step of EM; compiled once for all tests."""
    return em_construction(max_dim, max_components, 1, pieces, floor, radius)


@dataclass(frozen=True, eq=False)
class Task:
    """Points X (N, d) and a start: weights (K,), means (K, d); float64."""

    X: Tensor
    weights: Tensor
    means: Tensor

    def rounded(self, dtype: torch.dtype) -> "Task":
        """The numbers that the layers see in ``dtype``; the bounds compare with EM on these."""
        return Task(*(v.to(dtype).double() for v in (self.X, self.weights, self.means)))


def make_task(
    d: int,
    K: int,
    N: int,
    seed: int,
    kind: str = "mixture",
    start: str = "points",
    least_weight: float = 0.05,
    radius: float = 12.0,
) -> Task:
    """A random task of one of :data:`KINDS`; ``start`` is "points", "normal" or "truth"."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    centres = 2 * normal(K, d)
    if kind == "near-equal means":
        centres = centres[:1] + 1e-3 * normal(K, d)
    elif kind == "far apart":
        centres = 0.8 * radius * normal(K, d).sign()
    X = centres[torch.randint(K, (N,), generator=g)] + normal(N, d)
    if kind == "duplicated points":
        X = X[torch.randint(max(1, N // 4), (N,), generator=g)]
    elif kind == "edge of the radius":
        X = radius * normal(N, d).sign()
    elif kind == "one point":
        X = X[:1].repeat(N, 1)
    X = X.clamp(-radius, radius)
    choices = {"points": X[torch.randperm(N, generator=g)[:K]], "normal": normal(K, d), "truth": centres}
    weights = torch.rand(K, generator=g, dtype=torch.float64)
    weights = least_weight + (1 - K * least_weight) * weights / weights.sum()
    return Task(X, weights / weights.sum(), choices[start].clamp(-radius, radius))


def plain_em_step(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """One EM step: weights (K,), means (K, d), W (K,)."""
    square = (task.X[None] - task.means[:, None]).square().sum(-1)
    logits = task.weights.log()[:, None] - square / 2
    responsibilities = torch.exp(logits - torch.logsumexp(logits, 0))
    mass = responsibilities.sum(1)
    return mass / len(task.X), responsibilities @ task.X / mass[:, None], mass


def stacked(tasks: list[Task]) -> Task:
    """Tasks of one size as one, every tensor with a leading dimension."""
    return Task(*(torch.stack([getattr(t, name) for t in tasks]) for name in ("X", "weights", "means")))


def step_data(task: Task, refreshed: bool) -> StepData:
    """For the bounds: a batch of one, or of tasks that are :func:`stacked`."""
    X, weights, means = (v if task.X.dim() == 3 else v[None] for v in (task.X, task.weights, task.means))
    B, N, d = X.shape
    tokens, components = torch.ones(B, N, dtype=torch.bool), torch.ones_like(weights, dtype=torch.bool)
    return StepData(X, tokens, weights, means, components, torch.full((B,), d), refreshed)


@dataclass(frozen=True, eq=False)
class StepCheck:
    """Errors of one constructed step and their bounds, (K,); ``defined`` where EM is not 0/0."""

    weight_error: Tensor
    mean_error: Tensor
    bound: StepBound
    defined: Tensor

    def broken(self) -> list[str]:
        """One line for every bound that does not hold; a bound that is not a number does not hold."""
        pairs = {
            "mean_instance": self.mean_error,
            "mean_apriori": self.mean_error,
            "weight_instance": self.weight_error,
            "weight_apriori": self.weight_error,
        }
        return [
            f"{name} of component {k}: error {float(error[k]):.3e}, bound {float(limit[k]):.3e}"
            for name, error in pairs.items()
            for limit in [getattr(self.bound, name)[0]]
            for k in range(len(error))
            if self.defined[k] and not error[k] <= limit[k]
        ]


def check_step(
    em: EMConstruction,
    task: Task,
    dtype: torch.dtype = torch.float64,
    refreshed: bool = False,
    evaluation: Evaluation = "dense",
) -> StepCheck:
    """Run one step in ``dtype`` and compare it with plain EM and with the bounds."""
    return check_steps(em, [task], dtype, refreshed, evaluation)[0]


def check_steps(
    em: EMConstruction,
    tasks: list[Task],
    dtype: torch.dtype = torch.float64,
    refreshed: bool = False,
    evaluation: Evaluation = "dense",
) -> list[StepCheck]:
    """:func:`check_step` of tasks of one size, which the layers see as one batch."""
    tasks = [task.rounded(dtype) for task in tasks]
    data = step_data(stacked(tasks), refreshed)
    parts = data.X, data.weights, data.means
    run = em.run(*parts, dtype=dtype, refreshed=refreshed, steps=1, evaluation=evaluation)
    bounds = one_step_bound(em, data, dtype)
    checks = []
    for i, task in enumerate(tasks):
        weights, means, _ = plain_em_step(task)
        parts = {f.name: getattr(bounds, f.name) for f in fields(StepBound)}
        bound = StepBound(**{name: part[i : i + 1] for name, part in parts.items() if part is not None})
        checks.append(
            StepCheck(
                (run.path_weights[i, 1].double() - weights).abs(),
                (run.path_means[i, 1].double() - means).norm(dim=-1),
                bound,
                ~bound.undefined[0],
            )
        )
    return checks


def em_path(task: Task, steps: int) -> tuple[Tensor, Tensor]:
    """Plain EM: weights (L + 1, K), means (L + 1, K, d)."""
    path = [task]
    for _ in range(steps):
        weights, means, _ = plain_em_step(path[-1])
        path.append(Task(task.X, weights, means))
    return torch.stack([t.weights for t in path]), torch.stack([t.means for t in path])


def bound_of_path(em: EMConstruction, task: Task, run: EMRun, dtype: torch.dtype) -> PathBound:
    """The L-step bound of a run of one task (rounded to ``dtype``), or of tasks that are :func:`stacked`."""
    data = step_data(task, False)
    return path_bound(
        em,
        data.X,
        data.token_mask,
        run.path_weights.reshape(len(data.X), -1, *data.weights.shape[1:]).double(),
        run.path_means.reshape(len(data.X), -1, *data.means.shape[1:]).double(),
        data.component_mask,
        data.n_features,
        dtype,
    )


def rounding_distance(
    em: EMConstruction, task: Task, dtype: torch.dtype = torch.float64, refreshed: bool = True
) -> tuple[float, float]:
    """(weight, mean): how far two evaluations of one constructed step from one (weights, means) can be apart.

    Both compute the same piecewise function F in real arithmetic; they may order points and components
    differently, be padded, or hold log pi and |mu|^2/2 by hinges or by interpolation. Let u be the roundoff.

    logits    A sum of d + 3 products of rounded entries: gamma_{d+5} L, with every term bounded a priori,
              L = max |x|.|mu| + log(1/floor) + d R^2/2 + log N. The stored log pi and |mu|^2/2 add their
              rounding bounds; interpolating instead of summing hinges has gamma_11 (5 operations on
              differences of two values, one more on the value) of log(1/floor) and of d R^2/2. Without
              ``refreshed`` they are read in exactly, rounded to the dtype once.
    resp      The error of a logarithm of a responsibility is at most twice that of a logit, and
              gamma_{4N+10} + 4 u L for the exponentials (within two ulp), their sum and quotient, and the
              subtraction of the largest logit.
    log_resp  The slope of f against the logarithm is at most a = z / (1 - e^-z), z = log(1/floor)/M, so the
              error grows by a; then the rounding of f.
    means     Weights e^{+-v} off, v that error plus the softmax over f: total variation tanh(v/2), times
              the diameter of the data; the sum over N points adds gamma_N max|x|_2.
    weights   An average of responsibilities, each e^{+-error} off: expm1, and gamma_N.

    Each evaluation is within this of F; the two within twice.
    """
    u = unit_roundoff(dtype)
    N, d = task.X.shape
    depth, square_size = -math.log(em.floor), d * em.radius**2 / 2
    logit_size = float((task.means.abs() @ task.X.abs().mT).max()) + depth + square_size + math.log(N)
    units = em.square.units + 4
    square_rounding = d * em.square.rounding_error(dtype) / 2 + gamma(d * units, u) * square_size
    stored = u * (depth + square_size)
    if refreshed:
        interpolated = gamma(11, 2.0**-53) * (depth + square_size)
        stored += em.log_pi.rounding_error(dtype) + square_rounding + interpolated
    soft = gamma(4 * N + 10, u)
    resp = 2 * (gamma(d + 5, u) * logit_size + stored) + soft + 4 * u * logit_size
    z = depth / em.pieces.log_resp
    v = z / -math.expm1(-z) * resp + em.log_resp.rounding_error(dtype) + soft + 2 * u * depth
    diameter = float((task.X.amax(0) - task.X.amin(0)).norm())
    largest = float(task.X.norm(dim=-1).max())
    return 2 * math.expm1(resp + gamma(N, u)), 2 * (diameter * math.tanh(v / 2) + gamma(N, u) * largest)
