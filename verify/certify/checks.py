"""The line of the ledger that certifies a theorem's search."""

from __future__ import annotations

import math
from typing import Any

import torch

from verify.certify.search import certified_search
from verify.engine.record import Check, Record, quotient
from verify.engine.theorem import Theorem


def check_certified(theorem: Theorem[Any], seed: int, instances: int) -> list[Record]:
    """Both precisions: every instance is within its bounds, decided in ball arithmetic."""
    return [_one(theorem, seed, instances, dtype) for dtype in (torch.float64, torch.float32)]


def _one(theorem: Theorem[Any], seed: int, instances: int, dtype: torch.dtype) -> Record:
    check = Check(theorem.source, seed, dtype, "certified")
    found = certified_search(theorem, instances, dtype, seed)
    held, broken, unknown = (found.verdicts[verdict] for verdict in ("held", "broken", "unknown"))
    claim = f"{theorem.name}: every instance of the search is within its bounds"
    counts = f"{held} held, {broken} broken, {unknown} unknown"
    claimed = f"{found.claimed} of {found.steps} steps of tasks have a finite bound"
    bits = f"at most {max(found.bits, default=0)} bits"
    note = "; ".join([counts, *found.lines[:2], claimed, bits])
    nearest = 0.0 if math.isinf(found.margin) else quotient(1.0, found.margin)
    passed = not broken and not unknown and found.claimed > 0
    return check.record(claim, 1.0, nearest, found.instances, passed, note)
