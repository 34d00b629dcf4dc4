"""Ledger claims about the shipped networks, by the parts of ``python -m training.compare``.

Each is of the form "at least": bound is what is claimed, observed the least over the networks (and K). It
is held when the lower end of the 95 % interval is not below the bound, and every
control, measured by the same code in the same run, is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from training.comparison.adaptation import PART as ADAPTATION
from training.comparison.adaptation.measure import AdaptationResult
from training.comparison.causal import PART as CAUSAL
from training.comparison.causal.measure import CausalResult
from training.comparison.common.parts import Effort, Part, subject_of
from training.comparison.probes import PART as PROBES
from training.comparison.probes.measure import ProbesResult
from training.serving.loading import load_released
from training.serving.shipped import STUDIED
from verify.engine.record import Check, Learned, Record
from verify.learned.weights import DEVICE, NOTE

R = TypeVar("R")

TASKS = 64

PROBED = 0.85
"""R^2 of a linear probe of the last layer for the true means; the control stays below it."""

ARRIVES = 0.3
"""Share of the change to another mixture that arrives with its responsibilities written into the points."""

WORTH = 2.0
"""The mean error after one EM step from N(0, I), in units of that of the network alone."""


@dataclass(frozen=True)
class Measured:
    """A statistic of one network with its 95 % interval, the largest of its controls, and how many tasks."""

    value: float
    interval: tuple[float, float]
    control: float
    tasks: int


def check_probes(seed: int, instances: int) -> list[Record]:
    """The means stand linearly in the last layer, more than in an untrained network, and not by chance."""

    def measure(data: ProbesResult) -> Measured:
        found = {one.network: one for one in data.answers if one.target == "means"}
        learned, untrained = found["learned"], found["untrained"]
        value, low, high = (part[-1][0] for part in (learned.r2, learned.low, learned.high))
        shuffled = max(row[0] for row in learned.shuffled)
        control = max(shuffled, *(row[0] for row in untrained.r2))
        return Measured(value, (low, high), control, data.settings.tasks)

    claim = "a linear probe reads the true means off the last layer's component tokens: R^2 on held-out tasks"
    return [_record(claim, PROBES, measure, PROBED, seed, "untrained at any layer, or shuffled targets")]


def check_patches(seed: int, instances: int) -> list[Record]:
    """The estimate follows responsibilities that are written into the points before the last layer."""

    def measure(data: CausalResult) -> Measured:
        found = []
        for regime in data.regimes:
            learned, untrained = (regime.networks[name].patched.points for name in ("learned", "untrained"))
            value, low, high = learned[-1].other
            controls = [row.random.value for row in learned] + [row.other.value for row in untrained]
            found.append(Measured(value, (low, high), max(controls), regime.tasks))
        return _least(found)

    claim = "of another mixture's responsibilities written into the points before the last layer, arrives"
    control = "a random direction or the untrained network, any layer"
    return [_record(claim, CAUSAL, measure, ARRIVES, seed, control, quick=False)]


def check_worth(seed: int, instances: int) -> list[Record]:
    """The network alone is worth more than one EM step from the paper's start."""

    def measure(data: AdaptationResult) -> Measured:
        found = []
        for regime in data.regimes:
            curves = {name: curve.mean for name, curve in regime.curves.items()}
            em, own, control = curves["normal"][1], curves["learned"][0], curves["untrained"][0]
            # From the ends of two 95 % intervals: at least 90 % whatever their dependence.
            interval = (em.low / own.high, em.high / own.low)
            found.append(Measured(em.value / own.value, interval, em.value / control.value, regime.tasks))
        return _least(found)

    claim = "one EM step from N(0, I) has this many times the mean error of the network alone, at every K"
    return [_record(claim, ADAPTATION, measure, WORTH, seed, "the untrained network in its place")]


def _least(found: list[Measured]) -> Measured:
    """Of several K: the smallest value with its interval, the largest control, all tasks."""
    least = min(found, key=lambda one: one.value)
    worst = max(one.control for one in found)
    return Measured(least.value, least.interval, worst, sum(one.tasks for one in found))


def _record(
    claim: str,
    part: Part[R],
    measure: Callable[[R], Measured],
    bound: float,
    seed: int,
    control: str,
    quick: bool = True,
) -> Record:
    """The least over the shipped networks."""
    check = Check(f"{NOTE}, section 4", seed, "float32", "learned")
    subjects = [subject_of(load_released(name), Effort(quick, seed, TASKS)) for name in STUDIED]
    found = [measure(part.compute(subject, lambda name: None)) for subject in subjects]
    least = min(found, key=lambda one: one.value)
    named = ", ".join(f"{s.released.name}: {one.value:.3g}" for s, one in zip(subjects, found, strict=True))
    worst = max(one.control for one in found)
    steps = sum(subject.released.training["steps"] for subject in subjects)
    return check.record(
        f"{claim}, at least {bound:g}",
        bound,
        least.value,
        sum(one.tasks for one in found),
        all(one.interval[0] >= bound > one.control for one in found),
        f"{named}; control, {control}: {worst:.2g}",
        limit="at least",
        learned=Learned(steps, DEVICE, least.interval),
    )
