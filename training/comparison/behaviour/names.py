"""How the references of `behaviour` are called in the report."""

from __future__ import annotations

from training.comparison.behaviour.measure import RegimeResult
from training.comparison.common.regimes import RESTART_NAME, SHUFFLED, START_NAMES

NAMES = {
    "network": "the network",
    "truth": "the truth",
    "em": RESTART_NAME,
    "k-means": "k-means",
    "spectral": "spectral",
    "map-em": "the posterior mode",
    "posterior-mean": "the posterior mean",
}
DIRECTION_NAMES = {
    **NAMES,
    "early 3": "EM stopped early: 3 steps from k-means++",
    "shrunk": "every mean 2 % nearer to the points' average",
}
CONTROL_NAMES = {
    SHUFFLED: "another task's direction",
    "untrained": "untrained network",
    "k-means": "k-means, 10 starts",
    "early 3": "EM, 3 steps from k-means++",
    "em noise": "EM's estimate plus noise",
    "truth noise": "the truth plus noise",
}
"""Of the directions, as CONTROLS in behaviour_directions."""


def steps_of(name: str, regime: RegimeResult, kind: str, joint: str = " or ") -> tuple[str, str]:
    """Of EM stopped early: the steps chosen for that kind of output, of both halves, and its start."""
    start = name.removeprefix("early ")
    return joint.join(map(str, dict.fromkeys(regime.steps[kind][start]))), START_NAMES[start]


def label(name: str, regime: RegimeResult, kind: str) -> str:
    """Of a reference in a regime; EM stopped early with the steps chosen for that kind of output."""
    if name.startswith("early "):
        steps, start = steps_of(name, regime, kind)
        return f"EM stopped after {steps} steps from {start}"
    if name.startswith("em "):
        return f"converged EM from {START_NAMES[name.removeprefix('em ')]}"
    return NAMES.get(name, name)


def general(name: str) -> str:
    """Of a reference, whatever the regime."""
    if name.startswith("early "):
        return f"EM stopped early from {START_NAMES[name.removeprefix('early ')]}"
    return NAMES.get(name, name)
