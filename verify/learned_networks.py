"""Ledger claims about the shipped networks, by the parts of ``python -m training.compare`` at --quick sizes.

Each is of the form "at least": bound is what is claimed, observed the least over the networks, and the margin
observed / bound. A control is measured by the same code in the same run and must stay below the claim.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.comparison.adaptation import PART as ADAPTATION
from training.comparison.causal import PART as CAUSAL
from training.comparison.parts import Effort, Part, Subject, subject_of
from training.comparison.probes import PART as PROBES
from training.released import SHIPPED, load_released
from verify.learned import DEVICE, NOTE
from verify.record import Record

TASKS = 64

PROBED = 0.85
"""R^2 of a linear probe of the last layer for the true means; the control stays below it."""

ARRIVES = 0.4
"""Share of the change to another mixture that arrives with its responsibilities written into the points."""

WORTH = 2.0
"""EM steps from N(0, I) until the median error is no larger than that of the network alone."""


@dataclass(frozen=True)
class Measured:
    """A statistic of one network with its 95 % interval, the largest of its controls, and how many tasks."""

    value: float
    interval: tuple[float, float]
    control: float
    tasks: int


def check_probes(seed: int, instances: int) -> list[Record]:
    """The means stand linearly in the last layer, not in a network that is untrained, nor by chance."""

    def measure(data: dict[str, Any]) -> Measured:
        found = {one["network"]: one for one in data["answers"] if one["target"] == "means"}
        learned, untrained = found["learned"], found["untrained"]
        value, low, high = (learned[key][-1][0] for key in ("r2", "low", "high"))
        shuffled = max(row[0] for row in learned["shuffled"])
        control = max(shuffled, *(row[0] for row in untrained["r2"]))
        return Measured(value, (low, high), control, data["settings"]["tasks"])

    claim = "a linear probe reads the true means off the last layer's component tokens: R^2 on held-out tasks"
    return [_record(claim, PROBES, measure, PROBED, seed, "untrained at any layer, or shuffled targets")]


def check_patches(seed: int, instances: int) -> list[Record]:
    """The estimate follows responsibilities that are written into the points' stream."""

    def measure(data: dict[str, Any]) -> Measured:
        regime = data["regimes"][0]
        patches = {name: network["patches"]["points"] for name, network in regime["networks"].items()}
        best = max(patches["learned"], key=lambda patch: patch["other"][0])
        control = max(best["random"][0], *(patch["other"][0] for patch in patches["untrained"]))
        value, low, high = best["other"]
        return Measured(value, (low, high), control, regime["tasks"])

    claim = "of another mixture's responsibilities written into the points of one layer, this share arrives"
    return [_record(claim, CAUSAL, measure, ARRIVES, seed, "a random direction, or the untrained network")]


def check_worth(seed: int, instances: int) -> list[Record]:
    """The network alone is worth some EM steps from the paper's start."""

    def measure(data: dict[str, Any]) -> Measured:
        regimes = data["regimes"]
        least = min(regimes, key=lambda r: _steps(r["worth"]["learned"]["normal"]["median"][0]))
        value, low, high = map(_steps, least["worth"]["learned"]["normal"]["median"])
        control = max(_steps(r["worth"]["untrained"]["normal"]["median"][0]) for r in regimes)
        return Measured(value, (low, high), control, least["tasks"])

    claim = "EM from N(0, I) needs this many steps to reach the network's median error, at every K"
    return [_record(claim, ADAPTATION, measure, WORTH, seed, "the untrained network")]


def _steps(value: float | None) -> float:
    """A number of steps as the part gives it, None where EM never gets there."""
    return math.inf if value is None else value


def _record(
    claim: str,
    part: Part,
    measure: Callable[[dict[str, Any]], Measured],
    bound: float,
    seed: int,
    control: str,
) -> Record:
    """The least over the shipped networks; held when it is at least `bound` and every control is below."""
    began = time.perf_counter()
    subjects = [_subject(name, seed) for name in SHIPPED]
    found = [measure(part.compute(subject, lambda name: None)) for subject in subjects]
    least = min(found, key=lambda one: one.value)
    named = ", ".join(f"{s.released.name}: {one.value:.3g}" for s, one in zip(subjects, found, strict=True))
    worst = max(one.control for one in found)
    return Record(
        claim=f"{claim}, at least {bound:g}",
        source=f"{NOTE}, section 4",
        evidence="learned",
        bound=bound,
        observed=least.value,
        margin=least.value / bound,
        instances=sum(one.tasks for one in found),
        dtype="float32",
        seed=seed,
        seconds=time.perf_counter() - began,
        passed=all(one.value >= bound > one.control for one in found),
        note=f"{named}; control, {control}: {worst:.2g}",
        steps=sum(subject.released.training["steps"] for subject in subjects),
        device=DEVICE,
        interval=least.interval,
    )


def _subject(name: str, seed: int) -> Subject:
    return subject_of(load_released(name), Effort(True, seed, TASKS))
