"""The two lines that every theorem has in the ledger: along its paths, and searched for a counterexample."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from constructions.language.hypotheses import HypothesisError
from verify.engine.measure import drawn, measure
from verify.engine.record import Record
from verify.engine.search import Found, search
from verify.engine.theorem import Theorem

PATH_TASKS, PATH_STEPS = 4, 5


def check_search(
    theorem: Theorem[Any], seed: int, instances: int, dtype: torch.dtype = torch.float64
) -> list[Record]:
    """No instance that the search draws leaves its bounds."""
    began = time.perf_counter()
    found = search(theorem, instances, dtype, seed)
    claim = f"{theorem.name}: no bound is broken, up to 3 steps, {len(theorem.families)} families"
    return [_record(theorem, claim, found, dtype, seed, time.perf_counter() - began)]


def check_paths(
    theorem: Theorem[Any], seed: int, instances: int, dtype: torch.dtype = torch.float64
) -> list[Record]:
    """Paths of five steps, every size, accuracy and family; the number of instances is theirs."""
    began = time.perf_counter()
    found, generator = Found(), torch.Generator().manual_seed(seed)
    for sizes in theorem.sizes:
        for accuracy in (None,) if theorem.accuracy is None else theorem.accuracy.values:
            weights = theorem.construct(sizes, PATH_STEPS, accuracy)
            for family in theorem.families:
                instance = drawn(theorem, family, sizes, PATH_TASKS, dtype, generator)
                try:
                    found.add(measure(theorem, weights, instance, dtype, steps=PATH_STEPS), family)
                except HypothesisError:
                    found.refused += PATH_TASKS
    claim = f"{theorem.name}: every step of {PATH_STEPS} is within its bounds, at all sizes"
    return [_record(theorem, claim, found, dtype, seed, time.perf_counter() - began)]


def _record(
    theorem: Theorem[Any], claim: str, found: Found, dtype: torch.dtype, seed: int, seconds: float
) -> Record:
    """The number is error / bound of the instance nearest to its bound; at most 1 is claimed."""
    nearest = 0.0 if math.isinf(found.margin) else 1 / found.margin if found.margin else math.inf
    claimed = f"{found.claimed} of {found.steps} steps of tasks have a finite bound"
    refused = f"; {found.refused} instances leave the hypotheses" if found.refused else ""
    return Record(
        claim=claim,
        source=theorem.source,
        evidence="sampled",
        bound=1.0,
        observed=nearest,
        instances=found.instances,
        dtype=str(dtype).removeprefix("torch."),
        seed=seed,
        seconds=seconds,
        passed=not found.broken and found.claimed > 0,
        note="; ".join([*found.broken[:2], claimed]) + refused,
    )
