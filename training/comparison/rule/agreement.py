"""How much of what a network does a rule does too.

    of the outputs     1 - sum |network - rule|^2 / sum |network - its mean|^2
    of the deviation   1 - sum |network - rule|^2 / sum |network - EM|^2

The first is near 1 for everything that is near EM. The second is that of (network - EM) by (rule - EM): 0
for EM itself, 1 for the network, below 0 for what is further from the network than EM is.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.metrics import errors
from baselines.mixture import Mixture
from training.comparison.rule.fitting import differences


@dataclass(frozen=True)
class Agreement:
    """Of some answers with a network's, and their own mean error to the truth."""

    name: str
    outputs: float
    deviation: float
    error: float


def agreement(name: str, answers: Mixture, network: Mixture, em: Mixture, truth: Mixture) -> Agreement:
    """All of one batch (T,), in the order of the starts; the outputs have one mean for all components."""
    apart = float(differences(answers, network).square().sum())
    means = network.means.mean((0, 1)).expand_as(network.means)
    centre = Mixture(network.weights.new_full(network.weights.shape, 1 / network.n_components), means)
    spread = float(differences(network, centre).square().sum())
    deviation = float(differences(network, em).square().sum())
    return Agreement(
        name, 1 - apart / spread, 1 - apart / deviation, float(errors(answers, truth).total.mean())
    )
