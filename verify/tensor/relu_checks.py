"""The claims about the rounding of ReLU tensor power iteration that ``python -m verify`` checks."""

from __future__ import annotations

import time
from typing import Any

import torch

from constructions.tensor_power.relu import SOURCE, tensor_power_construction
from verify.engine.record import Record, quotient
from verify.tensor.data import gaussian_problem
from verify.tensor.measure import one_step
from verify.tensor.relu_rows import normalised_rows, plain_rows, recovery_rows

SCALE_LIMIT, ROUNDING_DIM, ROUNDING_TRIALS = 1e-12, 32, 20
RECOVERY_LIMIT = 1e-10
NOTE = "paper_notes/theorem_2_tensor_power.md"


def check_rounding(seed: int, instances: int) -> list[Record]:
    """One float64 step of the pair form against exact arithmetic, d = 1 to 64."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    broken, count, least = 0, 0, float("inf")
    at_32 = (0.0, 0.0)
    for dim, trials in (
        (1, 50),
        (2, 50),
        (3, 50),
        (8, 50),
        (16, 20),
        (ROUNDING_DIM, ROUNDING_TRIALS),
        (64, 2),
    ):
        problem = gaussian_problem(dim, trials, generator)
        found = one_step(tensor_power_construction(dim, 1), problem, torch.float64, "cpu")
        broken, count = broken + found.broken, count + trials
        positive = found.error > 0
        least = min(least, float((found.bound / found.error)[positive].min()) if positive.any() else least)
        if dim == ROUNDING_DIM:
            at_32 = found.relative_bound, found.relative_error
    seconds = time.perf_counter() - began
    common: dict[str, Any] = {"evidence": "sampled", "dtype": "float64", "seed": seed, "seconds": seconds}
    return [
        Record(
            claim="tensor power, pairs of heads: one float64 step keeps its rounding bound, d = 1 to 64",
            source=f"{SOURCE}; {NOTE}",
            bound=1.0,
            observed=quotient(1.0, least),
            instances=count,
            passed=broken == 0,
            note="against exact arithmetic; observed: largest error/bound of an entry",
            **common,
        ),
        Record(
            claim="tensor power, pairs of heads, d = 32: rounding bound below 1e-12 of the natural scale",
            source=f"{SOURCE}; {NOTE}",
            bound=SCALE_LIMIT,
            observed=at_32[0],
            instances=ROUNDING_TRIALS,
            passed=at_32[1] <= at_32[0] <= SCALE_LIMIT,
            note=f"largest error {at_32[1]:.2g} of the scale",
            **common,
        ),
    ]


def check_paths(seed: int, instances: int) -> list[Record]:
    """Eight steps, plain and normalised by both norms, against a float64 path."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    rows, tensors = [], 0
    for dim, trials in ((1, 50), (2, 100), (5, 100), (16, 20)):
        problem = gaussian_problem(dim, trials, generator)
        tensors += trials
        rows += normalised_rows(problem, dim, 8, 1024, torch.float64, "cpu")
        rows += plain_rows(problem, dim, 8, torch.float64, "cpu")[0]
    tightest = min(rows, key=lambda row: row["margin"])
    return [
        Record(
            claim="tensor power: up to eight steps keep their bounds, plain, RMS norm and piecewise norm",
            source=f"{SOURCE}; {NOTE}",
            evidence="sampled",
            bound=1.0,
            observed=quotient(1.0, tightest["margin"]),
            instances=tensors,
            dtype="float64",
            seed=seed,
            seconds=time.perf_counter() - began,
            passed=not any(row["broken"] for row in rows),
            note=f"observed: largest error/bound, {tightest['form']}, {tightest['problem']}",
        )
    ]


def check_recovery(seed: int, instances: int) -> list[Record]:
    """Every component of orthogonally decomposable tensors, d up to 32, with deflation."""
    records = []
    for form, sizes in (
        ("rms", ((2, 2), (8, 8), (16, 16), (32, 32))),
        ("piecewise", ((2, 2), (8, 8), (16, 16), (32, 4))),
    ):
        began = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for dim, components in sizes:
            rows += recovery_rows(dim, components, 1024, torch.float64, "cpu", generator, (form,))
        distance = max(row["distance"] for row in rows)
        worst = max(rows, key=lambda row: quotient(row["error"], row["bound"]))
        within = all(row["claimed"] and not row["broken"] for row in rows)
        exact = form == "rms"
        bound, observed = (RECOVERY_LIMIT, distance) if exact else (worst["bound"], worst["error"])
        claim = "to 1e-10" if exact else "within its bound"
        records.append(
            Record(
                claim=f"tensor power, {form} norm, deflation: every component of orthogonal tensors {claim}",
                source=f"{SOURCE}; {NOTE}",
                evidence="sampled",
                bound=bound,
                observed=observed,
                instances=sum(row["components"] for row in rows),
                dtype="float64",
                seed=seed,
                seconds=time.perf_counter() - began,
                passed=within and (distance <= RECOVERY_LIMIT or not exact),
                note=f"(d, K) = {', '.join(map(str, sizes))}; furthest from a true component: {distance:.2g}",
            )
        )
    return records
