"""What the attention part shows: findings and tables; figures in attention_figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from console.sections import Section, Table, table_of
from training.comparison.attention.figures import both, example_figure, heads_figure
from training.comparison.attention.measure import LEVEL, AttentionResult, HeadStatistic, RegimeResult
from training.comparison.attention.patterns import MEANING

EVEN = {
    "uniform": "tokens to points, entropy / log N (M layer, weights: 1)",
    "share": "tokens to points, share of the attention",
}
PLACE = {"E": 0, "M": 1, "M, like distance": 1}
"""Which constructed head is that of a pattern."""
CONSTRUCTED = ("E head", "M head, means", "M head, weights")


def render(answer: AttentionResult) -> Section:
    """The section."""
    details = _details(answer)
    section = Section([_finding(answer), *details, _method(answer)])
    for regime, suffix in zip(answer.regimes, ("_K3", ""), strict=False):
        section.tables.append(_heads_table(regime))
        section.tables.append(_constructed_table(regime))
        section.pictures.append(heads_figure(answer, regime, "attention_heads" + suffix))
        section.pictures.append(example_figure(answer, regime, "attention_example" + suffix))
    return section


def _finding(answer: AttentionResult) -> str:
    """How many heads stand above every control, pattern by pattern."""
    regimes = answer.regimes
    learned = regimes[-1].networks["learned"]
    counts = []
    for name in [name for name in MEANING if name in learned]:
        above = [f"{_above(regime, name)} at K = {regime.K}" for regime in regimes]
        counts.append(f"{MEANING[name]}: {', '.join(above)}")
    heads = learned["points"].told.size
    return (
        f"Heads, of {heads}, whose log attention correlates with responsibilities above the strongest "
        f"untrained head and, where the pattern has a distance, above distance alone: {'; '.join(counts)}."
    )


def _details(answer: AttentionResult) -> list[str]:
    """A paragraph for each K."""
    said = []
    for regime in answer.regimes:
        learned = regime.networks["learned"]
        parts = []
        for name in [name for name in MEANING if name in learned]:
            own, other = _both_networks(regime, name)
            layer, head = own.strongest
            best = f"{own.text((layer, head))} (layer {layer + 1}, head {head + 1}"
            sure = own.told[layer, head]
            distance = _distance(regime, name)
            count = _above(regime, name)
            verdict = (
                f"{f'{count} of {own.told.size} heads lie' if count else 'no head lies'} above the strongest "
                f"untrained head{' and above distance alone' if distance else ''}"
            )
            alone = "".join(f", distance alone {both(heads)}" for heads in distance)
            parts.append(
                f"{MEANING[name]}: strongest learned head {best}"
                f"{'' if sure else ', not told from chance'}), untrained "
                f"{other.text(other.strongest)}{alone}{_exact(regime, name)}; {verdict}"
                f"{_last_layer(name, layer, learned)}"
            )
        said.append(
            f"K = {regime.K}, within-row correlation of log attention, mean over tasks with 95 % "
            f"interval. {'. '.join(parts)}."
        )
    return said


def _both_networks(regime: RegimeResult, name: str) -> tuple[HeadStatistic, HeadStatistic]:
    """One statistic of the learned network and of the control."""
    return regime.networks["learned"][name], regime.networks["untrained"][name]


def _above(regime: RegimeResult, name: str) -> int:
    """Learned heads above the strongest untrained head and, where there is a distance, above it alone."""
    own, other = _both_networks(regime, name)
    return own.above(other, *_distance(regime, name))


def _distance(regime: RegimeResult, name: str) -> list[HeadStatistic]:
    """The heads that attend by distance alone, where the pattern has a distance."""
    return [regime.distance[name]] if name in regime.distance else []


def _constructed(regime: RegimeResult, name: str) -> str:
    """What the constructed head of this pattern reaches; a dash where it has none."""
    return regime.constructed[name].text((0, PLACE[name])) if name in PLACE else "-"


def _exact(regime: RegimeResult, name: str) -> str:
    return f", the constructed head {_constructed(regime, name)}" if name in PLACE else ""


def _last_layer(name: str, layer: int, learned: dict[str, HeadStatistic]) -> str:
    """What the points read in the last layer is not read out where tokens are."""
    last = layer + 1 == len(learned[name].mean)
    idle = last and "M" in learned and not name.startswith("M")
    return " (what points read in the last layer does not reach the answer)" if idle else ""


def _method(answer: AttentionResult) -> str:
    first = answer.regimes[0]
    near = ", ".join(f"{r.distance['points'].text((0, 0))} at K = {r.K}" for r in answer.regimes)
    return (
        f"Tasks of the paper's distribution, d = {answer.d}, N = {first.N}, seed {answer.seed}; "
        "responsibilities w_ik of EM run to its end from the truth, its components in the order of the "
        "network's tokens. The statistic is Pearson's correlation of log attention (the score, up to a "
        "number a row) with the target inside each query's row, over all rows of a task, a point and itself "
        "left out. Not Spearman's: responsibilities are nearly 0 or 1, and the ranks among the near zeros "
        f"are those of the distance. p: points permuted within each task ({first.permutations} "
        "permutations), largest |mean| of all heads, two-sided, so corrected for the number of heads but not "
        f"for the number of patterns. A head is told from chance when p < {LEVEL} and 0 lies outside its "
        "interval over tasks: the permutations alone also reject a head whose rows depend on responsibility "
        "in another way in each task, with no correlation on average. Permutation breaks the link with "
        "distance too, so a small p alone does not tell responsibility from distance: c_ij itself correlates "
        f"with -|x_i - x_j|^2 by {near}, and heads of the untrained network reach small p as well. What "
        "training put there is what stands above the untrained network. What goes beyond distance is what is "
        "left at like distance: in each row, among eight neighbours in the order of distance, with their "
        "mean and their regression on it taken out. Two heads that attend by distance alone, exp(-|x|^2 / 2) "
        "and exp(-|x|), show how much of distance each statistic lets through: from tokens |x_i - mu_k|, to "
        "converged EM's means. Heads that correlate need not matter for the estimate: that is the next "
        "section. The control is one untrained network of the same shape, not a population of them."
    )


def _heads_table(regime: RegimeResult) -> Table:
    learned = regime.networks["learned"]
    names = {name: label for name, label in (MEANING | EVEN).items() if name in learned}

    def tested(of: Callable[[HeadStatistic, HeadStatistic], str]) -> Callable[[str], str]:
        """A cell of patterns alone: permutations do not change how even attention is."""
        return lambda name: of(*_both_networks(regime, name)) if name in MEANING else "-"

    def strongest(name: str) -> str:
        own, _ = _both_networks(regime, name)
        layer, head = own.strongest
        return f"{own.text((layer, head))}, layer {layer + 1} head {head + 1}"

    def untrained(name: str) -> str:
        _, other = _both_networks(regime, name)
        return other.text(other.strongest)

    return table_of(
        f"Heads and responsibilities, K = {regime.K}",
        names,
        [
            ("attention", lambda name: names[name]),
            ("strongest learned head [95 %]", strongest),
            ("p, corrected", tested(lambda own, other: own.p_text(own.strongest))),
            ("learned heads told from chance: +, -", tested(lambda own, other: _counts(own))),
            ("control: strongest untrained head", untrained),
            ("untrained heads told from chance: +, -", tested(lambda own, other: _counts(other))),
            (
                "control: heads of distance alone, exp(-|x|^2 / 2), exp(-|x|)",
                lambda name: "".join(map(both, _distance(regime, name))) or "-",
            ),
            (
                "control: 95 % of the largest |rho|, responsibilities permuted",
                tested(lambda own, other: f"{own.threshold:.3f}"),
            ),
            ("the constructed head", lambda name: _constructed(regime, name)),
            ("learned heads above the controls", lambda name: str(_above(regime, name))),
        ],
        f"{regime.tasks} of {regime.drawn} tasks (EM has an answer), N = {regime.N}. A head is above the "
        "controls when its interval lies above those of the strongest untrained head and of both heads of "
        "distance. Uniform attention, and the share of the tokens' attention that falls on points, are the "
        "same under every permutation: they have no p, only the untrained network beside them. What the "
        "statistics above say of a head that leaves the points a share near 0 does not reach the stream.",
    )


def _counts(heads: HeadStatistic) -> str:
    """How many are told from chance, above 0 and below."""
    told, mean = heads.told, np.array(heads.mean)
    return f"{(told & (mean > 0)).sum()}, {(told & (mean < 0)).sum()} of {mean.size}"


def _constructed_table(regime: RegimeResult) -> Table:
    found = regime.constructed
    names = {
        "E": "E pattern",
        "M": "M pattern",
        "M, like distance": "M at like distance",
        "points": "points to points",
    }
    columns: list[tuple[str, Callable[[int], str]]] = []
    for name, label in names.items():
        columns.append((label, lambda index, one=found[name]: one.text((0, index))))
        columns.append(("p", lambda index, one=found[name]: one.p_text((0, index))))
    return table_of(
        f"Positive control: the heads of the hand-built EM step, K = {regime.K}",
        range(len(CONSTRUCTED)),
        [
            ("constructed head", lambda index: CONSTRUCTED[index]),
            *columns,
            ("entropy / log N", lambda index: found["uniform"].text((0, index))),
        ],
        "The same tasks and the same statistic, from the same responsibilities. The E head must show in the "
        "E column, the first M head in the M column, the second in the entropy. Exact responsibilities do "
        "not give 1, for the statistic compares their log with themselves. Point i holds the slot i mod K, "
        "whatever its component, so the construction has no points-to-points pattern.",
    )
