"""The claims about the rounding of ReLU tensor power iteration that ``python -m verify`` checks."""

from __future__ import annotations

import torch

from constructions.tensor_power.relu import SOURCE, tensor_power_construction
from verify.engine.record import Check, Record, quotient
from verify.tensor.data import gaussian_problem
from verify.tensor.measure import Runtime, one_step
from verify.tensor.relu_rows import normalised_rows, plain_rows, recovery_rows
from verify.tensor.rows import components_found

SCALE_LIMIT, ROUNDING_DIM, ROUNDING_TRIALS = 1e-12, 32, 20
RECOVERY_LIMIT = 1e-10
NOTE = f"{SOURCE}; paper_notes/theorem_2_tensor_power.md"
SIZES = ((1, 50), (2, 50), (3, 50), (8, 50), (16, 20), (ROUNDING_DIM, ROUNDING_TRIALS), (64, 2))
"""(d, tensors) of the step whose rounding is checked."""


def check_rounding(seed: int, instances: int) -> list[Record]:
    """One float64 step of the pair form against exact arithmetic, d = 1 to 64."""
    check = Check(NOTE, seed)
    generator = torch.Generator().manual_seed(seed)
    broken, least = 0, float("inf")
    bound, error = 0.0, 0.0
    for dim, trials in SIZES:
        problem = gaussian_problem(dim, trials, generator)
        found = one_step(tensor_power_construction(dim, 1), problem, Runtime())
        broken += found.broken
        positive = found.error > 0
        least = min(least, float((found.bound / found.error)[positive].min()) if positive.any() else least)
        if dim == ROUNDING_DIM:
            bound, error = found.relative_bound, found.relative_error
    kept = check.record(
        "tensor power, pairs of heads: one float64 step keeps its rounding bound, d = 1 to 64",
        1.0,
        quotient(1.0, least),
        sum(trials for _, trials in SIZES),
        broken == 0,
        "against exact arithmetic; observed: largest error/bound of an entry",
    )
    small = check.record(
        "tensor power, pairs of heads, d = 32: rounding bound below 1e-12 of the natural scale",
        SCALE_LIMIT,
        bound,
        ROUNDING_TRIALS,
        error <= bound <= SCALE_LIMIT,
        f"largest error {error:.2g} of the scale",
    )
    return [kept, small]


def check_paths(seed: int, instances: int) -> list[Record]:
    """Eight steps, plain and normalised by both norms, against a float64 path."""
    check = Check(NOTE, seed)
    generator = torch.Generator().manual_seed(seed)
    rows, sizes = [], ((1, 50), (2, 100), (5, 100), (16, 20))
    for dim, trials in sizes:
        problem = gaussian_problem(dim, trials, generator)
        rows += normalised_rows(problem, dim, 8, 1024, Runtime())
        rows += plain_rows(problem, dim, 8, Runtime())[0]
    tightest = min(rows, key=lambda row: row.margin)
    found = check.record(
        "tensor power: up to eight steps keep their bounds, plain, RMS norm and piecewise norm",
        1.0,
        quotient(1.0, tightest.margin),
        sum(trials for _, trials in sizes),
        not any(row.broken for row in rows),
        f"observed: largest error/bound, {tightest.form}, {tightest.problem}",
    )
    return [found]


def check_recovery(seed: int, instances: int) -> list[Record]:
    """Every component of orthogonally decomposable tensors, d up to 32, with deflation."""
    records = []
    for form, sizes in (
        ("rms", ((2, 2), (8, 8), (16, 16), (32, 32))),
        ("piecewise", ((2, 2), (8, 8), (16, 16), (32, 4))),
    ):
        check = Check(NOTE, seed)
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for dim, components in sizes:
            rows += recovery_rows(dim, components, 1024, Runtime(), generator, (form,))
        what, limit = ("to 1e-10", RECOVERY_LIMIT) if form == "rms" else ("within its bound", None)
        claim = f"tensor power, {form} norm, deflation: every component of orthogonal tensors {what}"
        records.append(components_found(check, claim, rows, limit=limit))
    return records
