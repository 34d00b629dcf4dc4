"""What must hold of a task, checked by name; a task that fails has the status of baselines/spectral.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import unit_roundoff
from constructions.spectral.exact import Exact, Problem, exact
from constructions.spectral.plan import Plan
from constructions.spectral.run import SpectralRun
from constructions.spectral.tasks import SpectralBatch
from constructions.spectral.variance_bounds import LARGEST_GROWTH, growth_of_squares

Status = Literal["NO_VARIANCE", "RANK_DEFICIENT", "NO_THIRD_MOMENT", "NO_GAP", "OUT_OF_RANGE"]
"""The first three as in baselines/spectral.py; NO_GAP: the K largest eigenvalues cannot be told from the next
by subspace iteration; OUT_OF_RANGE: a number beyond what the weights were built for."""


LEAST_LEAN = 1e-8
"""Of the basis on the space of the K largest eigenvalues, over its size: sin of the largest angle between."""


class SpectralError(HypothesisError):
    """Task ``task`` is outside the hypotheses; ``status`` says why."""

    def __init__(self, task: int, status: Status, detail: str) -> None:
        super().__init__(f"task {task}: {detail}")
        self.task, self.status = task, status


def problems(batch: SpectralBatch) -> Iterator[tuple[Tensor, Problem]]:
    """Tasks of one size together, in float64 on the CPU, with their places; s as given or estimated."""
    sizes = torch.stack([batch.n_samples, batch.n_features, batch.n_components], 1).cpu()
    for size in sizes.unique(dim=0):
        at = (sizes == size).all(1).nonzero()[:, 0]
        N, d, K = size.tolist()
        X, g, y = (part.to("cpu", torch.float64)[at] for part in (batch.X, batch.directions, batch.basis))
        X = X[:, :N, :d]
        s = least_eigenvalue(X) if batch.variance is None else batch.variance.to("cpu", torch.float64)[at]
        yield at, Problem(X, s, g[..., :d], y[:, :K, :d])


def least_eigenvalue(X: Tensor) -> Tensor:
    """(B,) of the covariance of X (B, N, d)."""
    centred = X - X.mean(1, keepdim=True)
    return torch.linalg.eigvalsh(centred.mT @ centred / X.shape[1])[:, 0]


Refuse = Callable[[Tensor, Status, Callable[[int], str]], None]
"""(which tasks, status, text of one) -> these are refused."""

Failures = dict[int, SpectralError]
"""Task -> the first hypothesis that it fails."""


def failing_problems(batch: SpectralBatch, plan: Plan) -> Failures:
    """The tasks outside the hypotheses of the weights; each error names the number and what is accepted."""
    failures: Failures = {}
    u = unit_roundoff(batch.X.dtype)
    for at, problem in problems(batch):
        refuse = partial(_refuse, failures, at)
        _check_variance(refuse, problem, batch.variance is None, plan, u)
        found = exact(problem)
        _check_eigenvalues(refuse, found, plan, u)
        size = found.T.flatten(1).norm(dim=-1)
        refuse(
            size > plan.tensor_bound,
            "OUT_OF_RANGE",
            lambda i, size=size: f"|T| is {size[i]:.6g}; tensor_bound is {plan.tensor_bound:g}",
        )
        if plan.read_in == "squares":
            largest = found.reach
            refuse(
                largest > plan.reach,
                "OUT_OF_RANGE",
                lambda i, largest=largest: f"|y_a +- y_b| may be {largest[i]:.6g}; reach is {plan.reach:g}",
            )
    return failures


def _check_variance(refuse: Refuse, problem: Problem, estimated: bool, plan: Plan, u: float) -> None:
    s, (N, d) = problem.s, problem.X.shape[1:]
    if estimated:
        nothing = (N + 4 + 8 * d) * u * problem.X.square().sum(-1).mean(-1)
        refuse(
            s <= nothing,
            "NO_VARIANCE",
            lambda i: f"the estimated variance is {s[i]:.6g}, not above what rounding makes of 0",
        )
        low = plan.least_variance
        refuse(
            s < low,
            "OUT_OF_RANGE",
            lambda i: f"the estimated variance is {s[i]:.6g}; from {low:.6g} on the weights find it",
        )
        growth = growth_of_squares(problem, plan)
        refuse(
            growth > LARGEST_GROWTH,
            "OUT_OF_RANGE",
            lambda i: (
                "the first direction leans so little on the least axis of the covariance that squaring its "
                f"inverse grows like e^{growth[i]:.3g}; up to e^{LARGEST_GROWTH:g} is covered, take another"
            ),
        )
    most = plan.largest_variance
    refuse(s > most, "OUT_OF_RANGE", lambda i: f"the variance is {s[i]:.6g}; largest_variance is {most:g}")


def _check_eigenvalues(refuse: Refuse, found: Exact, plan: Plan, u: float) -> None:
    K, (low, high) = found.problem.n_components, plan.eigenvalues
    N, d = found.problem.X.shape[1:]
    least, largest, beyond = found.least, found.largest, found.beyond
    ratio, resolution = largest / least, (N + 2 + 8 * d) * u * found.second

    def kth(i: int) -> str:
        return f"eigenvalue {K} of the second moment less the variance is {least[i]:.6g}"

    refuse(
        least <= resolution,
        "RANK_DEFICIENT",
        lambda i: f"{kth(i)}, needs > {resolution[i]:.1e}: the data do not show {K} independent means",
    )
    refuse(least < low, "OUT_OF_RANGE", lambda i: f"{kth(i)}; from {low:g} on it is covered")
    refuse(
        largest > high,
        "OUT_OF_RANGE",
        lambda i: f"the largest eigenvalue is {largest[i]:.6g}; up to {high:g} it is covered",
    )
    refuse(
        ratio > plan.condition,
        "OUT_OF_RANGE",
        lambda i: f"the largest eigenvalue is {ratio[i]:.6g} times the last; condition is {plan.condition:g}",
    )
    space = torch.linalg.svdvals(found.problem.basis @ found.vectors[..., :K])[:, -1]
    length = torch.linalg.matrix_norm(found.problem.basis, 2)
    refuse(
        (space < LEAST_LEAN * length) | (length == 0),
        "OUT_OF_RANGE",
        lambda i: (
            f"the basis leans by {_ratio(space[i], length[i]):.1e} of its size on the space of the means; "
            f"{LEAST_LEAN:g} is needed, so take another"
        ),
    )
    refuse(
        found.decay >= 1,
        "NO_GAP",
        lambda i: (
            f"{kth(i)}, and that of another direction {beyond[i]:.6g} in size: the first must be larger"
        ),
    )


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else 0.0


def failing_results(run: SpectralRun, batch: SpectralBatch, plan: Plan) -> Failures:
    """The tasks in which the weights of a lambda_k cannot be inverted: too small, too large, or no number.

    One that rounding could have made of 0 is NO_THIRD_MOMENT, as in the baseline; a larger one that the
    weights are not built for is OUT_OF_RANGE.
    """
    failures: Failures = {}
    present = batch.present(batch.n_components, run.tensor_eigenvalues.shape[1])
    sizes = run.tensor_eigenvalues.abs().nan_to_num(nan=0.0).double().cpu()
    present, at = present.cpu(), torch.arange(len(sizes))
    least = sizes.masked_fill(~present, torch.inf).amin(1)
    total = torch.where(present, sizes.square().reciprocal(), 0.0).sum(1)
    most, low, high = (
        sizes.masked_fill(~present, 0.0).amax(1),
        plan.least_tensor_eigenvalue,
        plan.tensor_bound,
    )
    refuse = partial(_refuse, failures, at)
    refuse(
        most > high,
        "OUT_OF_RANGE",
        lambda i: f"an eigenvalue of the whitened third moment is {most[i]:.6g}; tensor_bound is {high:g}",
    )
    if bool((least < low).any()):
        resolved = tensor_resolution(batch)
        what = "an eigenvalue of the whitened third moment is"
        refuse(
            least <= resolved,
            "NO_THIRD_MOMENT",
            lambda i: (
                f"{what} {least[i]:.6g}, needs a size > {resolved[i]:.1e}: its weight would be infinite"
            ),
        )
        refuse(
            least < low, "OUT_OF_RANGE", lambda i: f"{what} {least[i]:.6g}; from {low:.6g} on it is covered"
        )
    floor, bound = low**2, plan.sum_bound
    refuse(
        (total < floor) | (total > bound),
        "OUT_OF_RANGE",
        lambda i: (
            f"the sum of lambda^-2 is {total[i]:.6g}; from {floor:.3g} to {bound:.6g} it can be divided by"
        ),
    )
    return failures


def tensor_resolution(batch: SpectralBatch) -> Tensor:
    """(B,) the size of a lambda_k that rounding could have made of 0, as baselines/spectral.py has it.

    (N + d + 6) u (c + 3 s a |W|_F^2) of T, with c and a the averages of |y|^3 and |y|, and
    K (12 K + 14) u |T|_F of the power iteration and deflation.
    """
    found = torch.zeros(len(batch.X), dtype=torch.float64)
    u = unit_roundoff(batch.X.dtype)
    for at, problem in problems(batch):
        whitened, (N, d), K = exact(problem), problem.X.shape[1:], problem.n_components
        lengths = (problem.X @ whitened.W.mT).norm(dim=-1)
        noise = 3 * problem.s * lengths.mean(-1) * whitened.W.square().sum((1, 2))
        size = whitened.T.flatten(1).norm(dim=-1)
        found[at] = u * ((N + d + 6) * (lengths.pow(3).mean(-1) + noise) + K * (12 * K + 14) * size)
    return found


def _refuse(
    failures: Failures, at: Tensor, wrong: Tensor, status: Status, text: Callable[[int], str]
) -> None:
    for i in wrong.nonzero()[:, 0].tolist():
        task = int(at[i])
        failures.setdefault(task, SpectralError(task, status, text(i)))


def raise_first(failures: Failures) -> None:
    """Raise the error of the first failing task, if there is one."""
    if failures:
        raise failures[min(failures)]
