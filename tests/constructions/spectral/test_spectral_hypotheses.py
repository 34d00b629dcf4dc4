"""What lies outside the hypotheses of the constructed spectral algorithm: refused by name, in one line."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from constructed_spectral import ESTIMATED, SMALL, apart, baseline, built, gathered, run, tasks
from torch import Tensor

from baselines.spectral import Status, smallest_variance
from constructions.language.hypotheses import HypothesisError
from constructions.spectral.exact import Problem
from constructions.spectral.hypotheses import (
    SpectralError,
    failing_problems,
    failing_results,
    least_eigenvalue,
    problems,
    raise_first,
)
from constructions.spectral.plan import Plan
from constructions.spectral.run import SpectralRun
from constructions.spectral.tasks import SpectralBatch, gather_tasks
from constructions.spectral.weights import SpectralConstruction, spectral_construction


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def good(count: int = 3, d: int = 2, K: int = 1) -> Problem:
    return tasks(built("products"), "orthogonal means", count, d, K, 20, seed=1)


def with_points(bad: Tensor, s: float = 1.0, K: int | None = None) -> Problem:
    """Two tasks of the right kind, then the bad one: (N, 2) points."""
    right = good(K=K or 1)
    X = right.X.clone()
    X[2] = bad[torch.arange(20) % len(bad)]
    return Problem(X, torch.full((3,), s, dtype=torch.float64), right.directions, right.basis)


def refused(weights: SpectralConstruction, problem: Problem, status: str) -> SpectralError:
    """What is raised for task 2 of three: its name, place, and one line."""
    with pytest.raises(SpectralError) as caught:
        run(weights, problem)
    error = caught.value
    assert error.status == status
    assert error.task == 2
    text = str(error)
    assert text.startswith("task 2: ")
    assert "\n" not in text
    assert isinstance(error, HypothesisError)
    return error


def test_a_mean_that_noise_hides_is_rank_deficient() -> None:
    """Points whose second moment is below s I: the K-th eigenvalue is negative, in the baseline as well."""
    problem = with_points(0.5 * normal(20, 2))
    error = refused(built("products"), problem, "RANK_DEFICIENT")
    assert "eigenvalue 1" in str(error)
    assert baseline(problem, False, 5).status.tolist() == [Status.OK, Status.OK, Status.RANK_DEFICIENT]


def test_means_on_a_line_are_rank_deficient_at_the_edge_of_rounding() -> None:
    """All points on one axis and s = tiny: eigenvalue 2 is 0 up to rounding, and is told from it."""
    line = torch.tensor([[3.0, 0], [-3, 0], [5, 0], [1, 0]], dtype=torch.float64)
    problem = with_points(line, s=1e-300, K=2)
    right = good(K=2)
    problem = Problem(problem.X, problem.s, right.directions, right.basis)
    weights = spectral_construction(2, 2, eigenvalues=(1e-3, 500.0), rounds=2, steps=2, starts=2)
    refused(weights, problem, "RANK_DEFICIENT")
    assert baseline(problem, False, 5).status[2] == Status.RANK_DEFICIENT


def test_a_covariance_without_variance() -> None:
    """Points on a line: the least eigenvalue of the covariance is what rounding makes of 0."""
    line = torch.linspace(-3, 5, 20, dtype=torch.float64)[:, None] * torch.tensor([[1.0, 2.0]]) + 1
    problem = with_points(line)
    error = refused(built("products, estimated"), problem, "NO_VARIANCE")
    assert "variance" in str(error)
    assert baseline(problem, True, 5).status[2] == Status.NO_VARIANCE


def opposite(N: int = 20) -> Tensor:
    """Points at +-mu: the third moment of them is 0 exactly."""
    half = 2 * normal(N // 2, 2, seed=3) + torch.tensor([4.0, 0.0])
    return torch.cat([half, -half])


@pytest.mark.parametrize("variant", ["products", "squares"])
def test_points_that_cancel_have_no_third_moment(variant: str) -> None:
    problem = with_points(opposite())
    error = refused(built(variant), problem, "NO_THIRD_MOMENT")
    assert "third moment" in str(error)
    assert baseline(problem, False, 5).status[2] == Status.NO_THIRD_MOMENT


def test_a_larger_eigenvalue_of_the_other_sign_leaves_no_gap() -> None:
    """M2 = diag(1, -3) for s = 4: subspace iteration would find the second direction."""
    X = torch.tensor([[5.0**0.5, 1.0], [5.0**0.5, -1.0]], dtype=torch.float64)
    right = good()
    far = torch.cat([right.X[:2] * 2, X.repeat(10, 1)[None]])
    problem = Problem(far, torch.full((3,), 4.0, dtype=torch.float64), right.directions, right.basis)
    weights = built("products", largest_variance=5.0)
    error = refused(weights, problem, "NO_GAP")
    assert "1" in str(error)
    assert "3" in str(error)


def axes(first: float, second: float) -> Tensor:
    """Points with second moment diag(first, second), not symmetric about 0."""
    a, b = first**0.5, second**0.5
    return torch.tensor([[a, b], [a, -b]], dtype=torch.float64)


OUT_OF_RANGE: dict[str, tuple[dict[str, Any], Tensor, str]] = {
    "an eigenvalue below the range": ({"eigenvalues": (5.0, 500.0)}, axes(5.0, 1.5), "from 5 on"),
    "an eigenvalue above the range": ({}, axes(600.0, 1.0), "up to 500"),
    "a tensor above its bound": (
        {"tensor_bound": 2.0},
        torch.tensor(
            [[0.0, 1.0], [0, -1], [0, 1], [0, -1], [0, 1], [0, -1], [0, 1], [0, -1], [0, 1], [9, 0]]
        ).double(),
        "tensor_bound is 2",
    ),
    "squares beyond their reach": ({"read_in": "squares", "reach": 4.0}, None, "reach is 4"),  # pyright: ignore
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_numbers_out_of_range(name: str) -> None:
    options, X, words = OUT_OF_RANGE[name]
    if X is None:
        X = torch.cat([axes(9.0, 1.0).repeat(9, 1), torch.tensor([[80.0, 1], [3, 0]]).double()])
        options = options | {"eigenvalues": (0.5, 5000.0), "tensor_bound": 1e3}
    right = good()
    points = right.X.clone()
    points[:2] = axes(9.0, 1.0).repeat(10, 1)
    points[2] = X[torch.arange(20) % len(X)]
    problem = Problem(points, torch.ones(3, dtype=torch.float64), right.directions, right.basis)
    error = refused(built("products", 2, 2, **options), problem, "OUT_OF_RANGE")
    assert words in str(error)


def test_a_condition_out_of_range() -> None:
    right = good(K=2)
    points = axes(9.0, 4.0).repeat(10, 1).expand(3, -1, -1).clone()
    points[2] = axes(400.0, 2.0).repeat(10, 1)
    problem = Problem(points, torch.ones(3, dtype=torch.float64), right.directions, right.basis)
    error = refused(built("products", 2, 2), problem, "OUT_OF_RANGE")
    assert "condition is 50" in str(error)
    assert "399 times" in str(error)


@pytest.mark.parametrize(
    ("options", "scale", "words"),
    [
        ({"inversions": 10}, 1.0, "on the weights find it"),
        ({"largest_variance": 0.5}, 1.0, "largest_variance is 0.5"),
    ],
)
def test_an_estimated_variance_out_of_range(options: dict[str, Any], scale: float, words: str) -> None:
    """After 10 inversions of the largest eigenvalue 500 numbers from 42 * 500 / 2^10 = 20.5 on are found."""
    right = good()
    wide = 30 * right.X[:2] if "inversions" in options else right.X[:2] / 4
    problem = Problem(torch.cat([wide, scale * right.X[2:]]), right.s, right.directions, right.basis)
    first = {"largest_variance": 499.0, "eigenvalues": (0.5, 500.0), "condition": 1e4} | options
    weights = built("products, estimated", 2, 1, **first)
    batch = weights.gather(problem.X[2:], 1, problem.directions[2:], problem.basis[2:])
    with pytest.raises(SpectralError, match=words) as caught:
        weights.check(batch)
    assert caught.value.status == "OUT_OF_RANGE"
    assert caught.value.task == 0


def test_a_given_variance_out_of_range() -> None:
    problem = good()
    s = torch.tensor([1.0, 1.0, 2.5], dtype=torch.float64)
    error = refused(
        built("products"), Problem(problem.X, s, problem.directions, problem.basis), "OUT_OF_RANGE"
    )
    assert "largest_variance is 2" in str(error)
    assert "2.5" in str(error)


def test_a_basis_that_leans_too_little_on_the_space_of_the_means() -> None:
    """Rows along the second axis where the means are on the first: rounding alone would find the space."""
    right = good()
    points = axes(9.0, 1.5).repeat(10, 1).expand(3, -1, -1)
    basis = torch.tensor([[1.0, 1.0]], dtype=torch.float64).repeat(3, 1, 1)
    basis[2, 0, 0] = 0.9e-8
    error = refused(
        built("products"), Problem(points, right.s, right.directions, 1e3 * basis), "OUT_OF_RANGE"
    )
    assert "the basis leans by 9.0e-09 of its size" in str(error)
    basis[2, 0, 0] = 1.1e-8
    weights = built("products")
    weights.check(gathered(weights, Problem(points, right.s, right.directions, 1e3 * basis), torch.float64))


def test_a_direction_that_leans_too_little_on_the_least_axis() -> None:
    """Squares of the inverse would leave the range of float32; a given variance needs no direction."""
    right = good()
    points = axes(9.0, 1.0).repeat(10, 1).expand(3, -1, -1).clone()
    points[..., 0] *= torch.linspace(0.2, 1.8, 10, dtype=torch.float64).repeat_interleave(2)  # varies by 2.1
    g = torch.tensor([[1.0, 1.0], [1.0, 0.5]], dtype=torch.float64).repeat(3, 1, 1)
    g[2, 0] = torch.tensor([1.0, 0.0])
    problem = Problem(points, right.s, g, right.basis)
    few = {"inverse_steps": 5, "squarings": 10, "eigenvalues": (0.1, 500.0)}
    weights = built("products, estimated", **few)
    error = refused(weights, problem, "OUT_OF_RANGE")
    assert "leans so little on the least axis" in str(error)
    assert "up to e^80 is covered" in str(error)
    given = built("products", eigenvalues=(0.1, 500.0))
    given.check(gathered(given, problem, torch.float64))


def found_values(*values: tuple[float, float]) -> tuple[SpectralRun, SpectralBatch, Plan]:
    """A run of as many tasks of two components, with these lambda in the place of its own."""
    weights, problem = built("products"), good(len(values), K=2)
    found = dataclasses.replace(run(weights, problem), tensor_eigenvalues=torch.tensor(values).double())
    return found, gathered(weights, problem, torch.float64), weights.plan


def test_values_that_cannot_be_inverted_are_refused_by_what_is_wrong() -> None:
    """lambda^2 and the sum of lambda^-2 lie where Newton's reciprocals converge, of either sign.

    Only what rounding could have made of 0 has the baseline's NO_THIRD_MOMENT.
    """
    low = Plan(3, 2, **SMALL).least_tensor_eigenvalue  # 0.405
    found = found_values(
        *((1.0, -2.0), (1.0, -17.0), (0.9 * low, 1.0), (float("nan"), 1.0), (16.0, 15.0), (1.01 * low, 16.0)),
        (1.0, 1e-17),
    )
    failures = failing_results(*found)
    assert {task: error.status for task, error in failures.items()} == {
        1: "OUT_OF_RANGE",
        2: "OUT_OF_RANGE",
        3: "NO_THIRD_MOMENT",
        4: "OUT_OF_RANGE",
        6: "NO_THIRD_MOMENT",
    }
    for task, words in {
        1: "is 17; tensor_bound is 16",
        2: "from 0.405",
        3: "is 0, needs a size",
        6: "is 1e-17, needs a size > ",
        4: "the sum of lambda^-2 is 0.0083",
    }.items():
        assert words in str(failures[task])
        assert failures[task].task == task
    with pytest.raises(SpectralError, match="task 1: "):
        raise_first(failures)


def test_a_sum_of_weights_above_its_bound_is_refused() -> None:
    """Where tensor_bound^2 is below K / low^2: 1 / 0.1^2 + 1 / 0.1^2 = 200 of at most 100."""
    found, batch, _ = found_values((0.1, 0.1), (0.1, 9.0), (0.2, 0.2))
    plan = Plan(3, 2, **(SMALL | {"tensor_bound": 10.0, "reciprocals": 40}))
    assert plan.sum_bound == 100
    failures = failing_results(found, batch, plan)
    assert sorted(failures) == [0, 1]
    assert "the sum of lambda^-2 is 200; from" in str(failures[0])
    assert "to 100 it can be divided by" in str(failures[0])


def test_marked_tasks_are_nan_and_the_others_as_without_them() -> None:
    """In a batch as alone: what fails says why under its number, on the way in and out."""
    weights = built("products")
    X = torch.stack([good().X[0], opposite(), good().X[1], 0.5 * normal(20, 2)])
    g, basis = (part[[0, 2, 1, 2]] for part in (good().directions, good().basis))
    marked = weights.run(X, 1, g, basis, on_failure="mark")
    statuses = {task: error.status for task, error in sorted(marked.failures.items())}  # pyright: ignore
    assert statuses == {1: "NO_THIRD_MOMENT", 3: "RANK_DEFICIENT"}
    for name in ("weights", "raw_weights", "means", "tensor_eigenvalues"):
        assert bool(getattr(marked, name)[[1, 3]].isnan().all()), name
    alone = weights.run(X[[0, 2]], 1, g[[0, 2]], basis[[0, 2]], on_failure="mark")
    assert alone.failures == {}
    # The sums of a batch of another size may be in another order.
    right = Problem(X[[0, 2]], torch.ones(2, dtype=torch.float64), g[[0, 2]], basis[[0, 2]])
    rounding = apart(weights, right).means
    assert bool(rounding.isfinite().all())
    assert bool(((marked.means[[0, 2]] - alone.means).norm(dim=-1) <= rounding).all())
    assert set(marked.task(3).failures) == {0}
    assert marked.task(2).failures == {}
    with pytest.raises(SpectralError, match="task 3: "):
        weights.run(X, 1, g, basis)


def leaning(lean: float) -> Problem:
    """M2 = diag(3.7, 0.63, -0.62) and rows e_1, e_2 + lean e_3: after a round M2 may be negative on them."""
    a, b, c = 4.7**0.5, 1.63**0.5, 0.38**0.5
    corners = torch.tensor([[a, b, c], [a, -b, -c], [a, b, -c], [a, -b, c]], dtype=torch.float64)
    basis = torch.tensor([[[1.0, 0, 0], [0, 1, lean]]], dtype=torch.float64)
    return Problem(corners.repeat(6, 1)[None], torch.ones(1, dtype=torch.float64), normal(1, 2, 3), basis)


def test_a_run_that_left_the_ranges_of_its_layers_is_refused() -> None:
    """After one round <y, M2 y> of the second row is nearly 0, and too few steps whiten it.

    A lambda is then above tensor_bound, where the reciprocals diverge: weights that are not numbers, and
    means of any size, are no estimate.
    """
    weights = built("products", rounds=1)
    weights.check(gathered(weights, leaning(1.0), torch.float64))
    with pytest.raises(SpectralError):
        run(weights, leaning(1.0))


def test_the_first_task_of_a_mixed_batch_is_named_by_its_place_in_it() -> None:
    """Tasks of one size are checked together; the place said is that in the batch."""
    right, other = good(), good(d=1)
    X = [right.X[0], other.X[0], 0.3 * normal(20, 2), other.X[1]]
    g = [right.directions[0], other.directions[0], right.directions[2], other.directions[1]]
    basis = [right.basis[0], other.basis[0], right.basis[2], other.basis[1]]
    weights = built("products")
    with pytest.raises(SpectralError) as caught:
        weights.run(X, 1, g, basis)
    assert (caught.value.task, caught.value.status) == (2, "RANK_DEFICIENT")


def test_problems_are_the_tasks_of_one_size_without_padding() -> None:
    right, other = good(), good(d=1)
    weights = built("products")
    batch = weights.gather(
        [other.X[0], right.X[0], other.X[1, :7]],
        1,
        [other.directions[0], right.directions[0], other.directions[1]],
        [other.basis[0], right.basis[0], other.basis[1]],
        [0.5, 1.0, 1.5],
    )
    found = {tuple(at.tolist()): problem for at, problem in problems(batch)}
    assert sorted(found) == [(0,), (1,), (2,)]
    assert torch.equal(found[(0,)].X, other.X[:1])
    assert torch.equal(found[(1,)].X, right.X[:1])
    assert torch.equal(found[(2,)].X, other.X[1:2, :7])
    assert [float(found[(i,)].s) for i in range(3)] == [0.5, 1.0, 1.5]
    raise_first(failing_problems(batch, weights.plan))


def test_the_least_eigenvalue_is_that_of_the_covariance() -> None:
    X = normal(4, 30, 3) + 5
    expected = torch.tensor([np.linalg.eigvalsh(np.cov(x.T.numpy(), bias=True))[0] for x in X])
    error = smallest_variance(X)[1]  # its derivation is in baselines/spectral.py; numpy rounds as much
    assert bool(((least_eigenvalue(X) - expected).abs() <= 2 * error).all())


# --- what gather refuses ---------------------------------------------------------------------------------

RIGHT: dict[str, Any] = {
    "X": normal(9, 3),
    "n_components": 2,
    "variance": 1.0,
    "directions": normal(2, 3),
    "basis": normal(2, 3),
}
GATHERED: dict[str, tuple[dict[str, Any], str]] = {
    "more components than dimensions": (
        {"X": normal(9, 1), "directions": normal(2, 1), "basis": normal(2, 1)},
        r"K = 2 components in d = 1",
    ),
    "more columns than d0": (
        {"X": normal(9, 4), "directions": normal(2, 4), "basis": normal(2, 4)},
        "d = 4 columns.*d0 = 3",
    ),
    "more components than K0": ({"n_components": 3, "basis": normal(3, 3)}, "K = 3 components.*K0 = 2"),
    "no component": ({"n_components": 0, "basis": normal(0, 3)}, "K = 0 components"),
    "too few starts": ({"directions": normal(1, 3)}, r"directions are \(1, 3\).*needed are \(2, 3\)"),
    "directions of another space": ({"directions": normal(2, 2)}, r"\(2, 2\).*\(2, 3\)"),
    "a basis of too many rows": ({"basis": normal(3, 3)}, r"basis is \(3, 3\)"),
    "no points": ({"X": normal(0, 3)}, r"X \(N, d\).*\(0, 3\)"),
    "a vector": ({"X": [normal(3)], "directions": [normal(2, 3)], "basis": [normal(2, 3)]}, r"\(3,\)"),
    "two data sets, one basis": (
        {"X": normal(2, 9, 3), "directions": normal(2, 2, 3), "basis": normal(1, 2, 3)},
        "got 2, 2, 1 data sets",
    ),
    "no data set": ({"X": [], "directions": [], "basis": []}, "got 0, 0, 0 data sets"),
    "three numbers for two tasks": (
        {
            "X": normal(2, 9, 3),
            "directions": normal(2, 2, 3),
            "basis": normal(2, 2, 3),
            "n_components": [2, 2, 2],
        },
        "n_components has 3 numbers.*2 tasks",
    ),
    "variances for other tasks": ({"variance": [1.0, 1.0]}, "variance has 2 numbers"),
    "a negative variance": ({"variance": -0.5}, "variance is -0.5"),
    "a variance that is not a number": ({"variance": float("nan")}, "variance is nan"),
    "an infinite variance": ({"variance": float("inf")}, "variance is inf"),
    "points that are not finite": ({"X": normal(9, 3) * float("inf")}, "finite"),
    "a start that is not a number": ({"directions": normal(2, 3) * float("nan")}, "finite"),
    "a row that is not finite": ({"basis": normal(2, 3) / 0}, "finite"),
    "points beyond float32": ({"X": normal(9, 3) * 1e300, "dtype": torch.float32}, "finite in torch.float32"),
    "words": ({"X": ["a"], "directions": normal(1, 2, 3), "basis": normal(1, 2, 3)}, "got list"),
}


@pytest.mark.parametrize("name", GATHERED)
def test_what_does_not_fit_together_is_refused_in_one_line(name: str) -> None:
    changes, words = GATHERED[name]
    given = RIGHT | {"dtype": torch.float64} | changes
    with pytest.raises(HypothesisError, match=words) as caught:
        gather_tasks(**given, largest=(3, 2, 2), device="cpu")
    assert "\n" not in str(caught.value)


def test_what_fits_is_padded_with_zeros() -> None:
    batch = gather_tasks(
        [RIGHT["X"], normal(4, 2)],
        [2, 1],
        2.0,
        [RIGHT["directions"], normal(2, 2)],
        [RIGHT["basis"], normal(1, 2)],
        (4, 3, 2),
        torch.float64,
        "cpu",
    )
    assert tuple(batch.X.shape) == (2, 9, 4)
    assert tuple(batch.basis.shape) == (2, 3, 4)
    assert torch.equal(batch.X[0, :, :3], RIGHT["X"])
    assert not batch.X[0, :, 3:].any()
    assert not batch.X[1, 4:].any()
    assert not batch.basis[1, 1:].any()
    assert batch.variance is not None
    assert batch.variance.tolist() == [2.0, 2.0]
    assert [x.tolist() for x in (batch.n_samples, batch.n_components, batch.n_features)] == [
        [9, 4],
        [2, 1],
        [3, 2],
    ]
    assert not batch.single


# --- what the plan refuses -------------------------------------------------------------------------------

WRONG: dict[str, tuple[object, str]] = {
    "max_dim": (0, "at least 1"),
    "max_components": (4, "at most max_dim = 3"),
    "read_in": ("cubes", "products or squares"),
    "variance": ("unknown", "given or estimated"),
    "rounds": (0, "at least 1"),
    "steps": (2.5, "whole number"),
    "starts": (True, "whole number"),
    "pieces": (0, "at least 1"),
    "inversions": (-1, "at least 1"),
    "inverse_steps": ("3", "whole number"),
    "squarings": (0, "at least 1"),
    "whitenings": (0, "at least 1"),
    "reciprocals": (0, "at least 1"),
    "condition": (0.5, "at least 1"),
    "tensor_bound": (0.0, "positive and finite"),
    "largest_variance": (float("inf"), "positive and finite"),
    "margin": (-1.0, "positive and finite"),
    "reach": (float("nan"), "positive and finite"),
    "eigenvalues": ((2.0, 1.0), "0 < low < high"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_plan_names_option_value_and_what_is_accepted(name: str) -> None:
    value, words = WRONG[name]
    options: dict[str, Any] = {"max_dim": 3, "max_components": 2} | {name: value}
    with pytest.raises(ValueError, match=words) as caught:
        Plan(**options)
    text = str(caught.value)
    assert name in text
    assert repr(value) in text
    assert "\n" not in text


@pytest.mark.parametrize("value", [(0.0, 1.0), (1.0, float("inf")), (1.0, 1.0), (float("nan"), 1.0)], ids=str)
def test_a_range_of_eigenvalues_that_is_none(value: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="eigenvalues"):
        Plan(3, 2, eigenvalues=value)


def test_an_estimated_variance_is_below_the_largest_eigenvalue() -> None:
    Plan(3, 2, largest_variance=5.0, eigenvalues=(0.5, 5.0))
    Plan(3, 2, variance="estimated", largest_variance=4.9, eigenvalues=(0.5, 5.0))
    with pytest.raises(ValueError, match=r"largest_variance is 5.0; .* below the largest eigenvalue, 5"):
        Plan(3, 2, variance="estimated", largest_variance=5.0, eigenvalues=(0.5, 5.0))


def test_numbers_that_are_no_numbers() -> None:
    options: dict[str, Any] = {"condition": "5"}
    with pytest.raises(ValueError, match="condition"):
        Plan(3, 2, **options)


def test_what_the_plan_derives() -> None:
    plan = Plan(4, 2, variance="estimated", eigenvalues=(0.25, 100.0), tensor_bound=8.0, reciprocals=12)
    assert plan.handicap == 1.5 * plan.margin
    assert plan.first_reciprocal == 1 / 64
    # Newton's defect from p on: (1 - p / 64)^(2^12) <= 2^-60.
    p = plan.least_tensor_eigenvalue**2
    assert p * plan.first_reciprocal * 2**12 >= 60 * np.log(2)
    assert plan.least_variance * 2**plan.inversions / 100 >= 60 * np.log(2)
    assert plan.sum_bound == min(2 / p, 64.0)
    assert plan.gate >= ((1 + plan.largest_variance) / 0.25) ** 0.5
    assert set(ESTIMATED) <= set(Plan.__dataclass_fields__)


MISTAKEN: dict[str, tuple[dict[str, Any], type[ValueError], str]] = {
    "another word for a failure": (
        {"on_failure": "skip"},
        ValueError,
        "on_failure is 'skip'; it is raise or mark",
    ),
    "a broken number of components": (
        {"n_components": 1.5},
        HypothesisError,
        "n_components is 1.5; a whole number",
    ),
    "components as text": ({"n_components": "1"}, HypothesisError, "n_components is '1'; a whole number"),
    "no variance": (
        {"variance": None},
        HypothesisError,
        'variance is None; .* build with variance="estimated"',
    ),
    "a variance as text": ({"variance": "estimated"}, HypothesisError, "variance is 'estimated'; a number"),
    "a start of length 0": (
        {"directions": torch.zeros(2, 2)},
        HypothesisError,
        "directions hold a row of zeros",
    ),
    "a basis of zeros": ({"basis": torch.zeros(1, 2)}, SpectralError, "the basis leans by 0.0e"),
    "points that are none": ({"X": torch.full((20, 2), torch.nan)}, HypothesisError, "X holds a number"),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_a_mistaken_argument_is_named_in_one_line(name: str) -> None:
    changed, kind, words = MISTAKEN[name]
    problem = good()
    given = {
        "X": problem.X[0],
        "n_components": 1,
        "directions": problem.directions[0],
        "basis": problem.basis[0],
        "variance": 1.0,
    } | changed
    with pytest.raises(kind, match=words) as caught:
        built("products").run(**given)
    assert "\n" not in str(caught.value)


def test_bounds_are_of_tasks_of_one_size() -> None:
    weights, problem = built("products"), good()
    given = (problem.X, 1, problem.directions, problem.basis)
    found = weights.run(*given)
    bound = weights.error_bounds(*given)
    away = (found.means - baseline(problem, False, weights.plan.steps).means).norm(dim=-1)
    assert bool((away <= bound.means).all())
    assert bool(bound.means.isfinite().any())
    mixed = [problem.X[0], problem.X[1][:15]]
    with pytest.raises(ValueError, match="the tasks have 2 sizes; bounds are of tasks of one size"):
        weights.error_bounds(mixed, 1, list(problem.directions[:2]), list(problem.basis[:2]))
