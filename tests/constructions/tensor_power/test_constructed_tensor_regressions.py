"""Faults of the tensor power constructions that a search found and that were mended: what holds since."""

import dataclasses
import math

import pytest
import torch
from tensor_power_instances import (
    DTYPES,
    check_path,
    contraction,
    exact_path,
    form,
    instances,
    normal,
)
from torch import Tensor

from constructions import (
    HypothesisError,
    Layer,
    best_epsilon,
    clear,
    move,
    pick,
    required_offset,
    softmax_tensor_power_construction,
    tensor_power_construction,
)
from constructions.language.structured.evaluation import DenseEvaluator
from constructions.tensor_power.iteration import PowerIteration

# --- bounds -----------------------------------------------------------------------------------------------


def round_every_token_its_own_way(power: PowerIteration, T: Tensor, v: Tensor) -> None:
    """Every token's w is moved by 1 % of the rounding that the bound allows: an admissible evaluation.

    Kernels round rows of a product alike only where their blocking falls so: with one layer a step and
    d = 5, 7 or 11 the float64 kernels of one machine did this without help, up to 6e7 times the bound.
    """
    transformer = power.to_transformer()
    allowed = float(power.one_step_error(T, v, torch.float64).rounding.norm(dim=-1).mean())
    g = torch.Generator().manual_seed(3)

    def rounded(module: torch.nn.Module, inputs: tuple[Tensor, ...], w: Tensor) -> Tensor:
        signs = torch.randint(0, 2, w.shape, generator=g).double() * 2 - 1
        # |T(I, v, v)| is 1 to 2, and the norm divides by it; d = 4 entries.
        return w + 0.01 * allowed / 2 / 4**0.5 * signs * (w != 0)

    transformer.layers[0].attention.register_forward_hook(rounded)
    power._compiled["dense", torch.float64, "cpu"] = DenseEvaluator(transformer)


def test_the_softmax_bound_holds_where_every_token_rounds_its_own_way() -> None:
    """s_j and v must come from one token's w: a T skew in j, m multiplies their difference at every step."""
    T, v = instances("orthogonal", 20, 4, seed=1)
    noise = normal(20, 4, 4, 4, seed=2)
    T = T + 100 * (noise - noise.transpose(2, 3))
    power = softmax_tensor_power_construction(4, 6, 1e-3, 2)
    round_every_token_its_own_way(power, T, v)
    assert check_path(power, T, v).broken() == []
    # The mistake itself: v moved and s picked from each token's own w, in one layer.
    s = power.construction.stream
    heads = power.construction.layers[0].heads
    own = Layer(
        "step",
        heads=heads,
        mlp=(clear(s.v), move(s.w, s.v), clear(s.s), pick(s.w, by=s.id, write=s.s, bound=2.0)),
        unit_output=True,
    )
    single = dataclasses.replace(power.construction, layers=(own,))
    moved = dataclasses.replace(power, construction=single)
    round_every_token_its_own_way(moved, T, v)
    assert unguarded_broken(power, moved, T, v)


def unguarded_broken(right: PowerIteration, wrong: PowerIteration, T: Tensor, v: Tensor) -> list[str]:
    """What leaves the bounds of ``right`` when ``wrong`` runs without its checks."""
    checks = {name: lambda *_: None for name in ("_check_before", "_check_within", "_check_range")}
    kind = type("Unguarded", (type(wrong),), checks)
    runner = kind(**{f.name: getattr(wrong, f.name) for f in dataclasses.fields(wrong) if f.init})
    runner._compiled.update(wrong._compiled)
    return check_path(right, T, v, runner=runner).broken()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_softmax_bound_holds_with_a_skew_part_in_any_dimension(dtype: torch.dtype) -> None:
    """Dimensions in which this machine's kernels rounded the rows of one product differently."""
    for d in (5, 7, 11, 17):
        T, v = instances("orthogonal", 20, d, seed=1)
        noise = normal(20, d, d, d, seed=2)
        for size in (1.0, 100.0):
            skewed = T + size * (noise - noise.transpose(2, 3))
            epsilon = 1e-3 if dtype == torch.float64 else 0.1
            check = check_path(softmax_tensor_power_construction(d, 6, epsilon, 2), skewed, v, dtype)
            assert check.broken() == []
            assert check.claimed == 1.0 or dtype == torch.float32


def test_the_leakage_of_a_mixed_batch_is_that_of_each_tensor() -> None:
    """With c = 3 the sink takes n e^-3 of a head: n is the d of the tensor, not the largest of the batch."""
    power = softmax_tensor_power_construction(6, 1, 1e-2, 1, 3.0, "none", 64.0)
    for seed in range(10):
        tensors, starts = [], []
        for d in range(1, 7):
            T, v = instances("gaussian", 1, d, seed=10 * seed + d)
            tensors.append(T[0])
            starts.append(v[0])
        run = power.run(tensors, starts)
        bound = power.error_bounds(tensors, starts, run, torch.float64).entries[:, 1]
        for index, (T, v) in enumerate(zip(tensors, starts, strict=True)):
            d = len(v)
            alone = check_path(power, T[None], v[None])
            assert alone.broken() == []
            error = (run.v[index, :d] - contraction(T[None], v[None])[0]).abs()
            assert (error <= bound[index, :d] + 1e-14).all()  # the reference: d^2 products of at most 2
            # Equal but for the rounding part, which counts padded tokens: 20 u / epsilon sum |T| < 1e-11.
            assert torch.allclose(bound[index, :d], alone.bound.entries[0, 1], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("sink", [3.3, 10.1, 31.99, 59.9])
def test_a_sink_that_float32_cannot_hold_is_the_same_number_in_scores_and_scales(sink: float) -> None:
    """c rounded in the scores alone would scale every step by e^(u c): 1e-6, seen where little else errs."""
    T, v = instances("gaussian", 50, 2, seed=0)
    power = softmax_tensor_power_construction(2, 1, 1.0, 8, sink, "none", 64.0)
    for dtype in DTYPES:
        assert check_path(power, T, v, dtype).broken() == []
    assert power.sink == float(torch.tensor(sink, dtype=torch.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1e1, 1e2, 1e6, 1e12])
def test_scores_beyond_every_exponential_have_no_bound_and_no_exception(
    length: float, dtype: torch.dtype
) -> None:
    """eps a = 1e24: the weights saturate, the run goes on, and nothing is claimed of it."""
    T, v = instances("gaussian", 5, 3, seed=0)
    T, v = (1e-40 * T).to(dtype).double(), (length * v).to(dtype).double()
    power = softmax_tensor_power_construction(3, 1, 1.0, 1, 36.0, "none", 1e12)
    run = power.run(T, v, dtype=dtype)
    bound = power.error_bounds(T, v, run, dtype).entries[:, 1]
    error = (run.v.double() - contraction(T, v)).abs()
    assert (error <= bound * (1 + 1e-12)).all()
    assert bound.isinf().all() or length <= 1e2


@pytest.mark.parametrize("name", ["pairs", "offset", "mean", "mean, offset", "softmax"])
def test_a_plain_step_that_is_exactly_zero_is_a_step(name: str) -> None:
    """T_i12 = -T_i21: no number is lost, and the bound says so; zero maps to zero ever after."""
    T = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
    T[0, :, 0, 1], T[0, :, 1, 0] = 1, -1
    v = torch.tensor([[0.5, 0.25, 0.75]], dtype=torch.float64)  # v_m s_j + B is exact: nothing is rounded
    check = check_path(form(name), T, v, steps=3)
    assert check.broken() == []
    assert check.claimed == 1.0
    if name != "softmax":  # whose heads write their rounding
        assert check.run.path[0, 1:].count_nonzero() == 0


def test_a_gap_between_s_and_v_is_enlarged_by_the_slope_of_the_pairs() -> None:
    """bound = 1e6 makes the gap 0.06 in float32, eps a = 8 the slope 1490: 1.24 times a bound without."""
    v = torch.rand(300, 3, generator=torch.Generator().manual_seed(3)).double() + 0.5
    T = normal(300, 3, 3, 3, seed=3)
    power = softmax_tensor_power_construction(3, 2, 1.0, 1, normalise="none", bound=1e6)
    reached = power.run(T, v, dtype=torch.float32, steps=1).v.double().abs().amax(-1)
    T = (T * (2.83 / reached)[:, None, None, None]).float().double()
    v = v.float().double()
    path = power.run(T, v, dtype=torch.float32).path.double()
    step = power.step_error(T, path[:, 1], torch.float32, first=False)
    assert ((path[:, 2] - contraction(T, path[:, 1])).abs() <= step.heads).all()


def test_the_bound_of_tiny_tensors_is_not_zero() -> None:
    T, v = instances("gaussian", 10, 3, seed=0)
    check = check_path(form("pairs"), 1e-170 * T, v)
    assert check.broken() == []  # entry by entry it holds
    assert (check.bound.error[:, 1] >= check.bound.entries[:, 1].amax(-1)).all()


@pytest.mark.parametrize(
    ("dtype", "small", "large"), [(torch.float64, 1e-310, 1e150), (torch.float32, 1e-40, 1e18)]
)
def test_the_bound_of_a_mean_covers_subnormal_tensors(dtype: torch.dtype, small: float, large: float) -> None:
    T, v = instances("gaussian", 10, 3, seed=0)
    assert check_path(form("pairs"), small * T, large * v, dtype).broken() == []
    assert check_path(form("mean"), small * T, large * v, dtype).broken() == []


def test_where_the_exact_step_is_zero_nothing_is_claimed() -> None:
    """3 v_1 v_1 - v_1 v_2 = 0 for v_2 = 3 v_1; softmax heads write their rounding instead, and it runs on."""
    T = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    T[0, :, 0, 0], T[0, :, 0, 1] = 3, -1
    v = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    power = form("softmax, rms")
    run = power.run(T, v)
    bound = power.error_bounds(T, v, run, torch.float64)
    assert math.isinf(float(bound.error[0, 1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scale", "steps"), [(1.0, 2), (1.0, 3), (1.0, 5), (10.0, 4), (100.0, 3), (1e3, 5)])
def test_the_required_offset_suffices_for_tensors_that_grow_or_none_is_given(
    scale: float, steps: int, dtype: torch.dtype
) -> None:
    """An offset that covers the last step rounds by u B in the first, which may drown what it holds."""
    T, v = instances("gaussian", 20, 3, seed=0)
    T, v = (scale * T).to(dtype).double(), v.to(dtype).double()
    given = 0
    for tensor, start in zip(T, v, strict=True):
        try:
            offset = required_offset(tensor, start, steps, normalised=False, dtype=dtype)
        except HypothesisError as error:
            assert "no offset suffices" in str(error)  # noqa: PT017
            continue
        given += 1
        tensor_power_construction(3, steps, offset=offset).run(tensor, start, dtype=dtype)
    assert given == 20 or (scale, steps) not in ((1.0, 2), (1.0, 3))


@pytest.mark.parametrize("mean", [False, True])
def test_one_plain_step_needs_the_square_of_the_start(mean: bool) -> None:
    T, v = instances("gaussian", 1, 3, seed=0)
    largest = (3 if mean else 1) * float(v.abs().max()) ** 2
    assert (
        largest <= required_offset(T[0], v[0], 1, normalised=False, divide_by_tokens=mean) <= 1.001 * largest
    )


# --- results and messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pairs, rms", "mean, rms"])
def test_an_empty_padding_token_does_not_reach_the_others(name: str) -> None:
    """The usual padding is zeros. embed avoids it by writing v there; the transformer alone is not safe."""
    power = form(name)
    T, v = instances("gaussian", 1, 2, seed=0)
    h, _ = power.embed(power.gather(T, v))
    padded = torch.cat([h, torch.zeros_like(h[:, :1])], 1)
    mask = torch.tensor([[True, True, False]])
    s = power.construction.stream
    with torch.no_grad():
        got = power.to_transformer()(padded, mask)[0, 0, s.v.slice][:2]
    assert (got - exact_path(T, v, 1, True)[0, 1]).abs().max() < 1e-14


def test_a_sink_too_high_for_float32_is_named() -> None:
    T, v = instances("gaussian", 1, 2, seed=0)
    power = softmax_tensor_power_construction(2, 1, 0.1, sink=88.0)
    with pytest.raises(HypothesisError, match=r"sink 88 with epsilon 0.1 leaves the range of torch.float32"):
        power.run(T, v, dtype=torch.float32)


@pytest.mark.parametrize("norm_range", [(1.0, 1e200), (1e-200, 1e-100)])
def test_a_norm_range_whose_squares_leave_float64_is_named(norm_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="norm_range"):
        tensor_power_construction(2, 1, normalise="piecewise", norm_range=norm_range)


def test_a_norm_range_too_wide_for_float32_is_named() -> None:
    T, v = instances("gaussian", 1, 2, seed=0)
    power = tensor_power_construction(2, 1, normalise="piecewise", norm_range=(1e-14, 1e2))
    assert power.run(T, v).steps == 1
    with pytest.raises(HypothesisError, match="norm"):
        power.run(T, v, dtype=torch.float32)


def test_complex_tensors_are_refused() -> None:
    T, v = instances("gaussian", 1, 2, seed=0)
    with pytest.raises(HypothesisError, match="complex"):
        form("pairs").run(T[0] + 1j, v[0])


def test_an_epsilon_too_small_for_the_sink_is_named() -> None:
    with pytest.raises(ValueError, match=r"epsilon|sink") as caught:
        softmax_tensor_power_construction(2, 1, 1e-300, sink=300.0)
    assert "1e-300" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"sink": math.inf}, {"amplitude": math.inf}])
def test_best_epsilon_refuses_infinity(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="amplitude, sink and terms"):
        best_epsilon(torch.float64, 1, **wrong)


@pytest.mark.parametrize("wrong", [{"epsilon": True}, {"bound": True}])
def test_a_bool_is_no_number(wrong: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        softmax_tensor_power_construction(2, 1, **({"epsilon": 0.1} | wrong))


@pytest.mark.parametrize("wrong", [{"epsilon": "a"}, {"sink": True}, {"bound": "2"}])
def test_what_is_no_number_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} is .*; a number is needed"):
        softmax_tensor_power_construction(2, 1, **({"epsilon": 0.1} | wrong))  # type: ignore[arg-type]


def test_a_run_in_whole_numbers_is_refused() -> None:
    T, v = instances("gaussian", 1, 2, seed=0)
    with pytest.raises(HypothesisError, match=r"dtype is torch.int64; it is torch.float32 or torch.float64"):
        form("pairs").run(T, v, dtype=torch.int64)


def test_the_bound_of_a_run_that_started_elsewhere_is_refused() -> None:
    T, v = instances("gaussian", 3, 2, seed=0)
    power = form("pairs")
    for other in (2 * v, v[:2]):
        run = power.run(T[: len(other)], other)
        with pytest.raises(ValueError, match="did not start from these v"):
            power.error_bounds(T, v, run, torch.float64)


def test_gradients_of_the_start_do_not_reach_the_run() -> None:
    T, v = instances("gaussian", 3, 2, seed=0)
    assert not form("pairs").run(T, v.requires_grad_()).path.requires_grad
