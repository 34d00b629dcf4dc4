"""Wrong constructions with covariances fail the check that the right ones pass, on the same tasks.

Each mutant has one mistake, written in the language: parts of one layer are replaced. With 1024 pieces the
tolerances are near 1e-3, so that a small mistake shows; K = 4 does not divide the number of points.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from em_covariance_errors import broken, step_tolerance
from em_covariances import KINDS, Task, apart, construction, make_task, plain_step, state_of

from constructions import Layer, SoftmaxHead, linear_pair
from constructions.em.matrices import MatrixEM
from constructions.em.shared import mean_head, responsibility_head, weight_head
from constructions.em.tasks import CovarianceType
from constructions.em.variances import VarianceEM
from constructions.language.curves import Curve
from constructions.language.gates import apply_where, contract, pick, place
from constructions.language.mlp import apply, clear, move, summed
from constructions.language.piecewise import PiecewiseLinear, chords, uniform
from constructions.language.scores import dot, key_only
from constructions.language.stream import Stream
from constructions.language.structured.evaluation import Evaluation
from constructions.matrices.products import score, times, total

EM = VarianceEM | MatrixEM
Mutant = Callable[[EM], EM]
PIECES = 1024
IDENTITY = chords(
    Curve("x", np.positive, torch.positive, torch.zeros_like), uniform(0.0, 600.0, 1), inputs=(0.0, 1200.0)
)


def right(kind: CovarianceType) -> EM:
    return construction(kind, 3, 4, PIECES)


def tasks(kind: CovarianceType) -> list[Task]:
    return [make_task(kind, 3, 4, 41, seed, apart=2.0, condition=3.0) for seed in range(2)]


def faults(em: EM, step: int, evaluation: Evaluation = "structured") -> list[str]:
    """The check of test_covariance_steps on one step of a path, the others taken for granted."""
    found, kind = [], em.covariance_type
    for task in tasks(kind):
        run = em.run(*task.parts, steps=step, evaluation=evaluation)
        now = task.after(run, step - 1)
        limit = step_tolerance(right(kind), now, refreshed=step > 1)
        found += broken(apart(state_of(run, step), plain_step(now)), limit)
    return found


def put(em: EM, name: str, **new: tuple) -> EM:
    """Heads or parts of the MLP of one layer replaced."""
    layers = tuple(
        dataclasses.replace(one, **new) if one.name == name else one for one in em.construction.layers
    )
    return dataclasses.replace(em, construction=dataclasses.replace(em.construction, layers=layers))


def layer(em: EM, name: str) -> Layer:
    (found,) = (one for one in em.construction.layers if one.name == name)
    return found


def part(name: str, index: int, new: Callable[[EM, Stream], object]) -> Mutant:
    """A part of an MLP replaced."""

    def mutant(em: EM) -> EM:
        old = layer(em, name).mlp
        return put(em, name, mlp=(*old[:index], new(em, em.stream), *old[index + 1 :]))

    return mutant


def head(name: str, index: int, new: Callable[[EM, Stream], object]) -> Mutant:
    """A head replaced."""

    def mutant(em: EM) -> EM:
        old = layer(em, name).heads
        return put(em, name, heads=(*old[:index], new(em, em.stream), *old[index + 1 :]))

    return mutant


def square(em: EM) -> PiecewiseLinear:
    return em.functions.square.function


def reciprocal(em: EM) -> PiecewiseLinear:
    return em.functions.reciprocal.function


def natural_score(quadratic: float = 0.5, log_det: float = 0.5, count: float = 1.0) -> Mutant:
    """E of variances."""

    def wrong(em: EM, s: Stream):
        q, k = s.query, s.key
        determinant = dot(q.dim, k.log_det) if "dim" in s else dot(q.one, k.log_det)
        fit = -quadratic * dot(q.squares, k.precision)
        return responsibility_head(s, fit, log_det * determinant, count * key_only(k.log_count))

    return head("E", 0, wrong)


def matrix_score(form: float = 0.5, norm: float = 0.5, log_det: float = 0.5, hide: float = 1.0) -> Mutant:
    """E of matrices."""

    def wrong(em: EM, s: Stream):
        q, k = s.query, s.key
        fit = dot(q.x, k.eta) - form * dot(q.xx, k.precision)
        less = hide * em.bounds.hide * key_only(k.other)
        return responsibility_head(s, fit, norm * key_only(k.norm) + log_det * key_only(k.log_det), less)

    return head("E", 0, wrong)


def hidden(em: EM, s: Stream):
    return em.bounds.hide * key_only(s.key.register)


def old_mean_in_the_product(em: EM) -> EM:
    """S of matrices about the mean before: E leaves mu, which M puts in the place of the new one."""
    e, m, s = layer(em, "E"), layer(em, "M"), em.stream
    kept = tuple(one for one in e.mlp if one.clears != (s.mu,))
    column = pick(s.mu, by=s.ids, write=s.column, bound=em.bounds.mean)
    new_m = dataclasses.replace(m, mlp=(clear(s.mu), move(s.new_mu, s.mu), column, *m.mlp[2:]))
    changed = {"E": dataclasses.replace(e, mlp=kept), "M": new_m}
    layers = tuple(changed.get(one.name, one) for one in em.construction.layers)
    return dataclasses.replace(em, construction=dataclasses.replace(em.construction, layers=layers))


VARIANCES: tuple[CovarianceType, ...] = ("diagonal", "spherical", "tied_spherical")
DIAGONAL: tuple[CovarianceType, ...] = ("diagonal",)
MATRICES: tuple[CovarianceType, ...] = ("full", "tied")

Entry = tuple[tuple[CovarianceType, ...], int, Mutant]
FIRST: dict[str, tuple[tuple[CovarianceType, ...], Mutant]] = {
    # Of tied covariances a softmax over components sees neither the log-determinant nor x^T P x, and their
    # moments are those of all points.
    "log det dropped": (("diagonal", "spherical"), natural_score(log_det=0.0)),
    "log det without 1/2": (("diagonal", "spherical"), natural_score(log_det=1.0)),
    "sign of log det": (("diagonal", "spherical"), natural_score(log_det=-0.5)),
    "quadratic form without 1/2": (VARIANCES, natural_score(quadratic=1.0)),
    "log count dropped in E": (VARIANCES, natural_score(count=0.0)),
    "log count dropped in P": (
        VARIANCES,
        head("P", 0, lambda em, s: SoftmaxHead(0.0 * dot(s.query.one, s.key.log_count), s.placed, s.centres)),
    ),
    "sign of log count in P": (
        VARIANCES,
        head("P", 0, lambda em, s: SoftmaxHead(dot(s.query.one, s.key.log_count), s.placed, s.centres)),
    ),
    "variance in the place of its inverse": (
        DIAGONAL,
        part("P", 1, lambda em, s: apply_where(IDENTITY, s.v, s.slot, s.precision)),
    ),
    "inverse without its d": (
        ("spherical", "tied_spherical"),
        part(
            "P",
            1,
            lambda em, s: apply_where(
                em.functions.reciprocal.function, s.v, s.slot_dim, s.precision, (1.0,) * 3
            ),
        ),
    ),
    "squares not centred on their errors": (
        VARIANCES,
        part(
            "P", 0, lambda em, s: apply(em.functions.square.function, s.x, s.squares, 1.01, minus=s.centres)
        ),
    ),
    "moments about the old mean not corrected": (
        VARIANCES,
        part("M", 0, lambda em, s: contract(s.second, by=s.slot, write=s.v, bound=4096.0)),
    ),
    "correction added": (
        VARIANCES,
        part(
            "M",
            0,
            lambda em, s: summed(
                contract(s.second, by=s.slot, write=s.v, bound=4096.0),
                apply(square(em), s.new_mu, s.v, em.functions.square.scale, minus=s.mu),
            ),
        ),
    ),
    "moments attend by resp": (
        VARIANCES,
        head("M", 2, lambda em, s: SoftmaxHead(dot(s.query.slot, s.key.resp), s.squares, s.second)),
    ),
    "pool with equal weights": (
        ("tied_spherical",),
        head("T", 0, lambda em, s: SoftmaxHead(-1.0 * dot(s.query.one, s.key.log_count), s.v, s.pooled)),
    ),
    "pool without log count": (
        ("tied_spherical",),
        head("T", 0, lambda em, s: SoftmaxHead(dot(s.query.log_pi, s.key.slot), s.v, s.pooled)),
    ),
    "log det of matrices dropped": (("full",), matrix_score(log_det=0.0)),
    "log det of matrices without 1/2": (("full",), matrix_score(log_det=1.0)),
    "form without 1/2": (("full",), matrix_score(form=1.0)),
    "norm without 1/2": (MATRICES, matrix_score(norm=1.0)),
    "norm dropped": (MATRICES, matrix_score(norm=0.0)),
    "hide dropped in E": (MATRICES, matrix_score(hide=0.0)),
    "S in the place of P": (
        ("full",),
        part("inverse", 1, lambda em, s: place(s.row, by=s.axis, write=s.flat, bound=em.bounds.covariance)),
    ),
    "hide dropped in means": (
        MATRICES,
        head("M", 0, lambda em, s: mean_head(s, s.x, s.new_mu, s.query.member)),
    ),
    "hide dropped in moments": (
        MATRICES,
        head("M", 1, lambda em, s: mean_head(s, s.xx, s.second, s.query.member)),
    ),
    "hide dropped in weights": (MATRICES, head("M", 2, lambda em, s: weight_head(s))),
    "moments of the wrong rows": (
        ("full",),
        head("M", 1, lambda em, s: mean_head(s, s.xx, s.second, s.query.slot, hidden(em, s))),
    ),
    "product of the old means": (MATRICES, old_mean_in_the_product),
    "products of means added": (
        MATRICES,
        head(
            "S",
            0,
            lambda em, s: total(
                times(s.ids, s.ids, s.moment, s.row), linear_pair(score(s.column, s.column), s.axis, s.row)
            ),
        ),
    ),
    "tied with equal weights": (
        ("tied",),
        head("T", 0, lambda em, s: linear_pair(score(s.axis, s.axis), s.row, s.pooled, 0.25)),
    ),
}
SECOND: dict[str, tuple[tuple[CovarianceType, ...], Mutant]] = {
    # What a step leaves for the next: the tokens of the first one hold it exactly.
    "x in the place of K x": (
        VARIANCES,
        head("M", 1, lambda em, s: mean_head(s, s.x, s.wide_mu, s.query.slot)),
    ),
    "log of weights dropped": (("diagonal", "full"), lambda em: _log_pi(em, 0.0)),
    "log of weights doubled": (("diagonal", "spherical", *MATRICES), lambda em: _log_pi(em, 2.0)),
    "matrices of the rows doubled": (
        ("full",),
        part("S", 0, lambda em, s: summed(*(place(s.row, s.member, s.A, em.bounds.covariance),) * 2)),
    ),
}


def _log_pi(em: EM, scale: float) -> EM:
    old, s = layer(em, "M").mlp, em.stream
    log_pi = em.log_pi if isinstance(em, MatrixEM) else em.functions.log_pi
    wrong = apply(log_pi, s.pi, s.log_pi, scale)
    assert sum(one.writes == (s.log_pi,) for one in old) == 1
    return put(em, "M", mlp=tuple(wrong if one.writes == (s.log_pi,) else one for one in old))


def of_kinds(mutants: dict[str, tuple[tuple[CovarianceType, ...], Mutant]]) -> list:
    return [
        pytest.param(kind, mutant, id=f"{name}, {kind}")
        for name, (kinds, mutant) in mutants.items()
        for kind in kinds
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_constructions_pass(kind: CovarianceType) -> None:
    for step in (1, 2):
        assert faults(right(kind), step) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_layers_written_again_pass(kind: CovarianceType) -> None:
    em = right(kind)
    again = natural_score() if isinstance(em, VarianceEM) else matrix_score()
    assert faults(again(em), 1) == []
    assert faults(_log_pi(em, 1.0), 2) == []


@pytest.mark.parametrize(("kind", "mutant"), of_kinds(FIRST))
def test_a_mistake_breaks_the_first_step(kind: CovarianceType, mutant: Mutant) -> None:
    assert faults(mutant(right(kind)), 1) != []


@pytest.mark.parametrize(("kind", "mutant"), of_kinds(SECOND))
def test_a_mistake_in_what_a_step_leaves_breaks_the_second(kind: CovarianceType, mutant: Mutant) -> None:
    wrong = mutant(right(kind))
    assert faults(wrong, 1) == []
    assert faults(wrong, 2) != []


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_mistakes_show_in_dense_weights_too(kind: CovarianceType) -> None:
    score = natural_score(log_det=1.0) if kind == "diagonal" else matrix_score(log_det=1.0)
    em = construction(kind, 3, 4, 256)
    for wrong, shown in ((em, False), (score(em), True)):
        found = []
        for task in tasks(kind):
            run = wrong.run(*task.parts, evaluation="dense")
            found += broken(apart(state_of(run), plain_step(task)), step_tolerance(em, task))
        assert bool(found) == shown


def test_tied_covariances_need_no_determinant() -> None:
    """One constant for all components: dropping it changes rounding alone."""
    for kind, mutant in (("tied_spherical", natural_score(log_det=0.0)), ("tied", matrix_score(log_det=0.0))):
        assert faults(mutant(right(kind)), 1) == []
