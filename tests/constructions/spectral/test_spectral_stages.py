"""Every stage of the constructed spectral algorithm beside plain linear algebra, read from the stream."""

import functools
from itertools import pairwise

import pytest
import torch
from constructed_spectral import (
    VARIANTS,
    Stage,
    baseline,
    bounds,
    built,
    estimated,
    rounded,
    score_rounding,
    stages,
    start_rounding,
    tasks,
    tokens_apart,
)
from torch import Tensor

from baselines.spectral import recover, whitened_third_moment
from constructions.language.rounding import gamma
from constructions.matrices.inverse import residual_bound
from constructions.spectral.bounds import newton_error
from constructions.spectral.exact import Problem, exact
from constructions.spectral.moments import STRETCH
from constructions.spectral.power_bounds import Arithmetic
from constructions.spectral.variance_bounds import reference_variance_error, variance_error
from constructions.spectral.weights import SpectralConstruction
from constructions.spectral.whitening import NEWTON_SCHULZ
from constructions.spectral.whitening_bounds import moment_error

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


def close(own: Tensor, other: Tensor, allowed: Tensor) -> None:
    """In the Frobenius norm, task by task: no further than ``allowed`` (B,)."""
    away = (own - other).flatten(1).norm(dim=1)
    assert bool((away <= allowed).all()), float((away / allowed).max())


def variance(variant: str) -> Tensor:
    """(B, 1, 1) the s that the stream holds."""
    return walked(variant)[2][-1].read("s")[:, :1, :1]


def second(variant: str) -> Tensor:
    """(B, d, d) M2 with that s."""
    problem = walked(variant)[1]
    X = problem.X
    return X.mT @ X / X.shape[1] - variance(variant) * torch.eye(X.shape[2], dtype=torch.float64)


def moment_away(variant: str) -> Tensor:
    """(B,) of the M2 of the layers from :func:`second`: whitening_bounds.moment_error, on both sides."""
    weights, problem, _ = walked(variant)
    held = exact(Problem(problem.X, variance(variant)[:, 0, 0], problem.directions, problem.basis))
    return 2 * moment_error(held, weights.plan, U, torch.zeros(len(problem), dtype=torch.float64))


def image_away(variant: str, Y: Tensor) -> Tensor:
    """(B, K) of the rows of Y M2: what M2 is off by, and products over d on both sides."""
    d, M2 = width(variant), second(variant)
    lengths = Y.norm(dim=-1)
    return lengths * moment_away(variant)[:, None] + 2 * rounded(d + 2, (Y.abs() @ M2.abs())).norm(dim=-1)


def width(variant: str) -> int:
    return SHAPES[variant][0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_moments(variant: str) -> None:
    """A sum of N products in any order, relative to the average of |x|^2, is off by gamma_(N + 4)."""
    _, problem, _ = walked(variant)
    X, d = problem.X, width(variant)
    (found,) = after(variant, "moments")
    S2, m = X.mT @ X / X.shape[1], X.mean(1)
    close(found.coordinates("S2")[..., :d], S2, rounded(2 * N, X.square().sum(-1).mean(-1)))
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
    """A round keeps the space of the rows of Y M2, so that r of them span basis M2^r; values in [9/16, 1].

    Their rounding: each of the last products by some K gamma_(d + K + 5) (whitening_bounds.shaken). Rows out
    of the space: those of Y M2, over their lengths, are off by :func:`image_away`; each correction rounds by
    4.2 K gamma_(K + 4); all of it is stretched like the singular values, the least one sigma to at most 1.
    They start divided by sqrt(K0) and stay above 9/16 once they are: the factor 16/9 sqrt(K0) covers both.
    """
    weights, problem, walk = walked(variant)
    d, plan = width(variant), weights.plan
    slack = 3 * K * gamma(D + K + 5, U) * 4
    corrected = 4.2 * K * gamma(K + 4, U) * plan.corrections * 16 / 9 * plan.max_components**0.5
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
        image = space @ second(variant)
        lengths = image.norm(dim=-1)
        rows = image / lengths[..., None]
        sigma = torch.linalg.svdvals(rows)[:, -1]
        away = (image_away(variant, space) / lengths).norm(dim=-1)
        # The space by Householder reflections, and what is left of Y by two products.
        own = gamma(8 * D * K, U) * K**0.5
        allowed = (away + corrected + own) / sigma + 2 * gamma(D + K + 4, U) * K
        orthonormal = torch.linalg.qr(rows.mT).Q.mT
        close(Y, Y @ orthonormal.mT @ orthonormal, allowed)
        space = Y


@pytest.mark.parametrize("variant", VARIANTS)
def test_multiply_gives_rows_of_length_one(variant: str) -> None:
    before = None
    for stage in walked(variant)[2]:
        if stage.name == "multiply":
            Y, d = stage.rows("Y"), width(variant)
            assert float((Y.norm(dim=-1) - 1).abs().max()) <= gamma(D + 10, U)
            old = walked(variant)[1].basis if before is None else before.rows("Y")[..., :d]
            image = old @ second(variant)
            lengths = image.norm(dim=-1)
            # A row that is off by e is off by 2 e over its length once divided by it.
            away = 2 * image_away(variant, old) / lengths + 2 * gamma(D + 10, U)
            close(Y[..., :d], image / lengths[..., None], away.norm(dim=-1))
        before = stage


@pytest.mark.parametrize("variant", VARIANTS)
def test_whitening(variant: str) -> None:
    """P = W M2 of the last refresh, and W M2 W^T = I up to what the last step rounds.

    The step before leaves a defect whose square is nothing. In the last one, as in
    whitening_bounds.py, products over at most d + K + 8 round: P = W M2 by 1.1, H = P W^T by 4.5 K, H W and
    the sum by 4.9 K times gamma |W|^2 |M2|; the test's own two products by 2. M2 itself is counted twice.
    """
    weights, _, _ = walked(variant)
    d = width(variant)
    found = after(variant, "refresh")[-1]
    W, P, M2 = found.rows("W")[..., :d], found.rows("P")[..., :d], second(variant)
    close(P, W @ M2, image_away(variant, W).norm(dim=-1))
    identity = torch.eye(W.shape[1], dtype=torch.float64).expand(len(W), -1, -1)
    square = torch.linalg.matrix_norm(W, 2).square()
    close(
        W @ M2 @ W.mT,
        identity,
        square * (2 * moment_away(variant) + rounded(D + K + 8, 13 * K * M2.norm(dim=(1, 2)))),
    )
    assert weights.plan.whitenings == 7


WHITENED = ("take up", "whiten, 2.25", "whiten, 1.5")
"""The layers that write W."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_singular_values_stay_in_the_range_that_the_steps_need(variant: str) -> None:
    """Of W in the inner product of M2: at most 1; at least 9/16 once stretched; then nearer to 1.

    A step takes x to linear x - cubic x^3, so x^2 to x^2 (linear - cubic x^2)^2. Rounding: in W by 4.2 K
    gamma_(K + 4) |W|, in H = P W^T by products over d; and by the drift of P from W M2, which the factor of
    the step multiplies, and to which both roundings add (the recursion of whitening_bounds._whitened).
    """
    weights, problem, walk = walked(variant)
    d, plan, M2 = width(variant), weights.plan, second(variant)
    size = M2.norm(dim=(1, 2))
    found = [stage for stage in walk if stage.name in WHITENED]
    assert len(found) == 1 + plan.stretches + plan.whitenings + 1
    Ws = [stage.rows("W")[..., :d] for stage in found]
    norms = [torch.linalg.matrix_norm(W, 2) for W in Ws]
    # Of the squares below: two products over d and a solver, 8 K u of values of at most 1.
    own = [rounded(2 * d + 4, K * norm.square() * size) + 8 * K * U for norm in norms]
    squares = [torch.linalg.eigvalsh(W @ M2 @ W.mT) for W in Ws]
    drift = norms[0] * (moment_away(variant) + K**0.5 * rounded(d + 2, size))
    off = [own[0]]  # of the largest from 1, were all before it exact
    for at, stage in enumerate(found[1:], 1):
        linear, cubic = STRETCH if stage.name == WHITENED[1] else NEWTON_SCHULZ
        before, norm = norms[at - 1], norms[at]
        if at == len(found) - 1:  # P is fresh again
            drift = before * (moment_away(variant) + K**0.5 * rounded(d + 2, size))
        added = rounded(K + 4, 4.2 * K * torch.maximum(norm, before))
        factor = cubic * (drift * before + rounded(d + 4, K * before.square() * size))  # of H
        x = squares[at - 1]
        expected = (x * (linear - cubic * x).square()).sort(-1).values
        # x^2 moves by 2 of the factor, and by W's own roundings in the inner product; x itself is off by own,
        # which the map multiplies by its slope in x, at most linear^2.
        allowed = 2 * linear * factor + 2 * added * norm * size + linear**2 * own[at - 1] + own[at]
        assert bool(((squares[at] - expected).abs().amax(-1) <= allowed).all()), stage.name
        off.append(allowed)
        drift = (linear - cubic * x[:, 0] + factor) * drift + 2 * (added + factor * before) * size
    assert all(bool((x[:, -1] <= 1 + r).all()) for x, r in zip(squares, off, strict=True))
    stretched = list(zip(squares, off, strict=True))[plan.stretches :]
    assert bool((stretched[0][0][:, 0] >= (9 / 16) ** 2 - stretched[0][1]).all())
    for (earlier, _), (later, r) in pairwise(stretched):
        assert bool((later[:, 0] >= earlier[:, 0].clamp_max(1) - r).all())
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
    expected, its_own = whitened_third_moment(X, W.mT, s)
    Y = X @ W.mT
    h = (X.mean(1)[:, None] @ W.mT)[:, 0]
    size = Y.norm(dim=-1).pow(3).mean(-1) + 3 * s * h.norm(dim=-1) * W.square().sum((1, 2))
    # Symmetric but for what the baseline says that it rounds, on either side.
    close(expected, expected.transpose(1, 2), 2 * its_own)
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
            away = (v[:, :, i] - expected).norm(dim=-1)
            assert bool((away <= start_rounding(problem.directions, stage.rows("W")[..., :d])).all())


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
        # The best is ahead by more than all handicaps and the margin; rounding, a few u, is far below those.
        first, second_best = scores.topk(2).values.unbind(1)
        apart = first - second_best > 4 * weights.plan.handicap + 2 * weights.plan.margin
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
    """The vector is read as lambda v over its length, which is |lambda| as far as |v| is 1.

    Its own tokens differ by :func:`tokens_apart`; the difference rounds by what power_bounds.Side.after says.
    """
    weights, _, _ = walked(variant)
    by = Arithmetic.of_layers(weights.plan, U)
    deflated, scaled = after(variant, "deflate"), after(variant, "scale")
    assert len(deflated) == len(scaled) == K
    for k, (before, stage) in enumerate(zip(scaled, deflated, strict=True)):
        T, lv = before.tensor(), before.starts("lv")[:, 0, 0]
        value = lv.norm(dim=-1) * before.read("value").amax((1, 2)).sign()
        v = lv / value[:, None]
        size, off = T.flatten(1).norm(dim=1), tokens_apart(weights, T, value)
        scored = score_rounding(weights, T, value) + off * value.abs()
        exactly = torch.einsum("bklm,bk,bl,bm->b", T, v, v, v)
        assert bool(((value - exactly).abs() <= scored).all())
        left = T - value[:, None, None, None] * torch.einsum("bk,bl,bm->bklm", v, v, v)
        lost = by.contraction(K) + 2 * gamma(6, U) + 3.1 * off
        close(stage.tensor(), left, lost * (size + value.abs()) + off * value.abs())
        close(stage.rows("found")[:, k], lv, (off + gamma(4, U)) * value.abs())
        close(stage.rows("values")[:, k], value[:, None], (off + gamma(K + 4, U)) * value.abs())
        assert not stage.rows("found")[:, k + 1 :].any()
        if k:  # moved with a factor of one and sums with zeros: exact in any order
            assert torch.equal(stage.rows("found")[:, :k], deflated[k - 1].rows("found")[:, :k])


@pytest.mark.parametrize("variant", VARIANTS)
def test_recovery(variant: str) -> None:
    """mu_k = lambda_k B v_k and pi_k = lambda_k^-2 of what the rows hold.

    Means: a product over K on both sides, and lambda divided out and multiplied again. Weights: newton_error
    and gamma_6 relative for 1 / lambda^2, as in bounds.recovered; the sum passes a gate of the size of its
    bound, and the quotient is another reciprocal.
    """
    weights, _, walk = walked(variant)
    plan = weights.plan
    last, d = walk[-1], width(variant)
    values, found, P = last.rows("values")[..., 0], last.rows("found"), last.rows("P")[..., :d]
    raw, means = recover(values, found / values[..., None], P.mT)
    size = (found.abs() @ P.abs()).flatten(1).norm(dim=1)
    close(last.rows("mu")[..., :d], means, 2 * rounded(K + 4, size))
    start = plan.first_reciprocal
    raw_off = newton_error(values.square(), start, plan.reciprocals, U, K) + gamma(6, U)
    raw_found = last.rows("raw").diagonal(dim1=1, dim2=2)
    assert bool(((raw_found - raw).abs() <= raw_off * raw).all())
    total = raw.sum(1, keepdim=True)
    again = newton_error(total, start, plan.reciprocals, U, K) + gamma(K + 8, U)
    sums = raw_off.amax(1, keepdim=True) + 4 * U * plan.sum_bound / total
    share = last.rows("weight").diagonal(dim1=1, dim2=2)
    # First order in u; (1 + 1e-3) is for the products of two of these, each below 1e-6.
    allowed = (raw_off + sums + again) * (raw / total) * (1 + 1e-3)
    assert float((raw_off + sums + again).max()) < 1e-6
    assert bool(((share - raw / total).abs() <= allowed).all())


ESTIMATED = [name for name in VARIANTS if estimated(built(name))]


@pytest.mark.parametrize("variant", ESTIMATED)
def test_the_inverse_of_the_covariance(variant: str) -> None:
    """After twenty steps. C is S2 - m m^T: each rounds over the average of |x|^2, the test's C once more.

    The defect of the inverse is what variance_bounds.py counts with, and C times what X is multiplied by.
    """
    weights, problem, _ = walked(variant)
    d, X = width(variant), problem.X
    # Those after them are of the reciprocals.
    found = after(variant, "Newton")[weights.plan.inversions - 1]
    centred = X - X.mean(1, keepdim=True)
    C = centred.mT @ centred / X.shape[1]
    moved = 3 * rounded(N + 6, X.square().sum(-1).mean(-1))
    close(found.coordinates("C")[..., :d], C, moved)
    X_inverse = found.coordinates("inverse")[..., :d]
    defect = (torch.eye(d, dtype=torch.float64) - C @ X_inverse).flatten(1).norm(dim=1)
    assert bool((defect <= inverse_away(C) + moved * X_inverse.norm(dim=(1, 2))).all())


def inverse_away(C: Tensor) -> Tensor:
    """(B,) a bound of |I - C X| for the X of the layers: ``inverse`` of variance_bounds.variance_error."""
    d, ratio = C.shape[-1], torch.linalg.cond(C)
    return gamma(d + 4, U) * (2 * d**0.5 + 2.1 * d * (1 + ratio)) + d * gamma(d + 2, U)


@pytest.mark.parametrize("variant", ESTIMATED)
def test_squarings_of_the_inverse_and_the_vector_they_find(variant: str) -> None:
    """A relative error r of a symmetric matrix, spectral, is 2 r + r^2 of its square; products round."""
    weights, problem, walk = walked(variant)
    d = width(variant)
    first = after(variant, "first variance everywhere")[0]
    C = first.coordinates("C")[..., :d]
    b = first.read("b")[:, :, :d]
    pivot = (first.read("pivot") > 0).nonzero()
    b = b[pivot[:, 0], pivot[:, 1]]
    assert float((b.norm(dim=-1) - 1).abs().max()) <= gamma(D + 10, U)
    s = (b[:, None] @ C @ b[:, :, None])[:, 0, 0]
    # <b, C b>: two products over d on both sides, |b| = 1.
    assert bool(((first.read("s")[:, 0, 0] - s).abs() <= 2 * rounded(2 * d + 4, C.norm(dim=(1, 2)))).all())
    held = after(variant, "square the inverse")
    assert len(held) == weights.plan.squarings
    power = after(variant, "scale the inverse")[0].coordinates("inverse")[..., :d]
    reference = torch.linalg.inv(C)
    off = inverse_away(C) + residual_bound(C, reference) / torch.linalg.matrix_norm(reference, 2)
    off = off + 2 * gamma(2 * d + 8, U)  # s itself, the product with it, and the gate of s e_p
    off = off + 4 * U * weights.plan.largest_variance / s
    expected = s[:, None, None] * reference
    for stage_power in (power, *(stage.coordinates("inverse")[..., :d] for stage in held)):
        away = torch.linalg.matrix_norm(stage_power - expected, 2)
        assert bool((away <= off * torch.linalg.matrix_norm(expected, 2)).all())
        expected = expected @ expected
        off = 2 * off + off.square() + 2 * d * gamma(d + 2, U)
    found = walk[-1].read("s")
    assert torch.equal(found, found[:, :1].expand_as(found))  # one product and zeros: at every token alike
    values = torch.linalg.eigvalsh(C)
    own = reference_variance_error(problem, weights.plan)
    allowed = variance_error(problem, weights.plan, U) + own
    assert bool(allowed.isfinite().any())
    assert bool(((found[:, 0, 0] - problem.s).abs() <= allowed).all())
    # C is that of the layers here.
    moved = 3 * rounded(N + 6, problem.X.square().sum(-1).mean(-1))
    assert bool(((problem.s - values[:, 0]).abs() <= 2 * own + moved).all())


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
