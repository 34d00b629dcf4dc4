"""Every stage of the constructed spectral algorithm beside plain linear algebra, read from the stream."""

import functools
from itertools import pairwise

import pytest
import torch
from constructed_spectral import VARIANTS, Stage, baseline, bounds, built, estimated, stages, tasks
from torch import Tensor

from baselines.spectral import recover, whitened_third_moment
from constructions.language.rounding import gamma
from constructions.spectral.exact import Problem, exact
from constructions.spectral.weights import SpectralConstruction

U = 2.0**-53
D, K, N = 3, 2, 20
SHAPES = {
    "products": (D, K),
    "squares": (D, K),
    "products, estimated": (D, K),
    "squares, estimated": (2, 2),
}
"""Of d0 = 3 and K0 = 2: once with d < d0."""


@functools.cache
def walked(variant: str) -> tuple[SpectralConstruction, Problem, list[Stage]]:
    """Four tasks and the stream after every layer."""
    weights = built(variant)
    d, k = SHAPES[variant]
    problem = tasks(weights, "Gaussian means", 4, d, k, N, seed=11)
    return weights, problem, list(stages(weights, problem))


def after(variant: str, name: str) -> list[Stage]:
    """The stream after each application of a layer."""
    found = [stage for stage in walked(variant)[2] if stage.name == name]
    assert found, name
    return found


def close(own: Tensor, other: Tensor, relative: float) -> None:
    """In the Frobenius norm, task by task."""
    away = (own - other).flatten(1).norm(dim=1)
    assert bool((away <= relative * other.flatten(1).norm(dim=1)).all()), float(away.max())


def variance(variant: str) -> Tensor:
    """(B, 1, 1) the s that the stream holds."""
    return walked(variant)[2][-1].read("s")[:, :1, :1]


def second(variant: str) -> Tensor:
    """(B, d, d) M2 with that s."""
    problem = walked(variant)[1]
    X = problem.X
    return X.mT @ X / X.shape[1] - variance(variant) * torch.eye(X.shape[2], dtype=torch.float64)


def width(variant: str) -> int:
    return SHAPES[variant][0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_moments(variant: str) -> None:
    """A sum of N products in any order, relative to the average of |x|^2, is off by gamma_(N + 4)."""
    _, problem, _ = walked(variant)
    X, d = problem.X, width(variant)
    (found,) = after(variant, "moments")
    S2, m = X.mT @ X / X.shape[1], X.mean(1)
    close(found.coordinates("S2")[..., :d], S2, gamma(2 * N, U) * D)  # |S2| >= trace / d
    assert not found.coordinates("S2")[..., d:].any()
    blocks = {"m", "mx", "m_pivot"} & {name for name in ("m", "mx", "m_pivot") if name in found}
    assert blocks
    for block in blocks:
        held = found.read(block)[..., :d]
        at = held.abs().amax(-1) > 0
        assert bool(at.any(1).all())
        for task in range(len(X)):  # wherever it stands it is m, up to sums of terms that cancel
            size = X[task].abs().mean(0)
            assert bool(((held[task][at[task]] - m[task]).abs() <= gamma(2 * N, U) * size).all())


@pytest.mark.parametrize("variant", VARIANTS)
def test_less_noise_is_the_second_moment(variant: str) -> None:
    weights, problem, _ = walked(variant)
    (found,) = after(variant, "less noise")
    d = width(variant)
    gate = 4 * U * weights.plan.largest_variance * D
    own = problem.X.square().sum(-1).mean(-1)
    away = (found.coordinates("M2")[..., :d] - second(variant)).flatten(1).norm(dim=1)
    assert bool((away <= gamma(2 * N, U) * own + gate).all())


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_span_the_iterated_space_and_are_well_conditioned(variant: str) -> None:
    """After r rounds Y spans the rows of basis M2^r; its singular values are in [9/16, 1].

    Their rounding: each of the last products by some K gamma_(d + K + 5) (whitening_bounds.shaken).
    """
    weights, problem, walk = walked(variant)
    d, plan = width(variant), weights.plan
    slack = 3 * K * gamma(D + K + 5, U) * 4
    last = None
    rounds = []
    for stage in walk:
        if stage.name in ("multiply", "take up") and last is not None and last.name == "correct":
            rounds.append(last.rows("Y")[..., :d])
        last = stage
    assert len(rounds) == plan.rounds
    space = problem.basis
    for Y in rounds:
        values = torch.linalg.svdvals(Y)
        assert float(values.min()) >= 9 / 16 - slack
        assert float(values.max()) <= 1 + slack
        space = torch.linalg.qr((space @ second(variant)).mT).Q.mT
        outside = Y - Y @ space.mT @ space
        assert float(outside.abs().max()) < 1e-12  # a condition of at most 50 a round


@pytest.mark.parametrize("variant", VARIANTS)
def test_multiply_gives_rows_of_length_one(variant: str) -> None:
    before = None
    for stage in walked(variant)[2]:
        if stage.name == "multiply":
            Y, d = stage.rows("Y"), width(variant)
            assert float((Y.norm(dim=-1) - 1).abs().max()) <= gamma(D + 10, U)
            old = walked(variant)[1].basis if before is None else before.rows("Y")[..., :d]
            image = old @ second(variant)
            close(Y[..., :d], image / image.norm(dim=-1, keepdim=True), 1e-13)
        before = stage


@pytest.mark.parametrize("variant", VARIANTS)
def test_whitening(variant: str) -> None:
    """P = W M2 of the last refresh, W M2 W^T = I within the bound of the defect, and below it by little."""
    weights, _, _ = walked(variant)
    d = width(variant)
    found = after(variant, "refresh")[-1]
    W, P, M2 = found.rows("W")[..., :d], found.rows("P")[..., :d], second(variant)
    close(P, W @ M2, 1e-14 * 50)  # gamma_(d + 2) |W| |M2| over |W M2|: the condition of M2 on the space
    identity = torch.eye(W.shape[1], dtype=torch.float64)
    assert float((W @ M2 @ W.mT - identity).abs().max()) < 1e-12
    assert weights.plan.whitenings == 7


WHITENED = ("take up", "whiten, 2.25", "whiten, 1.5")
"""The layers that write W."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_singular_values_stay_in_the_range_that_the_steps_need(variant: str) -> None:
    """Of W in the inner product of M2: at most 1; at least 9/16 once stretched; then nearer to 1."""
    weights, problem, walk = walked(variant)
    d, plan, M2 = width(variant), weights.plan, second(variant)
    values = [
        torch.linalg.eigvalsh(W @ M2 @ W.mT).sqrt()
        for W in (stage.rows("W")[..., :d] for stage in walk if stage.name in WHITENED)
    ]
    assert len(values) == 1 + plan.stretches + plan.whitenings + 1
    assert all(float(v.max()) <= 1 + 1e-13 for v in values)
    stretched = values[plan.stretches :]
    assert float(stretched[0].min()) >= 9 / 16
    lows = [float(v.min()) for v in stretched]
    assert all(later >= earlier - 1e-13 for earlier, later in pairwise(lows))
    for earlier, later in pairwise(stretched):  # 1 - x^2 -> d^2 (3 + d) / 4
        defect = 1 - earlier.square()
        expected = defect.square() * (3 + defect) / 4
        assert float((1 - later.square() - expected).abs().max()) < 1e-13
    assert len(problem) == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_third_moment(variant: str) -> None:
    """T symmetrised in b and c is that of the baseline with the W of the stream.

    With products up to rounding, of the size of |W| |x| in three places; squares are each off by at most
    e = h^2 / 4, and all with one sign, so |T_abc - its own| <= e / 4 sum_i |w_i y_ia|.
    """
    weights, problem, _ = walked(variant)
    d, X = width(variant), problem.X
    found = after(variant, "third moment")[0]
    W, T = found.rows("W")[..., :d], found.tensor()
    skew = (T - T.transpose(2, 3)).flatten(1).norm(dim=1) / 2
    T = (T + T.transpose(2, 3)) / 2
    s = variance(variant)[:, 0, 0]
    expected, _ = whitened_third_moment(X, W.mT, s)
    Y, h = X @ W.mT, X.mean(1) @ W.mT
    h = (X.mean(1)[:, None] @ W.mT)[:, 0]
    size = Y.norm(dim=-1).pow(3).mean(-1) + 3 * s * h.norm(dim=-1) * W.square().sum((1, 2))
    assert float((expected - expected.transpose(1, 2)).abs().max()) < 1e-12
    if weights.square is None:
        away = (T - expected).flatten(1).norm(dim=1)
        gates = 4 * U * weights.plan.gate * X.norm(dim=-1).square().mean(-1) * 9
        assert bool((away <= gamma(20 * N, U) * size + gates).all())
        exactly = exact(Problem(X, s, problem.directions, problem.basis)).skew  # of W up to a rotation
        assert bool((skew <= 1.01 * exactly + gates).all())
        assert float((skew / exactly).max()) > 0.1
        return
    plus, minus = h[:, None] + W.mT, h[:, None] - W.mT
    spread = Y.abs().mean(1) + s[:, None] / 2 * (plus.abs() + minus.abs()).sum(1) + s[:, None] * d * h.abs()
    error = weights.square.approximation_error
    rounding = 2 * weights.square.rounding_error(torch.float64)
    limit = (error + rounding) / 4 * spread + (gamma(20 * N, U) * size)[:, None]
    assert bool(((T - expected).abs().amax((2, 3)) <= limit).all())
    assert float((T - expected).abs().max()) > 1e-3 * float(limit.max())  # the limit says something


@pytest.mark.parametrize("variant", ["products", "squares"])
def test_starts_are_whitened_directions(variant: str) -> None:
    _, problem, _ = walked(variant)
    d = width(variant)
    found = after(variant, "start")
    assert len(found) == 2
    for stage in found:
        image = problem.directions @ stage.rows("W")[..., :d].mT
        expected = image / image.norm(dim=-1, keepdim=True)
        v = stage.starts("v")
        for i in range(K):  # all K tokens of a start hold it
            assert float((v[:, :, i] - expected).abs().max()) < 1e-14


@pytest.mark.parametrize("variant", ["products", "squares"])
def test_each_step_is_the_normalised_contraction(variant: str) -> None:
    weights, _, walk = walked(variant)
    steps, before = 0, None
    for stage in walk:
        if stage.name == "contract":
            assert before is not None
            T, v = stage.tensor(), before.starts("v")[:, :, 0]
            w = torch.einsum("bklm,bsl,bsm->bsk", T, v, v)
            expected = w / w.norm(dim=-1, keepdim=True)
            away = (stage.starts("v")[:, :, 0] - expected).norm(dim=-1)
            scale = T.flatten(1).norm(dim=1)[:, None] / w.norm(dim=-1)
            # Twice 4 u GATE for the gated v, K^2 + 8 operations, K + 10 of the norm: below 60 u here.
            assert bool((away <= 60 * U * scale.clamp_min(1)).all())
            steps += 1
        if "v" in stage and stage.name != "square":
            before = stage
    assert steps == 2 * weights.plan.steps * K


@pytest.mark.parametrize("variant", ["products", "squares"])
def test_the_best_start_is_the_argmax(variant: str) -> None:
    """After one step alone, when starts still differ."""
    weights = built(variant, starts=4, steps=1)
    walk = list(stages(weights, tasks(weights, "Gaussian means", 8, D, K, N, seed=12)))
    choosing, best = ([stage for stage in walk if stage.name == name] for name in ("choose", "best"))
    assert len(best) == K
    for chosen, stage in zip(choosing, best, strict=True):
        T, v = chosen.tensor(), chosen.starts("v")[:, :, 0]
        scores = torch.einsum("bklm,bsk,bsl,bsm->bs", T, v, v, v)
        at = scores.argmax(1)
        apart = scores.amax(1) - scores.amin(1) > 1e-4  # beyond the handicap and the margin
        assert bool(apart.any())
        one_hot = torch.nn.functional.one_hot(at, v.shape[1]).double()
        held = chosen.starts("chosen")
        for i in range(K):  # at all tokens of a start
            assert torch.equal(held[:, :, i, 0][apart], one_hot[apart])
        expected = v[torch.arange(len(v)), at]
        after_all = stage.starts("v")
        for s in range(v.shape[1]):
            for i in range(K):
                assert float((after_all[:, s, i] - expected)[apart].abs().max()) <= gamma(K + 10, U)


@pytest.mark.parametrize("variant", ["products", "squares"])
def test_deflation_takes_the_component_away_and_writes_it_down(variant: str) -> None:
    deflated, scaled = after(variant, "deflate"), after(variant, "scale")
    for k, (before, stage) in enumerate(zip(scaled, deflated, strict=True)):
        T, lv = before.tensor(), before.starts("lv")[:, 0, 0]
        value = lv.norm(dim=-1) * before.read("value").amax((1, 2)).sign()
        v = lv / value[:, None]
        assert float((value - torch.einsum("bklm,bk,bl,bm->b", T, v, v, v)).abs().max()) < 1e-13
        left = T - value[:, None, None, None] * torch.einsum("bk,bl,bm->bklm", v, v, v)
        assert float((stage.tensor() - left).abs().max()) < 1e-13
        assert float((stage.rows("found")[:, k] - lv).abs().max()) < 1e-14
        assert float((stage.rows("values")[:, k, 0] - value).abs().max()) < 1e-14
        assert not stage.rows("found")[:, k + 1 :].any()
        if k:
            assert torch.equal(stage.rows("found")[:, :k], deflated[k - 1].rows("found")[:, :k])


@pytest.mark.parametrize("variant", VARIANTS)
def test_recovery(variant: str) -> None:
    """mu_k = lambda_k B v_k and pi_k = lambda_k^-2 of what the rows hold."""
    _, _, walk = walked(variant)
    last, d = walk[-1], width(variant)
    values, found, P = last.rows("values")[..., 0], last.rows("found"), last.rows("P")[..., :d]
    raw, means = recover(values, found / values[..., None], P.mT)
    close(last.rows("mu")[..., :d], means, 1e-14)
    raw_found = last.rows("raw").diagonal(dim1=1, dim2=2)
    close(raw_found, raw, 1e-13)
    weights = last.rows("weight").diagonal(dim1=1, dim2=2)
    close(weights, raw / raw.sum(1, keepdim=True), 1e-13)


ESTIMATED = [name for name in VARIANTS if estimated(built(name))]


@pytest.mark.parametrize("variant", ESTIMATED)
def test_the_inverse_of_the_covariance(variant: str) -> None:
    """After twenty steps; its defect is (condition) u, and 10^3 u is seen here at most."""
    weights, problem, _ = walked(variant)
    d, X = width(variant), problem.X
    # Those after them are of the reciprocals.
    found = after(variant, "Newton")[weights.plan.inversions - 1]
    centred = X - X.mean(1, keepdim=True)
    C = centred.mT @ centred / X.shape[1]
    condition = torch.linalg.cond(C)
    close(found.coordinates("C")[..., :d], C, 1e-13)
    X_inverse = found.coordinates("inverse")[..., :d]
    defect = (torch.eye(d, dtype=torch.float64) - C @ X_inverse).flatten(1).norm(dim=1)
    assert bool((defect <= 100 * U * condition).all())


@pytest.mark.parametrize("variant", ESTIMATED)
def test_squarings_of_the_inverse_and_the_vector_they_find(variant: str) -> None:
    weights, problem, walk = walked(variant)
    d = width(variant)
    first = after(variant, "first variance everywhere")[0]
    C = first.coordinates("C")[..., :d]
    b = first.read("b")[:, :, :d]
    pivot = (first.read("pivot") > 0).nonzero()
    b = b[pivot[:, 0], pivot[:, 1]]
    assert float((b.norm(dim=-1) - 1).abs().max()) <= gamma(D + 10, U)
    s = (b[:, None] @ C @ b[:, :, None])[:, 0, 0]
    assert float((first.read("s")[:, 0, 0] - s).abs().max()) <= 1e-14 * float(C.norm())
    held = after(variant, "square the inverse")
    assert len(held) == weights.plan.squarings
    power = after(variant, "scale the inverse")[0].coordinates("inverse")[..., :d]
    close(power, s[:, None, None] * torch.linalg.inv(C), 1e-12)
    for stage in held:
        power = power @ power
        close(stage.coordinates("inverse")[..., :d], power, 1e-12)
    values = torch.linalg.eigvalsh(C)
    found = walk[-1].read("s")
    assert float((found - found[:, :1]).abs().max()) == 0  # at every token alike
    ratio = (values[:, 0] / values[:, 1]).pow(
        2.0 ** (weights.plan.squarings + 1) * weights.plan.inverse_steps
    )
    gap = ratio < 1e-20
    assert bool(gap.any())
    assert float((found[:, 0, 0] - values[:, 0])[gap].abs().max()) <= 1e-13 * float(values.max())
    assert float((problem.s - values[:, 0]).abs().max()) < 1e-13


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_and_number_is_found_in_the_order_of_the_baseline(variant: str) -> None:
    weights, problem, walk = walked(variant)
    expected = baseline(problem, estimated(weights), weights.plan.steps)
    values = walk[-1].rows("values")[..., 0]
    assert bool((values > 0).all())
    near = (values - expected.tensor_eigenvalues).abs() < 0.05 * values
    assert float(near.double().mean()) > 0.5  # four rounds and five steps converge for most tasks alone


@pytest.mark.parametrize(("d", "K"), [(1, 1), (2, 1), (2, 2)])
def test_no_sum_of_two_coordinates_is_beyond_the_reach(d: int, K: int) -> None:
    """Of the points and of those that stand for the noise; a = b doubles a coordinate, attained at K = 1.

    The layers' y are those of W up to a rotation and the whitening's error, which is below 1 % of them.
    """
    weights = built("squares", d, K, rounds=24)
    problem = tasks(weights, "orthogonal means", 4, d, K, 20, seed=1)
    (stage,) = (s for s in stages(weights, problem) if s.name == "project")
    y, reach = stage.read("y")[..., :K].abs(), exact(problem).reach
    assert bool((bounds(weights, problem, torch.float64).whitening < 0.01).all())
    largest = (y[..., :, None] + y[..., None, :]).flatten(1).amax(1)
    assert bool((largest <= 1.01 * reach).all())
    if K == 1:
        assert bool((largest >= 0.99 * reach).all())
