"""Tensor power iteration in balls: within the torch reference's rounding bound, and where zeros are exact."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states_in_balls import decided, finite

from baselines.robust_tensor_power import tensor_power_iteration
from constructions.tensor_power.relu_bounds import reference_bound
from verify.balls.flint import arb, fmpq, precision
from verify.certify.references.decisions import balls
from verify.certify.references.tensor_power import contract, directed, folded, length, tensor_power_states
from verify.tensor.exact import exact_path
from verify.tensor.theorem import RELU, RELU_PIECEWISE, RELU_PLAIN, SOFTMAX


@pytest.mark.parametrize("theorem", [RELU, RELU_PLAIN, RELU_PIECEWISE, SOFTMAX], ids=lambda t: t.key)
def test_every_family_is_defined_as_in_torch_and_within_its_rounding(theorem):
    compared = 0
    for sizes in theorem.sizes:
        for family, draw in theorem.families.items():
            instance = draw(sizes, 2, torch.Generator().manual_seed(0))
            path = theorem.reference(instance, 3)["v"][..., 0, :]
            usable = torch.where(path.isnan(), path[:, :1], path)
            bound = reference_bound(instance.T, usable, theorem.normalised).error
            for i in range(2):
                found = decided(tensor_power_states, instance.T[i], instance.v[i], 3, theorem.normalised)
                assert found.keys() == theorem.reference(instance, 1).keys()
                v = found["v"]
                assert v.shape == (4, 1, sizes["d"])
                # Without the norm, torch may lose what rounding left of an exact 0: no number, and ours is 0.
                same = finite(v)[:, 0] == path[i].isfinite().numpy()
                lost = [not theorem.normalised and all(x.is_zero() for x in state) for state in v[:, 0]]
                assert (same.all(1) | lost).all(), (family, i)
                for ours, theirs, most in zip(v[:, 0], path[i].tolist(), bound[i].tolist(), strict=True):
                    if ours[0].is_finite() and theirs[0] == theirs[0] and most < np.inf:
                        square = sum(((x - y) * (x - y) for x, y in zip(ours, theirs, strict=True)), arb(0))
                        assert square <= arb(most) * arb(most), (family, i)
                        compared += 1
    assert compared > 300


def test_the_plain_iteration_of_dyadic_numbers_holds_the_fractions():
    g = torch.Generator().manual_seed(1)
    T = torch.randint(-4, 5, (3, 3, 3), generator=g).double() / 4
    v = torch.randint(1, 5, (3,), generator=g).double() / 4
    with precision(128):
        found = tensor_power_states(T, v, 4, normalised=False)
    cube = [[[fmpq(int(4 * x), 4) for x in row] for row in s] for s in T.tolist()]
    path = exact_path(cube, [fmpq(int(4 * x), 4) for x in v.tolist()], 4)
    with precision(4096):  # of the comparison alone, in which fractions are exact: denominators are 2^k
        for ours, theirs in zip(found["entries"], path, strict=True):
            assert all(x.contains(y) for x, y in zip(ours[:, 0], theirs, strict=True))
    assert all(x.rad() == 0 for x in found["v"][2, 0])


@pytest.mark.parametrize("seed", range(10))
def test_exact_zeros_of_skew_tensors_stay_zeros(seed):
    """v v does not see the skew part: entries that are 0 stay so exactly, and no ball holds a 0 by chance."""
    draw = RELU.families["skew tensor, sparse start"]
    instance = draw({"d": 5, "d0": 6}, 5, torch.Generator().manual_seed(seed))
    for T, v in zip(instance.T, instance.v, strict=True):
        with precision(128):
            found = tensor_power_states(T, v, 6, normalised=True)["v"]
        assert finite(found).all()
        for j in (v == 0).nonzero().flatten().tolist():
            assert all(x.is_zero() for x in found[:, 0, j])


def test_a_length_of_exactly_zero_has_no_direction_and_is_a_vector():
    g = torch.Generator().manual_seed(2)
    T = torch.randn(3, 3, 3, generator=g, dtype=torch.float64)
    T, v = T - T.mT, torch.randn(3, generator=g, dtype=torch.float64)
    with precision(128):
        assert not finite(tensor_power_states(T, v, 2, normalised=True)["v"][1:]).any()
        plain = tensor_power_states(T, v, 2, normalised=False)
    assert all(x.is_zero() for x in plain["v"][1:].flat)
    assert plain["entries"].shape == (3, 3, 1)


@pytest.mark.parametrize("scale", [2.0**600, 2.0**-600])
def test_the_plain_iteration_ends_where_float64_does(scale):
    T, v = scale * torch.ones(2, 2, 2).double(), torch.ones(2).double()
    marked = tensor_power_iteration(T, v, 3, normalise=False, on_failure="mark").path
    assert marked.isfinite().all(-1).tolist() == [True, True, False, False]
    found = decided(tensor_power_states, T, v, 3, normalised=False)
    assert finite(found["v"]).all((1, 2)).tolist() == [True, True, False, False]
    assert finite(decided(tensor_power_states, T, v, 3, normalised=True)["v"]).all()


def test_more_bits_give_smaller_balls():
    draw = RELU.families["gaussian tensor, unit start"]
    instance = draw({"d": 5, "d0": 6}, 1, torch.Generator().manual_seed(0))
    radii = []
    for bits in (128, 256):
        with precision(bits):
            found = tensor_power_states(instance.T[0], instance.v[0], 6, normalised=True)["v"]
        radii.append(max(float(x.rad()) for x in found.flat))
    assert radii[0] < 1e-25
    assert radii[1] < radii[0] * 2.0**-120


@pytest.mark.parametrize("normalised", [True, False])
def test_few_bits_hold_what_many_bits_find(normalised):
    g = torch.Generator().manual_seed(5)
    T = torch.randn(4, 4, 4, generator=g, dtype=torch.float64)
    v = torch.randn(4, generator=g, dtype=torch.float64)
    found = []
    for bits in (64, 1024):
        with precision(bits):
            found.append(tensor_power_states(T, v, 5, normalised)["v"])
    wide, narrow = found
    assert all(x.contains(y) for x, y in zip(wide.flat, narrow.flat, strict=True))
    assert all(x.rad() > 0 for x in wide[-1].flat)


@pytest.mark.parametrize("seed", range(5))
def test_a_direction_from_balls_holds_those_from_what_they_hold(seed):
    g = torch.Generator().manual_seed(seed)
    F = folded(balls(torch.randn(3, 3, 3, generator=g, dtype=torch.float64).tolist()))
    start = torch.randn(3, generator=g, dtype=torch.float64).tolist()

    def step(v):
        w = contract(F, v)
        return directed(F, v, w, length(w))

    with precision(128):
        whole = step([x + arb(0, 2.0**-12) for x in start])
        for signs in itertools.product((-1, 0, 1), repeat=3):
            inside = step([arb(x) + sign * arb(2.0**-12) for x, sign in zip(start, signs, strict=True)])
            assert all(x.contains(y) for x, y in zip(whole, inside, strict=True))


@settings(max_examples=20)
@given(st.permutations(range(4)), st.integers(0, 99), st.booleans())
def test_the_names_of_coordinates_do_not_count(order, seed, normalised):
    g = torch.Generator().manual_seed(seed)
    T = torch.randn(4, 4, 4, generator=g, dtype=torch.float64)
    v = torch.randn(4, generator=g, dtype=torch.float64)
    first = decided(tensor_power_states, T, v, 3, normalised)["v"]
    again = decided(tensor_power_states, T[order][:, order][:, :, order], v[order], 3, normalised)["v"]
    assert all(x.overlaps(y) for x, y in zip(first[..., order].flat, again.flat, strict=True))


def test_bad_input_is_refused():
    T = torch.ones(2, 2, 2).double()
    with pytest.raises(ValueError, match="v is 0"):
        tensor_power_states(T, torch.zeros(2).double(), 1, normalised=True)
    with pytest.raises(ValueError, match="not finite"):
        tensor_power_states(T / 0.0, torch.ones(2).double(), 1, normalised=True)
