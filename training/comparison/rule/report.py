"""The section "What training finds when it beats EM": findings, tables and pictures from the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from console.output import significant
from console.phrases import DASH, Interval, bracket, fixed
from console.sections import Section, Table, table_of
from training.comparison.rule.contest import StepsRow
from training.comparison.rule.figures import about, pictures
from training.comparison.rule.measure import RuleResult
from training.comparison.rule.networks import INGREDIENTS, NetworkRule
from training.comparison.rule.settings import EM_NAME, FITTED_NAME, NETWORK_NAME, READ_NAME
from training.comparison.rule.update_rule import EM, UpdateRule

FORMULA = (
    "r_ik ~ exp(fit <x_i, mu_k> - norm |mu_k|^2/2 + weight log pi_k); w_ik = max(r_ik, floor)^sharpness; "
    "mu_k <- average sum_i w_ik x_i / sum_i w_ik + old mu_k + centre mean_i x_i; pi_k <- mean_i r_ik; "
    "answer: mu and pi^answer, normalised"
)


def render(data: RuleResult) -> Section:
    """The section."""
    tables = [
        _rules_table(data),
        _agreement_table(data),
        _ingredients_table(data),
        _steps_table(data),
        _outside_table(data),
        _posterior_table(data),
        _blocks_table(data),
    ]
    return Section(paragraphs(data), tables, pictures(data))


def paragraphs(data: RuleResult) -> list[str]:
    """What was found, from the figures alone."""
    return [_about_algorithm(data), _about_rule(data), _about_blocks(data), _about_reading(data)]


def _about_algorithm(data: RuleResult) -> str:
    steps = data.problem.steps
    place = data.settings.at_steps.index(steps)
    of = {row.method: row for row in data.steps}
    rule, network, em = of[FITTED_NAME], of[NETWORK_NAME], of[EM_NAME]
    said = {True: "beats EM", False: "does not beat EM"}
    return (
        f"After {steps} steps from the same starts the error is {_interval(em.errors[place])} for EM, "
        f"{_interval(network.errors[place])} for the trained networks and {_interval(rule.errors[place])} "
        "for the closed rules fitted to them, run by themselves. The network "
        f"{said[_beats(network, place)]}, the rule {said[_beats(rule, place)]}: its error less that of EM on "
        f"the same tasks is {_interval(rule.less_em[place])}. After {data.settings.at_steps[-1]} steps the "
        f"errors are {_interval(em.errors[-1])}, {_interval(network.errors[-1])} and "
        f"{_interval(rule.errors[-1])}."
    )


def _beats(row: StepsRow, place: int) -> bool:
    return row.less_em[place].high < 0


def _about_rule(data: RuleResult) -> str:
    named = {name: _deviations(data.networks, name) for name in (READ_NAME, FITTED_NAME)}
    others = [
        one.deviation for net in data.networks for one in net.agreements if one.name.startswith("the net")
    ]
    fitted = _mean_rule([one.fitted for one in data.networks])
    beside = f"; another seed's network explains {_range(others)}" if others else ""
    return (
        f"The rule: {FORMULA}. Fitted: {_described(fitted)} (mean over networks; EM is {_described(EM)}). "
        "Of the networks' deviation from EM on fresh tasks the fitted rules "
        f"explain {_range(named[FITTED_NAME])} (R^2 of network - EM by rule - EM), and rules read off the "
        f"networks, fitted to no output, {_range(named[READ_NAME])}{beside}. EM explains 0 by definition."
    )


def _about_blocks(data: RuleResult) -> str:
    fair = _means(data.networks, lambda one: [(part.name, part.share) for part in one.shares.fair])
    alone = _means(data.networks, lambda one: [(part.name, part.alone) for part in one.shares.groups])
    without = _means(data.networks, lambda one: [(part.name, part.without) for part in one.shares.groups])
    most = max(alone, key=alone.__getitem__)
    needed = max(without, key=without.__getitem__)
    own = sum(share for name, share in alone.items() if "beyond" not in name)
    beyond = sum(share for name, share in alone.items() if "beyond" in name)
    shares = ", ".join(f"{name} {fixed(share)}" for name, share in fair.items())
    return (
        f"What moved: the weights by {_range([one.distance for one in data.networks])} of their norm. "
        f'Shapley shares of the gain by sub-layer: {shares}. Alone, "{most}" carries most '
        f'({fixed(alone[most])} of the gain); what is missed most when put back is "{needed}" '
        f"({fixed(without[needed])}). The parts of the "
        f"theorem itself, each alone, add up to {fixed(own)}, the entries beyond it to {fixed(beyond)}; "
        "where a part alone carries far more than is lost without it, others do the same."
    )


def _about_reading(data: RuleResult) -> str:
    s = data.settings
    return (
        f"Rules were fitted and read off on {s.fitting_tasks} tasks, and everything here was measured on "
        f"{s.tasks:,} others. The family has nine numbers and EM in it; that a fit inside it explains much "
        "of the deviation does not say that the network computes these steps. The rule knows the origin, "
        "which is the prior's mean, by norm, average, old and centre."
    )


def _rules_table(data: RuleResult) -> Table:
    rows: list[tuple[str, UpdateRule]] = [(EM_NAME, EM)]
    for one in data.networks:
        rows += [(f"seed {one.seed}, read off", one.read), (f"seed {one.seed}, fitted", one.fitted)]
    rows.append(("fitted to the truth", data.truth_rule))
    columns: list[tuple[str, Callable[[tuple[str, UpdateRule]], str]]] = [("rule", lambda row: row[0])]
    for number in fields(UpdateRule):
        columns.append((number.name, lambda row, name=number.name: fixed(getattr(row[1], name))))
    fits = "; ".join(
        f"seed {one.seed}: "
        + ", ".join(f"{name} {fixed(value)}" for name, value in one.read_fit._asdict().items())
        for one in data.networks
    )
    return table_of(
        "The rules",
        rows,
        columns,
        f"{FORMULA}. Read off: regressions at the four places where the theorem has its steps; their R^2: "
        f"{fits}. The fit to the truth has several valleys of like depth: its numbers are one of them.",
    )


def _agreement_table(data: RuleResult) -> Table:
    found = [(net.seed, one) for net in data.networks for one in net.agreements]
    found += [(net.seed, one) for net, one in zip(data.networks, data.truth_agreement, strict=True)]
    return table_of(
        "How much of a network's outputs a rule explains",
        found,
        [
            ("network", lambda row: f"seed {row[0]}"),
            ("explained by", lambda row: row[1].name),
            ("R^2 of the outputs", lambda row: fixed(row[1].outputs)),
            ("R^2 of the deviation from EM", lambda row: fixed(row[1].deviation)),
            ("error to the truth", lambda row: significant(row[1].error, 3)),
        ],
        f"{about(data)}. The second is the one to read: R^2 of (network - EM) by (rule - EM), "
        "without a constant.",
    )


def _ingredients_table(data: RuleResult) -> Table:
    def cell(of: str, name: str, place: int) -> str:
        return fixed(_mean([getattr(getattr(net, of)[place], name) for net in data.networks]))

    places = list(enumerate(INGREDIENTS))
    return table_of(
        "What a rule needs",
        places,
        [
            ("ingredient", lambda row: row[1]),
            ("R^2 of the deviation, alone", lambda row: cell("alone", "deviation", row[0])),
            ("error, alone", lambda row: cell("alone", "error", row[0])),
            ("R^2, all but this", lambda row: cell("without", "deviation", row[0])),
            ("error, all but this", lambda row: cell("without", "error", row[0])),
        ],
        "Rules fitted to the networks' answers with only these numbers free, the others EM's, and with all "
        "but these free (average, which is in two, stays free). Means over networks, fresh tasks.",
    )


def _steps_table(data: RuleResult) -> Table:
    at = list(enumerate(data.settings.at_steps))
    columns: list[tuple[str, Callable[[StepsRow], str]]] = [("method", lambda row: row.method)]
    for place, step in at:
        title = f"{step} step{'s' if step > 1 else ''}"
        columns.append((title, lambda row, i=place: _interval(row.errors[i])))
    for place, step in at:
        if step == data.problem.steps:
            columns.append((f"less EM, {step} steps", lambda row, i=place: _interval(row.less_em[i])))
    return table_of(
        "Error to the truth after equal numbers of steps",
        data.steps,
        columns,
        f"{about(data)}. Means with 95 % intervals over tasks; the same starts for all. MAP-EM knows "
        "the prior.",
    )


def _outside_table(data: RuleResult) -> Table:
    methods = [row.method for row in data.steps]
    return Table(
        f"Outside training, {data.problem.steps} steps",
        ["tasks", *methods],
        [[row.tasks, *(_maybe(row.errors.get(method)) for method in methods)] for row in data.outside],
        "One size changed at a time; the rules' numbers are those above. MAP-EM knows the box of each row. "
        "Networks of this shape take K = 3 only.",
    )


def _posterior_table(data: RuleResult) -> Table:
    found = data.posterior
    return table_of(
        "Beside the posterior mean",
        found.errors.items(),
        [("method", lambda row: row[0]), ("error", lambda row: _interval(row[1]))],
        f"The first {found.tasks} fresh tasks; the sampler is sure of {found.converged} of them. The "
        "posterior mean has the least expected error of all estimates under the prior, and is no method of "
        "few steps.",
    )


def _blocks_table(data: RuleResult) -> Table:
    def values(name: str, place: int) -> str:
        return _range([getattr(net.shares.groups[place], name) for net in data.networks])

    rows = list(enumerate(group.name for group in data.networks[0].shares.groups))
    return table_of(
        "What the changed weights carry",
        rows,
        [
            ("weights", lambda row: row[1]),
            ("part of the change", lambda row: values("change", row[0])),
            ("share of the gain, alone", lambda row: values("alone", row[0])),
            ("lost without", lambda row: values("without", row[0])),
        ],
        "Smallest to largest over networks. Entries of the theorem: blocks that the construction fills, and "
        "what its hidden units read, add and write; beyond: all others, which it has at 0.",
    )


def _deviations(networks: Sequence[NetworkRule], name: str) -> list[float]:
    return [one.deviation for net in networks for one in net.agreements if one.name == name]


def _means(
    networks: Sequence[NetworkRule], of: Callable[[NetworkRule], list[tuple[str, float]]]
) -> dict[str, float]:
    parts = [dict(of(net)) for net in networks]
    return {name: _mean([part[name] for part in parts]) for name in parts[0]}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_rule(rules: Sequence[UpdateRule]) -> UpdateRule:
    return UpdateRule(*(_mean([getattr(rule, one.name) for rule in rules]) for one in fields(UpdateRule)))


def _described(rule: UpdateRule) -> str:
    return ", ".join(f"{one.name} {significant(getattr(rule, one.name))}" for one in fields(UpdateRule))


def _range(values: Sequence[float]) -> str:
    low, high = significant(min(values)), significant(max(values))
    return low if low == high else f"{low} to {high}"


def _interval(found: Interval) -> str:
    return bracket(*found)


def _maybe(found: Interval | None) -> str:
    return DASH if found is None else _interval(found)
