"""The two lines that every theorem has in the ledger: along its paths, and searched for a counterexample."""

from __future__ import annotations

import math
from typing import Any

import torch

from constructions.language.structured.evaluation import Evaluation
from verify.engine.measure import every_path
from verify.engine.record import Check, Record
from verify.engine.search import MOST_STEPS, Found, search
from verify.engine.theorem import Theorem

PATH_TASKS, PATH_STEPS = 4, 5


def check_search(
    theorem: Theorem[Any],
    seed: int,
    instances: int,
    dtype: torch.dtype = torch.float64,
    evaluation: Evaluation = "dense",
) -> list[Record]:
    """No instance that the search draws leaves its bounds."""
    check = Check(theorem.source, seed, dtype)
    found = search(theorem, instances, dtype, seed, evaluation=evaluation)
    how = "structured evaluation: " if evaluation == "structured" else ""
    claim = f"{how}{theorem.name}: no bound is broken, {_paths(theorem)}, {len(theorem.families)} families"
    return [found_record(check, claim, found)]


def check_paths(
    theorem: Theorem[Any], seed: int, instances: int, dtype: torch.dtype = torch.float64
) -> list[Record]:
    """Paths of five steps, every size, accuracy and family; the number of instances is theirs."""
    check = Check(theorem.source, seed, dtype)
    found, generator = Found(), torch.Generator().manual_seed(seed)
    for family, _, measured in every_path(theorem, PATH_TASKS, PATH_STEPS, dtype, generator):
        if measured is None:
            found.refused += PATH_TASKS
        else:
            found.add(measured, family)
    steps = theorem.within(PATH_STEPS)
    claim = f"{theorem.name}: every step of {steps} is within its bounds, at all sizes"
    return [found_record(check, claim, found)]


def _paths(theorem: Theorem[Any]) -> str:
    """As in "up to 3 steps"."""
    return "one step" if theorem.within(MOST_STEPS) == 1 else f"up to {theorem.within(MOST_STEPS)} steps"


def found_record(check: Check, claim: str, found: Found) -> Record:
    """The number is error / bound of the instance nearest to its bound; at most 1 is claimed."""
    nearest = 0.0 if math.isinf(found.margin) else 1 / found.margin if found.margin else math.inf
    claimed = f"{found.claimed} of {found.steps} steps of tasks have a finite bound"
    refused = f"; {found.refused} instances leave the hypotheses" if found.refused else ""
    passed = not found.broken and found.claimed > 0
    note = "; ".join([*found.broken[:2], claimed]) + refused
    return check.record(claim, 1.0, nearest, found.instances, passed, note)
