"""PCA: the axes are the eigenvectors, mixed batches, mutations, error messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from constructions import HypothesisError, ReluHead
from constructions.gallery.pca import PCAConstruction, pca_construction
from constructions.gallery.pca_bounds import pca_bound
from constructions.language.heads import HeadSum, linear_pair
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.scores import dot


def cloud(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g).double() * 0.5 ** torch.arange(d)
    start = torch.randn(d, generator=g).double()
    return X, start / start.norm()


def iterated(X: Tensor, start: Tensor, K: int, L: int) -> Tensor:
    """(L + 1, K, d) by projecting off the axes found, without a deflated matrix."""
    C, axes, paths = X.mT @ X, [], []
    for _ in range(K):
        path = [start]
        for _ in range(L):
            w = C @ path[-1]
            for a in axes:
                w = w - a * (a @ w)
            path.append(w / w.norm())
        axes.append(path[-1])
        paths.append(torch.stack(path))
    return torch.stack(paths, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_iterations_reach_the_eigenvectors(dtype: torch.dtype) -> None:
    X, start = (x.to(dtype).double() for x in cloud(40, 4))
    weights = pca_construction(4, 3, 60)
    path = weights.run(X, start, dtype=dtype).path.double()
    bound = weights.error_bounds(weights.check(X, start, dtype), path[None], dtype).total[0, -1]
    vectors = torch.linalg.eigh(X.mT @ X).eigenvectors.flip(1)[:, :3].mT
    off = 1 - (vectors * path[-1]).sum(-1).abs()
    # Sixty iterations at a ratio of about 1/4 leave nothing; 1 - |cos| is at most the distance.
    assert (off <= bound).all()
    # Not idle: some hundred roundings a component, over a gap of eigenvalues of 3/4, leave four digits of a
    # unit vector in float32 and more in float64.
    assert (bound < 1e5 * torch.finfo(dtype).eps).all()


def outside(weights: PCAConstruction, X: Tensor, start: Tensor) -> bool:
    """Whether a step leaves the bounds of the layers and of the iteration in float64."""
    path = weights.run(X, start, evaluation="dense").path
    exact = iterated(X, start, weights.components, weights.iterations)
    found = weights.error_bounds(weights.check(X, start), path[None], torch.float64).total[0]
    own = pca_bound(X[None], exact[None], torch.float64, (len(X) + 10, 10, 10), 0.0).total[0]
    return not bool(((path - exact)[1:].norm(dim=-1) <= found + own).all())


def with_mistake(change: str) -> PCAConstruction:
    """The weights with one mistake in a formula."""
    weights = pca_construction(3, 2, 4)
    s, (moments, power, deflate) = weights.stream, weights.construction.layers
    q, k = s.query, s.key
    if change == "not deflated":
        deflate = replace(
            deflate,
            heads=(HeadSum((ReluHead(dot(q.id, k.id), s.C, s.next_C),)), deflate.heads[1]),
        )
    if change == "sign":
        off = linear_pair(dot(q.C, k.v), read=s.v, write=s.next_C)
        kept = ReluHead(dot(q.id, k.id), s.C, s.next_C)
        deflate = replace(deflate, heads=(HeadSum((*off.heads, kept)), deflate.heads[1]))
    if change == "no norm":
        power = replace(power, unit_output=False)
    if change == "rest":
        [product, rest] = power.heads
        power = replace(power, heads=(product, replace(rest, scale=0.1)))
    if change == "negative part":
        moments = replace(moments, heads=linear_pair(dot(q.id, k.x), s.x, s.C).heads[:1])
    changed = replace(weights.construction, layers=(moments, power, deflate))
    return PCAConstruction(changed, weights.components, weights.iterations)


@pytest.mark.parametrize("change", ["not deflated", "sign", "no norm", "rest", "negative part"])
def test_a_mistake_leaves_the_bounds(change: str) -> None:
    assert not outside(with_mistake("none"), *cloud(9, 3))
    assert outside(with_mistake(change), *cloud(9, 3))


def test_the_belt_holds_the_axes() -> None:
    weights = pca_construction(4, 3, 5)
    X, start = cloud(12, 4)
    tasks = weights.check(X, start)
    with torch.no_grad():
        h = weights.to_transformer()(*weights.embed(tasks))
    first = weights.max_dim + 1
    belt = h[0, first : first + 3, weights.stream.axis.slice].flip(0)
    path = weights.run(X, start, evaluation="dense").path
    # Unit vectors, moved at most twice for each of the three axes, a rounding a move and two more.
    rounding = gamma(2 * 3 + 2, unit_roundoff(torch.float64))
    assert float((belt - path[-1]).norm(dim=-1).max()) <= rounding


def test_a_mixed_batch_is_every_task_alone() -> None:
    weights = pca_construction(4, 2, 3)
    tasks = [cloud(9, 2), cloud(5, 4), cloud(7, 3)]
    together = weights.run([X for X, _ in tasks], [v for _, v in tasks])
    for row, (X, start) in zip(together.path, tasks, strict=True):
        d = X.shape[1]
        alone = weights.run(X, start).path
        bound = weights.error_bounds(weights.check(X, start), alone[None], torch.float64).total[0]
        assert ((row[..., :d] - alone)[1:].norm(dim=-1) <= 2 * bound).all()
        assert not row[..., d:].any()


@pytest.mark.parametrize(
    ("X", "start", "message"),
    [
        (torch.ones(3, 4), torch.ones(4) / 2, "d is 4; this construction takes at most max_dim = 3"),
        (torch.ones(3, 1), torch.ones(1), "d is 1; there are 2 components to find"),
        (torch.ones(3, 2), torch.ones(3), "d of X is 2, d of start is 3"),
        (torch.ones(3, 2), 3 * torch.ones(2), "start has length 4.24264; between 1/2 and 2 is needed"),
    ],
)
def test_what_is_outside_the_hypotheses_is_refused(X: Tensor, start: Tensor, message: str) -> None:
    with pytest.raises(HypothesisError, match=message):
        pca_construction(3, 2, 1).run(X, start)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="components is 3; it is at most max_dim = 2"):
        pca_construction(2, 3, 1)
    with pytest.raises(ValueError, match=r"steps is 1\.5; a whole number, at least 1, is needed"):
        pca_construction(2, 1, 1.5)  # pyright: ignore[reportArgumentType]
