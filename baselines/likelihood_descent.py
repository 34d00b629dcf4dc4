"""Gradient ascent on the log-likelihood (descent on its negative), softmax logits for the weights.

With pi = softmax(a), responsibilities w_kn and W_k = sum_n w_kn, the gradient of L = (1/N) sum_n log p(x_n):

    dL/dmu_k = (1/N) sum_n w_kn (x_n - mu_k),    dL/da_k = W_k/N - pi_k

    v <- momentum v + gradient,    (a, mu) <- (a, mu) + step_size v

The plain method for momentum = 0, heavy ball (Polyak 1964) for momentum > 0. Unit covariances.

Plain ascent with s = step_size <= 2 never lowers L (in exact arithmetic). Proof. EM's minorant is
Q(a, mu) = (1/N) sum_kn w_kn (log pi_k - |x_n - mu_k|^2/2) + constant, w fixed at the present point, where it
touches L and has the same gradient g. Its Hessian is -(W_k/N) I in mu_k and -(diag(pi) - pi pi^T) in a, with
no cross terms. Both are >= -1: W_k <= N, and p^T (diag(pi) - pi pi^T) p is the variance of p_k under pi, at
most |p|^2. So L(z + s g) >= Q(z + s g) >= L(z) + s |g|^2 - s^2 |g|^2/2 = L(z) + s (1 - s/2) |g|^2.
In mu_k, EM's step is N/W_k times the gradient: plain ascent with step 1 is slower by about the least weight.
"""

import torch
from torch import Tensor

from baselines.ascent import AscentResult, Move, climb
from baselines.em_parameters import Parameters
from baselines.em_pass import expectation
from baselines.mixture import Mixture
from baselines.points import Points


def likelihood_descent(
    X: Tensor,
    n_components: int | None = None,
    *,
    init: str | Mixture = "k-means++",
    n_init: int = 1,
    step_size: float = 1.0,
    momentum: float = 0.0,
    max_iter: int = 1000,
    tol: float = 1e-4,
    generator: torch.Generator | None = None,
) -> AscentResult:
    """Climb the log-likelihood of a unit-covariance mixture in every task of X (..., N, d).

    init, n_init, generator  as baselines.em.em, and the same draws: the starts are EM's. A Mixture given as
                             init has to have unit covariances.
    step_size                s > 0, in units of L per point.
    momentum                 in [0, 1).
    tol                      a task stops where the length of the gradient (a and mu together) is below tol.

    The objective of the result is L, natural log. With momentum L need not rise at every step; what is kept
    is the last point, not the highest.
    Raises ValueError for bad input, and where too large a step has led a task out of the range of the dtype.
    """
    if not 0 < step_size < float("inf"):
        raise ValueError(f"step_size is {step_size}, needs a finite number > 0")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}, needs 0 <= momentum < 1")

    def step(points: Points, current: Parameters, memory: tuple[Tensor, ...] | None) -> Move:
        level, of_logits, of_means = gradient(points, current)
        length = (of_logits.square().sum(-1) + of_means.square().sum((-2, -1))).sqrt()
        if memory is not None:
            of_logits, of_means = of_logits + momentum * memory[0], of_means + momentum * memory[1]
        weights = torch.softmax(current.weights.log() + step_size * of_logits, dim=-1)
        proposal = Parameters(weights, current.means + step_size * of_means, None)
        return Move(level, length, proposal, (of_logits, of_means))

    return climb(
        X,
        n_components,
        step,
        lambda _, start: start,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        generator=generator,
    )


def gradient(points: Points, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor]:
    """L (B,), dL/da (B, K) and dL/dmu (B, K, d) of B tasks, means measured from the centre of the points.

    Source: Fisher's identity; Redner and Walker 1984.
    """
    level, moments = expectation(points, parameters, "unit")
    N = points.total_weight()
    shares = moments.total / N.unsqueeze(-1)
    of_means = moments.first / N[:, None, None] - shares.unsqueeze(-1) * parameters.means
    return level, shares - parameters.weights, of_means
