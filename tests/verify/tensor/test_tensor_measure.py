"""What the tensor power checks measure with: exact arithmetic, ranges, recovery, rows, slopes, the search."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_commands import missing_norm, wrong_slice

import verify.tensor.softmax_search as searching
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, best_epsilon, epsilon_for, largest_product
from verify.tensor.data import TensorProblem, gaussian_problem, orthogonal_problem, unit_vectors
from verify.tensor.families import STARTS, TENSORS
from verify.tensor.measure import PathErrors, Runtime, along_path, exact_contract, one_step, steps_in_range
from verify.tensor.recover import recover
from verify.tensor.relu_rows import one_step_rows
from verify.tensor.rows import PathRow, last_steps, path_rows
from verify.tensor.softmax_rows import (
    EPSILONS,
    Point,
    fitted_slope,
    measure_point,
    sweep_epsilon,
    without_sink,
)
from verify.tensor.softmax_search import GROUP, search

F64, F32 = torch.float64, torch.float32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem_of(T, v) -> TensorProblem:
    T, v = (torch.as_tensor(x, dtype=F64) for x in (T, v))
    return TensorProblem("own", T.expand(len(v), -1, -1, -1), v)


# ---- exact arithmetic


def by_definition(T, v) -> list[Fraction]:
    T, v = np.asarray(T).tolist(), [Fraction(x) for x in np.asarray(v).tolist()]
    d = range(len(v))
    return [sum(Fraction(T[i][j][m]) * v[j] * v[m] for j in d for m in d) for i in d]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1 / 3]
)


@given(
    st.integers(1, 3).flatmap(
        lambda d: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n) for n in (d**3, d)])
    )
)
@settings(max_examples=150)
def test_the_contraction_is_exact(case):
    T, v = np.reshape(case[0], (len(case[1]),) * 3), np.array(case[1])
    assert exact_contract(torch.from_numpy(T), torch.from_numpy(v)) == by_definition(T, v)


def test_a_zero_tensor_contracts_to_zero():
    assert exact_contract(torch.zeros(2, 2, 2, dtype=F64), torch.ones(2, dtype=F64)) == [0, 0]


def test_the_error_of_one_step_is_that_of_its_definition():
    problem = gaussian_problem(3, 4, generator())
    em = tensor_power_construction(4, 1)
    found = one_step(em, problem, Runtime())
    run = em.run(problem.T, problem.v, steps=1, evaluation="dense")
    for b in range(4):
        exact = by_definition(problem.T[b], problem.v[b])
        want = [float(abs(Fraction(x) - y)) for x, y in zip(run.v[b].tolist(), exact, strict=True)]
        assert found.error[b].tolist() == want
    assert found.broken == 0
    assert 0 < found.relative_error <= found.relative_bound
    worse = dataclasses.replace(
        found, error=found.bound * torch.tensor([1.0, 1.0 + 1e-12, torch.nan], dtype=F64)
    )
    assert worse.broken == 8


# ---- ranges


def line(scale: float, start: float = 1.0) -> TensorProblem:
    return problem_of([[[scale]]], [[start]])


@pytest.mark.parametrize(
    ("scale", "start", "dtype", "taken"),
    [
        (1.0, 1.0, F64, 12),
        (1e12, 1.0, F64, 4),  # 180, then 372
        (1e-12, 1.0, F64, 3),  # -84, then -180 where squares would underflow
        (1e12, 1.0, F32, 1),  # 12, then 36
        (1e300, 1.0, F64, 0),
        (1.0, 1e-140, F64, 0),
        (1.0, 1e-13, F32, 0),
    ],
)
def test_steps_that_stay_in_range(scale, start, dtype, taken):
    levels, steps = steps_in_range(line(scale, start), 12, dtype)
    assert steps == taken
    assert levels.shape == (1, 13)
    assert levels[0, 0] == pytest.approx(math.log10(start))


def test_one_instance_that_leaves_the_range_stops_all():
    two = TensorProblem(
        "two", torch.tensor([1.0, 1e12], dtype=F64)[:, None, None, None], torch.ones(2, 1, dtype=F64)
    )
    assert steps_in_range(two, 12, F64)[1] == 4


def test_a_run_that_would_come_back_into_range_has_stopped_before():
    """e1 goes to 10^35 e2, which is beyond float32, and that to e1."""
    T = torch.zeros(2, 2, 2, dtype=F64)
    T[1, 0, 0], T[0, 1, 1] = 1e35, 1e-70
    levels, steps = steps_in_range(problem_of(T, [[1.0, 0.0]]), 4, F32)
    assert levels[0].tolist() == pytest.approx([0, 35, 0, 35, 0], abs=1e-12)
    assert steps == 0


@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_problem_fits_a_dtype_or_not(dtype):
    info = torch.finfo(dtype)
    good = gaussian_problem(2, 3, generator())
    assert good.fits(dtype)
    for scale in (0.0, info.tiny / 64, info.max * 64 if dtype == F32 else math.inf):
        assert not dataclasses.replace(good, T=good.T * scale).fits(dtype)
        v = good.v.clone()
        v[1] *= scale
        assert not dataclasses.replace(good, v=v).fits(dtype)


@pytest.mark.parametrize("seed", range(30))
def test_the_offset_covers_what_float32_rounds(seed):
    problem = gaussian_problem(3, 10, generator(seed)).rounded(F32)
    assert [r.broken for r in one_step_rows(problem, 3, Runtime(F32))] == [0, 0, 0]


# ---- rows


def errors(error, bound, length=1.0) -> PathErrors:
    error, bound = (torch.tensor(x, dtype=F64) for x in (error, bound))
    return PathErrors(error, bound, torch.full_like(error, length), error)


def test_a_row_for_each_step():
    found = errors([[0, 1, 4], [0, 2, 0]], [[0, 2, 2], [0, math.inf, 1]], length=10.0)
    first, second = path_rows(line(1.0), "x", found)
    assert (first.step, first.instances, first.claimed, first.broken) == (1, 2, 1, 0)
    assert (first.largest_error, first.margin) == (0.2, 2.0)
    assert (second.step, second.claimed, second.broken) == (2, 2, 1)
    assert (second.largest_error, second.margin) == (0.4, 0.5)


def test_what_is_not_a_number_is_broken():
    [row] = path_rows(line(1.0), "x", errors([[0, math.nan]], [[0, 1]]))
    assert row.broken == 1


def test_the_last_rows_carry_what_broke_before():
    rows = [
        PathRow(p, 1, f, t, 1, 0.0, 0.0, 0.0, 1.0, 1, b)
        for p, f, t, b in (
            ("a", "x", 1, 2),
            ("a", "x", 2, 0),
            ("a", "y", 1, 0),
            ("b", "x", 1, 1),
            ("b", "x", 2, 1),
        )
    ]
    found = [(r.problem, r.form, r.step, r.broken) for r in last_steps(rows)]
    assert found == [("a", "x", 2, 2), ("a", "y", 1, 0), ("b", "x", 2, 2)]
    assert rows[1].broken == 0


def test_a_path_is_compared_with_the_iteration():
    problem = gaussian_problem(3, 5, generator(1))
    good = along_path(tensor_power_construction(3, 4, normalise="rms"), problem, Runtime(), 4)
    assert (good.error <= good.bound).all()
    assert good.error[:, 0].eq(0).all()
    wrong = wrong_slice(tensor_power_construction(3, 4, normalise="rms"))
    bad = along_path(wrong, problem, Runtime(), 4)
    assert int((bad.error > bad.bound).sum()) == 5 * 4


# ---- recovery


@pytest.mark.parametrize("seed", range(3))
def test_all_components_are_found(seed):
    problem = orthogonal_problem(6, 4, generator(seed))
    em = tensor_power_construction(6, 1, normalise="rms")
    found = recover(em, problem, 2, 12, Runtime(), generator(seed))
    assert found.distinct
    assert float((found.found - problem.components).norm(dim=-1).max()) < 1e-12
    assert float(found.distance.max()) < 1e-12
    assert float(found.eigenvalue_error.max()) < 1e-12
    assert (found.error <= found.bound).all()


def test_one_component_and_one_coordinate():
    problem = orthogonal_problem(1, 1, generator())
    found = recover(tensor_power_construction(1, 1, normalise="rms"), problem, 1, 2, Runtime(), generator())
    assert found.distinct
    assert float(found.distance) < 1e-15


def test_a_wrong_construction_recovers_nothing():
    problem = orthogonal_problem(4, 4, generator(3))
    em = wrong_slice(tensor_power_construction(4, 1, normalise="rms"))
    found = recover(em, problem, 2, 12, Runtime(), generator(3))
    assert not (found.error <= found.bound).all()
    assert float(found.distance.max()) > 1e-3


def test_without_its_norm_nothing_is_recovered_either():
    problem = orthogonal_problem(4, 2, generator(3))
    em = missing_norm(tensor_power_construction(4, 1, normalise="rms"))
    with pytest.raises(ValueError, match=r"is not 0, but leaves the range of torch\.float64"):
        recover(em, problem, 2, 12, Runtime(), generator(3))


def test_the_problems_are_what_they_say():
    problem = orthogonal_problem(5, 3, generator(2))
    U, T = problem.components, problem.T[0]
    assert torch.allclose(U @ U.mT, torch.eye(3, dtype=F64), atol=1e-14)
    assert ((problem.eigenvalues >= 1) & (problem.eigenvalues <= 2)).all()
    assert torch.allclose(torch.einsum("ijm,kj,km->ki", T, U, U), problem.eigenvalues[:, None] * U)
    assert torch.allclose(unit_vectors(50, 3, generator()).norm(dim=1), torch.ones(50, dtype=F64))
    T = gaussian_problem(8, 200, generator()).T
    assert float(T.var()) == pytest.approx(1 / 8, rel=0.02)


# ---- slopes, step sizes


def point(epsilon, error, rounding=0.0, reach=0.0) -> Point:
    return Point(
        "x", "float64", 1, epsilon, 36.0, 1, error, error, error, error, 1.0, 1.0, rounding, reach, 0
    )


def test_a_slope_is_fitted_where_it_shows():
    clean = [point(e, 3 * e**4) for e in (1e-3, 1e-2, 1e-1)]
    assert fitted_slope(clean) == pytest.approx(4, abs=1e-12)
    outliers = [point(1e-4, 1.0, rounding=0.06), point(1.0, 9.0, reach=0.51)]
    assert fitted_slope([*clean, *outliers]) == pytest.approx(4, abs=1e-12)
    assert math.isnan(fitted_slope(clean[:2] + outliers))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("pairs", [1, 3, 8])
def test_the_predicted_epsilon(scale, pairs):
    problem = gaussian_problem(4, 5, generator())
    problem = dataclasses.replace(problem, v=problem.v * scale)
    a = (problem.v[:, :, None] * problem.v[:, None, :]).abs() ** (2 * pairs + 1)
    amplitude = float(a.mean((1, 2)).median()) ** (1 / (2 * pairs + 1))
    chosen = epsilon_for(problem.v, pairs, 36.0, F64)
    assert chosen == pytest.approx(
        min(best_epsilon(F64, pairs, 36.0, amplitude, 16), 1 / largest_product(problem.v))
    )
    assert chosen * float(problem.v.abs().max()) ** 2 <= 1 + 1e-12


def test_one_long_start_among_many_lowers_epsilon():
    """The amplitude is a median; the scores of the longest start must stay below 1 too."""
    problem = gaussian_problem(4, 9, generator())
    v = problem.v.clone()
    v[0] *= 100
    chosen = epsilon_for(v, 8, 36.0, F64)
    assert chosen == 1 / float(v.abs().max()) ** 2 < epsilon_for(problem.v, 8, 36.0, F64)


def test_a_sweep_covers_the_grid_and_the_prediction():
    problem = gaussian_problem(2, 3, generator())
    points, best = sweep_epsilon(problem, 3, 2, 36.0, Runtime())
    assert [p.epsilon for p in points] == [*EPSILONS, best.predicted_epsilon]
    assert best.heads == 12
    assert best.error == min(p.error for p in points[:-1])
    long = dataclasses.replace(problem, v=10 * problem.v / problem.v.abs().max())
    assert [p.epsilon for p in sweep_epsilon(long, 2, 2, 36.0, Runtime())[0][:-1]] == pytest.approx(
        [e / 100 for e in EPSILONS]
    )


def test_without_its_sink_the_direction_is_lost():
    problem = gaussian_problem(4, 20, generator())
    with_sink = measure_point(problem, 4, Heads(1e-3, 2, 36.0), Runtime())
    assert with_sink.error < 1e-11
    assert with_sink.broken == 0
    assert without_sink(problem, 4, Heads(1e-3, 2, 36.0), F64) > 0.01


# ---- the search


def drawn(count: int, seed: int = 0, dtype=F64):
    return list(search(count * GROUP, seed, dtype))


def test_the_search_is_fixed_by_its_seed():
    first, again, other = drawn(4, 1), drawn(4, 1), drawn(4, 2)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.error, b.error)
        assert torch.equal(a.bound, b.bound)
        assert (a.pairs, a.epsilon, a.sink) == (b.pairs, b.epsilon, b.sink)
    assert [d.epsilon for d in first] != [d.epsilon for d in other]


@pytest.mark.parametrize(("instances", "groups"), [(1, 1), (GROUP, 1), (GROUP + 1, 2)])
def test_the_search_draws_as_many_as_asked(instances, groups):
    found = list(search(instances, 0, F64))
    assert [len(d.error) for d in found] == [GROUP] * groups


def test_sixty_groups_meet_every_family_with_every_size(monkeypatch):
    """Each d with each family, and each d with padding and without."""
    built = []
    make = searching.one_step_construction

    def noted(problem, max_dim, *arguments):
        built.append((problem.dim, max_dim - problem.dim))
        return make(problem, max_dim, *arguments)

    monkeypatch.setattr(searching, "one_step_construction", noted)
    found = drawn(60)
    cases = {(d.error.shape[1], d.tensors) for d in found}
    assert cases == {(d, kind) for d in range(1, 11) for kind in TENSORS}
    assert set(built) == {(d, padding) for d in range(1, 11) for padding in (0, 1)}
    assert {d.starts for d in found} == set(STARTS)
    assert {d.tensors for d in found[:6]} == set(TENSORS)
    assert min(d.epsilon for d in found) < 1e-5
    assert max(d.epsilon for d in found) > 0.1
    assert max(d.sink for d in found) > 40
    assert len({d.pairs for d in drawn(20, 1)} | {d.pairs for d in found}) >= 6
    assert not any((~(d.error <= d.bound)).any() for d in found)


def test_the_search_keeps_float32_in_its_range():
    for d in drawn(20, 3, F32):
        assert d.error.isfinite().all()
        assert (d.error <= d.bound).all()
