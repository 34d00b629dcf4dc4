"""Full and tied covariances, layer by layer: precisions to the last digits, moments, pools, and the table."""

import dataclasses

import pytest
import torch
from em_covariance_errors import precision_error
from em_covariances import (
    F64,
    FLOOR,
    MATRICES,
    RADIUS,
    Task,
    construction,
    make_task,
    responsibilities,
    with_newton_steps,
)
from torch import Tensor

from constructions import em_construction
from constructions.em.matrices import (
    Bounds,
    MatrixEM,
    MatrixPieces,
    matrix_stream,
    newton_steps_for,
)
from constructions.em.rows import RowTokens
from constructions.em.tasks import CovarianceType, Range
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.structured.evaluation import Evaluation, State
from constructions.matrices.newton import start_of

# Chords of 1/x err by 1e-2 here: two steps of Newton leave 1e-8, three 1e-16.
EIGENVALUES = (1e-4, 8e3)


def em_of(kind: CovarianceType, d: int = 3, K: int = 3, pieces: int = 64) -> MatrixEM:
    em = construction(kind, d, K, pieces, EIGENVALUES)
    assert isinstance(em, MatrixEM)
    return em


def states(
    em: MatrixEM, task: Task, evaluation: Evaluation = "structured", dtype: torch.dtype = F64
) -> dict[str, State]:
    """What the stream is after each layer of the first pass, by the name of the layer; the last of a name."""
    names = [em.construction.layers[number].name for number in em.construction.sequence]
    layers = em.evaluator(evaluation, dtype, "cpu")
    with torch.no_grad():
        found = list(layers.states(layers.start(em.tokens(em.gather(*task.parts, dtype=dtype)))))
    return dict(zip(names, found, strict=True))


def rows_of(em: MatrixEM, task: Task, numbers: Tensor) -> Tensor:
    """(T, width) -> (K, d, width)."""
    return RowTokens(em.stream, em.gather(*task.parts)).of_rows(numbers)[0]


def precisions(
    em: MatrixEM, task: Task, evaluation: Evaluation = "structured", dtype: torch.dtype = F64
) -> Tensor:
    """(K, d, d) that the layer called inverse leaves; a row (k, a) holds P_k in the columns of k alone."""
    K, d = task.means.shape
    X = rows_of(em, task, states(em, task, evaluation, dtype)["inverse"].read(em.stream.X))
    wide = X.unflatten(-1, (em.max_components, em.max_dim))
    for k in range(K):
        for other in range(em.max_components):
            assert other == k or wide[k, :, other].count_nonzero() == 0
    return torch.stack([wide[k, :, k, :d] for k in range(K)]).double()


def precision_faults(em: MatrixEM, task: Task, evaluation: Evaluation, dtype: torch.dtype = F64) -> list[int]:
    """Matrices whose inverse is outside the bound of the sweeps, with twice the rounding of the reference.

    linalg.inv of a matrix of condition c is off by at most about c gamma_{8 d} of its norm (Higham, 14.1).
    """
    found, faults = precisions(em, task, evaluation, dtype), []
    for k, S in enumerate(task.matrices):
        P, values = torch.linalg.inv(S), torch.linalg.eigvalsh(S)
        reference = gamma(8 * len(S), 2.0**-53) * float(values[-1] / values[0]) * float(P.norm())
        if not bool(((found[k] - P).abs() <= precision_error(em, S, dtype).inverse + reference).all()):
            faults.append(k)
    return faults


PRECISION_TASKS = [(1, 1, 3), (2, 3, 9), (3, 3, 12)]


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
@pytest.mark.parametrize("kind", MATRICES)
def test_precisions_are_exact_to_rounding(kind: CovarianceType, evaluation: Evaluation, dtype) -> None:
    em = em_of(kind)
    for seed, size in enumerate(PRECISION_TASKS):
        for condition in (1.0, 20.0, 1e4):
            task = make_task(kind, *size, seed, condition).rounded(dtype)
            S = (task.covariances + task.covariances.mT) / 2
            task = dataclasses.replace(task, covariances=S)
            assert precision_faults(em, task, evaluation, dtype) == []


@pytest.mark.parametrize("kind", MATRICES)
def test_one_newton_step_less_breaks_the_bound_of_the_precisions(kind: CovarianceType) -> None:
    """It leaves 1e-8 of 1/p where chords err most; in means no number of pieces that fits would show it."""
    em = em_of(kind)
    same, less = (with_newton_steps(em, em.newton_steps - n) for n in (0, 1))
    broken = 0
    for seed, size in enumerate(PRECISION_TASKS):
        task = make_task(kind, *size, seed, 20.0)
        assert precision_faults(same, task, "structured") == []
        broken += len(precision_faults(less, task, "structured"))
    assert broken >= len(PRECISION_TASKS)


def test_as_many_newton_steps_as_the_last_digits_take() -> None:
    for low, high in [(1e-4, 8e3), (1e-2, 1e2), (0.5, 2.0), (1e-8, 1e8)]:
        start = start_of("1/x", low, high, 64)
        steps = newton_steps_for(start)
        assert start.error ** (2**steps) <= unit_roundoff(F64) < start.error ** (2 ** (steps - 1))
    assert newton_steps_for(start_of("1/x", 1.0, 1.0 + 1e-9, 64)) == 1


@pytest.mark.parametrize("kind", MATRICES)
def test_log_determinants_are_those_of_the_pivots(kind: CovarianceType) -> None:
    """At the leading rows, and nowhere else; within the bound of the sweeps."""
    em = em_of(kind)
    for seed, size in enumerate(PRECISION_TASKS):
        task = make_task(kind, *size, seed, 20.0)
        after = states(em, task)["natural"]
        held = rows_of(em, task, after.read(em.stream.log_det))[..., 0]
        assert held[:, 1:].count_nonzero() == 0
        assert after.read(em.stream.log_det)[0, : len(task.X)].count_nonzero() == 0
        for k, S in enumerate(task.matrices):
            assert abs(float(held[k, 0] - torch.logdet(S))) <= precision_error(em, S).log_det + 1e-12


@pytest.mark.parametrize("kind", MATRICES)
def test_natural_parameters_stand_at_the_leading_rows(kind: CovarianceType) -> None:
    """P mu, P as one vector and mu^T P mu, each with the rounding of d^2 products more than P has."""
    em, task = em_of(kind), make_task(kind, 3, 3, 12, 1)
    found, s = states(em, task), em.stream
    P = precisions(em, task)
    precision, eta = (rows_of(em, task, found["natural"].read(b)) for b in (s.precision, s.eta))
    norm = rows_of(em, task, found["norm"].read(s.norm))[..., 0]
    assert precision[:, 1:].count_nonzero() == eta[:, 1:].count_nonzero() == norm[:, 1:].count_nonzero() == 0
    unit = gamma(40, 2.0**-53)
    gate = 4 * gamma(3, 2.0**-53)
    assert (
        (precision[:, 0] - P.flatten(1)).abs() <= unit * P.flatten(1).abs() + gate * em.bounds.precision
    ).all()
    wanted = torch.einsum("kab,kb->ka", P, task.means)
    sizes = torch.einsum("kab,kb->ka", P.abs(), task.means.abs())
    slack = unit * sizes + gate * (em.bounds.eta + em.bounds.mean * P.abs().sum(-1))
    assert ((eta[:, 0] - wanted).abs() <= slack).all()
    square = (task.means * wanted).sum(-1)
    slack = (task.means.abs() * (slack + unit * sizes)).sum(-1) + gate * em.bounds.mean * sizes.sum(-1)
    assert ((norm[:, 0] - square).abs() <= slack).all()


@pytest.mark.parametrize("kind", MATRICES)
def test_responsibilities_are_exact_but_for_the_logarithm_of_pivots(kind: CovarianceType) -> None:
    """With 4096 pieces a log-determinant errs by d times (log(8e7)/4096)^2 / 8 = 2.5e-6 d, a half in a logit;
    so by as much a responsibility, whose derivatives are at most 1/4 each for two logits."""
    em = em_of(kind, pieces=4096)
    for seed in range(4):
        task = make_task(kind, 3, 3, 20, seed)
        run = em.run(*task.parts)
        assert em.log_pivot.approximation_error <= 2.5e-6
        error = (run.path_responsibilities[0].mT - responsibilities(task)).abs()
        assert error.max() <= 3 * 2.5e-6
        assert ((run.path_responsibilities[0].sum(0) - 1).abs() <= gamma(40, 2.0**-53)).all()


@pytest.mark.parametrize("evaluation", ["structured", "dense"])
def test_tied_covariances_are_the_same_in_all_components(evaluation: Evaluation) -> None:
    """Each row a is summed at the tokens (k, a) of every k: K terms in one order or another."""
    em, task = em_of("tied"), make_task("tied", 3, 3, 12, 1)
    rows = rows_of(em, task, states(em, task, evaluation)["T"].read(em.stream.A))
    blocks = rows.unflatten(-1, (3, 3))
    S = torch.stack([blocks[k, :, k] for k in range(3)])
    size = float(S.abs().max()) + 3 * em.bounds.covariance
    assert (S - S[:1]).abs().max() <= 4 * gamma(8, 2.0**-53) * size


@pytest.mark.parametrize("kind", MATRICES)
def test_bounds_hold_what_the_gates_read(kind: CovarianceType) -> None:
    """For every eigenvalue in the range and points up to the radius."""
    span = Range(0.01, 100.0)
    b = Bounds.of(3, RADIUS, span)
    assert all(value == 2.0 ** round(torch.tensor(value).log2().item()) for value in dataclasses.astuple(b))
    corner = torch.full((3,), RADIUS, dtype=F64)
    P = torch.eye(3, dtype=F64) / span.low
    assert b.mean >= 1.06 * RADIUS
    assert b.second >= 1.06 * RADIUS**2
    assert b.covariance >= 2 * 1.06 * RADIUS**2
    assert b.precision >= 1.06 / span.low
    assert b.eta >= 1.06 * float((P @ corner).abs().max())
    assert b.scale >= span.high
    # The least score of a leading row is that of the farthest point, with every other term at its largest.
    farthest = -0.5 * float((2 * corner) @ P @ (2 * corner))
    least = farthest + 3 * torch.tensor(FLOOR).log().item() - 1.5 * torch.tensor(span.high).log().item()
    assert -b.hide < least - 800  # exp(-800) is 0
    task = make_task(kind, 3, 2, 9, 0)
    X = torch.cat([RADIUS * torch.sign(task.X[:5]), task.X[5:]])
    run = construction(kind, 3, 2, 64).run(X, *task.parts[1:])
    assert run.path_responsibilities[0].isfinite().all()
    assert (run.path_responsibilities[0].sum(0) - 1).abs().max() <= gamma(40, 2.0**-53)


def test_the_table_counts_what_is_built() -> None:
    for kind, rest in (("full", 6), ("tied", 7)):
        em = em_construction(3, 2, 4, MatrixPieces(8, 9, 10), covariance_type=kind)  # pyright: ignore
        assert isinstance(em, MatrixEM)
        found, t = em.resources(), em.newton_steps
        assert found.layers == 4 * ((t + 3) * 3 + rest)
        assert len(em.construction.layers) == 4 + rest
        assert found.width == matrix_stream(3, 2, kind).width  # pyright: ignore[reportArgumentType]
        table = em.resource_table()
        assert f"((t + 3) d0 + {rest}) L, t = {t}, L = 4" in table
        assert f"{found.parameters:,}" in table
        assert (em.log_resp.pieces, em.log_pi.pieces, em.log_pivot.pieces) == (8, 9, 10)
