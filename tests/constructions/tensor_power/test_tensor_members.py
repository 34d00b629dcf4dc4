"""What all three constructions offer, of the tensor power ones: the check without a run, the table."""

import re

import pytest
import torch

from constructions import (
    EMConstruction,
    HypothesisError,
    SoftmaxTensorPower,
    TensorPowerConstruction,
    softmax_tensor_power_construction,
    tensor_power_construction,
)

BUILT = {
    "pairs": tensor_power_construction(3, 2),
    "offset": tensor_power_construction(3, 2, offset=4.0, normalise="rms"),
    "piecewise": tensor_power_construction(3, 2, normalise="piecewise", pieces=16, norm_range=(0.1, 10.0)),
    "softmax": softmax_tensor_power_construction(3, 2, 0.1, 2),
}


def test_the_members_of_one_are_those_of_all():
    shared = {"construction", "stream", "max_dim", "steps", "embed", "check", "run", "to_transformer"}
    shared |= {"explain", "resources", "resource_table", "plot_weights"}
    for kind in (EMConstruction, TensorPowerConstruction, SoftmaxTensorPower):
        names = set(dir(kind)) | set(kind.__dataclass_fields__)
        assert shared <= names, shared - names


@pytest.mark.parametrize("name", BUILT)
def test_the_formulas_of_the_table_give_its_numbers(name):
    """Each formula, read as arithmetic with d0 = 3, L = 2 and p = 2, is the number beside it."""
    power = BUILT[name]
    lines = power.resource_table().splitlines()
    assert lines[0].split("  ")[0] == "resource"
    rows = {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in lines[2:])}
    for resource in ("layers", "heads a layer", "width", "hidden units"):
        here, formula, *_ = rows[resource]
        formula = re.sub(r", [a-zA-Z0-9]+ = \d+", "", formula)
        for symbol, value in (("d0", "3"), ("L", "2"), ("p", "2")):
            formula = re.sub(rf"\b{symbol}\b", value, formula)
        formula = re.sub(
            r"(\d) (?=\d)", r"\1 * ", re.sub(r"(\d) (?=\d)", r"\1 * ", formula.replace("^", "**"))
        )
        assert eval(formula) == eval(here.removesuffix(", the most")), (resource, here, formula)  # noqa: S307
    assert rows["parameters"][0] == f"{power.resources().parameters:,}"


def refusal(power, T, v, dtype=torch.float64) -> str:
    with pytest.raises(HypothesisError) as caught:
        power.check(T, v, dtype)
    return str(caught.value)


@pytest.mark.parametrize("name", BUILT)
def test_a_check_refuses_what_a_run_would(name):
    power, T, v = BUILT[name], torch.ones(3, 3, 3), torch.ones(3)
    power.check(T, v)
    power.check([T, T[:2, :2, :2]], [v, v[:2]], torch.float32)
    assert "must be finite" in refusal(power, T / 0, v)
    assert "zero vector" in refusal(power, T, 0 * v)
    assert "d = 4" in refusal(power, torch.ones(4, 4, 4), torch.ones(4))


def test_a_check_refuses_a_start_that_the_weights_do_not_cover():
    T, v = torch.ones(3, 3, 3), torch.ones(3)
    assert "the offset is 4" in refusal(BUILT["offset"], T, 3 * v)
    assert "the bound is 2" in refusal(BUILT["softmax"], T, 3 * v)
    steep = tensor_power_construction(3, 1, normalise="piecewise", pieces=4, norm_range=(1e-20, 1.0))
    assert "slopes beyond torch.float32" in refusal(steep, T, v, torch.float32)


@pytest.mark.parametrize("name", BUILT)
def test_approximation_alone_is_part_of_the_bound(name):
    power = BUILT[name]
    T, v = torch.eye(3)[:, :, None] * torch.eye(3)[:, None, :] + 0.1, torch.tensor([0.8, 0.5, 0.1])
    run = power.run(T, v)
    whole, exact = (power.error_bounds(T, v, run, torch.float64, rounding) for rounding in (True, False))
    assert (exact.error <= whole.error).all()
    assert (exact.entries <= whole.entries).all()
    assert bool((exact.error == 0).all()) == (name in ("pairs", "offset"))
    if name in ("piecewise", "softmax"):
        assert (exact.error[:, 1:] > 0.9 * whole.error[:, 1:]).all()
