"""Tasks with covariances: what is refused, eigenvalues, and what a path that leaves their range does."""

import math

import numpy as np
import pytest
import torch
from em_covariances import F64, KINDS, MATRICES, Task, construction, make_task, run_all
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from torch import Tensor

from constructions import HypothesisError, Pieces, em_construction
from constructions.em.constructed import ConstructedEM
from constructions.em.matrices import MatrixPieces
from constructions.em.run import EMRun, StepState
from constructions.em.tasks import (
    COVARIANCE_SHAPES,
    CovarianceType,
    Range,
    TaskBatch,
    gather_tasks,
    spectrum,
    trimmed,
)
from constructions.em.variances import VariancePieces
from constructions.language.rounding import gamma

X = torch.tensor([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.0], [0.5, 0.5]], dtype=F64)
WEIGHTS, MEANS = torch.tensor([0.25, 0.75], dtype=F64), X[:2]
EYE = torch.eye(2, dtype=F64)
GOOD: dict[CovarianceType, Tensor] = {
    "tied_spherical": torch.tensor(0.5, dtype=F64),
    "spherical": torch.tensor([0.5, 2.0], dtype=F64),
    "diagonal": torch.tensor([[0.5, 1.0], [2.0, 1.0]], dtype=F64),
    "tied": 2 * EYE,
    "full": torch.stack([EYE, 3 * EYE]),
}


def em_of(kind: CovarianceType) -> ConstructedEM:
    return construction(kind, 3, 3, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_covariances_are_refused(kind: CovarianceType) -> None:
    with pytest.raises(HypothesisError, match=f"got none for {kind} covariances; those of the start") as e:
        em_of(kind).run(X, WEIGHTS, MEANS)
    assert "\n" not in str(e.value)


def test_covariances_of_unit_kind_are_refused() -> None:
    unit = em_construction(3, 3, 1, 8)
    with pytest.raises(HypothesisError, match="got covariances for unit covariances; none are needed"):
        unit.run(X, WEIGHTS, MEANS, EYE)


SHAPES = {
    "tied_spherical": (torch.ones(1), r"have shape \(\); got \(1,\)"),
    "spherical": (torch.ones(3), r"have shape \(2,\); got \(3,\)"),
    "diagonal": (torch.ones(2, 3), r"have shape \(2, 2\); got \(2, 3\)"),
    "tied": (torch.ones(2), r"have shape \(2, 2\); got \(2,\)"),
    "full": (EYE, r"have shape \(2, 2, 2\); got \(2, 2\)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_covariances_of_another_shape_are_refused(kind: CovarianceType) -> None:
    wrong, message = SHAPES[kind]
    with pytest.raises(HypothesisError, match=f"^{kind} covariances of K = 2, d = 2 {message}$"):
        em_of(kind).check(X, WEIGHTS, MEANS, covariances=wrong)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(kind: CovarianceType, value: float) -> None:
    wrong = GOOD[kind].clone()
    wrong.view(-1)[0] = value
    with pytest.raises(HypothesisError, match=f"covariances holds {value}; every value must be finite"):
        em_of(kind).check(X, WEIGHTS, MEANS, covariances=wrong)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "end"), [(0.001, "least"), (1000.0, "largest"), (-1.0, "least")])
def test_eigenvalues_outside_the_range_are_refused(kind: CovarianceType, value: float, end: str) -> None:
    wrong = GOOD[kind].clone()
    wrong.view(-1)[0] = value
    message = rf"^the {end} eigenvalue of a covariance is {value:g}; this construction takes those in \[0.01"
    with pytest.raises(HypothesisError, match=message):
        em_of(kind).check(X, WEIGHTS, MEANS, covariances=wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_good_covariances_pass_also_at_the_ends_of_the_range(kind: CovarianceType) -> None:
    em = em_of(kind)
    em.check(X, WEIGHTS, MEANS, covariances=GOOD[kind])
    for end in (0.01, 100.0):
        one = end * (EYE if kind in MATRICES else torch.ones((), dtype=F64))
        em.check(X, WEIGHTS, MEANS, covariances=one.expand(GOOD[kind].shape))


@pytest.mark.parametrize("kind", MATRICES)
def test_matrices_that_are_not_symmetric_are_refused(kind: CovarianceType) -> None:
    wrong = GOOD[kind].clone()
    wrong[..., 0, 1] += 0.25
    with pytest.raises(HypothesisError, match=r"^covariances are not symmetric: entries differ by 0\.25$"):
        em_of(kind).check(X, WEIGHTS, MEANS, covariances=wrong)


@pytest.mark.parametrize("kind", MATRICES)
def test_matrices_are_made_symmetric_where_rounding_alone_is_between(kind: CovarianceType) -> None:
    g = np.random.default_rng(0)
    points = g.normal(size=(40, 2)) @ np.array([[1.0, 0.3], [0.0, 0.7]])
    found = GaussianMixture(2, covariance_type=kind, random_state=0, max_iter=3, tol=1e6).fit(points)
    lopsided = found.covariances_ + 1e-12 * np.array([[0.0, 1.0], [0.0, 0.0]])
    batch = em_of(kind).gather(points, found.weights_, found.means_, lopsided)
    S = batch.covariances
    assert S is not None
    assert torch.equal(S, S.mT)
    assert not torch.equal(torch.from_numpy(lopsided), torch.from_numpy(lopsided).mT)
    again = em_of(kind).gather(points, found.weights_, found.means_, lopsided, refreshed=True)
    assert again.covariances is not None
    assert (
        torch.equal(again.covariances[0, ..., :2, :2][..., :2], torch.from_numpy(lopsided)) or kind == "full"
    )


@pytest.mark.parametrize("kind", MATRICES)
def test_too_few_points_are_refused(kind: CovarianceType) -> None:
    with pytest.raises(
        HypothesisError,
        match=f"^got N = 2 points in d = 2 coordinates; {kind} covariances need N > d$",
    ):
        em_of(kind).check(X[:2], WEIGHTS, MEANS, covariances=GOOD[kind])
    em_of(kind).check(X[:3], WEIGHTS, MEANS, covariances=GOOD[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_task_of_a_batch_is_refused(kind: CovarianceType) -> None:
    em, wrong = em_of(kind), 1e-3 * GOOD[kind]
    with pytest.raises(HypothesisError, match="the least eigenvalue"):
        em.run([X, X], [WEIGHTS, WEIGHTS], [MEANS, MEANS], [GOOD[kind], wrong])
    with pytest.raises(HypothesisError, match=r"^got 2 data sets and 1 covariances; need one each$"):
        em.run([X, X], [WEIGHTS, WEIGHTS], [MEANS, MEANS], [GOOD[kind]])


def test_a_python_number_keeps_its_digits() -> None:
    batch = em_of("tied_spherical").gather(X, WEIGHTS, MEANS, 0.1)  # pyright: ignore[reportArgumentType]
    assert batch.covariances is not None
    assert batch.covariances.tolist() == [0.1]
    batch = em_of("tied_spherical").gather(
        [X, X], [WEIGHTS] * 2, [MEANS] * 2, torch.tensor([0.1, 0.2], dtype=F64)
    )
    assert batch.covariances is not None
    assert batch.covariances.tolist() == [0.1, 0.2]


BAD_CONSTRUCTIONS = {
    "unknown kind": ({"covariance_type": "round"}, "covariance_type is 'round'; it is one of unit, tied_sph"),
    "no range": ({"eigenvalues": (2.0, 1.0)}, r"the eigenvalues lie in \[2, 1\]; 0 < low <= high"),
    "range from zero": ({"eigenvalues": (0.0, 1.0)}, r"the eigenvalues lie in \[0, 1\]"),
    "range nan": ({"eigenvalues": (math.nan, 1.0)}, r"the eigenvalues lie in \[nan, 1\]"),
    "range infinite": ({"eigenvalues": (1.0, math.inf)}, r"the eigenvalues lie in \[1, inf\]"),
    "one number": ({"eigenvalues": 1.0}, r"eigenvalues is 1\.0; it is two numbers"),
    "letters": ({"eigenvalues": "ab"}, "eigenvalues is 'ab'; it is two numbers"),
    "beyond float64": ({"eigenvalues": (1e-200, 1.0)}, "give numbers beyond float64; a narrower range"),
    "no pieces": ({"pieces": 0}, "pieces is 0; it is a whole number"),
    "pieces of unit covariances": (
        {"pieces": Pieces(4, 4, 4)},
        r"pieces is Pieces\(.*; it is a whole number",
    ),
    "floor of one": ({"floor": 1.0}, r"floor is 1\.0"),
    "no radius": ({"radius": 0.0}, r"radius is 0\.0; it is positive and finite"),
    "no dimension": ({"max_dim": 0}, "max_dim is 0; a whole number, at least 1"),
    "half a step": ({"steps": 0.5}, r"steps is 0\.5"),
}


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize(("change", "message"), BAD_CONSTRUCTIONS.values(), ids=BAD_CONSTRUCTIONS.keys())
def test_constructions_outside_their_range_are_refused(kind: str, change: dict, message: str) -> None:
    sizes = {"max_dim": 2, "max_components": 2, "steps": 1, "pieces": 8}
    with pytest.raises(ValueError, match=message) as caught:
        em_construction(**({**sizes, "covariance_type": kind} | change))
    assert "\n" not in str(caught.value)


def test_pieces_are_counted() -> None:
    assert VariancePieces.each(7) == VariancePieces(7, 7, 7, 7, 7)
    assert MatrixPieces.each(7) == MatrixPieces(7, 7, 7)
    assert (VariancePieces.each(7).total, MatrixPieces.each(7).total) == (35, 21)


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("unit", {"eigenvalues": (1.0, 2.0)}, r"eigenvalues is \(1\.0, 2\.0\); unit covariances have none"),
        ("diagonal", {"split": "equal"}, "split is 'equal'; diagonal covariances have none"),
        ("spherical", {"pairs": 2}, "pairs is 2; spherical covariances have none"),
        ("full", {"pairs": 2}, "pairs is 2; full covariances in mixed attention have none"),
    ],
)
def test_an_option_that_a_kind_has_not_is_refused(kind: str, option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        em_construction(2, 2, 1, 8, covariance_type=kind, **option)  # pyright: ignore


def test_a_range_far_above_the_radius_is_refused_by_its_name() -> None:
    with pytest.raises(
        ValueError, match=r"eigenvalues from 100 on and the radius 1: no two coordinates are 10 apart"
    ):
        em_construction(1, 1, 1, 8, radius=1.0, covariance_type="diagonal", eigenvalues=(100.0, 200.0))


def test_a_path_that_comes_back_into_the_range_is_not_in_it() -> None:
    span = Range(0.5, 2.0)
    X = torch.zeros(1, 2, 1, dtype=torch.float64)
    one, means = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    sizes = (torch.tensor([size]) for size in (2, 1, 1))
    tasks = TaskBatch(X, one, means, *sizes, False, "spherical", one)
    path = [StepState(one, means, variance * one) for variance in (1.0, 3.0, 1.0)]
    shares = [torch.ones(1, 1, 2)] * 2
    run = EMRun.of(tasks, (one, means), path, shares, span, None, False, "structured")
    assert run.in_range is not None
    assert run.in_range.tolist() == [[True, False, False]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dtype_that_does_not_hold_the_numbers_is_refused(kind: CovarianceType) -> None:
    em = em_construction(2, 2, 1, 8, 1e-8, 1e15, covariance_type=kind, eigenvalues=(1e-9, 1.0))  # pyright: ignore
    em.check(X, WEIGHTS, MEANS, covariances=GOOD[kind] / 4)
    with pytest.raises(HypothesisError, match=r"numbers up to 3\.2e\+40; torch\.float32 holds those up to"):
        em.check(X, WEIGHTS, MEANS, torch.float32, GOOD[kind] / 4)


def test_one_eigenvalue_alone_is_a_range() -> None:
    for kind in KINDS:
        em = em_construction(2, 2, 1, 64, covariance_type=kind, eigenvalues=(1.0, 1.0))  # pyright: ignore
        one = EYE if kind in MATRICES else torch.ones((), dtype=F64)
        em.check(X, WEIGHTS, MEANS, covariances=one.expand(GOOD[kind].shape))


# --- eigenvalues ------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(KINDS),
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_spectrum_is_that_of_the_covariances_that_are_there(
    kind: CovarianceType, sizes: list[tuple[int, int]], seed: int
) -> None:
    """Padding does not count. Eigenvalues of a padded matrix are those of its block and the stand-ins: two
    eigensolvers, each within gamma_{n^2} |S|_F of them."""
    problems = [make_task(kind, d, K, max(K, d + 1), seed + i) for i, (d, K) in enumerate(sizes)]
    lists = [[task.parts[i] for task in problems] for i in range(4)]
    batch = gather_tasks(*lists[:3], 3, 4, F64, "cpu", lists[3], kind)
    assert batch.covariances is not None
    least, largest = spectrum(batch.covariances, batch, Range(1e-2, 1e2))
    for task, low, high in zip(problems, least, largest, strict=True):
        values = torch.linalg.eigvalsh(task.matrices)
        slack = 2 * gamma(25, 2.0**-53) * 4 * float(values.max())
        ends = float(values.min()), float(values.max())
        # The stand-in, 1, lies between the ends of every task here or is the one value of a variance.
        assert abs(float(low) - min(ends[0], 1.0)) <= slack or abs(float(low) - ends[0]) <= slack
        assert abs(float(high) - max(ends[1], 1.0)) <= slack or abs(float(high) - ends[1]) <= slack


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_has_no_spectrum_and_does_not_spread(kind: CovarianceType) -> None:
    tasks = gather_tasks([X, X], [WEIGHTS] * 2, [MEANS] * 2, 3, 3, F64, "cpu", [GOOD[kind]] * 2, kind)
    S = tasks.covariances
    assert S is not None
    good = Range(0.1, 10.0)
    for value in (math.nan, math.inf):
        broken = S.clone()
        broken[(0, *[0] * (S.dim() - 1))] = value
        least, largest = spectrum(broken, tasks, good)
        assert good.holds(least, largest).tolist() == [False, True]


def test_coordinates_beyond_a_task_are_cut() -> None:
    for kind, shape in COVARIANCE_SHAPES.items():
        S = torch.zeros(2, *({"K": 4, "d": 3}[letter] for letter in shape))
        assert trimmed(S, kind, 2, 1).shape == (2, *({"K": 2, "d": 1}[letter] for letter in shape))


def test_a_step_has_moved_by_its_largest_change() -> None:
    one = StepState(torch.zeros(2, 3), torch.zeros(2, 3, 2), torch.zeros(2))
    weights = torch.tensor([[0.1, 0.5, 0.0], [0.0, 0.0, 0.5]])
    other = StepState(weights, torch.zeros(2, 3, 2), torch.tensor([0.25, -2.0]))
    assert other.moved(one).tolist() == [0.5, 2.0]


# --- paths that leave the range ---------------------------------------------------------------------------


def narrow(kind: CovarianceType) -> tuple[ConstructedEM, Task, Task]:
    """Eigenvalues from 1/4 on: a good task, and one whose points lie in two heaps 1/8 wide."""
    em = construction(kind, 3, 3, 64, (0.25, 16.0))
    good = make_task(kind, 2, 2, 24, 0, condition=2.0, apart=2.0)
    heaps = 0.125 * good.X + 4 * (torch.arange(24) % 2)[:, None]
    means = torch.tensor([[0.0, 0.0], [4.0, 4.0]], dtype=F64)
    return em, good, Task(kind, heaps, torch.tensor([0.5, 0.5], dtype=F64), means, good.covariances)


@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_says_when_it_leaves_the_range(kind: CovarianceType, evaluation) -> None:
    """And the other task of the batch, at the same place, is the same to the bit as beside a good one."""
    em, good, bad = narrow(kind)
    with_bad = run_all(em, [good, bad], steps=4, evaluation=evaluation)
    with_good = run_all(em, [good, good], steps=4, evaluation=evaluation)
    first, second = with_bad
    assert first.in_range is not None
    assert second.in_range is not None
    assert first.in_range.tolist() == [True] * 5
    assert second.in_range.tolist() == [True] + [False] * 4
    for name in (
        "path_weights",
        "path_means",
        "path_covariances",
        "path_responsibilities",
        "means",
        "weights",
    ):
        assert torch.equal(getattr(first, name), getattr(with_good[0], name)), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_in_the_range_until_its_third_step(kind: CovarianceType) -> None:
    """Variances fall, from twice too large; the range begins between those of steps 2 and 3.

    The functions of another range err otherwise, at 2048 pieces by far less than the 2 % that a step changes.
    """
    wide, falls = construction(kind, 1, 2, 2048), []
    for seed in range(12):
        task = make_task(kind, 1, 2, 40, seed, condition=1.0, apart=2.0)
        task = Task(kind, task.X, task.weights, task.means, 2 * task.covariances)
        held, tasks = wide.run(*task.parts, steps=3).path_covariances, wide.gather(*task.parts)
        assert held is not None
        least = [float(spectrum(S[None], tasks, Range(1e-2, 1e2))[0]) for S in held]
        falls.append((least[3] / min(least[:3]), least, task))
    share, least, task = min(falls, key=lambda fall: fall[0])
    assert share < 0.96
    low = (min(least[:3]) + least[3]) / 2
    run = construction(kind, 1, 2, 2048, (low, 1e2)).run(*task.parts, steps=3)
    assert run.in_range is not None
    assert run.in_range.tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_tol_stops_when_covariances_rest_too(kind: CovarianceType) -> None:
    task = make_task(kind, 2, 2, 60, 1, apart=3.0, condition=2.0, least_weight=0.3)
    run = construction(kind, 2, 2, 64).run(*task.parts, tol=1e-6)
    path = run.path_weights, run.path_means, run.path_covariances
    moves = [
        max(float((v[t + 1] - v[t]).abs().max()) for v in path if v is not None) for t in range(run.steps)
    ]
    assert run.converged
    assert moves[-1] <= 1e-6 < min(moves[:-1])
