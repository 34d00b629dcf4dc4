"""The spectral algorithm in balls against the torch reference, against mpmath, and where it ends."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states_in_balls import ball_of, decided, finite

from constructions.spectral.bounds import spectral_bounds
from verify.balls.flint import arb, precision
from verify.certify.references.spectral import spectral_states
from verify.spectral.theorem import ESTIMATED, SPECTRAL

STEPS = 6


def length_of_difference(x, y) -> arb:
    square = sum(((a - b) * (a - b) for a, b in zip(x, y, strict=True)), arb(0))
    return square.nonnegative_part().sqrt()


@pytest.mark.parametrize("theorem", [SPECTRAL, ESTIMATED], ids=lambda t: t.key)
def test_every_family_is_defined_as_in_torch_and_within_its_bound(theorem):
    """The theorem's bound covers the distance of the torch reference from exact arithmetic."""
    variance = None if theorem is ESTIMATED else 1.0
    compared = 0
    for sizes in theorem.sizes:
        weights = theorem.construct(sizes, 1)
        for family, draw in theorem.families.items():
            instance = draw(sizes, 2, torch.Generator().manual_seed(0))
            expected = theorem.reference(instance, 1)
            bounds = spectral_bounds(instance, weights.plan, torch.float64, weights.square)
            for i in range(2):
                X, directions = instance.X[i], instance.directions[i]
                found = decided(spectral_states, X, directions, sizes["K"], STEPS, variance)
                assert found.keys() == expected.keys()
                for name, whole in found.items():
                    assert (finite(whole) == expected[name][i].isfinite().numpy()).all(), (family, name)
                    assert all(x == 0 for x in whole[0].flat)
                limits = {"means": bounds.means[i], "weights": bounds.weights[i]}
                for name, limit in limits.items():
                    rows = zip(found[name][1], expected[name][i, 1].tolist(), limit.tolist(), strict=True)
                    for ours, theirs, most in rows:
                        if most < np.inf:
                            compared += 1
                            assert length_of_difference(ours, theirs) <= arb(most), (family, name)
    assert compared > 50


def by_mpmath(X, directions, K, steps, variance):
    """Weights and means with eigenvectors of M2, as the baseline finds them, in mpmath's numbers."""
    points = [mpmath.matrix(x) for x in X.tolist()]
    N, d = X.shape
    average = sum(points, mpmath.zeros(d, 1)) / N
    second = sum((x * x.T for x in points), mpmath.zeros(d)) / N
    s = variance or mpmath.eigsy(second - average * average.T, eigvals_only=True)[0]
    values, vectors = mpmath.eigsy(second - s * mpmath.eye(d))
    W, B = mpmath.zeros(d, K), mpmath.zeros(d, K)
    for k in range(K):
        for j in range(d):
            W[j, k] = vectors[j, d - 1 - k] / mpmath.sqrt(values[d - 1 - k])
            B[j, k] = vectors[j, d - 1 - k] * mpmath.sqrt(values[d - 1 - k])
    Y, h, G, at = [W.T * x for x in points], W.T * average, W.T * W, range(K)
    T = {
        (a, b, c): sum(y[a] * y[b] * y[c] for y in Y) / N
        - s * (h[a] * G[b, c] + h[b] * G[a, c] + h[c] * G[a, b])
        for a in at
        for b in at
        for c in at
    }

    def step(v):
        w = mpmath.matrix([sum(T[a, b, c] * v[b] * v[c] for b in at for c in at) for a in at])
        return w, w / mpmath.norm(w)

    terms = []
    for _ in range(K):
        ends = []
        for g in directions.tolist():
            v = W.T * mpmath.matrix(g)
            for _ in range(steps):
                v = step(v)[1]
            ends.append(((v.T * step(v)[0])[0], list(v)))
        v = mpmath.matrix(max(ends, key=lambda end: end[0])[1])
        for _ in range(steps):
            v = step(v)[1]
        value = (v.T * step(v)[0])[0]
        terms.append((value, value * (B * v)))
        for a, b, c in T:
            T[a, b, c] -= value * v[a] * v[b] * v[c]
    total = sum(value**-2 for value, _ in terms)
    return s, [(value**-2 / total, mean) for value, mean in terms]


@pytest.mark.parametrize("variance", [1.0, None])
@pytest.mark.parametrize("sizes", [{"d": 3, "K": 2, "N": 32}, {"d": 3, "K": 3, "N": 40}])
def test_mpmath_with_many_digits_lies_in_the_balls(sizes, variance):
    """250 digits, of which fewer than 50 are lost: no radius of a 256-bit ball is below 1e-100."""
    instance = SPECTRAL.families["Gaussian means"](sizes, 1, torch.Generator().manual_seed(4))
    X, directions = instance.X[0], instance.directions[0]
    with precision(256), mpmath.workdps(250):
        found = spectral_states(X, directions, sizes["K"], STEPS, variance)
        s, expected = by_mpmath(X, directions, sizes["K"], STEPS, variance)
        assert found["variance"][1, 0, 0].contains(ball_of(s))
        for k, (weight, mean) in enumerate(expected):
            assert found["weights"][1, k, 0].contains(ball_of(weight))
            assert all(x.contains(ball_of(y)) for x, y in zip(found["means"][1, k], mean, strict=True))
            assert all(float(x.rad()) < 1e-40 for x in found["means"][1, k])


@settings(max_examples=10)
@given(st.permutations(range(32)), st.permutations(range(3)), st.permutations(range(2)), st.integers(0, 9))
def test_the_order_of_points_coordinates_and_starts_does_not_count(points, coordinates, starts, seed):
    instance = SPECTRAL.families["Gaussian means"](
        {"d": 3, "K": 2, "N": 32}, 1, torch.Generator().manual_seed(seed)
    )
    X, directions = instance.X[0], instance.directions[0]
    first = decided(spectral_states, X, directions, 2, STEPS, 1.0)
    moved = X[points][:, coordinates], directions[starts][:, coordinates]
    again = decided(spectral_states, *moved, 2, STEPS, 1.0)
    ours, theirs = first["means"][..., coordinates].flat, again["means"].flat
    assert all(x.overlaps(y) for x, y in zip(ours, theirs, strict=True))
    assert all(x.overlaps(y) for x, y in zip(first["weights"].flat, again["weights"].flat, strict=True))


def test_more_bits_give_smaller_balls_after_many_steps_too():
    instance = SPECTRAL.families["Gaussian means"](
        {"d": 8, "K": 4, "N": 200}, 1, torch.Generator().manual_seed(0)
    )
    radii = []
    for bits in (512, 1024):
        with precision(bits):
            found = spectral_states(instance.X[0], instance.directions[0], 4, 30, 1.0)
        radii.append([max(float(x.rad()) for x in found[name].flat) for name in ("means", "weights")])
    assert max(radii[0]) < 1e-100
    assert all(fine < coarse * 2.0**-500 for coarse, fine in zip(*radii, strict=True))


@pytest.mark.parametrize("variance", [1.0, None])
@pytest.mark.parametrize("K", [2, 3])
def test_few_bits_hold_what_many_bits_find(variance, K):
    sizes = {"d": 3, "K": K, "N": 40}
    instance = SPECTRAL.families["Gaussian means"](sizes, 1, torch.Generator().manual_seed(6))
    found = []
    for bits in (192, 1024):
        with precision(bits):
            found.append(spectral_states(instance.X[0], instance.directions[0], K, STEPS, variance))
    wide, narrow = found
    for name in wide:
        assert all(x.contains(y) for x, y in zip(wide[name].flat, narrow[name].flat, strict=True))


@pytest.mark.parametrize("variance", [1.0, None])
def test_points_on_a_line_have_no_second_component(variance):
    """Eigenvalues two and three of M2 are the same, but both are decided not to be above 0."""
    g = torch.Generator().manual_seed(0)
    X = torch.zeros(20, 3, dtype=torch.float64)
    X[:, 0] = torch.randn(20, generator=g, dtype=torch.float64)
    if variance is None:
        X[:, 1] = torch.randn(20, generator=g, dtype=torch.float64)
    directions = torch.randn(2, 3, generator=g, dtype=torch.float64)
    found = decided(spectral_states, X, directions, 2, 3, variance)
    assert not finite(found["means"][1]).any()
    assert not finite(found["weights"][1]).any()
    assert finite(found["variance"]).all()


def test_points_with_no_third_moment_have_no_components():
    """x and -x: T is exactly 0, which its balls do not say; its norm is below what rounding makes of 0."""
    X = torch.randn(10, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = decided(spectral_states, torch.cat([X, -X]), torch.eye(2).double(), 2, 3, 0.01)
    assert not finite(found["means"][1]).any()
    assert finite(found["variance"]).all()


def test_bad_input_is_refused():
    X, directions = torch.randn(10, 2).double(), torch.eye(2).double()
    with pytest.raises(ValueError, match="K = 3, d = 2"):
        spectral_states(X, directions, 3, 3, 1.0)
    with pytest.raises(ValueError, match="not finite"):
        spectral_states(X / 0.0, directions, 2, 3, 1.0)
