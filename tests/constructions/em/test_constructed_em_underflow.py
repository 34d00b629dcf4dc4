"""The bounds of an EM step where floor, weights or responsibilities are at the edge of floating point."""

import math

import pytest
import torch
from constructed_em import Task, check_step, construction, step_data

from constructions import Pieces, em_construction
from constructions.em.bounds import one_step_bound
from constructions.em.tasks import largest_radius
from constructions.language.hypotheses import HypothesisError
from constructions.language.rounding import gamma

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)


def far_component(distance: float, points: int = 50) -> Task:
    """Points evenly from -1 to 1, means 0 and ``distance``."""
    X = torch.linspace(-1, 1, points, dtype=torch.float64)[:, None]
    return Task(X, HALF, torch.tensor([[0.0], [distance]], dtype=torch.float64))


@pytest.mark.parametrize("floor", [1e-20, 1e-44, 1e-60, 1e-64])
def test_a_floor_that_float32_cannot_hold_still_decides_a_dying_mean(floor: float) -> None:
    """W_2 = 50 * 4.9e-61 = 2.5e-59, with the largest weight near x = 1; N floor is above 1 % of it.

    A whole number of points times a floor would be a float32 in torch: 0 at 1e-60, and no mass misplaced.
    """
    check = check_step(construction(1, 2, Pieces(1024, 8, 8), floor, 20.0), far_component(17.5))
    assert check.broken() == []
    assert check.bound.dying[0].tolist() == [False, floor >= 1e-61]
    # N floor exp(rho) / W_2 = b: share of the misplaced mass, so of the diameter 2; chords: D e / 4 < 2e-3.
    b = 50 * floor / 2.4595e-59
    assert float(check.bound.mean_apriori[0, 1]) == pytest.approx(2 * b / (1 + b), rel=0.01, abs=2e-3)
    if floor >= 1e-60:
        assert check.mean_error[1] > 0.68


@pytest.mark.parametrize(("floor", "distance"), [(1e-100, 22.3), (1e-200, 31.2), (1e-300, 38.2)])
def test_dying_is_named_at_every_floor(floor: float, distance: float) -> None:
    """W_2 is near N floor: log w = distance (x - distance / 2) at the best x, 1."""
    em = construction(1, 2, Pieces(512, 8, 8), floor, 50.0)
    bound = one_step_bound(em, step_data(far_component(distance), refreshed=False))
    log_best = distance - distance**2 / 2
    assert abs(log_best - math.log(floor)) < 0.05 * -math.log(floor)
    assert bound.dying[0].tolist() == [False, True]


def test_underflow_in_the_layers_is_part_of_the_bound() -> None:
    """At a floor near the smallest normal number of float32 flushing weighs as much as the floor itself."""
    tiny = torch.finfo(torch.float32).tiny
    task, bounds = far_component(1.0), []
    for floor in (1.01 * tiny, 1e4 * tiny):
        em = construction(1, 2, Pieces(512, 8, 8), floor, 20.0)
        bounds.append(one_step_bound(em, step_data(task, refreshed=False), torch.float32).mean_apriori[0, 1])
    # kappa = log(1 + 102 / 1.01) = 4.6 beside 0.01: tanh((rho + 2 kappa) / 4) = 0.98 of the diameter 2.
    assert bounds[0] > 1.9
    assert bounds[1] < 0.3


def test_what_is_flushed_is_misplaced_as_what_the_floor_lifts_is() -> None:
    """b = N (floor + t) e^rho / W_2, rho = 2 log(1 + t / floor) + 2 (rounding of f), t = 102 tiny.

    At a floor of 1e-37 in float32 t is twelve of it, and a b of the floor alone would be a thirteenth.
    """
    floor, flushed = 1e-37, 102 * torch.finfo(torch.float32).tiny
    em = construction(1, 2, Pieces(512, 8, 8), floor, 20.0)
    bound = one_step_bound(em, step_data(far_component(13.35), refreshed=False), torch.float32)
    rho = 2 * (math.log1p(flushed / floor) + em.log_resp.rounding_error(torch.float32))
    b = (floor + flushed) * math.exp(rho) / float(bound.exact_weights[0, 1])
    assert 1 < b < 10
    expected = 2 * (math.tanh(rho / 4) + b / (1 + b))
    assert float(bound.mean_apriori[0, 1]) == pytest.approx(expected, rel=0.01)


def test_what_the_reference_loses_to_underflow_grows_to_the_diameter() -> None:
    """Where W_2 / N is just above 2^-1022 the reference may lose all of it: D, and X + D for the products."""
    # log w = distance (x - distance / 2) = -706.9 at x = 1: W_2 / 3 = 3.4e-308, and tau_64 = 8 * 2.2e-308.
    task = far_component(38.614, 3)
    em = construction(1, 2, Pieces(64, 8, 8), 1e-8, 50.0)
    bound = one_step_bound(em, step_data(task, refreshed=False))
    assert not bool(bound.undefined[0, 1])
    D, X = 2.0, 1.0  # beside them D tanh(e / 4) = 0.005 of the pieces
    assert float(bound.mean_apriori[0, 1]) == pytest.approx(D + D + (X + D), abs=0.01)
    assert check_step(em, task).broken() == []


@pytest.mark.parametrize("dim", [1, 3])
def test_a_radius_whose_squares_leave_float32_is_refused(dim: int) -> None:
    widest = largest_radius(dim, torch.float32)
    assert widest == pytest.approx(math.sqrt(3.4028235e38 / (8 * dim)))
    X, means = torch.zeros(2, dim), torch.zeros(1, dim)
    inside = em_construction(dim, 1, 1, 4, radius=0.99 * widest)
    run = inside.run(X + 0.98 * widest, torch.ones(1), means + 0.98 * widest, dtype=torch.float32)
    assert bool(run.path_means.isfinite().all())
    outside = em_construction(dim, 1, 1, 4, radius=1.01 * widest)
    with pytest.raises(
        HypothesisError, match=rf"the radius is .*in torch.float32 with d0 = {dim} it is at most"
    ):
        outside.run(X, torch.ones(1), means, dtype=torch.float32)
    assert bool(outside.run(X, torch.ones(1), means).path_means.isfinite().all())


def test_a_mean_that_is_a_point_up_to_less_than_rounding_keeps_its_bound() -> None:
    """Found by Hypothesis: half of the points are at (-12, 12), and so is mean 3, up to 24 * 5e-23.

    The float64 mean is the point itself. That distance, times responsibilities of 4e-15, is still what the
    far points' 2e-37 pull with; in the layers every weight is the floor, 1e-12, and the mean is (0, 12).
    """
    X = torch.tensor([[-12.0, 12], [12, 12], [12, 12], [-12, 12]], dtype=torch.float64)
    weights = ("0x1.0b73ce58b6e70p-1", "0x1.2a2a788dcf8e4p-2", "0x1.46b401e6b97f9p-9", "0x1.78c10579ea615p-3")
    means = (
        ("-0x1.e781c9d233f6cp-1", "-0x1.94c821a4bd21ep+0"),
        ("0x1.445e413fae08ep+0", "0x1.663814944dd86p-8"),
        ("-0x1.337ce07ce7433p+1", "-0x1.14985db4e944ap+1"),
        ("-0x1.1061a08e5f3cap-2", "0x1.432802b3669bep+1"),
    )
    start = (
        torch.tensor(list(map(float.fromhex, weights)), dtype=torch.float64),
        torch.tensor([list(map(float.fromhex, row)) for row in means], dtype=torch.float64),
    )
    em = em_construction(3, 5, 1, Pieces(1, 2, 7), floor=1e-12, radius=50.0)
    check = check_step(em, Task(X, *start), refreshed=True)
    # The layers average numbers of size 12 with equal weights; of the other means' bounds little is rounding.
    rounding = float(check.bound.mean_rounding[0, 0])
    assert abs(float(check.mean_error[2]) - 12) <= rounding < 1e-9
    assert check.broken() == []
    # No mean is further off than the points are apart, 24; gamma_{d+8} for computing that.
    assert bool((check.bound.mean_instance <= 24 * (1 + gamma(10, 2.0**-53)) + rounding).all())
