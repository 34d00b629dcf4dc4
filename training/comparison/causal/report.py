"""What the causal part shows: findings, with the tables and figures of causal_tables, causal_figures."""

from __future__ import annotations

import numpy as np

from console.output import significant
from console.phrases import bracket
from console.sections import Section
from training.comparison.attention.patterns import MEANING
from training.comparison.causal.figures import agreement_figure, heads_figure, patches_figure
from training.comparison.causal.measure import CausalResult, RegimeResult
from training.comparison.causal.tables import (
    ablation_table,
    agreement_table,
    error_table,
    more_than_control,
    place_of,
    point_table,
    token_table,
)

LEVEL = 0.05


def render(answer: CausalResult) -> Section:
    """The section."""
    regimes = answer.regimes
    section = Section([_finding(regimes), *_details(regimes), _method(answer)])
    for regime, suffix in zip(regimes, ("_K3", ""), strict=False):
        section.tables.extend((ablation_table(regime), agreement_table(regime)))
        section.pictures.append(heads_figure(answer, regime, "causal_heads" + suffix))
        section.pictures.append(agreement_figure(answer, regime, "causal_agreement" + suffix))
        if _has_patches(regime):
            section.tables.extend((token_table(regime), point_table(regime), error_table(regime)))
            section.pictures.append(patches_figure(answer, regime, "causal_patches" + suffix))
    return section


def _has_patches(regime: RegimeResult) -> bool:
    return regime.networks["learned"].patches is not None


def _finding(regimes: list[RegimeResult]) -> str:
    """Points first: what is patched there decides, or does not."""
    said = [
        _point_sentence(regime) if _has_patches(regime) else _heads_sentence(regime) for regime in regimes
    ]
    return " ".join(f"K = {regime.K}: {text}" for regime, text in zip(regimes, said, strict=True))


def _details(regimes: list[RegimeResult]) -> list[str]:
    """A paragraph for each K."""
    said = []
    for regime in regimes:
        parts = [_heads_sentence(regime), _agreement_sentence(regime)]
        if _has_patches(regime):
            parts += [_token_sentence(regime), _gain_sentence(regime)]
        else:
            parts.append("No component tokens: nothing is patched.")
        said.append(f"K = {regime.K}: " + " ".join(parts))
    return said


def _heads_sentence(regime: RegimeResult) -> str:
    own = regime.networks["learned"]
    moved, turned = own.moved["mean"], own.moved["rotated"]
    far, control = (significant(grid.at(moved.strongest).value) for grid in (moved, turned))
    distances, needed = np.array(moved.mean), int(more_than_control(own).sum())
    return (
        f"the head whose average moves the estimate furthest is {place_of(moved)} (squared distance {far}, "
        f"the turned change {control}); {needed} of {distances.size} heads move it further than the turned "
        f"change does, and {int((distances < 0.1 * own.error).sum())} by less than a tenth of the network's "
        f"own error {significant(own.error)}."
    )


def _agreement_sentence(regime: RegimeResult) -> str:
    """By p inside layers: across layers depth alone makes heads alike in both."""
    found = regime.networks["learned"].agreement
    number = len(found)
    sure = [
        f"{MEANING[name]} (rank correlation {value.rho:.2f}, p inside layers {value.p_within:.4f})"
        for name, value in found.items()
        if value.p_within < LEVEL / number
    ]
    across = sum(value.p < LEVEL / number for value in found.values())
    depth = (
        f" With heads permuted across layers as well {across} of {number} patterns would pass, which "
        "the depth of a head alone may explain."
    )
    if not sure:
        best = max(found, key=lambda name: found[name].rho)
        return (
            "Whether heads that look like a step of EM are those that matter cannot be told: no "
            f"pattern has a rank correlation with p inside layers below {LEVEL} / {number} (largest: "
            f"{MEANING[best]}, {found[best].rho:.2f}, p {found[best].p_within:.3f})."
        ) + (depth if across else "")
    return (
        "How much a head looks like a step and how much it matters are related, within a layer too, "
        f"for {'; '.join(sure)}.{depth}"
    )


def _token_sentence(regime: RegimeResult) -> str:
    own = regime.networks["learned"].patched
    inner, last = own.tokens[:-1], own.tokens[-1]
    said = (
        f"of another estimate written into the component tokens, {bracket(*last.other)} arrives "
        "behind the last layer"
    )
    if inner:
        best = max(inner, key=lambda row: row.other.value)
        em = own.em.other[1]
        verdict = (
            "less than one EM step from it would keep"
            if best.other.high < em.low
            else "not less than one EM step from it would keep"
        )
        said += (
            f", and before it at most {bracket(*best.other)} (after layer {best.layer}), {verdict} "
            f"({bracket(*em)})"
        )
    return said[0].upper() + said[1:] + "."


def _point_sentence(regime: RegimeResult) -> str:
    networks = regime.networks
    own, control = (networks[name].patched.points for name in ("learned", "untrained"))
    if not own:
        return "One layer: nothing is patched at the points."
    at = max(range(len(own)), key=lambda i: own[i].other.value)
    row, other = own[at], control[at]
    found = row.other.low > max(row.random.high, other.other.high)
    return (
        "Of the responsibilities of another mixture written into the points, the place of the point "
        f"left alone, at most {bracket(*row.other)} arrives (after layer {row.layer}); random "
        f"direction {bracket(*row.random)}, untrained {bracket(*other.other)}: "
        + (
            "the estimate follows what the points hold of the responsibilities."
            if found
            else "not told from its controls."
        )
    )


def _gain_sentence(regime: RegimeResult) -> str:
    rows = regime.networks["learned"].patched.tokens
    better = [str(row.layer) for row in rows if row.step_gain.high < 0]
    gained = [str(row.layer) for row in rows if row.error.step.high < 0]
    return (
        "One EM step's values patched instead of the decoded ones lower the final error after "
        f"{_layers(better)}; against no patch at all they lower it after {_layers(gained)}."
    )


def _layers(numbers: list[str]) -> str:
    return f"layer {', '.join(numbers)}" if numbers else "no layer"


def _method(answer: CausalResult) -> str:
    first = answer.regimes[0]
    text = (
        f"Paper's distribution, d = {answer.d}, N = {first.N}, {first.tasks} tasks, seed {answer.seed}; "
        "brackets are 95 % intervals over tasks. Ablation: a head's output is replaced by its average (over "
        "tasks and points; over tasks at each token) or by 0; the distance moved is the paper's error "
        "between the ablated and the whole estimate. Control: the same change, turned by one random rotation "
        "of the stream, so of the same norm at every token; its interval does not cover other rotations. "
        "Rank correlations are over heads, which are few; the p that counts is by permuting heads inside "
        "their layers, since depth alone can make a correlation across layers; the table has both."
    )
    if not _has_patches(first):
        return text
    return text + (
        f" Patches: encoders fitted by least squares on {first.fitted} other tasks, from converged EM's "
        "values (means and log weights at tokens; log responsibilities, floored at 1e-8, at points, with the "
        "point itself held) to the stream after each layer. The part of the stream along the encoded "
        "subspace is replaced. Fraction: how much of the shift put in shows in the final means, beyond "
        "patching the network's own values; 0 ignored, 1 adopted. At tokens the shift is to another task's "
        "estimate, or the network's own plus noise (deviation 1 a coordinate of a mean); at points the "
        "responsibilities are those of another task's mixture, and full adoption gives the M step's means of "
        "them. EM steps are the exact ones of baselines.em, which the construction approximates to about "
        "1e-3. Behind the last layer nothing but the read-out follows, so that a fraction near 1 there says "
        "only that the encoder reads what is said. In the construction means written between an E and an M "
        "layer are overwritten, and between an M and an E layer they are taken up: ignored before the last "
        "layer says no more than that the last layer is like an M layer, ignored everywhere that no layer is "
        "like an E layer that reads the tokens. A patch that is ignored may be so because the network holds "
        "the value elsewhere too: what is not adopted is not shown to be absent."
    )
