"""EM in balls against the torch reference within its rounding bound, against mpmath, and where it ends."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states_in_balls import ball_of, decided, finite
from torch import Tensor

from baselines.em_paths import reference_path
from baselines.em_rounding import reference_rounding
from verify.balls.flint import arb, arb_mat, precision
from verify.certify.references.em import Points, State, em_states, step
from verify.em.covariance_theorem import EVERY_KIND, FULL, TIED
from verify.em.theorem import THEOREM_1

ALL = (THEOREM_1, *EVERY_KIND)
KINDS = ("unit", "tied_spherical", "spherical", "diagonal", "tied", "full")


def drawn(theorem, family, sizes, tasks=1, seed=0):
    return theorem.families[family](sizes, tasks, torch.Generator().manual_seed(seed))


def arguments(theorem, instance, index=0):
    """What em_states takes after the number of steps, and what comes before it."""
    start = instance.X[index], instance.weights[index], instance.means[index]
    if theorem is THEOREM_1:
        return start, {}
    return start, {"covariances": instance.covariances[index], "kind": theorem.kind}


def small(kind, seed=0):
    """The same of a task with d = 2, K = 3, N = 20."""
    theorem, family = dict(zip(KINDS, ALL, strict=True))[kind], "one blob" if kind == "unit" else "ordinary"
    return arguments(theorem, drawn(theorem, family, {"d": 2, "K": 3, "N": 20}, seed=seed))


def radius(states) -> float:
    return max(float(x.rad()) for whole in states.values() for x in whole.flat)


@pytest.mark.parametrize("theorem", ALL, ids=lambda t: t.key)
def test_every_family_is_defined_where_the_torch_reference_is(theorem):
    for family in theorem.families:
        instance = drawn(theorem, family, theorem.sizes[0], 2)
        expected = theorem.reference(instance, 3)
        for i in range(2):
            start, options = arguments(theorem, instance, i)
            found = decided(em_states, *start, 3, **options)
            assert found.keys() == expected.keys()
            for name, whole in found.items():
                assert whole.shape == tuple(expected[name][i].shape), (family, name)
                assert (finite(whole) == expected[name][i].isfinite().numpy()).all(), (family, name)


@pytest.mark.parametrize("theorem", ALL, ids=lambda t: t.key)
def test_a_torch_step_is_within_its_rounding_bound(theorem):
    compared = 0
    for family in theorem.families:
        instance = drawn(theorem, family, theorem.sizes[0], 2, seed=1)
        expected = theorem.reference(instance, 1)
        for i in range(2):
            start, options = arguments(theorem, instance, i)
            one = theorem.task(instance, i)
            kind = options.get("kind", "unit")
            given_covariances = None if kind == "unit" else one.covariances
            bound = reference_rounding(one.X, one.weights, one.means, given_covariances, kind)
            limits = {"means": bound.means, "weights": bound.weights}
            if kind != "unit":
                limits["covariances"] = bound.covariances
            found = decided(em_states, *start, 1, **options)
            for name, limit in limits.items():
                ours, theirs = found[name][1].flat, expected[name][i, 1].flatten().tolist()
                for x, y, most in zip(ours, theirs, limit.flatten().tolist(), strict=True):
                    if x.is_finite() and most < np.inf:
                        compared += 1
                        assert abs(x - y) <= arb(most), (family, name)
    assert compared > 100


@pytest.mark.parametrize("theorem", ALL, ids=lambda t: t.key)
def test_the_start_is_as_given_and_the_radius_is_small(theorem):
    family = "separated" if theorem is THEOREM_1 else "ordinary"
    start, options = arguments(theorem, drawn(theorem, family, {"d": 8, "K": 5, "N": 128}))
    radii = []
    for bits in (128, 256):
        with precision(bits):
            found = em_states(*start, 3, **options)
        radii.append(radius(found))
        assert all(x == y for x, y in zip(found["means"][0].flat, start[2].flatten().tolist(), strict=True))
        assert all(x == y for x, y in zip(found["weights"][0].flat, start[1].tolist(), strict=True))
        assert all(x.rad() == 0 for whole in found.values() for x in whole[0].flat)
    # Radii of both precisions come from the same operations, 2^-128 apart; both are known to 30 bits.
    assert radii[1] < radii[0] * 2.0**-120
    assert radii[0] < (1e-20 if theorem in (TIED, FULL) else 1e-29)


@pytest.mark.parametrize("kind", KINDS)
def test_few_bits_hold_what_many_bits_find(kind):
    """Radii count on the way: after two steps the balls of many bits lie within those of few."""
    start, options = small(kind)
    found = []
    for bits in (96, 512):
        with precision(bits):
            found.append(em_states(*start, 2, **options))
    wide, narrow = found
    for name in wide:
        assert all(x.contains(y) for x, y in zip(wide[name].flat, narrow[name].flat, strict=True))
    assert radius(wide) > 0


@pytest.mark.parametrize(
    ("kind", "part"), [(k, p) for k in KINDS for p in State._fields if (k, p) != ("unit", "covariances")]
)
def test_a_step_from_balls_holds_the_steps_from_what_they_hold(kind, part):
    """One part of the state is 2^-20 wide: the steps from its middle and ends lie in what comes out."""
    start, options = small(kind)
    with precision(128):
        rows = arb_mat(start[0].tolist())
        norms = arb_mat([[x * x + y * y] for x, y in rows.tolist()])
        points = Points(rows, norms, [sum(column) / 20 for column in zip(*rows.tolist(), strict=True)])
        states = em_states(*start, 0, **options)
        covariances = states["covariances"][0].tolist() if kind != "unit" else [[arb(1)]]
        middle = State(states["weights"][0, :, 0].tolist(), states["means"][0].tolist(), covariances)

        def moved(by: arb) -> State:
            old = getattr(middle, part)
            new = [x + by for x in old] if part == "weights" else [[x + by for x in row] for row in old]
            return middle._replace(**{part: new})

        width = arb(2) ** -20
        whole = step(points, moved(arb(0, 2.0**-20)), kind)
        inside = [step(points, moved(by), kind) for by in (-width, arb(0), width)]
        for one in inside:
            for wide, narrow in zip(whole, one, strict=True):
                ours, theirs = (np.array(x, dtype=object).flat for x in (wide, narrow))
                assert all(x.contains(y) for x, y in zip(ours, theirs, strict=True))
        assert max(float(x.rad()) for row in whole.means for x in row) < 1e-2


def by_mpmath(X, weights, means, covariances):
    """One EM step with matrices (K, d, d), straight from the definition, in mpmath's numbers."""
    points = [mpmath.matrix(x) for x in X.tolist()]
    joint = []
    for w, m, S in zip(weights.tolist(), means.tolist(), covariances.tolist(), strict=True):
        P, centre = mpmath.inverse(mpmath.matrix(S)), mpmath.matrix(m)
        scale = w / mpmath.sqrt(mpmath.det(mpmath.matrix(S)))
        joint.append([scale * mpmath.exp(-((x - centre).T * P * (x - centre))[0] / 2) for x in points])
    sums = [sum(column) for column in zip(*joint, strict=True)]
    found = []
    for row in joint:
        shares = [a / b for a, b in zip(row, sums, strict=True)]
        total = sum(shares)
        mean = sum((w * x for w, x in zip(shares, points, strict=True)), mpmath.zeros(X.shape[1], 1)) / total
        outer = mpmath.zeros(X.shape[1])
        for w, x in zip(shares, points, strict=True):
            outer += w * (x - mean) * (x - mean).T
        found.append((total / len(points), mean, outer / total))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_mpmath_with_many_digits_lies_in_the_balls(kind):
    """250 digits, of which fewer than 50 are lost: no radius of a 192-bit ball is below 1e-70."""
    (X, weights, means), options = small(kind)
    S, (K, d) = options.get("covariances"), means.shape
    matrices = torch.eye(d, dtype=torch.float64).expand(K, d, d)
    if kind == "tied_spherical" or kind == "spherical":
        matrices = matrices * S.reshape(-1, 1, 1)
    elif kind == "diagonal":
        matrices = torch.diag_embed(S)
    elif kind != "unit":
        matrices = S.expand(K, d, d)
    with mpmath.workdps(250), precision(192):
        found = em_states(X, weights, means, 1, **options)
        expected = by_mpmath(X, weights, means, matrices)
        own = [S for _, _, S in expected]
        if kind.startswith("tied"):
            own = [sum((w * S for w, _, S in expected), mpmath.zeros(d))]
        rows = {
            "full": [list(S) for S in own],
            "tied": [list(S) for S in own],
            "diagonal": [[S[i, i] for i in range(d)] for S in own],
        }.get(kind, [[sum(S[i, i] for i in range(d)) / d] for S in own])
        with precision(1024):
            for k, (weight, mean, _) in enumerate(expected):
                assert found["weights"][1, k, 0].contains(ball_of(weight))
                assert all(x.contains(ball_of(y)) for x, y in zip(found["means"][1, k], mean, strict=True))
            if kind != "unit":
                for ours, theirs in zip(found["covariances"][1], rows, strict=True):
                    assert all(x.contains(ball_of(y)) for x, y in zip(ours, theirs, strict=True))


@settings(max_examples=15)
@given(st.sampled_from(KINDS), st.permutations(range(3)), st.permutations(range(20)), st.integers(0, 99))
def test_the_order_of_points_and_components_does_not_count(kind, components, points, seed):
    (X, weights, means), options = small(kind, seed)
    other = dict(options)
    if kind in ("spherical", "diagonal", "full"):
        other["covariances"] = options["covariances"][components]
    first = decided(em_states, X, weights, means, 2, **options)
    again = decided(em_states, X[points], weights[components], means[components], 2, **other)
    for name, whole in first.items():
        moved = whole[:, components] if whole.shape[1] == 3 else whole
        assert all(x.overlaps(y) for x, y in zip(moved.flat, again[name].flat, strict=True))


def blob(N: int = 12, d: int = 2) -> Tensor:
    return torch.randn(N, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)


def test_an_empty_component_ends_the_path():
    """Its points' shares are exp(-100^2/2) of all."""
    means = torch.tensor([[0.0, 0.0], [100.0, 0.0]], dtype=torch.float64)
    found = decided(em_states, blob(), HALF, means, 3)
    assert finite(found["means"][0]).all()
    assert not finite(found["means"][1:]).any()
    assert not finite(found["weights"][1:]).any()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_points_that_are_one_point_end_the_path_by_a_decision(kind):
    """The variance is exactly 0, which is told from float64's smallest normal number with enough bits."""
    X = torch.full((12, 2), 0.1, dtype=torch.float64)
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    shapes = {"tied_spherical": (), "spherical": (2,), "diagonal": (2, 2)}
    start = torch.ones(shapes[kind]).double() if kind in shapes else eye.expand(2, *eye.shape)
    start = eye if kind == "tied" else start
    found = decided(em_states, X, HALF, means, 2, start, kind)
    assert all(not finite(whole[1:]).any() and finite(whole[0]).all() for whole in found.values())


@pytest.mark.parametrize(("spread", "kind"), [(1e-8, "spherical"), (1e-6, "spherical"), (1e-8, "diagonal")])
def test_a_small_variance_beside_a_far_component_is_singular_where_torch_says_so(spread, kind):
    """Share 1e-16 and 1e-12 of the squares about the average: 64 eps = 1.4e-14 is between."""
    X = spread * blob(24)
    X[12:] += 1.0
    means = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    S = spread**2 * torch.ones((2,) if kind == "spherical" else (2, 2), dtype=torch.float64)
    expected = reference_path(X[None], HALF[None], means[None], 1, S[None], kind)
    found = decided(em_states, X, HALF, means, 1, S, kind)
    assert finite(found["means"][1]).all() == bool(expected.defined[0, 0])
    assert bool(expected.defined[0, 0]) == (spread == 1e-6 or kind == "diagonal")


@pytest.mark.parametrize("kind", ["tied", "full"])
def test_points_on_a_line_have_no_matrix(kind):
    X = blob()
    X[:, 1] = 2 * X[:, 0]
    eye = torch.eye(2, dtype=torch.float64)
    S = eye if kind == "tied" else eye.expand(2, 2, 2)
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    found = decided(em_states, X, HALF, means, 1, S, kind)
    assert not finite(found["means"][1]).any()


@pytest.mark.parametrize(
    ("kind", "weights", "S"),
    [
        ("unit", [0.0, 1.0], None),
        ("unit", [-0.5, 1.5], None),
        ("unit", [float("nan"), 1.0], None),
        ("spherical", [0.5, 0.5], [1.0, 0.0]),
        ("spherical", [0.5, 0.5], [1.0, float("inf")]),
        ("tied", [0.5, 0.5], [[1.0, 2.0], [2.0, 1.0]]),
        ("tied", [0.5, 0.5], [[1.0, 1.0], [1.0, 1.0]]),
        ("tied", [0.5, 0.5], [[1.0, 0.1], [0.2, 1.0]]),
    ],
)
def test_what_is_no_mixture_has_no_first_step(kind, weights, S):
    means = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    options = {} if S is None else {"covariances": torch.tensor(S).double(), "kind": kind}
    found = decided(em_states, blob(), torch.tensor(weights).double(), means, 1, **options)
    assert not any(finite(whole[1]).any() for whole in found.values())


def test_points_that_are_not_finite_are_refused():
    X = blob()
    X[0, 0] = torch.nan
    with pytest.raises(ValueError, match="X has values that are not finite"):
        em_states(X, HALF, torch.zeros(2, 2).double(), 1)


def test_a_start_may_miss_one_and_be_far_away():
    """Weights count up to a factor. A shift by 2^20, exact in float64, moves the balls by as much."""
    (X, weights, means), options = small("diagonal")
    X, means = (torch.round(v * 2.0**20) / 2.0**20 for v in (X, means))
    near = decided(em_states, X, weights, means, 2, **options)
    far = decided(em_states, X + 2.0**20, 4 * weights, means + 2.0**20, 2, **options)
    for x, y in zip(near["means"][1:].flat, far["means"][1:].flat, strict=True):
        assert (x + 2**20).overlaps(y)
        assert float(y.rad()) < 1e-25
