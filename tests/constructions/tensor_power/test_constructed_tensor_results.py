"""What the tensor power constructions compute, against fractions, 50 digits and the iteration itself."""

import itertools
from fractions import Fraction

import mpmath
import pytest
import torch
from tensor_power_instances import (
    D0,
    DTYPES,
    FORMS,
    NORMALISED,
    PLAIN,
    SOFTMAX,
    SYMMETRIES,
    check_path,
    contraction,
    exact_path,
    form,
    instances,
    normal,
    softmax_form,
    unit,
)
from torch import Tensor

U = 2.0**-53


def dyadic(d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Multiples of 1/8 up to 2 in T (not symmetric) and of 1/8 up to 1 in v, float64."""
    g = torch.Generator().manual_seed(seed)
    T = torch.randint(-16, 17, (d, d, d), generator=g) / 8
    v = torch.randint(-8, 9, (d,), generator=g) / 8
    v[seed % d] = 1.0
    return T.double(), v.double()


def rational_step(T: Tensor, v: Tensor) -> list[Fraction]:
    """``T(I, v, v)`` in exact arithmetic."""
    d = len(v)
    x = [Fraction(float(c)) for c in v]
    return [
        sum((Fraction(float(T[i, j, m])) * x[j] * x[m] for j in range(d) for m in range(d)), Fraction(0))
        for i in range(d)
    ]


# --- one step against fractions ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("d", range(1, D0 + 1))
def test_a_plain_step_is_the_exact_contraction(name: str, d: int, dtype: torch.dtype) -> None:
    """T has 5 bits, v_j v_m 7, B = 4 or 8 two more, the sum of d^2 and d + 1 heads 8: 22 of 24 in float32.

    So nothing is rounded, but by a mean over N = 3, 5 or 6 tokens, which divides.
    """
    for seed in range(5):
        T, v = dyadic(d, seed)
        exact = rational_step(T, v)
        run = form(name).run(T, v, dtype=dtype)
        got = [Fraction(float(c)) for c in run.v]
        if "mean" not in name or d in (1, 2, 4):
            assert got == exact
            continue
        limit = form(name).error_bounds(T, v, run, dtype).entries[0, 1]
        assert all(abs(g - e) <= Fraction(float(b)) for g, e, b in zip(got, exact, limit, strict=True))
        # gamma_30 of d^2 terms of at most 2 (1 + 2 B), B = 8: 34 * 36 * 30 u = 2.2e-3 in float32.
        assert limit.max() <= 2.3e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*NORMALISED, *SOFTMAX])
@pytest.mark.parametrize("d", range(1, D0 + 1))
def test_a_step_is_within_its_bound_of_fifty_digits(name: str, d: int, dtype: torch.dtype) -> None:
    power = form(name)
    compared = 0
    for seed in range(5):
        T, v = dyadic(d, seed)
        exact = rational_step(T, v)
        if not any(exact):
            continue
        run = power.run(T, v, dtype=dtype)
        bound = power.error_bounds(T, v, run, dtype)
        with mpmath.workdps(50):
            x = mpmath.matrix([mpmath.mpf(c.numerator) / c.denominator for c in exact])
            if power.normalised:
                x = x / mpmath.norm(x)
            difference = [mpmath.mpf(float(c)) - x[i] for i, c in enumerate(run.v)]
            # The bound is evaluated in float64: d^3 positive terms, each with a few roundings.
            slack = 1 + mpmath.mpf(10) ** -12
            if power.normalised:
                assert mpmath.norm(mpmath.matrix(difference)) <= float(bound.error[0, 1]) * slack
            for i, off in enumerate(difference):
                assert abs(off) <= float(bound.entries[0, 1, i]) * slack
        compared += 1
    assert compared >= 3


# --- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMS)
def test_a_path_is_within_its_bounds_of_the_iteration(name: str, dtype: torch.dtype) -> None:
    """Five steps, or three plain ones, which stay below 1: |T(I, v, v)| <= |v|^2 for |T| scaled to norm 1."""
    steps = 5 if form(name).normalised else 3
    for d in range(1, D0 + 1):
        T, v = instances("gaussian", 20, d, seed=d)
        T = T / torch.linalg.matrix_norm(T.flatten(2), ord=2)[:, None, None, None]
        if name in SOFTMAX and dtype == torch.float32:
            power = softmax_form(0.3, 2, 16.0, "rms" if form(name).normalised else "none", 2.0)
        else:
            power = form(name, steps)
        check = check_path(power, T, v, dtype, steps)
        assert check.broken() == []
        assert check.claimed > 0.5


@pytest.mark.parametrize("name", [n for n in FORMS if form(n).normalised])
def test_a_path_converges_to_a_component_and_stays(name: str) -> None:
    for d in (1, 2, 4, 6):
        T, v = instances("orthogonal", 10, d, seed=d)
        check = check_path(form(name), T, v, torch.float64, steps=12)
        assert check.broken() == []
        last = check.run.v
        # An eigenvector: T(I, v, v) is lambda v. After 12 steps the other components have underflowed where
        # the ratio of c_k lambda_k is below 0.9 at the start: (0.9)^(4096).
        off = (unit(contraction(T, last)) - unit(last)).norm(dim=-1)
        tolerance = 2 * check.bound.one_step.amax(-1) + 1e-13
        assert (off <= tolerance).double().mean() >= 0.8


def test_steps_can_be_more_or_fewer_than_were_built() -> None:
    T, v = instances("orthogonal", 3, 4, seed=0)
    for name in ("pairs, rms", "softmax, rms"):
        built, other = form(name, 5), form(name)
        whole = built.run(T, v)
        assert (built.steps, whole.steps) == (5, 5)
        assert torch.equal(other.run(T, v, steps=5).path, whole.path)
        assert torch.equal(built.run(T, v, steps=2).path, whole.path[:, :3])
        assert built.resources().parameters == other.resources().parameters


# --- one weight set for all sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMS)
def test_one_weight_set_serves_every_size_and_a_mixed_batch(name: str, dtype: torch.dtype) -> None:
    """d = 1..6 in one padded batch, alone, and in weights made for that d: each within its bound."""
    power = form(name)
    cases = [dyadic(d, d) for d in range(1, D0 + 1)]
    tensors, starts = [T for T, _ in cases], [v for _, v in cases]
    batch = power.run(tensors, starts, dtype=dtype)
    assert batch.path.shape == (D0, 2, D0)
    assert batch.dims.tolist() == list(range(1, D0 + 1))
    bounds = power.error_bounds(tensors, starts, batch, dtype)
    for index, (T, v) in enumerate(cases):
        d = index + 1
        assert batch.path[index, :, d:].count_nonzero() == 0
        assert torch.equal(batch.path[index, 0, :d], v.to(dtype))
        alone, snug = power.run(T, v, dtype=dtype), form(name, max_dim=d).run(T, v, dtype=dtype)
        reference = exact_path(T[None], v[None], 1, power.normalised)[0, 1]
        limit = bounds.entries[index, 1, :d]
        single = power.error_bounds(T, v, alone, dtype).entries[0, 1]
        assert alone.path.shape == snug.path.shape == (2, d)
        for got in (batch.v[index, :d], alone.v, snug.v):
            # The reference rounds d^2 + 2 products and a length, relative to values of at most 2 d^2.
            assert ((got.double() - reference).abs() <= torch.maximum(limit, single) + 1e-13).all()
        if name in ("pairs", "offset"):  # nothing is rounded: see above
            assert torch.equal(batch.v[index, :d], alone.v)
            assert torch.equal(batch.v[index, :d], snug.v)


@pytest.mark.parametrize("name", FORMS)
def test_what_padding_tokens_hold_does_not_matter(name: str) -> None:
    power = form(name)
    cases = [dyadic(2, 1), dyadic(D0, 2)]
    batch = power.gather(*map(list, zip(*cases, strict=True)), torch.float64, "cpu")
    h, mask = power.embed(batch)
    assert mask.sum(1).tolist() == [n + (name in SOFTMAX) for n in (2, D0)]
    junk = h.clone()
    noise = normal(*h.shape, seed=3)
    junk[~mask] = noise[~mask]
    s = power.construction.stream
    if "one" in s:  # a token whose scores are all negative has nothing to normalise
        junk[..., s.one.start] = 1
    transformer = power.to_transformer()
    with torch.no_grad():
        clean, dirty = (transformer(x, mask) for x in (h, junk))
    # Rows of one product each, with masked terms that are exact zeros: the same sums.
    assert torch.equal(clean[0, 0, s.v.slice], dirty[0, 0, s.v.slice])
    assert torch.equal(clean[1], dirty[1])


def test_a_tensor_with_a_batch_dimension_equals_a_list() -> None:
    T, v = instances("gaussian", 4, 3, seed=0)
    for name in FORMS:
        stacked = form(name).run(T, v)
        listed = form(name).run(list(T), list(v))
        arrays = form(name).run(T.numpy(), v.numpy())
        for run in (listed, arrays):
            assert torch.equal(run.path, stacked.path)
        assert torch.equal(form(name).run(T[0], v[0]).path[0], v[0])
        assert (stacked.steps, stacked.v.shape) == (1, (4, 3))


# --- the same function of T and v -------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMS)
def test_permuting_the_coordinates_permutes_the_result(name: str) -> None:
    steps = 3 if form(name).normalised else 1
    for d in (2, 3, 5, 6):
        T, v = instances("gaussian", 10, d, seed=d)
        order = torch.randperm(d, generator=torch.Generator().manual_seed(d))
        moved = T[:, order][:, :, order][:, :, :, order]
        here, there = (
            check_path(form(name), *pair, torch.float64, steps) for pair in ((T, v), (moved, v[:, order]))
        )
        distance = there.run.path - here.run.path[..., order]
        limit = (
            here.limit[..., order] + there.limit if not form(name).normalised else here.limit + there.limit
        )
        size = (
            distance[:, 1:].abs() if not form(name).normalised else distance[:, 1:].norm(dim=-1, keepdim=True)
        )
        assert (size <= limit).all()


@pytest.mark.parametrize("exponent", [-40, -3, 1, 40])
@pytest.mark.parametrize("name", ["pairs", "offset", "mean", "pairs, rms", "offset, rms", "mean, rms"])
def test_scaling_the_tensor_by_a_power_of_two_is_exact(name: str, exponent: int) -> None:
    """T enters linearly: every number after it is scaled, rounded alike; a norm takes the scale out again."""
    for d in (1, 3, 6):
        T, v = instances("gaussian", 10, d, seed=d)
        run, scaled = (form(name).run(f * T, v) for f in (1.0, 2.0**exponent))
        expected = run.v if form(name).normalised else 2.0**exponent * run.v
        assert torch.equal(scaled.v, expected)
    if name == "pairs":
        two = [form(name).run(f * T, v, steps=2).v for f in (1.0, 2.0**exponent)]
        assert torch.equal(two[1], 2.0 ** (3 * exponent) * two[0])


def test_scaling_the_tensor_scales_the_softmax_step_exactly() -> None:
    T, v = instances("gaussian", 10, 5, seed=0)
    one, other = (form("softmax").run(f * T, v) for f in (1.0, 2.0**-6))
    # v joins w in one hidden layer, v - v + w: exact where |w| is scaled but v is not only up to an ulp.
    assert ((other.v - 2.0**-6 * one.v).abs() <= 4 * U * (v.abs() + one.v.abs())).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["pairs", "mean", "pairs, rms", "mean, rms", "piecewise"])
def test_the_sign_of_the_start_does_not_matter_to_the_bit(name: str, dtype: torch.dtype) -> None:
    for d in range(1, D0 + 1):
        T, v = instances("gaussian", 10, d, seed=d)
        there, here = (form(name).run(T, sign * v, dtype=dtype, steps=2) for sign in (-1.0, 1.0))
        assert torch.equal(there.path[:, 0], -here.path[:, 0])
        assert torch.equal(there.path[:, 1:], here.path[:, 1:])


@pytest.mark.parametrize("name", FORMS)
def test_only_the_part_symmetric_in_the_last_two_places_counts(name: str) -> None:
    """T(I, v, v) of a tensor, of its transpose, and of their mean are the same numbers."""
    for d in (2, 4, 6):
        T, v = instances("gaussian", 10, d, seed=d)
        results = [check_path(form(name), X, v) for X in (T, T.transpose(2, 3), (T + T.transpose(2, 3)) / 2)]
        for a, b in itertools.pairwise(results):
            difference = (a.run.v - b.run.v).abs()
            # A mean of two numbers rounds by u: u sum |T_ijm v_j v_m| <= u d^2 max|T|, < 1e-13 here.
            assert (difference <= a.limit[:, -1] + b.limit[:, -1] + 1e-13).all()


def test_a_symmetric_tensor_may_be_read_along_any_axis() -> None:
    T, v = instances("symmetric", 10, 5, seed=0)
    T = torch.round(T * 64) / 64
    T = sum(T.permute(0, *order) for order in SYMMETRIES)
    v = torch.round(v * 8) / 8
    expected = torch.einsum("bijm,bi,bm->bj", T, v, v)
    assert torch.equal(form("pairs").run(T, v).v, expected)  # multiples of 2^-12 of a few bits: exact


@pytest.mark.parametrize("name", FORMS)
def test_one_dimension_is_a_square(name: str) -> None:
    T = torch.tensor([[[[-1.5]]], [[[0.25]]]], dtype=torch.float64)
    v = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    check = check_path(form(name), T, v)
    assert check.broken() == []
    if form(name).normalised:
        assert torch.equal(check.run.v.sign(), torch.tensor([[-1.0], [1.0]]).double())
    elif name not in SOFTMAX:
        assert check.run.v.tolist() == [[-0.375], [0.25]]


@pytest.mark.parametrize("name", FORMS)
def test_rows_of_zeros_stay_zero(name: str) -> None:
    T, v = instances("gaussian", 10, 5, seed=0)
    T[:, 2] = 0
    T = T / torch.linalg.matrix_norm(T.flatten(2), ord=2)[:, None, None, None]  # |T(I, v, v)| <= |v|^2
    run = form(name).run(T, v, steps=2)
    assert run.path[:, 1:, 2].abs().max() <= (1e-15 if name in SOFTMAX else 0.0)  # v - v + 0, moved: an ulp
    assert check_path(form(name), T, v, steps=2).broken() == []


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(torch.float64, e) for e in (-300, -100, 100, 300)] + [(torch.float32, e) for e in (-40, 40)],
)
@pytest.mark.parametrize("name", ["pairs", "mean", "pairs, rms", "mean, rms", "softmax, rms"])
def test_huge_and_tiny_tensors(name: str, dtype: torch.dtype, exponent: int) -> None:
    """2^300 T squares to 2^600, still below the largest float64 of a norm; 2^40 in float32 likewise."""
    T, v = instances("gaussian", 20, 4, seed=1)
    power = form(name)
    if name in SOFTMAX and dtype == torch.float32:
        power = softmax_form(0.3, 2, 16.0)
    check = check_path(power, 2.0**exponent * T, v, dtype)
    assert check.broken() == []
    assert check.claimed == 1.0
    ratio = check.limit / check.run.v.double().norm(dim=-1)[:, None, None]
    assert ratio.max() < (1e-10 if dtype == torch.float64 else 0.05) * (1 if name not in SOFTMAX else 10)
