"""One constructed step with covariances, and paths of them, against plain EM for every kind."""

import statistics

import numpy as np
import pytest
import torch
from em_covariance_errors import broken, distance, step_tolerance
from em_covariances import (
    KINDS,
    VARIANCES,
    Step,
    Task,
    apart,
    construction,
    drawn,
    make_task,
    plain_path,
    plain_step,
    run_all,
    state_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.em import em
from baselines.mixture import Mixture
from constructions.em.tasks import CovarianceType
from constructions.language.structured.evaluation import Evaluation

EVALUATIONS: tuple[Evaluation, ...] = ("structured", "dense")


def step_faults(task: Task, pieces: int, refreshed: bool, evaluation: Evaluation = "structured") -> list[str]:
    em_step = construction(task.kind, 5, 4, pieces)
    run = em_step.run(*task.parts, refreshed=refreshed, evaluation=evaluation)
    return broken(apart(state_of(run), plain_step(task)), step_tolerance(em_step, task, refreshed=refreshed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_step_here_is_the_one_of_the_baselines(kind: CovarianceType) -> None:
    """Both are EM in float64. A logit of size below 300 moves by 3e-12 with gamma_100; moments by that times
    the span of squares, at most 24^2, over the least mass, 0.05: below 1e-7.
    """
    for seed in range(10):
        task = make_task(kind, 3, 3, 40, seed)
        start = Mixture(task.weights, task.means, task.covariances, kind)
        found = em(task.X, init=start, max_iter=1, tol=0.0).mixture
        assert found.covariances is not None
        reference = Step(found.weights, found.means, found.covariances)
        assert max(apart(plain_step(task), reference).largest) < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_is_outside_its_tolerance(kind: CovarianceType) -> None:
    @settings(max_examples=15)
    @given(task=drawn(kind), pieces=st.sampled_from([32, 256, 2048]), refreshed=st.booleans())
    def check(task: Task, pieces: int, refreshed: bool) -> None:
        assert step_faults(task, pieces, refreshed) == []

    check()


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_of_thousands_is_outside_its_tolerance(kind: CovarianceType, evaluation: Evaluation) -> None:
    @settings(max_examples=1000)
    @given(task=drawn(kind), pieces=st.sampled_from([16, 128, 512]), refreshed=st.booleans())
    def check(task: Task, pieces: int, refreshed: bool) -> None:
        assert step_faults(task, pieces, refreshed, evaluation) == []

    check()


CORNERS = {
    "one component, one dimension": (1, 1, 2),
    "one component": (3, 1, 11),
    "one dimension": (1, 4, 9),
    "K does not divide N": (2, 3, 17),
    "N = K d + 1": (5, 4, 21),
    "as few points as there may be": (3, 4, 4),
}


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_corners(kind: CovarianceType, corner: tuple[int, int, int]) -> None:
    for seed, condition in enumerate((1.0, 20.0)):
        task = make_task(kind, *corner, seed, condition, least_weight=1e-3, duplicated=bool(seed))
        for pieces in (16, 1024):
            assert step_faults(task, pieces, refreshed=True) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_tolerances_are_near_the_errors(kind: CovarianceType) -> None:
    """Otherwise nothing above would say much: at 2048 pieces below 4e-3, and within 500 of the errors."""
    em_step = construction(kind, 3, 3, 2048)
    problems = [make_task(kind, 3, 3, 40, seed) for seed in range(4)]
    ratios = []
    for run, task in zip(run_all(em_step, problems, refreshed=True), problems, strict=True):
        limit = step_tolerance(em_step, task, refreshed=True)
        assert max(limit.largest) < 4e-3
        error = apart(state_of(run), plain_step(task))
        ratios += [b / a for a, b in zip(error.largest, limit.largest, strict=True)]
    assert statistics.median(ratios) < 500


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_falls_as_the_square_of_the_pieces(kind: CovarianceType) -> None:
    """Slope of the log of the median error over the log of the pieces within 10 % of -2.

    refreshed=True, so that all functions err. Components overlap: few responsibilities are near the floor, at
    1e-12, which does not change with the pieces. Medians, since one error can change its sign.
    """
    pieces = [128, 256, 512, 1024]
    problems = [make_task(kind, 3, 3, 60, seed, apart=0.8) for seed in range(100)]
    exact = [plain_step(task) for task in problems]
    for part in range(3):
        medians = []
        for M in pieces:
            runs = run_all(construction(kind, 3, 3, M), problems, refreshed=True)
            errors = [apart(state_of(r), e).largest[part] for r, e in zip(runs, exact, strict=True)]
            medians.append(statistics.median(errors))
        slope = np.polyfit(np.log(pieces), np.log(medians), 1)[0]
        assert -2.2 <= slope <= -1.8, (part, slope, medians)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps(kind: CovarianceType) -> None:
    """Every step of a path is within the tolerance of a step from the state before it.

    The distance from the path of EM at the end, where EM contracts: no bound, but 4 times the pieces leave
    less than an eighth of it (a sixteenth in the limit), medians of 60 tasks.
    """
    problems = [
        make_task(kind, 2, 2, 60, seed, apart=3.0, condition=2.0, least_weight=0.3) for seed in range(60)
    ]
    ends = [plain_path(task, 10)[-1] for task in problems]
    medians = []
    for pieces in (128, 512):
        em_step = construction(kind, 2, 2, pieces)
        runs = run_all(em_step, problems, steps=10)
        errors = [
            max(apart(state_of(run, 10), Step(end.weights, end.means, end.covariances)).largest)
            for run, end in zip(runs, ends, strict=True)
        ]
        medians.append(statistics.median(errors))
        for task, run in zip(problems[:1], runs, strict=False):
            for t in range(10):
                now = task.after(run, t)
                limit = step_tolerance(em_step, now, refreshed=t > 0)
                assert broken(apart(state_of(run, t + 1), plain_step(now)), limit) == []
    assert medians[1] < medians[0] / 8, medians


# --- two evaluations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_dense_and_structured_agree_within_rounding(kind: CovarianceType) -> None:
    em_step = construction(kind, 3, 3, 128)
    problems = [make_task(kind, *size, seed) for seed, size in enumerate([(3, 3, 20), (1, 2, 9), (2, 1, 5)])]
    both = [run_all(em_step, problems, refreshed=True, evaluation=way) for way in EVALUATIONS]
    for task, one, other in zip(problems, *both, strict=True):
        limit = distance(em_step, task, refreshed=True)
        assert broken(apart(state_of(one), state_of(other)), limit) == []
        assert max(limit.largest) < 1e-7  # rounding, and not what is approximated: that is above 1e-4
        # The read-out is a softmax of log pi and a pooled mean in either case, moved by that and gamma_100.
        assert (one.means - other.means).abs().max() < 1e-6


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_within_its_tolerance(kind: CovarianceType, evaluation: Evaluation) -> None:
    em_step = construction(kind, 3, 3, 64)
    for seed, size in enumerate([(3, 3, 20), (1, 2, 9), (2, 3, 40)]):
        task = make_task(kind, *size, seed).rounded(torch.float32)
        run = em_step.run(*task.parts, dtype=torch.float32, evaluation=evaluation, refreshed=True)
        assert run.path_means.dtype == torch.float32
        limit = step_tolerance(em_step, task, torch.float32, refreshed=True)
        assert broken(apart(state_of(run), plain_step(task)), limit) == []


@pytest.mark.parametrize("kind", KINDS)
def test_looped_equals_unrolled(kind: CovarianceType) -> None:
    task = make_task(kind, 2, 2, 9, 0)
    em_steps = construction(kind, 2, 2, 16, steps=3)
    tokens = em_steps.embed(em_steps.gather(*task.parts))
    with torch.no_grad():  # the same operations in the same order
        once, unrolled = (em_steps.to_transformer(looped=looped)(tokens) for looped in (True, False))
    assert torch.equal(once, unrolled)
    short = construction(kind, 2, 2, 16).run(*task.parts, steps=3)
    whole = em_steps.run(*task.parts)
    assert whole.steps == 3
    for a, b in zip(state_of(short, 3).__dict__.values(), state_of(whole, 3).__dict__.values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_batch_is_its_tasks(kind: CovarianceType, evaluation: Evaluation) -> None:
    em_step = construction(kind, 3, 4, 64)
    sizes = [(3, 4, 23), (1, 1, 2), (2, 3, 7), (3, 2, 31), (1, 4, 6)]
    problems = [make_task(kind, *size, seed) for seed, size in enumerate(sizes)]
    for task, run in zip(problems, run_all(em_step, problems, evaluation=evaluation), strict=True):
        alone = em_step.run(*task.parts, evaluation=evaluation)
        (K, d), S = task.means.shape, run.path_covariances
        assert S is not None
        assert run.path_means.shape == (2, K, d)
        assert S.shape == (2, *task.covariances.shape)
        assert broken(apart(state_of(run), state_of(alone)), distance(em_step, task)) == []
        assert run.in_range is not None
        assert alone.in_range is not None
        assert torch.equal(run.in_range, alone.in_range)


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_sizes_of_a_task_everything_is_zero(kind: CovarianceType) -> None:
    em_step = construction(kind, 4, 5, 16)
    problems = [make_task(kind, *size, 0) for size in [(3, 3, 12), (2, 2, 8)]]
    run = em_step.run(*[[task.parts[i] for task in problems] for i in range(4)])
    assert run.path_means.shape == (2, 2, 3, 3)
    S = run.path_covariances
    assert S is not None
    assert run.path_weights[1, :, 2:].count_nonzero() == run.path_means[1, :, 2:].count_nonzero() == 0
    assert run.path_means[1, :, :, 2:].count_nonzero() == 0
    if kind in ("spherical", "diagonal", "full"):
        assert S[1, :, 2:].count_nonzero() == 0
    if kind in ("diagonal", "tied", "full"):
        assert S[1, ..., 2:].count_nonzero() == 0
    assert run.path_responsibilities[1, :, :, 8:].count_nonzero() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_is_continued_from_its_states(kind: CovarianceType) -> None:
    """Up to rounding: weights are divided by their sum, log pi is interpolated, K mu is not the mean of K x.

    The same numbers otherwise, so refreshed=False, with the exact log pi, is further away.
    """
    em_step = construction(kind, 3, 3, 32)
    for seed in range(2):
        task = make_task(kind, 3, 3, 40, seed)
        run = em_step.run(*task.parts, steps=3)
        for t in (1, 2):
            state = task.after(run, t)
            again, fresh = (em_step.run(*state.parts, refreshed=how) for how in (True, False))
            limit = distance(em_step, state, refreshed=True)
            assert broken(apart(state_of(again), state_of(run, t + 1)), limit) == []
            assert broken(apart(state_of(fresh), state_of(run, t + 1)), limit) != []


@pytest.mark.parametrize("kind", VARIANCES)
def test_many_points_and_dimensions(kind: CovarianceType) -> None:
    """The dense weights of P would be 6 * 16 * 256 units for the squares alone, and as many columns."""
    assert step_faults(make_task(kind, 3, 4, 1000, 0), 128, refreshed=False) == []
    large, task = construction(kind, 16, 6, 256), make_task(kind, 16, 6, 100, 0)
    error = apart(state_of(large.run(*task.parts)), plain_step(task))
    assert broken(error, step_tolerance(large, task)) == []
