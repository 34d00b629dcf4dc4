"""Tables of the causal part."""

from __future__ import annotations

import numpy as np

from console.output import significant
from console.phrases import bracket, fixed
from console.sections import Table, table_of
from training.comparison.attention.patterns import MEANING
from training.comparison.causal.measure import NetworkResult, RegimeResult
from training.comparison.common.em_answers import HeadGrid

KINDS = {"mean": "replaced by its average", "zero": "replaced by 0", "rotated": "control: change turned"}


def more_than_control(network: NetworkResult) -> np.ndarray:
    """(L, H): the average moves the estimate further than the turned change does, intervals apart."""
    return np.array(network.moved["mean"].low) > np.array(network.moved["rotated"].high)


def place_of(grid: HeadGrid) -> str:
    """Layer and head of the largest value."""
    layer, head = grid.strongest
    return f"layer {layer + 1} head {head + 1}"


def _of_largest(network: NetworkResult, kind: str, grids: dict[str, HeadGrid]) -> str:
    """Its value and interval, at the head that moves the estimate furthest."""
    return bracket(*grids[kind].at(network.moved[kind].strongest), text=significant)


def ablation_table(regime: RegimeResult) -> Table:
    """Distances moved and changes of the error."""
    errors = ", ".join(f"{name} {significant(net.error)}" for name, net in regime.networks.items())
    return table_of(
        f"Heads ablated, K = {regime.K}",
        [(f"{name}, {KINDS[kind]}", kind, one) for name, one in regime.networks.items() for kind in KINDS],
        [
            ("network, replacement", lambda row: row[0]),
            (
                "distance moved, median of heads",
                lambda row: significant(float(np.median(row[2].moved[row[1]].mean))),
            ),
            (
                "distance moved, largest",
                lambda row: f"{_of_largest(row[2], row[1], row[2].moved)}, {place_of(row[2].moved[row[1]])}",
            ),
            ("change of the error at that head", lambda row: _of_largest(row[2], row[1], row[2].worse)),
            (
                "heads beyond the turned change",
                lambda row: str(int(more_than_control(row[2]).sum())) if row[1] == "mean" else "-",
            ),
        ],
        f"Error without ablation: {errors}. In the untrained network every head changes an answer "
        "that is wrong anyway: its errors may fall.",
    )


def agreement_table(regime: RegimeResult) -> Table:
    """Rank correlations over heads."""
    own, control = (regime.networks[name].agreement for name in ("learned", "untrained"))
    return table_of(
        f"Do the heads that look like a step matter? K = {regime.K}",
        [(MEANING[name], own[name], control[name]) for name in own],
        [
            ("pattern of attention", lambda row: row[0]),
            ("learned: rank correlation", lambda row: f"{row[1].rho:.2f}"),
            ("p across layers", lambda row: f"{row[1].p:.4f}"),
            ("p inside layers", lambda row: f"{row[1].p_within:.4f}"),
            ("control, untrained: rank correlation", lambda row: f"{row[2].rho:.2f}"),
            ("p across layers", lambda row: f"{row[2].p:.4f}"),
            ("p inside layers", lambda row: f"{row[2].p_within:.4f}"),
        ],
        "Spearman's correlation over heads of the correlation with responsibilities and of the "
        f"distance moved by replacing the head's output by its average. {len(own)} patterns are "
        "tried; p is not corrected for that in the table, the finding asks for p inside layers below "
        f"0.05 / {len(own)}. Across layers all heads are permuted, and depth alone can make p small; "
        "inside layers heads are permuted in their layer only. What points attend to in the last layer "
        "does not reach an answer that is read from tokens.",
    )


def token_table(regime: RegimeResult) -> Table:
    """What arrives of patches at the component tokens."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    kept = "; ".join(
        f"{label}: " + ", ".join(bracket(*value) for value in kept[1:])
        for kept, label in ((own.em.other, "another task's estimate"), (own.em.shift, "own estimate shifted"))
    )
    return table_of(
        f"Means and log weights patched into the component tokens, K = {regime.K}",
        zip(own.tokens, control.tokens, strict=True),
        [
            ("after layer", lambda row: str(row[0].layer)),
            ("encoder R^2, held out", lambda row: fixed(row[0].explained)),
            ("control: values of other tasks", lambda row: fixed(row[0].explained_chance)),
            ("fraction, another task's estimate", lambda row: bracket(*row[0].other)),
            ("fraction, own estimate shifted", lambda row: bracket(*row[0].shift)),
            ("control: random direction, same norm", lambda row: bracket(*row[0].random)),
            ("control: own values, squared change / squared shift", lambda row: bracket(*row[0].own)),
            ("untrained: R^2", lambda row: fixed(row[1].explained)),
            ("untrained: fraction, another task's", lambda row: bracket(*row[1].other)),
        ],
        f"What exact EM keeps of the same shifts after 1, 2, 3 steps, {kept}. A network that went on "
        "from the tokens by EM steps would keep as much. Where R^2 is small the encoder carries "
        "little, and a small fraction says little.",
    )


def point_table(regime: RegimeResult) -> Table:
    """What arrives of patches at the points."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    return table_of(
        f"Log responsibilities patched into the points, K = {regime.K}",
        zip(own.points, control.points, strict=True),
        [
            ("after layer", lambda row: str(row[0].layer)),
            ("R^2 from place and responsibilities, held out", lambda row: fixed(row[0].explained)),
            ("control: from the place alone", lambda row: fixed(row[0].explained_place)),
            ("control: responsibilities of other points", lambda row: fixed(row[0].explained_chance)),
            ("fraction, another mixture's responsibilities", lambda row: bracket(*row[0].other)),
            ("control: random direction, same norm", lambda row: bracket(*row[0].random)),
            ("control: own values, squared change / squared shift", lambda row: bracket(*row[0].own)),
            ("untrained: R^2 beyond the place", lambda row: fixed(row[1].explained - row[1].explained_place)),
            ("untrained: fraction", lambda row: bracket(*row[1].other)),
        ],
        "Fraction 1: the final means are those that an M step makes of the patched responsibilities.",
    )


def error_table(regime: RegimeResult) -> Table:
    """The final error after patches at the component tokens."""
    own, control = (regime.networks[name].patched for name in ("learned", "untrained"))
    return table_of(
        f"Does an EM step put into the tokens improve the estimate? K = {regime.K}",
        zip(own.tokens, control.tokens, strict=True),
        [
            ("after layer", lambda row: str(row[0].layer)),
            ("error of what is decoded there", lambda row: significant(row[0].decoded_error)),
            ("error one EM step later", lambda row: significant(row[0].step_error)),
            ("change of final error: decoded values patched", lambda row: bracket(*row[0].error.decoded)),
            ("change of final error: EM step patched", lambda row: bracket(*row[0].error.step)),
            ("control: EM step's change in a random direction", lambda row: bracket(*row[0].error.random)),
            ("EM step against decoded", lambda row: bracket(*row[0].step_gain)),
            ("untrained: EM step against decoded", lambda row: bracket(*row[1].step_gain)),
        ],
        f"Final error without a patch: {bracket(*own.error)}. The estimate at a layer is decoded by "
        "least squares from the stream at the tokens; its EM step is exact. If the network went on "
        "from the tokens, the better start would lower its final error.",
    )
