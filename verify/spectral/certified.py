"""Certificates of what the spectral command measures, one a record."""

from __future__ import annotations

from dataclasses import replace

from constructions.spectral.exact import Problem
from constructions.spectral.weights import SpectralConstruction
from verify.engine.certificates import tasks_certified
from verify.spectral.families import chosen
from verify.spectral.measure import Measurement, Row
from verify.spectral.options import Options
from verify.spectral.theorem import SQUARES, Spectral


class OfWeights(Spectral):
    """The theorem for the weights of a command: their own numbers of iterations."""

    def __init__(self, weights: SpectralConstruction) -> None:
        plan = weights.plan
        self.options = {"steps": plan.steps, "variance": plan.variance}  # pyright: ignore[reportAttributeAccessIssue]
        if plan.read_in == "squares":
            self.quantities = SQUARES.quantities  # pyright: ignore[reportAttributeAccessIssue]


A_STEP = 40
"""Numbers that take as long as a step of the power iteration does whatever its size."""


def numbers(problem: Problem, steps: int) -> int:
    """What the time of a certificate goes with: points, and products of all starts in every step."""
    (N, d), K, S = problem.X.shape[1:], problem.n_components, problem.directions.shape[1]
    return N * d * K + 2 * K * steps * (A_STEP + S * K**2)


def with_certificate(line: Row, m: Measurement, options: Options) -> Row:
    """The record with a certificate of its first tasks that both sides solve."""
    solved = m.covered.nonzero()[:, 0].tolist()
    size = numbers(m.problem, m.weights.plan.steps)
    tasks = tasks_certified(options.certify, len(solved), size, 1) if solved else 0
    if not tasks:
        return line
    from verify.certify.rows import certificates, of_step  # python-flint, which not everybody has

    problem = chosen(m.problem, solved[:tasks])
    on = options.dtype, 1, tasks, options.evaluation
    return replace(line, certified=of_step(certificates(OfWeights(m.weights), m.weights, problem, *on), 1))
