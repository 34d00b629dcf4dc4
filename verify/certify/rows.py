"""Certificates of the tasks that a command runs, gathered into one for each record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from constructions.language.hypotheses import HypothesisError
from constructions.language.structured.evaluation import Evaluation
from verify.balls.arithmetic import ball_arithmetic
from verify.balls.array import Balls, balls, lower_ends, plain, upper_ends
from verify.balls.flint import Undecided, precision
from verify.certify.certificate import BITS, Certified, certify, severity
from verify.certify.network.interpreter import interpreter
from verify.certify.network.reading import read_weights
from verify.engine.certificates import Certificate
from verify.engine.theorem import States, Theorem, first_tasks

Places = dict[tuple[int, str], Certificate]
"""Step and quantity -> certificate."""


def certificates(
    theorem: Theorem[Any],
    weights: Any,
    instance: Any,
    dtype: torch.dtype,
    steps: int,
    tasks: int,
    evaluation: Evaluation = "dense",
    approximation: bool = False,
) -> Places:
    """The first ``tasks`` tasks, run again by themselves; nothing where they leave the hypotheses.

    Args:
        instance: of numbers that ``dtype`` holds.
        approximation: whether the weights' function itself is evaluated in balls too, where a step of the
            theorem is a pass of the layers: seconds for each set of weights.
    """
    if not tasks:
        return {}
    chosen = first_tasks(instance, tasks)
    try:
        states = theorem.run(weights, chosen, dtype, steps=steps, evaluation=evaluation)
    except HypothesisError:
        return {}
    found: dict[tuple[int, str], list[Certified]] = {}
    for of_task in certify(theorem, weights, chosen, states, dtype):
        for one in of_task:
            found.setdefault((one.step, one.quantity), []).append(one)
    asked = approximation and theorem.a_step_is_a_pass
    ends = _approximations(theorem, weights, chosen, dtype, steps, tasks) if asked else {}
    return {place: _together(of_place, ends.get(place)) for place, of_place in found.items()}


def of_step(places: Places, step: int) -> Certificate | None:
    """That of all quantities together; None where nothing was certified."""
    found = [one for (at, _), one in places.items() if at == step]
    return max(found, key=lambda one: severity(one.verdict, one.error, one.bound)) if found else None


def _together(certified: Iterable[Certified], ends: tuple[float, float] | None) -> Certificate:
    found = list(certified)
    worst = max(found, key=lambda one: severity(one.verdict, one.error, one.bound))
    return Certificate(worst.verdict, worst.error, worst.bound, worst.bits, len(found), ends)


def _approximations(
    theorem: Theorem[Any], weights: Any, instance: Any, dtype: torch.dtype, steps: int, tasks: int
) -> dict[tuple[int, str], tuple[float, float]]:
    """Largest distance, over tasks and items, of the weights' function from the algorithm."""
    found: dict[tuple[int, str], tuple[float, float]] = {}
    for task in range(tasks):
        one = theorem.task(instance, task)
        for place, (low, high) in _of_task(theorem, weights, one, dtype, steps).items():
            before = found.get(place, (0.0, 0.0))
            found[place] = max(before[0], low), max(before[1], high)
    return found


def _of_task(
    theorem: Theorem[Any], weights: Any, instance: Any, dtype: torch.dtype, steps: int
) -> dict[tuple[int, str], tuple[float, float]]:
    for bits in BITS:
        try:
            with precision(bits):
                layers = layers_in_balls(theorem, weights, instance, dtype, steps)
            with ball_arithmetic(bits):
                exact = theorem.exact(instance, steps)
                off = {
                    name: balls(torch.linalg.vector_norm(x - exact[name], dim=-1))
                    for name, x in layers.items()
                }
        except Undecided:
            continue
        return {
            (step, name): (
                _largest(lower_ends(x[0, step])),
                _largest(upper_ends(x[0, step])),
            )
            for name, x in off.items()
            for step in range(1, steps + 1)
        }
    return {}


def _largest(ends: Tensor) -> float:
    return plain(lambda: float(ends.clamp_min(0).amax()), (), {})


def layers_in_balls(
    theorem: Theorem[Any], weights: Any, instance: Any, dtype: torch.dtype, steps: int
) -> States:
    """The path of one task as the weights' function has it in real arithmetic, at the precision in force."""
    tokens, mask = theorem.embed(weights, instance, dtype)
    network = interpreter(read_weights(weights.to_transformer(dtype)))
    rows = network.rows(tokens[0], mask[0])
    path = [theorem.decode(weights, instance, _stream(rows))]
    for _ in range(steps):
        *_, rows = network.block(rows)
        path.append(theorem.decode(weights, instance, _stream(rows)))
    return {name: torch.stack([state[name] for state in path], 1) for name in path[0]}


def _stream(rows: Any) -> Balls:
    return Balls.of([entry for row in rows for entry in row], (1, len(rows), len(rows[0])))
