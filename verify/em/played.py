"""The first task of a run, component by component: what the player shows and results.json then holds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from torch import Tensor

from console.output import significant
from console.typed_json import Absent
from verify.em.estimates import Numbers
from verify.em.measure import Measurement
from verify.em.path_picture import in_the_plane
from verify.em.records import pieces_mean
from verify.player.scene import Column

TASK = 0
DIGITS = 4
"""Of a number that the page prints; the whole number is shown when it is pointed at."""


@dataclass(frozen=True)
class Components:
    """Weights (K), means (K x d), and covariances as scikit-learn lays out those of the kind."""

    weights: list[float]
    means: list[list[float]]
    covariances: Annotated[Numbers | None, Absent()] = None


@dataclass(frozen=True)
class Errors:
    """Of the components, and their bounds; of tied covariances one number.

    ``bound`` of one step is the instance bound. A bound is infinite, null in JSON, where nothing is claimed.
    """

    mean_error: list[float]
    mean_bound: list[float]
    weight_error: list[float]
    weight_bound: list[float]
    covariance_error: Annotated[list[float] | None, Absent()] = None
    covariance_bound: Annotated[list[float] | None, Absent()] = None


@dataclass(frozen=True)
class PlayedStep:
    """After a step.

    Attributes:
        layers, em: the mixtures that both hold, from the same start.
        compared: whether EM from the layers' state is defined, by component. one_step: against that.
        claimed: whether the bound along the path is claimed. path: against EM from the same start.
    """

    step: int
    layers: Components
    em: Components
    compared: list[bool]
    one_step: Errors
    claimed: bool
    path: Errors


@dataclass(frozen=True)
class Played:
    """A task of a run: of which problem, from which start, with how many pieces; where it began."""

    problem: str
    start: str
    pieces_mean: int
    task: int
    begin: Components
    steps: list[PlayedStep]


def measurement_to_play(measurements: list[Measurement]) -> Measurement:
    """Of least d >= 2 and most pieces, as in the picture of paths; of a line alone, that of most pieces."""
    found = in_the_plane(measurements)
    return max(measurements, key=lambda m: pieces_mean(m.em)) if found is None else found


def played(m: Measurement) -> Played:
    """The first task of a measurement."""
    steps = [_step(m, t) for t in range(m.run.steps)]
    began = _mixture(m.run.path_weights, m.run.path_means, m.run.path_covariances, 0)
    return Played(m.problem.name, m.problem.start, pieces_mean(m.em), TASK, began, steps)


def _step(m: Measurement, t: int) -> PlayedStep:
    one, bound, along = m.steps[t], m.steps[t].bound, m.bounds
    path = (m.path_error, along.mean, m.path_weight_error, along.weight)
    covariances = (m.path_covariance_error, along.covariance)
    return PlayedStep(
        t + 1,
        _mixture(m.run.path_weights, m.run.path_means, m.run.path_covariances, t + 1),
        _mixture(m.em_weights, m.em_means, m.em_covariances, t + 1),
        one.defined[TASK].tolist(),
        Errors(
            *map(_numbers, (one.mean_error, bound.mean_instance, one.weight_error, bound.weight_instance)),
            *(None if x is None else _numbers(x) for x in (one.covariance_error, bound.covariance_instance)),
        ),
        bool(m.bounds.holds[TASK, t]),
        Errors(
            *(_numbers(x[:, t]) for x in path),
            *(None if x is None else _numbers(x[:, t]) for x in covariances),
        ),
    )


def _mixture(weights: Tensor, means: Tensor, covariances: Tensor | None, t: int) -> Components:
    S = None if covariances is None else covariances[TASK, t].double().tolist()
    return Components(_numbers(weights[:, t]), means[TASK, t].double().tolist(), S)


def _numbers(values: Tensor) -> list[float]:
    return values[TASK].double().tolist()


def columns(found: Played) -> list[Column]:
    """Of the table, printed as the report prints numbers."""
    steps = found.steps
    made = [Column("layers", "weight", "layers.weights", [_printed(s.layers.weights) for s in steps])]
    for group, title in (("one_step", "this step alone"), ("path", "all steps so far")):
        for name in (field.name for field in fields(Errors)):
            held = [getattr(getattr(s, group), name) for s in steps]
            if held[0] is None:
                continue
            rows = [_printed(values) for values in held]
            heading = name.replace("_", " ") if name.endswith("error") else "bound"
            made.append(Column(title, heading, f"{group}.{name}", rows))
    return made


def _printed(values: list[float]) -> list[str]:
    return [significant(value, DIGITS) for value in values]
