"""k-means: against the baseline, the limit in beta, mixed batches, mutations, error messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from baselines.kmeans import kmeans
from constructions import HypothesisError, SoftmaxHead, clear
from constructions.gallery.kmeans import KMeansConstruction, kmeans_construction
from constructions.language.mlp import apply
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot


def blobs(N: int, K: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around K corners 4 apart, and starts beside them."""
    g = torch.Generator().manual_seed(seed)
    corners = 4.0 * torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * max(d, 2))[:K, :d].double()
    corners = corners + 0.1 * torch.arange(K)[:, None]
    X = corners[torch.arange(N) % K] + 0.4 * torch.randn(N, d, generator=g).double()
    return X, corners + 0.2 * torch.randn(K, d, generator=g).double()


def averaged(X: Tensor) -> float:
    """What the baseline's averages of at most N points round, (N + 2) u of the longest."""
    return gamma(len(X) + 2, unit_roundoff(torch.float64)) * float(X.norm(dim=-1).max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_path_is_that_of_the_baseline(dtype: torch.dtype) -> None:
    X, start = (x.to(dtype).double() for x in blobs(40, 4, 3))
    weights = kmeans_construction(3, 4, 4)
    path = weights.run(X, start, dtype=dtype).path
    bound = weights.error_bounds(weights.check(X, start, dtype), path[None], dtype).total[0]
    assert bound.isfinite().all()
    for step in range(1, 5):
        centres = kmeans(X, 4, init=start, max_iter=step).centres
        assert ((path[step] - centres).norm(dim=-1) <= bound[step - 1] + averaged(X)).all()


def test_the_error_falls_with_beta_to_that_of_the_gain() -> None:
    """Chords lie above the square by d e / 2 at most, so more than a margin of that is needed."""
    X, start = blobs(12, 3, 2)
    found = []
    for beta in (0.5, 1.0, 2.0, 4.0):
        weights = kmeans_construction(2, 3, 1, beta, gain=20.0)
        tasks = weights.check(X, start)
        found.append(weights.error_bounds(tasks, weights.run(X, start).path[None], torch.float64))
    approximation = torch.stack([bound.approximation[0, 0].max() for bound in found])
    assert (approximation.diff() < 0).all()
    margin = float(found[-1].margin[0, 0])
    assert margin > 2 * kmeans_construction(2, 3, 1).square.approximation_error
    # Of the gain alone: N = 12 points keep e^-gain each in another cluster, at a distance of 8 at most.
    assert approximation[-1] <= 12 * torch.exp(torch.tensor(-20.0)) * 8


def test_a_tie_is_not_claimed() -> None:
    weights = kmeans_construction(1, 2, 1)
    X, start = torch.tensor([[-1.0], [1.0], [0.0]]).double(), torch.tensor([[-1.0], [1.0]]).double()
    bound = weights.error_bounds(weights.check(X, start), weights.run(X, start).path[None], torch.float64)
    assert float(bound.margin[0, 0]) == 0
    assert bound.total.isinf().all()


def test_an_empty_cluster_is_not_claimed() -> None:
    weights = kmeans_construction(1, 2, 1)
    X, start = torch.tensor([[-1.0], [-2.0], [-1.5]]).double(), torch.tensor([[-1.0], [5.0]]).double()
    bound = weights.error_bounds(weights.check(X, start), weights.run(X, start).path[None], torch.float64)
    assert bound.total.isinf().all()


def test_a_mixed_batch_is_every_task_alone() -> None:
    weights = kmeans_construction(3, 4, 3)
    tasks = [blobs(9, 3, 2), blobs(20, 4, 3), blobs(5, 2, 1)]
    together = weights.run([X for X, _ in tasks], [c for _, c in tasks])
    for row, (X, start) in zip(together.path, tasks, strict=True):
        K, d = start.shape
        alone = weights.run(X, start).path
        bound = weights.error_bounds(weights.check(X, start), alone[None], torch.float64).total[0]
        assert bound.isfinite().all()
        assert ((row[1:, :K, :d] - alone[1:]).norm(dim=-1) <= 2 * bound).all()
        assert not row[:, K:].any()
        assert not row[..., d:].any()


def with_mistake(change: str) -> KMeansConstruction:
    """The weights with one mistake in a formula."""
    weights = kmeans_construction(2, 4, 2)
    s, (assign, update) = weights.stream, weights.construction.layers
    q, k = s.query, s.key
    inner = dot(q.x, k.centre)
    scores = {
        "sign": -weights.beta * (inner + k.half_norm2) - k.log_count,
        "no half norm": weights.beta * inner - k.log_count,
        "whole norm": weights.beta * (inner - 2.0 * (dot(q.one, k.half_norm2))) - k.log_count,
        "no beta": inner - k.half_norm2,
    }
    if change in scores:
        assign = replace(assign, heads=(SoftmaxHead(scores[change], read=s.slot, write=s.resp),))
    if change == "no gain":
        update = replace(update, heads=(SoftmaxHead(dot(q.slot, k.resp), read=s.x, write=s.centre),))
    if change == "no half":
        mlp = (apply(weights.square, s.centre, s.half_norm2), clear(s.resp))
        update = replace(update, mlp=mlp)
    return replace(weights, construction=replace(weights.construction, layers=(assign, update)))


@pytest.mark.parametrize("change", ["sign", "no half norm", "whole norm", "no beta", "no gain", "no half"])
def test_a_mistake_leaves_the_bounds(change: str) -> None:
    g = torch.Generator().manual_seed(1)
    corners = torch.tensor([[0.0, 0.0], [1.5, 0.0], [5.0, 1.0], [6.5, 1.0]]).double()
    X = corners[torch.arange(24) % 4] + 0.2 * torch.randn(24, 2, generator=g).double()

    def outside(weights: KMeansConstruction) -> bool:
        path = weights.run(X, corners, evaluation="dense").path
        bound = weights.error_bounds(weights.check(X, corners), path[None], torch.float64).total[0]
        exact = torch.stack([kmeans(X, 4, init=corners, max_iter=step).centres for step in (1, 2)])
        return not bool(((path[1:] - exact).norm(dim=-1) <= bound + averaged(X)).all())

    assert not outside(with_mistake("none"))
    assert outside(with_mistake(change))


@pytest.mark.parametrize(
    ("X", "centres", "message"),
    [
        (torch.ones(4, 3), torch.ones(2, 3), "d is 3; this construction takes at most max_dim = 2"),
        (torch.ones(4, 2), torch.ones(4, 2), "K is 4; this construction takes at most max_components = 3"),
        (torch.ones(1, 2), torch.ones(2, 2), "task 0 has 1 points and 2 centres"),
        (9 * torch.ones(4, 2), torch.ones(2, 2), "X reaches 9; coordinates are at most radius = 8"),
        (torch.ones(4, 2), torch.ones(2, 1), "d of X is 2, d of centres is 1"),
    ],
)
def test_what_is_outside_the_hypotheses_is_refused(X: Tensor, centres: Tensor, message: str) -> None:
    with pytest.raises(HypothesisError, match=message):
        kmeans_construction(2, 3, 1).run(X, centres)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, r"beta is -1.0; it is positive, below 1e15"),
        ({"gain": "1"}, "gain is '1'; a number is needed"),
        ({"pieces": 7}, "pieces is 7; an even number is needed, so that 0 is a knot"),
        ({"radius": float("inf")}, "radius is inf; it is positive"),
    ],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kmeans_construction(2, 2, 1, **options)  # pyright: ignore[reportArgumentType]
