"""Diagonal, spherical and tied spherical covariances, layer by layer; and the table of what they take."""

import math

import pytest
import torch
from em_covariances import (
    EIGENVALUES,
    F64,
    RADIUS,
    VARIANCES,
    Task,
    apart,
    construction,
    make_task,
    plain_step,
    state_of,
)
from torch import Tensor

from constructions import em_construction
from constructions.em.tasks import CovarianceType
from constructions.em.variances import VarianceEM, VariancePieces, variance_stream
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.evaluation import Evaluation, State

D0, K0 = 3, 4
EVALUATIONS = ("structured", "dense")
U = unit_roundoff(F64)


def em_of(kind: CovarianceType, pieces: int = 64) -> VarianceEM:
    em = construction(kind, D0, K0, pieces)
    assert isinstance(em, VarianceEM)
    return em


def states(
    em: VarianceEM, task: Task, evaluation: Evaluation = "structured", dtype: torch.dtype = F64
) -> dict[str, State]:
    """The stream after each layer of the first step, by name."""
    layers = em.evaluator(evaluation, dtype, "cpu")
    with torch.no_grad():
        found = layers.block(layers.start(em.tokens(em.gather(*task.parts, dtype=dtype))))
    return dict(zip([layer.name for layer in em.construction.layers], found, strict=True))


def by_component(em: VarianceEM, numbers: Tensor, width: int) -> Tensor:
    """(1, N, K0 width) -> (N, K0, width)."""
    return numbers[0].unflatten(-1, (em.max_components, width))


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", VARIANCES)
@pytest.mark.parametrize("sizes", [(3, 4, 9), (2, 3, 7), (1, 1, 2)])
def test_every_token_holds_the_squares_of_all_differences(
    kind: CovarianceType, sizes: tuple[int, int, int], evaluation: Evaluation
) -> None:
    """f(x - mu_k) for the function of the weights, K not dividing N; means are 0 of what the task has not.

    Means are averages of N numbers K mu with weights off by the rounding of a softmax, gamma_{4N+16}, and of
    log counts; f is at most 2 (2 R) steep and rounds as rounding_error says.
    """
    d, K, N = sizes
    em, task = em_of(kind), make_task(kind, d, K, N, 0)
    s, f, after = em.stream, em.functions.square, states(em, task, evaluation)["P"]
    x, means = torch.zeros(N, D0, dtype=F64), torch.zeros(K0, D0, dtype=F64)
    x[:, :d], means[:K, :d] = task.X, task.means
    wanted = f(x[:, None] - means)
    width = D0 if kind == "diagonal" else 1
    wanted = wanted if kind == "diagonal" else wanted.sum(-1, keepdim=True)
    found = by_component(em, after.read(s.squares), width)
    moved = (gamma(4 * N + 16, U) + 8 * U * math.log(N + 1)) * RADIUS
    slack = D0 * (
        f.scale * f.function.rounding_error(F64) + 2 * f.function.lipschitz * (moved + 4 * U * RADIUS)
    )
    assert (found - wanted).abs().max() <= slack
    assert slack < 1e-9
    if kind == "diagonal":
        assert found[..., d:].count_nonzero() == 0


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", VARIANCES)
def test_every_token_holds_one_over_the_variance_of_its_slot_alone(
    kind: CovarianceType, evaluation: Evaluation
) -> None:
    """The function of the weights at v, times d for spherical kinds, and 0 for other components, exactly."""
    em, task = em_of(kind), make_task(kind, 2, 3, 7, 0)
    s, f, after = em.stream, em.functions.reciprocal, states(em, task, evaluation)["P"]
    width = D0 if kind == "diagonal" else 1
    found = by_component(em, after.read(s.precision), width)
    variances = task.matrices.diagonal(dim1=1, dim2=2)
    slack = f.function.rounding_error(F64) + gamma(4, U) / EIGENVALUES[0]
    for i in range(7):
        for k in range(K0):
            if k != i % 3:
                assert found[i, k].count_nonzero() == 0
            elif kind == "diagonal":
                assert (found[i, k, :2] - f(variances[k])).abs().max() <= slack
            else:
                assert (found[i, k] - 2 * f(2 * variances[k, :1])).abs().max() <= 2 * slack


@pytest.mark.parametrize("kind", VARIANCES)
def test_gates_cost_no_digits_in_float32(kind: CovarianceType) -> None:
    """A variance far below the end of the range: each hinge of 1/x is shut by its own knot, so it rounds as
    the function does alone; a bias of the whole range, 6e4 here, would move each knot by 2e-3."""
    em = em_construction(3, 2, 1, 64, 1e-8, 12.0, covariance_type=kind)  # pyright: ignore
    assert isinstance(em, VarianceEM)
    S = torch.full((), 0.01, dtype=F64)
    shape = {"tied_spherical": (), "spherical": (2,), "diagonal": (2, 3)}[kind]
    task = Task(
        kind,
        0.1 * make_task(kind, 3, 2, 9, 0).X,
        torch.full((2,), 0.5, dtype=F64),
        torch.zeros(2, 3, dtype=F64),
        S.expand(shape),
    )
    f, dtype = em.functions.reciprocal, torch.float32
    found = states(em, task, "dense", dtype)["P"].read(em.stream.precision)[0, 0].double()
    held, times = (0.01, 1.0) if kind == "diagonal" else (0.03, 3.0)
    x = torch.tensor([held], dtype=dtype).double()
    rounding = float(f.function.rounding_error_at(dtype, x)[0]) + 3 * unit_roundoff(dtype) / held
    slack = times * (f.scale * rounding + gamma(4, unit_roundoff(dtype)) / held)
    assert abs(float(found[0]) - times * float(f(x)[0])) <= slack < 0.01 * times / held


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("kind", VARIANCES)
def test_responsibilities_sum_to_one_over_the_components_that_there_are(
    kind: CovarianceType, evaluation: Evaluation
) -> None:
    em, task = em_of(kind), make_task(kind, 2, 3, 7, 0)
    resp = states(em, task, evaluation)["E"].read(em.stream.resp)[0]
    assert resp[:, 3:].count_nonzero() == 0
    assert ((resp.sum(1) - 1).abs() <= gamma(50, U)).all()


@pytest.mark.parametrize("kind", VARIANCES)
def test_variances_are_never_below_zero(kind: CovarianceType) -> None:
    """The chords of squares are convex: an average of them is at least that of the average. Points that are
    one point, or two, and pieces so few that nothing else is right. Rounding of two sums alone is below."""
    for pieces in (4, 7, 64):
        em = em_of(kind, pieces)
        for points in (1, 2):
            task = make_task(kind, 3, 2, 8, pieces)
            X = task.X[:points].repeat(8 // points, 1)
            run = em.run(X, *task.parts[1:], steps=1)
            S = run.path_covariances
            assert S is not None
            size = float((X[:, None] - task.means).square().sum(-1).max())
            hinges = em.functions.square.function.rounding_error(F64)
            assert S[1].min() >= -3 * (2 * hinges + gamma(100, U) * size)


def test_one_point_has_no_variance() -> None:
    """Its mean is the point, and what is left is what the first piece of a square may err: 16 low / M^2."""
    for pieces in (64, 512):
        em = em_of("diagonal", pieces)
        task = make_task("diagonal", 2, 1, 1, 0)
        run = em.run(task.X, task.weights, task.means, task.covariances)
        assert run.path_covariances is not None
        assert run.in_range is not None
        assert run.in_range.tolist() == [True, False]
        assert run.path_covariances[1].abs().max() <= em.functions.square.function.rounding_error(F64) * 2


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_tied_variances_are_an_average_by_weights(evaluation: Evaluation) -> None:
    """T: sum_k pi_k v_k at all tokens, where pi is e^(log pi) as chords have it; K does not divide N."""
    em, task = em_of("tied_spherical"), make_task("tied_spherical", 2, 3, 7, 0)
    found, s = states(em, task, evaluation), em.stream
    v, log_pi = (found["M"].read(block)[0] for block in (s.v, s.log_pi))
    weights = log_pi[0, :3].softmax(0)
    wanted = (weights * v[:3, 0]).sum()
    pooled = found["T"].read(s.v)[0, :, 0]
    assert (pooled - wanted).abs().max() <= gamma(4 * 7 + 30, U) * float(v.max())
    assert (weights - 1 / 3).abs().max() > 0.05  # equal weights would be something else
    assert v[:3].max() > 1.05 * v[:3].min()


@pytest.mark.parametrize("kind", VARIANCES)
def test_what_a_step_leaves_is_what_it_began_with(kind: CovarianceType) -> None:
    """Every block that is no input of the first layer is empty again."""
    em, task = em_of(kind), make_task(kind, 2, 3, 7, 0)
    *_, last = states(em, task, "dense").values()
    inputs = set(em.construction.inputs)
    for block in em.stream.blocks:
        if block not in inputs:
            assert last.read(block).count_nonzero() == 0, block


@pytest.mark.parametrize("kind", VARIANCES)
def test_scale_does_not_matter(kind: CovarianceType) -> None:
    """Data and range eight times as large: every knot is multiplied by a power of two and so is every error.

    All but the logarithms of variances, which shift by 2 log 8; their chords then err alike on the same
    pieces, up to the rounding of knots: the same weights to 1e-9, though chords err by 1e-3.
    """
    task = make_task(kind, 2, 3, 30, 1)
    one = em_construction(2, 3, 1, 64, 1e-12, 12.0, covariance_type=kind, eigenvalues=(0.01, 100.0))  # pyright: ignore
    other = em_construction(2, 3, 1, 64, 1e-12, 96.0, covariance_type=kind, eigenvalues=(0.64, 6400.0))  # pyright: ignore
    large = Task(kind, 8 * task.X, task.weights, 8 * task.means, 64 * task.covariances)
    a, b = state_of(one.run(*task.parts)), state_of(other.run(*large.parts))
    assert (a.weights - b.weights).abs().max() < 1e-9
    assert (8 * a.means - b.means).abs().max() < 1e-8
    assert (64 * a.covariances - b.covariances).abs().max() < 1e-7
    assert max(apart(a, plain_step(task)).largest) > 1e-5


@pytest.mark.parametrize(("kind", "layers"), [("diagonal", 3), ("spherical", 3), ("tied_spherical", 4)])
def test_the_table_counts_what_is_built(kind: CovarianceType, layers: int) -> None:
    em = em_construction(3, 2, 5, VariancePieces(8, 9, 10, 11, 12), covariance_type=kind)  # pyright: ignore
    assert isinstance(em, VarianceEM)
    found = em.resources()
    assert found.layers == 5 * layers
    assert found.heads == 4
    assert found.width == variance_stream(kind, 3, 2).width  # pyright: ignore[reportArgumentType]
    table = em.resource_table()
    assert f"{layers} L, L = 5" in table
    assert f"{found.parameters:,}" in table
    f = em.functions
    assert (f.log_resp.pieces, f.log_pi.pieces, f.square.function.pieces) == (8, 9, 10)
    assert (f.reciprocal.function.pieces, f.log_variance.pieces) == (11, 12)
