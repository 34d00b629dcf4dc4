"""Proved bounds of steps and paths with covariances: no error is above them, and they are near the errors."""

import statistics

import pytest
import torch
from em_covariances import (
    F64,
    KINDS,
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
from torch import Tensor

from constructions.em.bounds import one_step_bound
from constructions.em.path_bounds import path_bound
from constructions.em.step_bound import StepBound
from constructions.em.step_rounding import StepData
from constructions.em.tasks import CovarianceType
from constructions.language.structured.evaluation import Evaluation

DTYPES = [F64, torch.float32]


def bound_of(task: Task, pieces: int, dtype: torch.dtype = F64, refreshed: bool = False) -> StepBound:
    parts = (part[None] for part in (task.X, task.weights, task.means))
    data = StepData.uniform(*parts, refreshed, task.covariances[None], task.kind)
    return one_step_bound(construction(task.kind, 5, 4, pieces), data, dtype)


def norms(kind: CovarianceType, S: Tensor) -> Tensor:
    """(K,), or (1,) where covariances are tied: the Frobenius norm."""
    if kind == "full":
        return S.flatten(1).norm(dim=1)
    return S.norm(dim=1) if kind == "diagonal" else S.abs() if kind == "spherical" else S.norm()[None]


def broken(error: Step, kind: CovarianceType, bound: StepBound) -> list[str]:
    """Names of the bounds that do not hold where EM is defined."""
    found = {
        "weight": error.weights,
        "mean": error.means.norm(dim=-1),
        "covariance": norms(kind, error.covariances),
    }
    defined = ~bound.undefined[0]
    return [
        f"{part} {name}: {float((e / limit).max()):.3g} of the bound"
        for part, e in found.items()
        for name in ("instance", "apriori")
        for limit in [getattr(bound, f"{part}_{name}")[0]]
        if not bool((e <= limit)[defined if len(e) == len(defined) else slice(None)].all())
    ]


def step_faults(
    task: Task, pieces: int, dtype: torch.dtype, refreshed: bool, evaluation: Evaluation
) -> list[str]:
    task = task.rounded(dtype)
    em = construction(task.kind, 5, 4, pieces)
    run = em.run(*task.parts, dtype=dtype, refreshed=refreshed, evaluation=evaluation)
    start = task.after(run, 0)  # covariances in float32 may have to be made symmetric
    task = Task(task.kind, task.X, task.weights, task.means, start.covariances)
    bound = bound_of(task, pieces, dtype, refreshed)
    return broken(apart(state_of(run), plain_step(task)), task.kind, bound)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_is_outside_its_bounds(kind: CovarianceType, dtype: torch.dtype) -> None:
    @settings(max_examples=8)
    @given(task=drawn(kind), pieces=st.sampled_from([32, 512]), refreshed=st.booleans())
    def check(task: Task, pieces: int, refreshed: bool) -> None:
        assert step_faults(task, pieces, dtype, refreshed, "structured") == []

    check()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_of_hundreds_is_outside_its_bounds(
    kind: CovarianceType, evaluation: Evaluation, dtype: torch.dtype
) -> None:
    @settings(max_examples=400)
    @given(task=drawn(kind, 3), pieces=st.sampled_from([8, 32, 128]), refreshed=st.booleans())
    def check(task: Task, pieces: int, refreshed: bool) -> None:
        assert step_faults(task, pieces, dtype, refreshed, evaluation) == []

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bounds_are_near_the_errors(kind: CovarianceType) -> None:
    """Medians over 9 tasks of bound over error are below 50; a hundredth at most is rounding."""
    problems, ratios = [make_task(kind, 3, 3, 40, seed) for seed in range(9)], []
    runs = run_all(construction(kind, 5, 4, 512), problems, refreshed=True)
    for task, run in zip(problems, runs, strict=True):
        bound, error = bound_of(task, 512, refreshed=True), apart(state_of(run), plain_step(task))
        assert bound.covariance_instance is not None
        assert bound.covariance_rounding is not None
        limits = bound.weight_instance, bound.mean_instance, bound.covariance_instance
        errors = error.weights, error.means.norm(dim=-1), norms(kind, error.covariances)
        ratios.append([float(limit.max() / e.max()) for limit, e in zip(limits, errors, strict=True)])
        for limit, rounding in zip(
            limits, (bound.weight_rounding, bound.mean_rounding, bound.covariance_rounding), strict=True
        ):
            assert rounding.max() <= 0.01 * limit.max()
    assert max(statistics.median(column) for column in zip(*ratios, strict=True)) < 50


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_that_comes_from_far_to_one_point(kind: CovarianceType, dtype: torch.dtype) -> None:
    """All points are one, near 0, and so is the mean, exactly; dense weights replace an old mean of 11 in a
    sum of both. The reference has no error to hide behind."""
    for seed in range(3):
        near = make_task(kind, 2, 2, 6, seed, condition=1.0)
        X = (1e-3 * near.X[:1]).repeat(6, 1)
        task = Task(kind, X, near.weights, 11 + near.means.sigmoid(), 90 * near.covariances).rounded(dtype)
        run = construction(kind, 5, 4, 32).run(*task.parts, dtype=dtype, evaluation="dense")
        error = (run.path_means[1].double() - task.X[0]).norm(dim=-1)
        assert (error <= bound_of(task, 32, dtype).mean_instance[0]).all()
        assert (error <= bound_of(task, 32, dtype).mean_apriori[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_is_outside_its_bounds(kind: CovarianceType) -> None:
    """Three steps of components that are apart, where the bound claims something to the end."""
    held = 0
    for seed in range(2):
        task = make_task(kind, 2, 2, 60, seed, apart=3.0, condition=2.0, least_weight=0.3)
        em = construction(kind, 5, 4, 2048)
        run, path = em.run(*task.parts, steps=3), plain_path(task, 3)
        S = run.path_covariances
        assert S is not None
        ones = torch.ones(1, 60, dtype=torch.bool)
        states = run.path_weights[None], run.path_means[None], ones[:, :2], torch.tensor([2])
        bound = path_bound(em, task.X[None], ones, *states, path_covariances=S[None])
        assert bound.covariance is not None
        for t in range(3):
            if bound.holds[0, t]:
                held += 1
                end = path[t + 1]
                error = apart(state_of(run, t + 1), Step(end.weights, end.means, end.covariances))
                assert (error.weights <= bound.weight[0, t]).all()
                assert (error.means.norm(dim=-1) <= bound.mean[0, t]).all()
                assert (norms(kind, error.covariances) <= bound.covariance[0, t]).all()
    assert held >= 4
