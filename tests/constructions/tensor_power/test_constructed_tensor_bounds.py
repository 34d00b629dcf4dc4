"""No run leaves its bounds: ReLU and softmax forms, hostile instances, the parts of the bounds one by one."""

import functools
import itertools
import math
import statistics

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tensor_power_instances import (
    D0,
    DTYPES,
    FORMS,
    KINDS,
    NORMALISED,
    RELU,
    SOFTMAX,
    PathCheck,
    check_path,
    form,
    instances,
    normal,
    softmax_form,
    unit,
)
from torch import Tensor

from constructions import (
    HypothesisError,
    chords,
    geometric,
    required_offset,
    softmax_tensor_power_construction,
    tensor_power_construction,
)
from constructions.language import curves
from constructions.language.rounding import gamma, number
from constructions.tensor_power.iteration import PowerIteration
from constructions.tensor_power.relu_bounds import (
    natural_scale,
    piecewise_length_error,
    relative_chord_error,
)
from constructions.tensor_power.sinh_pairs import pair_weights
from constructions.tensor_power.softmax import highest_sink
from constructions.tensor_power.softmax_bounds import pick_rounding, score_rounding

U = 2.0**-53
EPSILONS = [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.7, 1.0]
SINKS = [0.0, 0.5, 1.0, 8.0, 16.0, 31.99, 32.0, 32.01, 36.0, 60.0, 63.99, 64.0]


def try_path(power: PowerIteration, T: Tensor, v: Tensor, dtype: torch.dtype, steps: int) -> PathCheck | None:
    """The check, or None where the run is refused because of what it met on the way."""
    try:
        return check_path(power, T, v, dtype, steps)
    except HypothesisError as error:
        if "step" not in str(error):
            raise
        return None


# --- no bound is broken -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=120)
@given(
    name=st.sampled_from(list(RELU)),
    kind=st.sampled_from(KINDS),
    d=st.integers(1, D0),
    seed=st.integers(0, 2**31),
    exponent=st.sampled_from([0, 0, 0, -20, 3, 20]),
    steps=st.integers(1, 6),
)
def test_no_relu_path_leaves_its_bounds(
    dtype: torch.dtype, name: str, kind: str, d: int, seed: int, exponent: int, steps: int
) -> None:
    T, v = instances(kind, 4, d, seed)
    steps = steps if name in NORMALISED else min(steps, 2)
    check = try_path(form(name), 2.0**exponent * T, v, dtype, steps)
    if check is None:
        reject()
    assert check.broken() == []


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=120)
@given(
    epsilon=st.one_of(st.sampled_from(EPSILONS), st.floats(1e-6, 1)),
    pairs=st.integers(1, 8),
    sink=st.one_of(st.sampled_from(SINKS), st.floats(0, 60)),
    kind=st.sampled_from(KINDS),
    d=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    length=st.sampled_from([1.0, 1.0, 1e-3, 1e-10, 1.9]),
    steps=st.integers(1, 3),
    normalise=st.sampled_from(["rms", "none"]),
)
def test_no_softmax_path_leaves_its_bounds(
    dtype: torch.dtype,
    epsilon: float,
    pairs: int,
    sink: float,
    kind: str,
    d: int,
    seed: int,
    length: float,
    steps: int,
    normalise: str,
) -> None:
    T, v = instances(kind, 4, d, seed)
    sink = min(sink, highest_sink(dtype, epsilon, pairs) - 1e-3)
    # A step that ends at 10^3 with epsilon 1 has no useful next one; a plain run of two stays below.
    power = softmax_tensor_power_construction(
        d, 1, epsilon, pairs, sink, normalise, 2.0 if normalise == "rms" else 1e3
    )
    check = try_path(power, T, length * v, dtype, steps if normalise == "rms" else min(steps, 2))
    if check is None:
        reject()
    assert check.broken() == []


def search(seed: int, count: int, dims: tuple[int, ...] = (1, 2, 3, 6)) -> tuple[int, int, list[str]]:
    """Every form, kind, dtype and dimension, ``count`` tensors of each: (checked, claimed steps, broken).

    All kinds run in one batch, or one after the other where the batch is refused because of one of them.
    """
    checked, claimed, broken = 0, 0.0, []
    for name, dtype, d in itertools.product(FORMS, DTYPES, dims):
        power = form(name)
        if name in SOFTMAX and dtype == torch.float32:
            power = softmax_form(0.3, 2, 16.0, "rms" if power.normalised else "none", 64.0)
        steps = 4 if power.normalised else 1
        T, v = (torch.cat(part) for part in zip(*drawn_of_every_kind(count, d, seed + 100 * d), strict=True))
        found = [try_path(power, T, v, dtype, steps)]
        if found == [None]:
            pairs = zip(T.split(count), v.split(count), strict=True)
            found = [try_path(power, *pair, dtype, steps) for pair in pairs]
        for check in found:
            if check is not None:
                checked += len(check.error)
                claimed += check.claimed * len(check.error)
                broken += [
                    f"{name}, d={d}, {dtype}, {count} of each of {KINDS}: {line}" for line in check.broken()
                ]
    return checked, int(claimed), broken


@functools.cache
def drawn_of_every_kind(count: int, d: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """The tensors and starts that every form is tried on, kind by kind."""
    return [instances(kind, count, d, seed) for kind in KINDS]


def softmax_search(seed: int, settings_tried: int, count: int) -> tuple[int, list[str]]:
    """One step of random softmax forms on ``count`` tensors each."""
    g = np.random.default_rng(seed)
    checked, broken = 0, []
    for _ in range(settings_tried):
        dtype = DTYPES[g.integers(2)]
        epsilon, pairs = float(10 ** g.uniform(-6, 0)), int(g.integers(1, 9))
        sink = min(float(g.choice([*SINKS, g.uniform(0, 60)])), highest_sink(dtype, epsilon, pairs) - 1e-3)
        d, kind = int(g.integers(1, 5)), str(g.choice(KINDS))
        length = float(g.choice([1.0, 1e-3, 2.0, 5.0]))
        power = softmax_tensor_power_construction(d, 1, epsilon, pairs, sink, "none", 1e12)
        T, v = instances(kind, count, d, int(g.integers(2**31)))
        check = try_path(power, T, length * v, dtype, 1)
        if check is not None:
            checked += count
            where = f"epsilon={epsilon:g}, p={pairs}, c={sink:g}, d={d}, {kind}, {dtype}"
            broken += [f"{where}: {line}" for line in check.broken()]
    return checked, broken


def test_thousands_of_instances_are_within_their_bounds() -> None:
    checked, claimed, broken = search(seed=0, count=4)
    assert broken == []
    assert checked >= 3500
    assert claimed >= 0.9 * checked  # a bound of infinity would hold too


def test_thousands_of_softmax_steps_are_within_their_bounds() -> None:
    checked, broken = softmax_search(seed=0, settings_tried=100, count=32)
    assert broken == []
    assert checked >= 2500


@pytest.mark.slow
def test_twenty_thousand_instances_are_within_their_bounds() -> None:
    first, _, broken = search(seed=1, count=12, dims=(1, 2, 3, 4, 6))
    second, more = softmax_search(seed=1, settings_tried=300, count=64)
    assert broken + more == []
    assert first + second >= 20_000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["pairs", "offset", "pairs, rms", "softmax, rms"])
def test_a_huge_offset_and_large_tensors_have_a_bound(name: str, dtype: torch.dtype) -> None:
    T, v = instances("gaussian", 10, 3, seed=0)
    for scale in (1e-4, 1e4):
        power = form(name)
        if name == "offset":
            power = tensor_power_construction(3, 1, offset=1e5)
        check = try_path(power, scale * T, v, dtype, 1)
        assert check is not None or (name, dtype) == ("softmax, rms", torch.float32)
        if check is not None:
            assert check.broken() == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["pairs", "offset", "pairs, rms", "piecewise", "mean, rms"])
@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-8])
def test_a_start_nearly_orthogonal_to_all_has_a_bound_or_none(
    name: str, size: float, dtype: torch.dtype
) -> None:
    """T(I, v, v) is of order size^2: where rounding is as large, the bound is infinite or the run refused."""
    Q = torch.linalg.qr(normal(20, 4, 4, seed=0)).Q
    T = torch.einsum("bik,bjk,bmk->bijm", Q[..., 1:], Q[..., 1:], Q[..., 1:])
    v = unit(Q[..., 0] + size * unit(normal(20, 4, seed=1)))
    check = try_path(form(name), T, v, dtype, 3 if name in NORMALISED else 1)
    refused = {"piecewise": 1e-2, "offset": 1e-4}.get(name, 1e-4 if dtype == torch.float32 else 1e-8)
    if check is None:
        assert (
            size <= refused
        )  # the piecewise norm begins at |T(I, v, v)| = 1e-4; 8 u is of the order of size^2
        return
    assert check.broken() == []
    if dtype == torch.float64 and size >= 1e-4:
        assert check.claimed == 1.0


# --- parts of the bounds ----------------------------------------------------------------------------------


def heads_in_real_arithmetic(
    T: Tensor, v: Tensor, epsilon: float, pairs: int, sink: float, s: Tensor | None = None
) -> list[mpmath.mpf]:
    """What the softmax heads write, in the working precision; s_j = v_j unless said."""
    d = len(v)
    x = [mpmath.mpf(float(c)) for c in v]
    y = x if s is None else [mpmath.mpf(float(c)) for c in s]
    out = [mpmath.mpf(0)] * d
    for m in range(d):
        for k, alpha in enumerate(pair_weights(pairs), 1):
            scale = mpmath.exp(sink) * alpha.numerator / alpha.denominator / (2 * mpmath.mpf(epsilon))
            for sign in (1, -1):
                weight = [mpmath.exp(sign * k * mpmath.mpf(epsilon) * x[m] * y[j]) for j in range(d)]
                total = mpmath.exp(sink) + sum(weight)
                for i in range(d):
                    for j in range(d):
                        out[i] += sign * scale * weight[j] / total * mpmath.mpf(float(T[i, j, m]))
    return out


@settings(max_examples=60)
@given(
    epsilon=st.one_of(st.sampled_from(EPSILONS), st.floats(1e-6, 1)),
    pairs=st.integers(1, 8),
    sink=st.one_of(st.sampled_from(SINKS), st.floats(0, 60)),
    d=st.integers(1, 3),
    kind=st.sampled_from(["gaussian", "orthogonal", "skew part", "cancelling", "zero entries"]),
    length=st.sampled_from([1.0, 1e-3, 2.0, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_approximation_and_leakage_bound_the_heads_in_real_arithmetic(
    epsilon: float, pairs: int, sink: float, d: int, kind: str, length: float, seed: int
) -> None:
    """Lemmas 1 to 3 without the help of the rounding part, larger than either where both are small."""
    T, v = instances(kind, 1, d, seed)
    v = length * v
    power = softmax_form(epsilon, pairs, sink, max_dim=d)
    parts = power.one_step_error(T, v, torch.float64)
    with mpmath.workdps(120):
        written = heads_in_real_arithmetic(T[0], v[0], epsilon, pairs, power.sink)
        x = [mpmath.mpf(float(c)) for c in v[0]]
        for i in range(d):
            exact = sum(mpmath.mpf(float(T[0, i, j, m])) * x[j] * x[m] for j in range(d) for m in range(d))
            # The parts are float64 sums of d^2 or d^3 terms, each with at most 80 roundings (the powers of
            # the series); the signed ones cancel, so relative to the sum of absolute values.
            size = float(natural_scale(T, v)[0, i]) + float(T[0, i].abs().sum())
            growth = math.cosh(min(600.0, pairs * epsilon * float((v[0].abs().max()) ** 2)))
            slack = gamma(200, U) * (
                size * (epsilon ** (2 * pairs) * length**2 + math.exp(-sink)) * growth * 100
            )
            limit = float(parts.approximation[0, i] + parts.leakage[0, i])
            assert abs(written[i] - exact) <= limit * (1 + 1e-12) + slack


@settings(max_examples=60)
@given(
    epsilon=st.floats(1e-3, 1),
    pairs=st.integers(1, 8),
    sink=st.sampled_from([0.0, 1.0, 5.0, 20.0, 40.0]),
    d=st.integers(1, 3),
    length=st.sampled_from([1.0, 0.1, 2.0, 4.0]),
    gap=st.sampled_from([1e-8, 1e-3, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_a_gap_between_s_and_v_is_in_the_bound_of_the_heads_in_real_arithmetic(
    epsilon: float, pairs: int, sink: float, d: int, length: float, gap: float, seed: int
) -> None:
    """Gaps far above rounding, at their ends: sensitivity of D_p and of the sink's share, nothing else."""
    T, v = instances("gaussian", 1, d, seed)
    v = length * v
    power = softmax_form(epsilon, pairs, sink, max_dim=d)
    wide, none = (
        power.one_step_error(T, v, torch.float64, gap=g)
        for g in (torch.full_like(v, gap), torch.zeros_like(v))
    )
    signs = torch.sign(normal(1, d, seed=seed + 9))
    with mpmath.workdps(120):
        x, s = v[0], v[0] + gap * signs[0]
        off, on = (heads_in_real_arithmetic(T[0], x, epsilon, pairs, power.sink, y) for y in (s, None))
        # What the gap changes, against what it adds to the bound; v + gap is rounded once, by u (gap + |v|).
        for i in range(d):
            added = float(wide.total[0, i] - none.approximation[0, i] - none.leakage[0, i])
            assert abs(off[i] - on[i]) <= added * (1 + 1e-9 + 1e-16 * length / gap)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bound", "length"), [(2.0, 1.0), (64.0, 1.0), (64.0, 5.0), (1e6, 1.0)])
def test_after_a_step_tokens_agree_on_v_and_s_is_within_its_part_of_the_bound(
    dtype: torch.dtype, bound: float, length: float
) -> None:
    """v at every token is the sink's w to the bit; s is that v's coordinate, but for the hinges at -B."""
    power = softmax_tensor_power_construction(5, 1, 0.1, 2, 16.0, "none", bound)
    s = power.construction.stream
    T, v = instances("gaussian", 50, 5, seed=0)
    h, _ = power.embed(power.gather(T, length * v, dtype))
    transformer = power.to_transformer(dtype)
    with torch.no_grad():
        w = transformer.layers[0](h)[..., s.w.slice]
        after = transformer(h)
    assert torch.equal(after[..., s.v.slice], w[:, :1].expand_as(w))
    assert after[..., s.w.slice].count_nonzero() == 0
    kept = w.abs().amax((1, 2)) <= bound
    assert kept.sum() >= 20  # a run refuses the others
    own = after[:, 0, s.v.slice].double()
    gap = (after[:, 1:, s.s.start].double() - own).abs()
    assert (gap <= pick_rounding(own, bound, dtype))[kept].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rounding_of_a_score_is_half_a_unit_of_the_largest(dtype: torch.dtype) -> None:
    for size in (0.3, 1.0, 1.5, 16.0, 31.99, 32.0, 36.0, 63.99, 64.0):
        x = torch.tensor(size, dtype=dtype)
        unit_in_the_last_place = float(torch.nextafter(x, torch.tensor(torch.inf, dtype=dtype)) - x)
        assert score_rounding(size, number(0.0), dtype) == unit_in_the_last_place / 2
        assert score_rounding(size, number(40.0), dtype) >= score_rounding(size, number(0.0), dtype)
    # A score just below 32 with an amplitude above what is missing rounds as one beyond it.
    assert score_rounding(31.99, number(0.02), dtype) == 2 * score_rounding(31.99, number(0.0), dtype)
    assert score_rounding(0.0, number(0.0), dtype) >= 0


@pytest.mark.parametrize("pieces", [1, 2, 7, 64, 1024])
def test_the_relative_error_of_the_chords_is_their_largest(pieces: int) -> None:
    f = chords(curves.inverse_sqrt, geometric(1e-8, 1e4, pieces))
    stated = float(relative_chord_error(f))
    t = np.linspace(0, 1, 513)
    x = f.knots[:-1, None] * (f.knots[1:] / f.knots[:-1])[:, None] ** t
    relative = f(torch.as_tensor(x)).numpy() * np.sqrt(x) - 1
    # f(x): gamma_11 of the larger neighbour, up to (ratio)^(1/2) times the value; sqrt, product: 3 u.
    slack = gamma(14, U) * float((f.knots[1:] / f.knots[:-1]).max()) ** 0.5 + gamma(8, U) * (1 + stated)
    assert relative.max() <= stated + slack
    assert relative.max() >= 0.98 * stated - slack  # one of 513 points is within 1/512 of the maximum
    assert relative.min() >= -slack


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pieces", [1, 8, 128, 4096])
def test_the_length_of_the_piecewise_norm_is_within_its_bound(dtype: torch.dtype, pieces: int) -> None:
    """d = 1: w = T v^2 exactly for v = 1, so every length in the range is met, the knots too."""
    power = tensor_power_construction(2, 1, normalise="piecewise", pieces=pieces, norm_range=(1e-3, 1e3))
    f = power.inverse_sqrt
    lengths = np.concatenate([np.geomspace(1.001e-3, 0.999e3, 400), np.sqrt(f.knots[1:-1])])
    T = torch.as_tensor(lengths).to(dtype).double()[:, None, None, None]
    run = power.run(T, torch.ones(len(T), 1).double(), dtype=dtype)
    norm = T[:, 0, 0, 0]
    limit = piecewise_length_error(f, norm, torch.zeros_like(norm), 1, dtype)
    off = (run.v[:, 0].double() - 1).abs()
    assert (off <= limit).all()
    if dtype == torch.float64:
        assert (limit <= 1.001 * relative_chord_error(f) + 1e-9).all()
        assert off.max() >= 0.95 * relative_chord_error(f)


# --- the bounds say something -----------------------------------------------------------------------------


def test_the_rounding_of_pairs_is_far_below_the_terms() -> None:
    T, v = instances("gaussian", 3, 32, seed=0)
    power = tensor_power_construction(32, 1)
    check = check_path(power, T, v)
    assert check.broken() == []
    assert (check.bound.entries[:, 1] <= 1e-12 * natural_scale(T, v)).all()


def test_where_approximation_dominates_the_bound_is_the_error() -> None:
    """Median of bound over error within 1.05, for 1, 2 and 3 pairs; the sum of d^2 signed terms is known."""
    for pairs, epsilon in ((1, 0.1), (2, 0.3), (3, 0.6)):
        power = softmax_form(epsilon, pairs, 40.0, "none", 64.0)
        T, v = instances("gaussian", 200, 4, seed=pairs)
        check = check_path(power, T, v)
        assert check.broken() == []
        ratios = (check.bound.entries[:, 1] / check.error[:, 0]).flatten().tolist()
        assert statistics.median(ratios) <= 1.05


def test_where_leakage_dominates_the_bound_is_near_the_error() -> None:
    power = softmax_form(1e-3, 2, 6.0, "none", 64.0)
    T, v = instances("gaussian", 200, 4, seed=0)
    check = check_path(power, T, v)
    assert check.broken() == []
    ratios = (check.bound.entries[:, 1] / check.error[:, 0]).flatten().tolist()
    assert statistics.median(ratios) <= 1.05  # the first order is known with its sign; the third is 1e-6


@pytest.mark.parametrize("name", ["pairs, rms", "offset, rms", "piecewise", "mean, rms", "softmax, rms"])
def test_near_a_component_errors_do_not_accumulate(name: str) -> None:
    """There P A vanishes, so 60 steps end with the error of one: the factor is 0 to first order."""
    T, v = instances("orthogonal", 10, 4, seed=0)
    check = check_path(form(name), T, v, torch.float64, 60)
    assert check.broken() == []
    assert check.claimed == 1.0
    last = check.bound.error[:, -1] / check.bound.one_step[:, -1]
    assert (last <= 1.01).all()
    # The chords of 1024 pieces on twelve decades: (log ratio)^2 3/32 = 6.8e-5; the softmax heads 4e-12/eps.
    assert check.bound.error[:, -1].max() < {"piecewise": 1e-4, "softmax, rms": 1e-9}.get(name, 1e-12)


def test_a_bound_of_float32_is_that_of_float64_times_the_ratio_of_roundoffs() -> None:
    T, v = instances("gaussian", 10, 4, seed=0)
    T, v = T.float().double(), v.float().double()
    for name in RELU:
        wide, narrow = (check_path(form(name), T, v, dtype).bound.one_step for dtype in DTYPES)
        if "piecewise" not in name:  # its chords do not depend on the dtype
            assert ((narrow / wide / 2.0**29 - 1).abs() < 0.01).all()


def test_the_start_has_no_error_and_every_step_has_one() -> None:
    T, v = instances("gaussian", 3, 4, seed=0)
    for name in FORMS:
        power = form(name)
        bound = check_path(power, T, v, steps=2 if power.normalised else 1).bound
        assert bound.error[:, 0].count_nonzero() == bound.entries[:, 0].count_nonzero() == 0
        assert (bound.error[:, 1:] > 0).all()
        assert (bound.one_step > 0).all()
        assert (bound.entries <= bound.error[..., None]).all()


# --- the offset -------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    d=st.integers(1, D0),
    steps=st.integers(2, 4),
    kind=st.sampled_from(KINDS),
    normalised=st.booleans(),
    mean=st.booleans(),
    length=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_the_required_offset_is_never_refused(
    seed: int, d: int, steps: int, kind: str, normalised: bool, mean: bool, length: float
) -> None:
    T, v = instances(kind, 1, d, seed)
    T, v = T[0], length * v[0]
    if not normalised:  # neither growing nor dying; tensors that grow: test_constructed_tensor_regressions
        T = T / float(T.abs().sum((1, 2)).max()) / length
    offset = required_offset(T, v, steps, normalised, mean)
    power = tensor_power_construction(
        d, steps, offset=offset, normalise="rms" if normalised else "none", divide_by_tokens=mean
    )
    try:
        power.run(T, v)
    except HypothesisError as error:
        assert "offset" not in str(error)  # noqa: PT017
        reject()


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("normalise", ["none", "rms"])
def test_an_offset_just_below_what_occurs_is_refused(normalise: str, mean: bool) -> None:
    """v = (1, 1, 1, 1)/2, then T(I, v, v) = c e_1: |v_m s_j| is 1/4, then c^2, or 1; times 4 for a mean."""
    v = torch.full((4,), 0.5, dtype=torch.float64)
    T = torch.zeros(4, 4, 4, dtype=torch.float64)
    T[0] = 0.75 * torch.outer(v, v)
    tokens = 4 if mean else 1
    second = 1.0 if normalise == "rms" else 0.75**2
    for step, largest in ((1, tokens / 4), (2, tokens * second)):
        # 1e-6 is far above the rounding of float64, in the run and in the check.
        enough, low = (
            tensor_power_construction(
                4, step, offset=largest * (1 + off), normalise=normalise, divide_by_tokens=mean
            )
            for off in (1e-6, -1e-6)
        )
        with pytest.raises(
            HypothesisError, match=rf"step {step} of tensor 0: \|v_m s_j\| reaches .*; the offset is"
        ):
            low.run(T, v)
        assert enough.run(T, v).steps == step
        if step == 2:
            required = required_offset(T, v, step, normalise == "rms", mean)
            assert largest <= required <= largest * (1 + 2e-3)  # it is raised in steps of a thousandth
