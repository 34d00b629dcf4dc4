"""The claims of paper_notes/finding_the_theorem.md that ``python -m verify`` checks: networks trained anew.

As in verify.learned.weights, a claim is held only if its control, measured by the same code, fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from training.comparison.finding.design import CELLS, FindingSettings, settings_of
from training.comparison.finding.interchange import measure_interchange
from training.comparison.finding.learning.training import train_cell
from training.comparison.finding.measure import Rule, blocks_of, held_out_tasks, measure_networks
from training.comparison.finding.references import untrained
from training.comparison.finding.summary import FOUND
from training.comparison.origins.em_problem import EMProblem
from training.comparison.rule.measure import measure_rule
from training.comparison.rule.settings import FITTED_NAME, SHUFFLED_NAME
from training.comparison.rule.settings import settings_of as rule_settings_of
from verify.engine.record import Check, Learned, Record
from verify.learned.weights import DEVICE, mean_interval

NOTE = "paper_notes/finding_the_theorem.md"
TRACED, AT_OUTPUT = "strongest", "strongest-output"
"""The cells that differ in supervision alone."""

CONTROLS = 2
"""Networks of the control, or seeds."""

EXPLAINED = 0.5
"""Share of the networks' deviation from EM that the fitted rules explain."""


def check_traced(seed: int, instances: int) -> list[Record]:
    """Given the exact trace, training from random weights finds the theorem's blocks."""
    check = Check(f"{NOTE}, section 1", seed, "float32", "learned")
    settings = settings_of(False, seed)
    found = blocks_found(TRACED, settings)
    control = blocks_found(AT_OUTPUT, replace(settings, seeds=CONTROLS))
    interval = mean_interval(found)
    reference = Rule.of(CELLS[TRACED], settings).reference
    theorem = len(blocks_of(reference.compare(reference.constructed)))
    return [
        check.record(
            f"trained from random weights on the exact trace, networks have the theorem's blocks: at least "
            f"{FOUND:.0%} of {theorem} in every seed",
            FOUND * theorem,
            sum(found) / len(found),
            len(found) * settings.tasks,
            passed=min(*found, interval[0]) >= FOUND * theorem > max(control),
            note=f"blocks found {sorted(found)}; control, the loss at the output: at most {max(control)}",
            limit="at least",
            learned=Learned(settings.steps, DEVICE, interval),
        )
    ]


def blocks_found(name: str, settings: FindingSettings) -> list[int]:
    """How many of the theorem's blocks each network of a cell has."""
    cell = CELLS[name]
    trained = train_cell(cell, settings.numbers, settings.steps, held_out_tasks(cell, settings), watches=1)
    measured = measure_networks(Rule.of(cell, settings), trained.networks, settings.numbers)
    return [len(one.has) for one in measured]


def check_interchange(seed: int, instances: int) -> list[Record]:
    """Swapping a variable of the hand-built EM between two tasks does what it does to EM."""
    check = Check(f"{NOTE}, section 1", seed, "float32")
    problem = EMProblem()
    uses = measure_interchange(problem, problem.constructed(), seed, quick=True)
    controls: Sequence[float] = [
        use.accuracy
        for place in range(CONTROLS)
        for use in measure_interchange(problem, untrained(problem, place), seed, quick=True)
    ]
    least = min(use.accuracy for use in uses)
    return [
        check.record(
            "interchanges of every variable of the hand-built EM are answered as EM answers them, all",
            1.0,
            least,
            sum(use.bases for use in uses),
            passed=least == 1 and max(controls) == 0,
            note=f"control, {CONTROLS} untrained networks: accuracy at most {max(controls):.2g}",
            limit="at least",
        )
    ]


def check_rule(seed: int, instances: int) -> list[Record]:
    """A closed rule explains most of what networks trained on the truth do otherwise than EM."""
    check = Check(f"{NOTE}, section 3", seed, "float32", "learned")
    settings = rule_settings_of(False, seed)
    data = measure_rule(EMProblem(), settings, lambda name: None)
    every = [one for network in data.networks for one in network.agreements]
    explained, shuffled = (
        [one.deviation for one in every if one.name == name] for name in (FITTED_NAME, SHUFFLED_NAME)
    )
    control = max(shuffled)
    interval = mean_interval(explained)
    return [
        check.record(
            "of what networks trained on the truth from the construction do otherwise than EM, a rule of "
            f"nine numbers explains, R^2 in every seed at least {EXPLAINED:g}",
            EXPLAINED,
            sum(explained) / len(explained),
            len(explained) * settings.tasks,
            passed=min(*explained, interval[0]) >= EXPLAINED > control,
            note=f"{', '.join(f'{one:.2f}' for one in explained)}; control, another task's: {control:.2g}",
            limit="at least",
            learned=Learned(settings.training_steps, DEVICE, interval),
        )
    ]
