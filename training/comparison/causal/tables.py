"""Tables of the causal part."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from console.output import significant
from console.phrases import Interval
from console.sections import Table
from training.comparison.causal.ablation import Agreement
from training.comparison.causal.measure import NetworkResult, RegimeResult

KINDS = {"mean": "replaced by its average", "zero": "replaced by 0", "rotated": "control: change turned"}
STATISTICS = {
    "points": "points to points ~ c_ij",
    "points, distance out": "points to points ~ c_ij, -|x_i - x_j|^2 out",
    "points, like distance": "points to points ~ c_ij, at like distance",
    "E": "points to tokens ~ w_ik (E)",
    "M": "tokens to points ~ w_ik / sum_i w_ik (M)",
    "M, like distance": "tokens to points ~ w_ik / sum_i w_ik (M), at like distance |x_i - mu_k|",
}


def grid_of(
    network: NetworkResult, kind: str, of: Literal["moved", "worse"] = "moved"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(L, H) mean, low and high of the distance moved or of the change of the error."""
    grid = (network.moved if of == "moved" else network.worse)[kind]
    return np.array(grid.mean), np.array(grid.low), np.array(grid.high)


def more_than_control(network: NetworkResult) -> np.ndarray:
    """(L, H): the average moves the estimate further than the turned change does, intervals apart."""
    return grid_of(network, "mean")[1] > grid_of(network, "rotated")[2]


def place_of(grid: np.ndarray) -> str:
    """Layer and head of the largest value."""
    layer, head = np.unravel_index(int(grid.argmax()), grid.shape)
    return f"layer {layer + 1} head {head + 1}"


def bracket(found: Interval) -> str:
    """A value with its interval."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def fixed(value: float, less: float = 0.0) -> str:
    """A difference with two digits; a dash where there is none."""
    return f"{value - less:.2f}" if math.isfinite(value - less) else "-"


def ablation_table(regime: RegimeResult) -> Table:
    """Distances moved and changes of the error."""
    rows = []
    for name, network in regime.networks.items():
        for kind, label in KINDS.items():
            (moved, *ends), (worse, *error) = (grid_of(network, kind, of) for of in ("moved", "worse"))
            top = np.unravel_index(int(moved.argmax()), moved.shape)
            rows.append(
                (
                    f"{name}, {label}",
                    significant(float(np.median(moved))),
                    f"{significant(moved[top])} [{significant(ends[0][top])}, {significant(ends[1][top])}], "
                    f"{place_of(moved)}",
                    f"{significant(worse[top])} [{significant(error[0][top])}, {significant(error[1][top])}]",
                    str(int(more_than_control(network).sum())) if kind == "mean" else "-",
                )
            )
    errors = ", ".join(f"{name} {significant(net.error)}" for name, net in regime.networks.items())
    return Table(
        f"Heads ablated, K = {regime.K}",
        (
            "network, replacement",
            "distance moved, median of heads",
            "distance moved, largest",
            "change of the error at that head",
            "heads beyond the turned change",
        ),
        rows,
        f"Error without ablation: {errors}. In the untrained network every head changes an answer "
        "that is wrong anyway: its errors may fall.",
    )


def agreement_table(regime: RegimeResult) -> Table:
    """Rank correlations over heads."""
    own, control = (regime.networks[name].agreement for name in ("learned", "untrained"))
    rows = [
        (
            STATISTICS[name],
            *(text for v in (own[name], control[name]) for text in _agreement(v)),
        )
        for name in own
    ]
    header = ("pattern of attention", "learned: rank correlation", "p across layers", "p inside layers")
    return Table(
        f"Do the heads that look like a step matter? K = {regime.K}",
        (*header, "control, untrained: rank correlation", "p across layers", "p inside layers"),
        rows,
        "Spearman's correlation over heads of the correlation with responsibilities and of the "
        f"distance moved by replacing the head's output by its average. {len(rows)} patterns are "
        "tried; p is not corrected for that in the table, the finding asks for p inside layers below "
        f"0.05 / {len(rows)}. Across layers all heads are permuted, and depth alone can make p small; "
        "inside layers heads are permuted in their layer only. What points attend to in the last layer "
        "does not reach an answer that is read from tokens.",
    )


def _agreement(found: Agreement) -> tuple[str, str, str]:
    return f"{found.rho:.2f}", f"{found.p:.4f}", f"{found.p_within:.4f}"


def token_table(regime: RegimeResult) -> Table:
    """What arrives of patches at the component tokens."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    rows = [
        (
            str(row.layer),
            fixed(row.explained),
            fixed(row.explained_chance),
            bracket(row.other),
            bracket(row.shift),
            bracket(row.random),
            bracket(row.own),
            fixed(bare.explained),
            bracket(bare.other),
        )
        for row, bare in zip(own.tokens, control.tokens, strict=True)
    ]
    kept = "; ".join(
        f"{label}: " + ", ".join(bracket(value) for value in kept[1:])
        for kept, label in ((own.em.other, "another task's estimate"), (own.em.shift, "own estimate shifted"))
    )
    return Table(
        f"Means and log weights patched into the component tokens, K = {regime.K}",
        (
            "after layer",
            "encoder R^2, held out",
            "control: values of other tasks",
            "fraction, another task's estimate",
            "fraction, own estimate shifted",
            "control: random direction, same norm",
            "control: own values, squared change / squared shift",
            "untrained: R^2",
            "untrained: fraction, another task's",
        ),
        rows,
        f"What exact EM keeps of the same shifts after 1, 2, 3 steps, {kept}. A network that went on "
        "from the tokens by EM steps would keep as much. Where R^2 is small the encoder carries "
        "little, and a small fraction says little.",
    )


def point_table(regime: RegimeResult) -> Table:
    """What arrives of patches at the points."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    rows = [
        (
            str(row.layer),
            fixed(row.explained),
            fixed(row.explained_place),
            fixed(row.explained_chance),
            bracket(row.other),
            bracket(row.random),
            bracket(row.own),
            fixed(bare.explained, bare.explained_place),
            bracket(bare.other),
        )
        for row, bare in zip(own.points, control.points, strict=True)
    ]
    return Table(
        f"Log responsibilities patched into the points, K = {regime.K}",
        (
            "after layer",
            "R^2 from place and responsibilities, held out",
            "control: from the place alone",
            "control: responsibilities of other points",
            "fraction, another mixture's responsibilities",
            "control: random direction, same norm",
            "control: own values, squared change / squared shift",
            "untrained: R^2 beyond the place",
            "untrained: fraction",
        ),
        rows,
        "Fraction 1: the final means are those that an M step makes of the patched responsibilities.",
    )


def error_table(regime: RegimeResult) -> Table:
    """The final error after patches at the component tokens."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    rows = [
        (
            str(row.layer),
            significant(row.decoded_error),
            significant(row.step_error),
            bracket(row.error.decoded),
            bracket(row.error.step),
            bracket(row.error.random),
            bracket(row.step_gain),
            bracket(bare.step_gain),
        )
        for row, bare in zip(own.tokens, control.tokens, strict=True)
    ]
    return Table(
        f"Does an EM step put into the tokens improve the estimate? K = {regime.K}",
        (
            "after layer",
            "error of what is decoded there",
            "error one EM step later",
            "change of final error: decoded values patched",
            "change of final error: EM step patched",
            "control: EM step's change in a random direction",
            "EM step against decoded",
            "untrained: EM step against decoded",
        ),
        rows,
        f"Final error without a patch: {bracket(own.error)}. The estimate at a layer is decoded by "
        "least squares from the stream at the tokens; its EM step is exact. If the network went on "
        "from the tokens, the better start would lower its final error.",
    )
