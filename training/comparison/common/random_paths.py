"""What random numbers are for. A purpose has a name here and a path of integers that no other purpose has.

The integers are those that the first results were computed with; a new purpose takes ones that are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

import numpy as np
import torch


@dataclass(frozen=True)
class Path:
    """Integers that begin a path, and what the numbers behind them are, each counted from `first`."""

    steps: tuple[int, ...]
    follows: tuple[str, ...] = ()
    first: int = 0

    def integers(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The whole path; ValueError for more or fewer numbers than follow."""
        if len(numbers) != len(self.follows):
            raise ValueError(f"numbers are {numbers}, needs one for each of {self.follows}")
        return (*self.steps, *(self.first + number for number in numbers))


@unique
class Purpose(Enum):
    """Of one part of a comparison, below the seed; `Subject.generator` draws for it."""

    CONTROL_WEIGHTS = Path((1,))
    """Of the untrained network: told from other draws, and from the start of a training of that seed."""
    TASKS_EXIST = Path((2,))
    """Whether the paper has tasks of a K, which no seed decides: below 0."""
    FAILURES_RESAMPLED = Path((4, 1))
    WEIGHTS_COPY = Path((6, 0), ("copy",))
    WEIGHTS_BROKEN_COPY = Path((6, 1))
    WEIGHTS_RANDOM_NETWORK = Path((6, 2))
    WEIGHTS_TASKS = Path((6, 3))
    WEIGHTS_SHUFFLED = Path((6, 4), ("shuffle",))
    WEIGHTS_RANDOM_LAYERS = Path((6, 5))
    ATTENTION_TASKS = Path((301,), ("K",))
    ATTENTION_CHANCE = Path((302,), ("K",))
    CAUSAL_TASKS = Path((401,), ("K",))
    CAUSAL_FITTED = Path((402,), ("K",))
    CAUSAL_ROTATIONS = Path((403,), ("K",))
    CAUSAL_AGREEMENT = Path((404,), ("K",))
    CAUSAL_PATCHES = Path((405,), ("K",))
    PROBES_HAND_BUILT = Path((3200, 0))
    PROBES_TASKS = Path((3200,), ("K",))
    """K >= 2: no task has the path of the hand-built network."""


REGIME = 3
"""Begins the paths of the tasks that several parts share; the regime's own numbers follow, see Regime."""


@unique
class RegimePurpose(Enum):
    """Of one set of tasks of a regime, behind REGIME and what tells the set; `RegimeTasks.generator`."""

    TASKS = Path((1,))
    START = Path((2,), ("start",))
    METHOD = Path((2,), ("method",), first=100)
    BEHAVIOUR_RESAMPLED = Path((7,))
    BEHAVIOUR_NOISE = Path((8,))
    FAILURES_HARDNESS = Path((9,))
    ADAPTATION_RESAMPLED = Path((11,))


@unique
class TaskSet(Enum):
    """Tasks that share everything but the draw: which of them."""

    SHARED = 0
    FAILURES = 1


@unique
class OriginPurpose(Enum):
    """Of the networks of the construction's shape, which know no subject; `generator_of`."""

    TRAINING = 0
    HELD_OUT = 1
    CURVATURE = 2
    WEIGHTS = 3
    FINDING_SIZES = 41
    """Numbers of points of the tasks of some steps."""
    FINDING_DRAWS = 42
    """Which tasks of a fixed set a step sees."""
    FINDING_SCALES = 43
    """Tasks behind the variances of the blocks."""
    INTERCHANGE_TASKS = 30
    INTERCHANGE_LEARNING = 31
    """With the number of the place behind the seed."""
    RULE_FITTED = 70
    RULE_FRESH = 71
    RULE_RESAMPLED = 72
    RULE_POSTERIOR = 73


@unique
class StartsPurpose(Enum):
    """Of the larger networks that start as the construction; `generator_of`, told from OriginPurpose."""

    TRAINING = 60
    HELD_OUT = 61
    WEIGHTS = 62
    METHODS = 63


def seed_of(*path: int) -> int:
    """A seed for each path of non-negative integers."""
    state = 0
    for value in path:
        state = (state * 1_000_003 + value + 1) % (2**63 - 1)
    return state


def generator_of(purpose: OriginPurpose | StartsPurpose, *path: int) -> torch.Generator:
    """Random numbers for one purpose, a function of the path of non-negative integers behind it.

    Hashed by numpy's SeedSequence to the 32 bits that torch's CPU generator reads of its seed.
    """
    key = (purpose.value, *path)
    state = np.random.SeedSequence(entropy=0, spawn_key=key).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


def beside_construction(seed: int) -> torch.Generator:
    """What is drawn beside the hand-built weights: copies under random symmetries, unrelated weights.

    One purpose: no two of these networks are compared with each other, only with the construction.
    """
    return torch.Generator().manual_seed(seed)
