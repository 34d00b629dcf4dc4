"""What padding, the order of points and companions in a batch may change: no bit, or rounding only."""

import math

import pytest
import torch
from model_instances import (
    VARIANTS,
    mixture_terms,
    points,
    prefix_mask,
    rounding_tolerance,
    small_model,
    terms,
)
from torch import Tensor

import training.model.tgmm as model_module
from constructions import Transformer
from training.model.polish import Polish
from training.model.tgmm import TGMM

N_POINTS = 9
PREFIX = prefix_mask(N_POINTS, 9, 5, 4)
# Also the first point missing: in a causal backbone it is a query without a single key.
HOLES = torch.tensor([[1] * 9, [0, 0, 1, 1, 1, 0, 1, 0, 1], [0, 1, 0, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
MASK = torch.cat([PREFIX, HOLES[1:]])
FILLINGS = {"seven": 7.0, "huge": 1e300, "inf": math.inf, "minus inf": -math.inf, "nan": math.nan}
VARIANT = pytest.mark.parametrize(("options", "polish_steps"), VARIANTS.values(), ids=VARIANTS.keys())
PLAIN = {name: options for name, (options, steps) in VARIANTS.items() if not steps}
UNORDERED = {name: options for name, options in PLAIN.items() if not options["causal"]}
UNORDERED = {name: options for name, options in UNORDERED.items() if not options["max_positions"]}


def outputs_and_gradients(model: TGMM, X: Tensor, mask: Tensor) -> list[Tensor]:
    """The estimate for K = 2, and the gradients of all parameters that it depends on."""
    estimate = model(X, 2, mask)
    gradients = torch.autograd.grad(terms(estimate).sum(), list(model.parameters()), allow_unused=True)
    return [part.detach() for part in estimate if part is not None] + [g for g in gradients if g is not None]


def padding_shows(model: TGMM, *fillings: Tensor) -> list[int]:
    """Which fillings of padded points change a bit of the estimate or of a gradient."""
    X = points(len(MASK), N_POINTS, 2)
    expected = outputs_and_gradients(model, X, MASK)
    assert all(part.isfinite().all() for part in expected)
    padding = ~MASK[:, :, None].expand_as(X)
    shown = []
    for index, filling in enumerate(fillings):
        found = outputs_and_gradients(model, torch.where(padding, filling, X), MASK)
        if not all(map(torch.equal, found, expected)):
            shown.append(index)
    return shown


SEVEN = torch.tensor(7.0, dtype=torch.float64)
# Every kind of number beside every other, (B, N, d) from a cycle of 5, which divides no side of the batch.
EVERYTHING = torch.tensor(list(FILLINGS.values()), dtype=torch.float64).repeat(18).reshape(5, 9, 2)


@VARIANT
def test_what_stands_in_padded_points_changes_no_bit(options: dict, polish_steps: int) -> None:
    """Of the estimate and of the gradient of every parameter."""
    assert padding_shows(small_model(options, polish_steps), EVERYTHING) == []


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS.keys())
@pytest.mark.parametrize("readout", ["tokens", "pooling"])
def test_one_kind_of_number_in_all_padded_points_changes_no_bit(readout: str, filling: float) -> None:
    assert padding_shows(small_model({"readout": readout}), torch.full_like(SEVEN, filling)) == []


def test_every_parameter_of_a_k_gets_a_gradient() -> None:
    """So the tests above compare something."""
    model = small_model(components=(2,))
    found = outputs_and_gradients(model, points(len(MASK), N_POINTS, 2), MASK)[2:]
    assert len(found) == len(list(model.parameters()))
    assert all(gradient.any() for gradient in found)


@pytest.mark.parametrize("readout", ["tokens", "pooling"])
def test_a_model_that_drops_the_mask_is_caught(readout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone without its mask sees emptied points: huge values do not show, their number does."""
    model, X = small_model({"readout": readout}), points(3, N_POINTS, 2)
    assert padding_amount_errors(model, X) == []
    whole = Transformer.forward
    monkeypatch.setattr(Transformer, "forward", lambda self, h, key_mask=None: whole(self, h))
    assert padding_amount_errors(model, X) != []


def test_a_model_that_drops_the_mask_altogether_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = TGMM.network
    monkeypatch.setattr(TGMM, "network", lambda self, X, K, mask=None, look=0: network(self, X, K))
    assert padding_shows(small_model(), SEVEN, 0 * SEVEN) == [0, 1]


def test_em_layers_that_drop_the_mask_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Polish.forward
    monkeypatch.setattr(Polish, "forward", lambda self, X, w, m, mask: forward(self, X, w, m, None))
    assert padding_shows(small_model(None, 2), SEVEN, 0 * SEVEN) == [0, 1]


def padding_amount_errors(model: TGMM, X: Tensor) -> list[str]:
    """Tasks whose estimate depends on how many padded points follow or stand between theirs."""
    lengths = (9, 5, 4)
    more = torch.cat([X, torch.full((3, 6, X.shape[2]), 2.5, dtype=X.dtype)], dim=1)
    spread = torch.full_like(more, 2.5)
    between = torch.zeros(3, 15, dtype=torch.bool)
    for task, length in enumerate(lengths):
        between[task, 15 - 2 * length if length < 8 else 15 - length :: 2 if length < 8 else 1] = True
        spread[task, between[task]] = X[task, :length]
    broken = []
    for task, length in enumerate(lengths):
        alone = X[task : task + 1, :length]
        tolerance = rounding_tolerance(model, lambda alone=alone: terms(model(alone, 2)))
        with torch.no_grad():
            expected = terms(model(alone, 2))[0]
            for name, found in {
                "in a batch": model(X, 2, PREFIX),
                "more padding": model(more, 2, prefix_mask(15, *lengths)),
                "padding between": model(spread, 2, between),
            }.items():
                error = float((terms(found)[task] - expected).sum().abs())
                if not error <= tolerance:
                    broken.append(f"{name}, task {task}: {error:.1e} > {tolerance:.1e}")
    return broken


@pytest.mark.parametrize(
    "options", [o for o in PLAIN.values() if not o["max_positions"]], ids=lambda o: str(list(o.values()))
)
def test_a_task_alone_is_the_task_in_a_batch_with_any_amount_of_padding(options: dict) -> None:
    """To rounding: products over more rows and sums over more, empty, keys are cut into other blocks."""
    assert padding_amount_errors(small_model(options), points(3, N_POINTS, 2)) == []


def test_the_rounding_tolerance_is_small_beside_what_a_single_point_does() -> None:
    """Otherwise the tests that use it could not fail."""
    for options in UNORDERED.values():
        model, X = small_model(options), points(1, N_POINTS, 2)
        tolerance = rounding_tolerance(model, lambda model=model, X=X: terms(model(X, 2)))
        with torch.no_grad():
            moved = (terms(model(X, 2)) - terms(model(X[:, 1:], 2))).sum().abs()
        assert tolerance < 1e-8
        assert moved > 1e4 * tolerance


def order_shows(options: dict) -> bool:
    """Whether reversing the points of tasks moves their estimates by more than rounding."""
    model, X = small_model(options), points(3, N_POINTS, 2)
    shown = False
    for task in range(3):
        x = X[task : task + 1]
        tolerance = rounding_tolerance(model, lambda x=x: terms(model(x, 3)))
        with torch.no_grad():
            for order in (torch.arange(N_POINTS - 1, -1, -1), torch.roll(torch.arange(N_POINTS), 4)):
                moved = float((terms(model(x[:, order], 3)) - terms(model(x, 3))).sum().abs())
                shown = shown or moved > tolerance
    return shown


@pytest.mark.parametrize("options", UNORDERED.values(), ids=UNORDERED.keys())
def test_the_order_of_points_does_not_matter_by_default(options: dict) -> None:
    """Tolerance: a sum over N points in another order; see model_instances."""
    assert not order_shows(options)


@pytest.mark.parametrize("readout", ["tokens", "pooling"])
@pytest.mark.parametrize(("causal", "positions"), [(True, 16), (True, 0), (False, 16)])
def test_the_order_of_points_matters_with_causal_or_positions(
    readout: str, causal: bool, positions: int
) -> None:
    assert order_shows({"readout": readout, "causal": causal, "max_positions": positions})


def test_the_order_of_points_matters_even_more_with_trained_positions() -> None:
    """Positions start small (0.02): of size 1 they move the estimate by more than a tenth."""
    model, X = small_model({"causal": True, "max_positions": 16}), points(1, N_POINTS, 2)
    with torch.no_grad():
        model.positions.normal_(generator=torch.Generator().manual_seed(0))
        moved = (terms(model(X.flip(1), 3)) - terms(model(X, 3))).sum().abs()
    assert moved > 0.1


@pytest.mark.parametrize("options", UNORDERED.values(), ids=UNORDERED.keys())
def test_estimate_in_slices_is_estimate_at_once(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """To rounding, as a product over the tokens of more tasks is cut into other blocks."""
    model, X = small_model(options), points(5, N_POINTS, 2)
    mask = prefix_mask(N_POINTS, 9, 5, 4, 9, 3)
    tolerance = rounding_tolerance(model, lambda: mixture_terms(model(X, 3, mask).to_mixture()))
    sizes = []
    model.readin.register_forward_hook(lambda _, arguments, output: sizes.append(len(output)))
    whole = model.estimate(X, 3, mask)
    monkeypatch.setattr(model_module, "NUMBERS_AT_ONCE", 2 * model.config.width * N_POINTS)
    sliced = model.estimate(X, 3, mask)
    assert sizes == [5, 2, 2, 1]
    assert (mixture_terms(whole) - mixture_terms(sliced)).sum().abs() <= tolerance
    wrong_order = sliced[torch.tensor([0, 1, 2, 4, 3])]
    assert (mixture_terms(whole) - mixture_terms(wrong_order)).sum().abs() > tolerance


def test_estimates_of_a_float32_model_are_mixtures_in_float64() -> None:
    model = small_model().float()
    mixture = model.estimate(points(2, N_POINTS, 2), 3)
    assert mixture.means.dtype == mixture.weights.dtype == torch.float64
    with torch.no_grad():
        assert torch.equal(mixture.means, model(points(2, N_POINTS, 2).float(), 3).means.double())


def test_estimate_ignores_what_stands_in_padded_points() -> None:
    model, X = small_model(None, 2), points(len(MASK), N_POINTS, 2)
    one, other = (
        model.estimate(torch.where(MASK[:, :, None], X, filling), 3, MASK) for filling in (SEVEN, EVERYTHING)
    )
    assert torch.equal(one.means, other.means)
    assert torch.equal(one.weights, other.weights)
