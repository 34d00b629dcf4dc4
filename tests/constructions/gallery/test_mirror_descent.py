"""Mirror descent: against plain formulas and EM's fixed point, mixed batches, mutations, error messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from constructions import HypothesisError, SoftmaxHead
from constructions.gallery.mirror_bounds import Functions
from constructions.gallery.mirror_descent import MirrorConstruction, mirror_descent_construction
from constructions.language.gates import pick
from constructions.language.mlp import apply, clear
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot, key_only

RATE = 0.5
U64 = unit_roundoff(torch.float64)


def mixture(N: int, K: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit Gaussians on a line, two from one to the next."""
    g = torch.Generator().manual_seed(seed)
    middles = 2 * torch.arange(K).double()
    x = middles[(torch.arange(N) * torch.arange(N)) % K] + torch.randn(N, generator=g).double()
    return -(x[:, None] - middles).square() / 2, torch.softmax(torch.randn(K, generator=g).double(), 0)


def descent(loglik: Tensor, weights: Tensor, steps: int, rate: float = RATE) -> Tensor:
    """The formula at the head of the file, in probabilities."""
    path = [weights / weights.sum()]
    for _ in range(steps):
        p = loglik.exp()
        g = (p / (p @ path[-1])[:, None]).mean(0)
        w = path[-1] * torch.exp(rate * g)
        path.append(w / w.sum())
    return torch.stack(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_path_is_that_of_the_formula(dtype: torch.dtype) -> None:
    loglik, weights = (x.to(dtype).double() for x in mixture(30, 4))
    made = mirror_descent_construction(4, 6, RATE, pieces=2048)
    run = made.run(loglik, weights, dtype=dtype)
    tasks = made.check(loglik, weights, dtype)
    bound = made.error_bounds(tasks, run.logits[None], dtype)
    off = (run.path - descent(loglik, weights, 6)).abs()[1:]
    assert (off <= bound.total[0]).all()
    assert (bound.approximation[0, 0] < 1e-4).all()  # small beside weights of some tenths: it says something
    # Decoded in float64, whatever the layers ran in: a sum of K and its quotients.
    assert float((run.path.sum(-1) - 1).abs().max()) <= gamma(2 * 4 + 4, U64)


def test_many_steps_reach_the_most_likely_weights() -> None:
    """There g_k = 1 for every k, EM's fixed point; the piecewise functions leave an error of their size.

    A step moves log w by eta g up to a constant and ``local``, so g_k, whose average with the weights is 1,
    is within r = (range of the move + local) / eta of 1. With H the average of p p^T / (p w)^2, w the larger
    of the two ends, (w - w*) H (w - w*) <= (1 - g) (w - w*): |w - w*| <= sqrt(K) r / least eigenvalue of H.
    """
    loglik, weights = mixture(60, 2)
    made = mirror_descent_construction(3, 1, RATE, pieces=2048)
    last, found = made.run(loglik, weights, steps=200).path[-2:]
    p = loglik.exp()
    for _ in range(2000):
        weights = weights * (p / (p @ weights)[:, None]).mean(0)
    functions = Functions(made.log, made.reciprocal, made.rate, made.floor)
    g, e = (p / (p @ last)[:, None]).mean(0), made.log.error
    assert float(last.min()) > 0.01  # far above the floor, whose share is then below 1e-6 of g
    moved = torch.expm1(e) * g + 1e-6
    local = e + 2 * RATE * (moved + functions.reciprocal_error * (1 + g + moved)).max()
    move = (found / last).log()
    r = float((move.max() - move.min() + local) / RATE)
    assert float((g - 1).abs().max()) <= r
    most = torch.maximum(p @ last, p @ weights)
    curvature = torch.linalg.eigvalsh((p / most[:, None]).mT @ (p / most[:, None]) / len(p))[0]
    allowed = 2**0.5 * r / float(curvature)
    assert float((last - weights).norm()) <= allowed < 0.05  # beside weights of some tenths


def test_the_chords_of_the_reciprocal_are_as_near_as_said() -> None:
    made = mirror_descent_construction(2, 1, pieces=32)
    functions = Functions(made.log, made.reciprocal, made.rate, made.floor)
    x = torch.logspace(-8, 0, 4001, dtype=torch.float64)
    off = made.reciprocal(x) * x - 1
    own = made.reciprocal.rounding_error_at(torch.float64, x) * x + 2 * U64
    assert bool((off >= -own).all())
    assert bool((off <= functions.reciprocal_error + own).all())
    assert float(off.max()) > 0.99 * functions.reciprocal_error


def test_a_mixed_batch_is_every_task_alone() -> None:
    made = mirror_descent_construction(4, 3, RATE)
    tasks = [mixture(9, 2), mixture(12, 4), mixture(3, 3), mixture(1, 1)]
    together = made.run([L for L, _ in tasks], [w for _, w in tasks])
    for row, (loglik, weights) in zip(together.path, tasks, strict=True):
        K, alone = len(weights), made.run(loglik, weights)
        bound = made.error_bounds(made.check(loglik, weights), alone.logits[None], torch.float64)
        rounding = (bound.total - bound.approximation)[0]
        assert ((row[1:, :K] - alone.path[1:]).abs() <= 2 * rounding).all()
        assert not row[:, K:].any()


def with_mistake(change: str) -> MirrorConstruction:
    """The weights with one mistake in a formula."""
    made = mirror_descent_construction(3, 2, RATE, pieces=1024)
    s, (weigh, ratio) = made.stream, made.construction.layers
    q, k = s.query, s.key
    rate = -RATE if change == "sign" else RATE
    prior = key_only(k.ell) + rate * key_only(k.inv)
    prior = prior if change == "log count" else prior - k.log_count
    loglik = dot(q.loglik, k.slot) + (key_only(k.ell) - k.log_count if change == "stale" else prior)
    weigh = replace(weigh, heads=(SoftmaxHead(loglik, s.slot, s.resp), SoftmaxHead(prior, s.slot, s.pi)))
    score = dot(q.slot, k.log_resp)
    score = score if change == "level" else score + k.level
    ratio = replace(ratio, heads=(SoftmaxHead(score, s.sink, s.share),))
    if change == "ell":
        old = ratio.mlp
        ratio = replace(ratio, mlp=(pick(s.log_resp, s.slot, s.ell, 30.0), *old[1:]))
    if change == "reciprocal":
        parts = (clear(block) for block in (s.log_resp, s.log_pi, s.share))
        ratio = replace(ratio, mlp=(ratio.mlp[0], apply(made.log, s.share, s.inv), *parts))
    return replace(made, construction=replace(made.construction, layers=(weigh, ratio)))


@pytest.mark.parametrize("change", ["sign", "log count", "stale", "level", "ell", "reciprocal"])
def test_a_mistake_leaves_the_bounds(change: str) -> None:
    loglik, weights = mixture(10, 3)

    def outside(made: MirrorConstruction) -> bool:
        run = made.run(loglik, weights, evaluation="dense")
        bound = made.error_bounds(made.check(loglik, weights), run.logits[None], torch.float64).total[0]
        return not bool(((run.path - descent(loglik, weights, 2)).abs()[1:] <= bound).all())

    assert not outside(with_mistake("none"))
    assert outside(with_mistake(change))


@pytest.mark.parametrize(
    ("loglik", "weights", "message"),
    [
        (torch.ones(4, 4), torch.ones(4) / 4, "K is 4; this construction takes at most max_components = 3"),
        (torch.ones(1, 2), torch.ones(2) / 2, "task 0 has 1 points and 2 components"),
        (torch.ones(4, 2), torch.ones(3) / 3, "K of loglik is 2, K of weights is 3"),
        (torch.ones(4, 2), torch.tensor([0.0, 1.0]), "a weight is 0; it lies between floor = 1e-08 and 1"),
        (torch.full((4, 2), -torch.inf), torch.ones(2) / 2, "loglik holds -inf"),
    ],
)
def test_what_is_outside_the_hypotheses_is_refused(loglik: Tensor, weights: Tensor, message: str) -> None:
    with pytest.raises(HypothesisError, match=message):
        mirror_descent_construction(3, 1).run(loglik, weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate is 0.0; it is positive, below 1e6"),
        ({"floor": 2.0}, "floor is 2.0; it is at least 1e-12 and below 1"),
        ({"pieces": 0}, "pieces is 0; a whole number, at least 1, is needed"),
        ({"rate": True}, "rate is True; a number is needed"),
    ],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mirror_descent_construction(2, 1, **options)  # pyright: ignore[reportArgumentType]
