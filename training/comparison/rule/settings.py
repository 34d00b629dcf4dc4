"""How much of the rule is computed, and what the methods are called."""

from __future__ import annotations

from dataclasses import dataclass, replace

EM_NAME, MODE_NAME, NETWORK_NAME = "EM", "MAP-EM", "networks"
READ_NAME, FITTED_NAME, TRUTH_NAME = (
    "rule read off the network",
    "rule fitted to the network",
    "rule fitted to the truth",
)
POSTERIOR_NAME = "posterior mean"
SHUFFLED_NAME = "control: fitted rule, its deviation from EM taken from another task"


@dataclass(frozen=True)
class RuleSettings:
    """How much is computed.

    training_steps, rate   of every network, loss "truth", from the construction.
    seeds                  networks; their seeds are 1,000 seed, 1,000 seed + 1, ...
    fitting_tasks          tasks that rules are fitted and read off on.
    tasks                  fresh tasks, for everything that is reported but where said.
    share_tasks            of them the first, behind what blocks carry.
    posterior_tasks        of them the first, which have a posterior mean.
    at_steps               numbers of steps at which algorithms are compared, ascending.
    long_steps             steps of EM and MAP-EM beside the posterior mean.
    seed                   of all that is random.
    """

    training_steps: int = 1000
    rate: float = 3e-4
    seeds: int = 3
    fitting_tasks: int = 512
    tasks: int = 1024
    share_tasks: int = 128
    posterior_tasks: int = 64
    at_steps: tuple[int, ...] = (1, 2, 3, 5, 10)
    long_steps: int = 100
    seed: int = 0


QUICK = RuleSettings(
    training_steps=120,
    seeds=1,
    fitting_tasks=96,
    tasks=128,
    share_tasks=16,
    posterior_tasks=4,
    at_steps=(1, 2, 3),
    long_steps=20,
)


def settings_of(quick: bool, seed: int) -> RuleSettings:
    """Three networks and a thousand fresh tasks, or with quick too little to conclude."""
    return replace(QUICK if quick else RuleSettings(), seed=seed)
