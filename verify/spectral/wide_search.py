"""A search over sizes: d from 2 to 32, K from 1 to d, N from 64 to 4,096, all families."""

from __future__ import annotations

import math

import torch

from constructions.language.hypotheses import HypothesisError
from verify.engine.measure import measure
from verify.engine.search import Found
from verify.spectral.families import FAMILIES, draw
from verify.spectral.theorem import Spectral

DIMS = (2, 3, 4, 5, 8, 12, 20, 32)
SAMPLES = (64, 4096)
OPTIONS = {"rounds": 24, "steps": 20, "starts": 4}
MOST_NUMBERS = 2**22
"""Of the products of points of one draw: a large size gets fewer tasks."""
MOST_TASKS = 32


class Wide(Spectral):
    """The same weights with the default ranges."""

    options = OPTIONS


WIDE = Wide()


def drawn_sizes(generator: torch.Generator) -> dict[str, int]:
    """d at random, the larger ones the more rarely; K up to d, and N on a logarithmic scale."""
    weights = torch.tensor([1 / d for d in DIMS], dtype=torch.float64)
    d = DIMS[int(torch.multinomial(weights, 1, generator=generator))]
    K = 1 + int(torch.randint(d, (1,), generator=generator))
    low, high = (math.log(n) for n in SAMPLES)
    at = float(torch.rand(1, generator=generator))
    return {"d": d, "K": K, "N": round(math.exp(low + at * (high - low)))}


def search_sizes(instances: int, seed: int, dtype: torch.dtype = torch.float64) -> Found:
    """At least so many tasks; families in turn; structured evaluation.

    Sizes at which a family has too few tasks within the hypotheses count as refused.
    """
    generator, found, turn = torch.Generator().manual_seed(seed), Found(), 0
    while found.instances < instances:
        sizes, family = drawn_sizes(generator), FAMILIES[turn % len(FAMILIES)]
        tasks = max(1, min(MOST_TASKS, MOST_NUMBERS // (sizes["N"] * sizes["d"] ** 2)))
        turn += 1
        try:
            weights = WIDE.construct(sizes, 1)
            problem = WIDE.rounded(draw(family, tasks, sizes, weights.plan, generator, draws=4), dtype)
            measured = measure(WIDE, weights, problem, dtype, "cpu", 1, "structured")
        except (HypothesisError, RuntimeError):
            found.refused += tasks
            continue
        found.add(measured, family, f"{family}, {sizes}, draw {turn} of seed {seed}")
    return found
