"""The EM construction as people call it: batches, invariances, the read-out, convergence, bad input."""

import math

import pytest
import torch
from constructed_em import (
    Task,
    bound_of_path,
    check_step,
    construction,
    make_task,
    plain_em_step,
    rounding_distance,
    step_data,
)
from torch import Tensor

from constructions import EMConstruction, EMRun, HypothesisError, Pieces, em_construction
from constructions.em.bounds import one_step_bound
from constructions.language.rounding import gamma

U = 2.0**-53
DTYPES = [torch.float64, torch.float32]
PIECES = Pieces(400, 300, 500)


def one_step(
    em: EMConstruction, task: Task, refreshed: bool = False, dtype: torch.dtype = torch.float64
) -> EMRun:
    return em.run(task.X, task.weights, task.means, dtype=dtype, refreshed=refreshed, steps=1)


def assert_same_step(
    em: EMConstruction,
    task: Task,
    weights: Tensor,
    means: Tensor,
    expected: EMRun,
    dtype: torch.dtype = torch.float64,
    refreshed: bool = False,
) -> None:
    """Equal up to the rounding of two evaluations of one function; see rounding_distance."""
    weight, mean = rounding_distance(em, task, dtype, refreshed)
    assert max(weight, mean) < 0.05  # far below what a wrong component or point would change
    assert (weights - expected.path_weights[1]).abs().max() <= weight
    assert (means - expected.path_means[1]).norm(dim=-1).max() <= mean


# --- the same function of the data ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 5, 23), (2, 4, 40), (1, 3, 3), (3, 1, 8)])
def test_the_order_of_the_points_does_not_matter(sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    em = construction(3, 5, PIECES)
    for seed in range(5):
        task = make_task(*sizes, seed).rounded(dtype)
        order = torch.randperm(len(task.X), generator=torch.Generator().manual_seed(seed))
        expected = one_step(em, task, dtype=dtype)
        shuffled = one_step(em, Task(task.X[order], task.weights, task.means), dtype=dtype)
        assert_same_step(em, task, shuffled.path_weights[1], shuffled.path_means[1], expected, dtype)
        # Responsibilities: e^{error} off, an error that rounding_distance doubles for two evaluations.
        moved = shuffled.path_responsibilities[0] - expected.path_responsibilities[0][:, order]
        assert moved.abs().max() <= rounding_distance(em, task, dtype, refreshed=False)[0]


@pytest.mark.parametrize("refreshed", [False, True])
def test_the_labels_of_the_components_do_not_matter(refreshed: bool) -> None:
    em = construction(3, 5, PIECES)
    for seed, N in enumerate((5, 20, 23)):
        task = make_task(3, 5, N, seed)
        order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        expected = one_step(em, task, refreshed)
        run = one_step(em, Task(task.X, task.weights[order], task.means[order]), refreshed)
        back = order.argsort()
        assert_same_step(
            em, task, run.path_weights[1][back], run.path_means[1][back], expected, refreshed=refreshed
        )


def test_a_translation_moves_the_means_along() -> None:
    """The squares depend on where the means lie, so two runs agree within the sum of their bounds."""
    em = construction(3, 5, PIECES)
    for seed in range(10):
        task = make_task(3, 4, 30, seed)
        shift = torch.tensor([1.5, -2.25, 0.5], dtype=torch.float64)
        shift = shift * min(1.0, 12 - float(max(task.X.abs().max(), task.means.abs().max())))
        moved = Task(task.X + shift, task.weights, task.means + shift)
        here, there = one_step(em, task, True), one_step(em, moved, True)
        bounds = [one_step_bound(em, step_data(t, True)) for t in (task, moved)]
        mean = sum(b.mean_instance[0] for b in bounds)
        weight = sum(b.weight_instance[0] for b in bounds)
        distance = (there.path_means[1] - shift - here.path_means[1]).norm(dim=-1)
        # Adding and subtracting the shift rounds coordinates of at most 12 by 12 u, in X, mu and the result;
        # the bounds count gamma_N |x| and more for either run, so it is inside them.
        assert (distance <= mean).all()
        assert ((there.path_weights[1] - here.path_weights[1]).abs() <= weight).all()
        assert shift.norm() > 10 * mean.max()


@pytest.mark.parametrize("refreshed", [False, True])
def test_room_for_more_dimensions_and_components_changes_nothing(refreshed: bool) -> None:
    snug, roomy = construction(2, 3, PIECES), construction(7, 11, PIECES)
    for seed, N in enumerate((3, 10, 50)):
        task = make_task(2, 3, N, seed)
        expected, run = one_step(snug, task, refreshed), one_step(roomy, task, refreshed)
        assert run.path_means.shape == (2, 3, 2)
        assert_same_step(snug, task, run.path_weights[1], run.path_means[1], expected, refreshed=refreshed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_of_mixed_sizes_equals_its_tasks(dtype: torch.dtype) -> None:
    em = construction(3, 5, PIECES)
    sizes = [(3, 5, 23), (1, 1, 1), (2, 4, 4), (3, 2, 50), (1, 5, 7)]
    problems = [make_task(*size, seed).rounded(dtype) for seed, size in enumerate(sizes)]
    lists = [[getattr(t, name) for t in problems] for name in ("X", "weights", "means")]
    batch = em.run(*lists, dtype=dtype, steps=1)
    assert batch.path_means.shape == (5, 2, 5, 3)
    assert batch.path_responsibilities.shape == (5, 1, 5, 50)
    assert [batch.n_features.tolist(), batch.n_components.tolist(), batch.n_samples.tolist()] == [
        list(column) for column in zip(*sizes, strict=True)
    ]
    for index, (task, (d, K, N)) in enumerate(zip(problems, sizes, strict=True)):
        alone, run = one_step(em, task, dtype=dtype), batch.task(index)
        assert run.path_means.shape == (2, K, d)
        assert run.path_responsibilities.shape == (1, K, N)
        assert_same_step(em, task, run.path_weights[1], run.path_means[1], alone, dtype)
        assert batch.path_means[index, :, K:].count_nonzero() == 0
        assert batch.path_means[index, :, :, d:].count_nonzero() == 0
        assert batch.weights[index, K:].count_nonzero() == batch.means[index, K:].count_nonzero() == 0
        assert batch.path_responsibilities[index, :, :, N:].count_nonzero() == 0


def test_a_tensor_with_a_batch_dimension_equals_a_list() -> None:
    em = construction(3, 5, PIECES)
    problems = [make_task(3, 4, 20, seed) for seed in range(3)]
    lists = [[getattr(t, name) for t in problems] for name in ("X", "weights", "means")]
    listed, stacked = em.run(*lists), em.run(*map(torch.stack, lists))
    for name in ("weights", "means", "path_weights", "path_means", "path_responsibilities"):
        assert torch.equal(getattr(listed, name), getattr(stacked, name)), name


def test_one_step_is_exact_about_what_is_not_approximated() -> None:
    """Weights of the first step and responsibilities use no piecewise function: equal up to rounding."""
    em = construction(3, 5, 8)
    for sizes in [(3, 5, 23), (2, 4, 40), (1, 3, 3)]:
        task = make_task(*sizes, 0)
        check = check_step(em, task)
        assert check.bound.weight_instance.max() < 1e-11
        assert (check.weight_error <= check.bound.weight_instance[0]).all()
        exact = (task.X[None] - task.means[:, None]).square().sum(-1) / -2 + task.weights.log()[:, None]
        error = (one_step(em, task).path_responsibilities[0] - exact.softmax(0)).abs().max()
        assert error <= rounding_distance(em, task, refreshed=False)[0]


# --- paths ------------------------------------------------------------------------------------------------


def test_a_path_continues_from_any_of_its_states() -> None:
    em = em_construction(3, 5, 4, PIECES)
    for seed in range(5):
        task = make_task(3, 4, 30, seed)
        run = em.run(task.X, task.weights, task.means)
        assert run.steps == 4
        # Weights are divided by their sum: K - 1 additions, one division, and the sum of 1 they had.
        moved = (run.path_weights[0] / task.weights - 1).abs().max()
        assert moved <= gamma(2 * len(task.weights) + 1, torch.finfo(torch.float64).eps / 2)
        assert torch.equal(run.path_means[0], task.means)
        for t in range(1, 4):
            state = Task(task.X, run.path_weights[t], run.path_means[t])
            again = one_step(em, state, refreshed=True)
            weight, mean = rounding_distance(em, state)
            assert (again.path_weights[1] - run.path_weights[t + 1]).abs().max() <= weight
            assert (again.path_means[1] - run.path_means[t + 1]).norm(dim=-1).max() <= mean
            fresh = one_step(em, state, refreshed=False)  # exact logits are a different function
            assert (fresh.path_means[1] - run.path_means[t + 1]).norm(dim=-1).max() > mean


def test_the_steps_of_one_block_are_the_steps_of_many() -> None:
    task = make_task(3, 4, 30, 0)
    once, thrice = (em_construction(3, 5, steps, PIECES) for steps in (1, 3))
    short = once.run(task.X, task.weights, task.means, steps=3)
    whole = thrice.run(task.X, task.weights, task.means)
    assert torch.equal(short.path_means, whole.path_means)
    assert once.resources().parameters == thrice.resources().parameters
    assert (once.resources().layers, thrice.resources().layers, thrice.resources().heads) == (2, 6, 2)


def test_the_read_out_is_the_end_of_the_path() -> None:
    """Weights are a softmax of the constructed log pi, whose errors lie in [-e - r, r], e the chord error and
    r the rounding: spread e + 2r, so a probability moves by at most tanh((e + 2r)/4). The pooled mean puts at
    most N e^-64 of its weight on other slots, whose means are at most 2 max|mu| away, and rounds like a
    softmax average: 4N + 10 operations, D more to read the values.
    """
    em = em_construction(3, 5, 3, PIECES)
    for sizes in [(3, 5, 23), (2, 4, 40), (1, 3, 3), (3, 1, 8)]:
        for dtype in DTYPES:
            task = make_task(*sizes, 1).rounded(dtype)
            run = em.run(task.X, task.weights, task.means, dtype=dtype)
            N, u = len(task.X), torch.finfo(dtype).eps / 2
            rounding = gamma(4 * N + 10 + em.stream.width, u)
            logits = em.log_pi.rounding_error(dtype) + (rounding + 2 * u) * -math.log(em.floor)
            weight = math.tanh((em.log_pi.approximation_error + 2 * logits) / 4) + gamma(20, u)
            assert (run.path_weights[-1] > em.floor).all()
            assert (run.weights - run.path_weights[-1]).abs().max() <= weight
            leak = 2 * N * math.exp(-64) + 2 * rounding
            largest = float(run.path_means[-1].norm(dim=-1).max())
            assert (run.means - run.path_means[-1]).norm(dim=-1).max() <= leak * largest
            # gamma_20: a softmax of at most 5 logits; the sum over K of the result is off by as much.
            assert abs(float(run.weights.sum()) - 1) <= gamma(20, u)


def test_the_read_out_does_not_look_at_padding() -> None:
    """Whatever padding tokens hold has weight exactly 0, so the result is the same to the bit."""
    em = construction(3, 5, 8)
    g = torch.Generator().manual_seed(0)
    mask, present = torch.arange(9) < torch.tensor([[9], [6]]), torch.ones(2, 5, dtype=torch.bool)
    h = torch.randn(2, 9, em.stream.width, generator=g, dtype=torch.float64)
    other = torch.where(mask[:, :, None], h, 10 * torch.randn(h.shape, generator=g, dtype=torch.float64))
    with torch.no_grad():
        for got, expected in zip(
            em.to_readout()(other, present, mask), em.to_readout()(h, present, mask), strict=True
        ):
            assert torch.equal(got, expected)


def test_tol_stops_when_nothing_moves() -> None:
    em = construction(3, 5, PIECES)
    task = make_task(3, 3, 60, 2, kind="far apart", start="truth", least_weight=0.2)
    run = em.run(task.X, task.weights, task.means, tol=1e-6)
    moves = [
        max(
            float((b - a).abs().max())
            for b, a in (
                (run.path_weights[t + 1], run.path_weights[t]),
                (run.path_means[t + 1], run.path_means[t]),
            )
        )
        for t in range(run.steps)
    ]
    assert run.converged
    assert moves[-1] <= 1e-6 < min(moves[:-1])
    short = em.run(task.X, task.weights, task.means, tol=1e-6, steps=run.steps - 1)
    assert not short.converged
    assert short.steps == run.steps - 1
    assert em.run(task.X, task.weights, task.means).converged is None


def test_tol_waits_for_every_task_of_a_batch() -> None:
    em = construction(3, 5, PIECES)
    quick = make_task(3, 3, 60, 2, kind="far apart", start="truth", least_weight=0.2)
    slow = make_task(3, 3, 60, 3, start="normal")
    both = em.run([quick.X, slow.X], [quick.weights, slow.weights], [quick.means, slow.means], tol=1e-6)
    alone = em.run(quick.X, quick.weights, quick.means, tol=1e-6)
    assert both.converged.all()
    assert both.steps > alone.steps
    first = em.run(
        [quick.X, slow.X],
        [quick.weights, slow.weights],
        [quick.means, slow.means],
        tol=1e-6,
        steps=alone.steps + 1,
    )
    assert first.converged.tolist() == [True, False]


# --- components that die ----------------------------------------------------------------------------------


def far_component() -> Task:
    """The second mean is 40 from every point: exp(-800) is 0 in float64."""
    X = torch.linspace(-20, -19, 6, dtype=torch.float64)[:, None]
    return Task(X, torch.tensor([0.5, 0.5]).double(), torch.tensor([[-19.5], [20.0]]).double())


def test_a_component_without_points_is_undefined_and_dying() -> None:
    em, task = construction(1, 2, 128, radius=20.0), far_component()
    check = check_step(em, task)
    assert check.bound.undefined[0].tolist() == [False, True]
    assert check.bound.dying[0].tolist() == [False, True]
    assert plain_em_step(task)[2][1] == 0
    assert check.broken() == []
    run = em.run(task.X, task.weights, task.means)
    assert run.path_means.isfinite().all()
    bound = bound_of_path(em, task, run, torch.float64)
    assert not bound.holds.any()
    assert bound.mean.isinf().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_path_with_a_component_without_points_has_bounds_that_claim_nothing(dtype: torch.dtype) -> None:
    em, task = construction(1, 2, 128, radius=20.0), far_component().rounded(dtype)
    run = em.run(task.X, task.weights, task.means, dtype=dtype, steps=4)
    bound = bound_of_path(em, task, run, dtype)
    assert bound.holds.shape == (1, 4)
    assert not bound.holds.any()


def test_a_component_of_little_mass_is_dying_but_defined() -> None:
    em = construction(1, 2, 128)
    X = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    for mean, dying in [(2.0, False), (7.5, True)]:
        task = Task(X, torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.0], [mean]]).double())
        check = check_step(em, task)
        mass = plain_em_step(task)[2]
        assert check.bound.dying[0].tolist() == [False, dying]
        assert (40 * em.floor > mass[1] / 100) == dying
        assert not check.bound.undefined.any()
        assert check.broken() == []


# --- bad input --------------------------------------------------------------------------------------------

X, WEIGHTS = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(6, 2), torch.tensor([0.5, 0.5]).double()
MEANS = X[:2]


def spoiled(tensor: Tensor, value: float) -> Tensor:
    copy = tensor.clone()
    copy.view(-1)[1] = value
    return copy


BAD_DATA = {
    "nan in X": (spoiled(X, math.nan), WEIGHTS, MEANS, "X holds nan; every value must be finite"),
    "inf in X": (spoiled(X, -math.inf), WEIGHTS, MEANS, "X holds -inf"),
    "nan weight": (X, spoiled(WEIGHTS, math.nan), MEANS, "weights holds nan"),
    "inf mean": (X, WEIGHTS, spoiled(MEANS, math.inf), "means holds inf"),
    "point outside": (
        spoiled(X, 12.5),
        WEIGHTS,
        MEANS,
        r"a point has a coordinate of size 12\.5; the radius is 12",
    ),
    "point outside by less than is shown": (
        spoiled(X, 12.000001),
        WEIGHTS,
        MEANS,
        r"a point has a coordinate of size 12\.000001; the radius is 12",
    ),
    "mean outside": (X, WEIGHTS, spoiled(MEANS, -13), "a mean has a coordinate of size 13; the radius is 12"),
    "fewer points than components": (X[:1], WEIGHTS, MEANS, "got N = 1 points for K = 2 components; N >= K"),
    "too many components": (X, torch.full((6,), 1 / 6).double(), X, "got K = 6 components; .* K0 = 5"),
    "no components": (X, WEIGHTS[:0], MEANS[:0], "got K = 0 components; .* 1 <= K"),
    "too many dimensions": (torch.zeros(6, 4), WEIGHTS, torch.zeros(2, 4), "d = 4 columns; .* d0 = 3"),
    "no dimensions": (X[:, :0], WEIGHTS, MEANS[:, :0], "d = 0 columns"),
    "means of another dimension": (X, WEIGHTS, torch.zeros(2, 3), r"got \(6, 2\), \(2,\), \(2, 3\)"),
    "weights of another length": (X, torch.ones(3) / 3, MEANS, r"got \(6, 2\), \(3,\), \(2, 2\)"),
    "a weight of zero": (
        X,
        torch.tensor([1.0, 0.0]),
        MEANS,
        "a weight is 0; weights must be above the floor 1e-08",
    ),
    "a negative weight": (X, torch.tensor([1.5, -0.5]), MEANS, r"a weight is -0\.5"),
    "weights above one": (
        X,
        torch.tensor([0.5, 0.6]),
        MEANS,
        r"weights sum to 1\.1.*; they must sum to 1 within",
    ),
    "weights just off": (X, torch.tensor([0.5, 0.500002]).double(), MEANS, r"weights sum to 1\.000002"),
    "one list too short": ([X, X], [WEIGHTS], [MEANS, MEANS], "got 2 data sets, 1 weights and 2 means"),
    "nothing": ([], [], [], "got 0 data sets"),
}


@pytest.mark.parametrize(("points", "weights", "means", "message"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_data_outside_the_hypotheses_are_refused(points, weights, means, message: str) -> None:
    em = construction(3, 5, 8)
    with pytest.raises(HypothesisError, match=message) as caught:
        em.run(points, weights, means)
    assert "\n" not in str(caught.value)


def test_one_bad_task_of_a_batch_is_refused() -> None:
    with pytest.raises(HypothesisError, match=r"weights sum to 1\.25;"):
        construction(3, 5, 8).run([X, X], [WEIGHTS, torch.tensor([0.5, 0.75])], [MEANS, MEANS])


BAD_CONSTRUCTIONS = {
    "no dimension": ({"max_dim": 0}, "max_dim is 0; a whole number, at least 1"),
    "a fraction of a component": ({"max_components": 2.5}, "max_components is 2.5"),
    "no step": ({"steps": 0}, "steps is 0"),
    "a step that is True": ({"steps": True}, "steps is True"),
    "no pieces": ({"pieces": 0}, "pieces is 0; a whole number, at least 1"),
    "half a piece": ({"pieces": 0.5}, "pieces is 0.5"),
    "floor of zero": ({"floor": 0.0}, r"floor is 0\.0; it lies strictly between 0 and 1"),
    "floor of one": ({"floor": 1.0}, r"floor is 1\.0"),
    "floor nan": ({"floor": math.nan}, "floor is nan"),
    "radius zero": ({"radius": 0.0}, r"radius is 0\.0; it is positive and finite"),
    "radius infinite": ({"radius": math.inf}, "radius is inf"),
    "unknown split": ({"split": "best"}, "split is 'best'; it is 'optimal' or 'equal'"),
}


@pytest.mark.parametrize(("change", "message"), BAD_CONSTRUCTIONS.values(), ids=BAD_CONSTRUCTIONS.keys())
def test_constructions_outside_their_range_are_refused(change: dict, message: str) -> None:
    arguments = {"max_dim": 2, "max_components": 2, "steps": 1, "pieces": 8} | change
    with pytest.raises(ValueError, match=message):
        em_construction(**arguments)


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, -1, 1), (1, 1, 1.5), (True, 1, 1)])
def test_pieces_are_whole_numbers_of_at_least_one(counts: tuple) -> None:
    with pytest.raises(ValueError, match="a whole number, at least 1"):
        Pieces(*counts)


@pytest.mark.parametrize("floor", [1e-15, 1e-20, 1e-100])
def test_a_very_small_floor_is_built_without_a_warning(floor: float) -> None:
    em = em_construction(2, 3, 1, 64, floor=floor)
    assert math.isfinite(em.log_resp.approximation_error)
    assert check_step(em, make_task(2, 3, 20, 0), refreshed=True).broken() == []


def test_floats_of_any_kind_are_accepted_as_data() -> None:
    em = construction(3, 5, 8)
    run = em.run(X.float(), WEIGHTS.float(), MEANS.float())
    assert run.means.dtype == torch.float64
    assert em.run(X, WEIGHTS, MEANS, dtype=torch.float32).means.dtype == torch.float32


def test_weights_are_taken_up_to_the_tolerance_of_their_sum() -> None:
    """A weight above 1 would meet the logarithm where it is held at 0; divided by the sum it does not."""
    em = em_construction(1, 2, 1, Pieces(20000, 20000, 60000), 1e-7, 1.0)
    X = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    weights = torch.tensor([1.0000007, 2e-7], dtype=torch.float64)
    task = Task(X, weights, torch.tensor([[0.3], [-0.2]], dtype=torch.float64))
    run = em.run(task.X, task.weights, task.means, refreshed=True)
    assert float(run.path_weights[0].sum()) <= 1 + 2 * torch.finfo(torch.float64).eps
    assert check_step(em, Task(X, run.path_weights[0], task.means), refreshed=True).broken() == []


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_number_of_steps_that_cannot_be_taken_is_named(steps: object) -> None:
    task = make_task(2, 2, 10, 0)
    with pytest.raises(ValueError, match=rf"steps is {steps!r}; a whole number"):
        em_construction(2, 2, 1, 8).run(task.X, task.weights, task.means, steps=steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("tol", [-1.0, float("nan")])
def test_a_tolerance_that_is_never_met_is_named(tol: float) -> None:
    task = make_task(2, 2, 10, 0)
    with pytest.raises(ValueError, match=f"tol is {tol!r}; it is at least 0"):
        em_construction(2, 2, 1, 8).run(task.X, task.weights, task.means, tol=tol)


def test_numpy_arrays_are_taken_and_other_things_are_named() -> None:
    em, task = em_construction(2, 2, 1, 8), make_task(2, 2, 10, 0)
    arrays = (task.X.numpy(), task.weights.numpy(), task.means.numpy())
    run, same = em.run(*arrays), em.run(task.X, task.weights, task.means)
    assert torch.equal(run.path_means, same.path_means)
    with pytest.raises(HypothesisError, match="got str"):
        em.run("points", "weights", "means")  # type: ignore[arg-type]


def test_a_point_that_only_rounding_puts_outside_the_radius_is_told_the_remedy() -> None:
    X, one = torch.tensor([[0.1], [0.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    mean = torch.zeros(1, 1, dtype=torch.float64)
    message = r"size 0\.100000001; the radius is 0\.1, 0\.10000000149011612 in torch.float32: build with that"
    with pytest.raises(HypothesisError, match=message):
        em_construction(1, 1, 1, 4, radius=0.1).run(X, one, mean, dtype=torch.float32)
    em_construction(1, 1, 1, 4, radius=0.10000000149011612).run(X, one, mean, dtype=torch.float32)
