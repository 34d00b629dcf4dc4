"""The structured evaluation of the tensor constructions, for the ledger: exact, and at large sizes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from constructions.language.structured.arithmetic import ExactArithmetic, in_fractions, rows_of
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.tensor_power.relu import SOURCE, TensorPowerConstruction, tensor_power_construction
from verify.engine.record import Check, Record, proof, quotient
from verify.tensor.data import gaussian_problem
from verify.tensor.exact import Task, draw_task, embedded, float_integer
from verify.tensor.layout import layout
from verify.tensor.measure import Runtime, one_step

NOTE = f"{SOURCE}; paper_notes/structured_evaluation.md"
DYADIC_INSTANCES = 200
SIZES = ((64, 2), (128, 1))
"""(d, tensors) of the step whose rounding is checked."""


def check_structured(seed: int, instances: int) -> list[Record]:
    """Exact in fractions; one float64 and float32 step keeps the rounding bound up to d = 128."""
    return [_exact(seed, min(DYADIC_INSTANCES, instances)), *_rounding(seed)]


def _exact(seed: int, instances: int) -> Record:
    check = proof(NOTE, seed)
    rng = np.random.default_rng(seed)
    compared, index, found = 0, 0, None
    while compared < instances and found is None:
        task = draw_task(index, rng)
        index += 1
        if task.dyadic:
            compared += 1
            found = structured_difference(
                task.form.build(task.max_dim, task.steps, float_integer(task.required_offset)), task
            )
    claim = "structured evaluation: the formulas equal v <- T(I, v, v) exactly, d 1 to 6, L 1 to 4"
    note = found or "dyadic T and v, in fractions; all real tokens compared"
    return check.record(claim, 0, 0 if found is None else 1, compared, found is None, note)


def structured_difference(built: TensorPowerConstruction, task: Task) -> str | None:
    """Where the structured evaluation in fractions leaves the iteration first, or None; dyadic T and v."""
    layers = StructuredEvaluator(built.construction, ExactArithmetic())
    state = layers.start(in_fractions(built.tokens(embedded(built, task))))
    for step, v in enumerate(task.path):
        if step:
            state = layers.block(state)[-1]
        wanted = layout(built.construction.stream, task.form, task.T, v, task.tokens)
        got = [[Fraction(x) for x in row] for row in rows_of(state)[0].tolist()]
        if got[: task.dim] != wanted[: task.dim]:
            return f"{task}: the structured evaluation differs after step {step}"
    return None


def _rounding(seed: int) -> list[Record]:
    records = []
    for dtype in (torch.float64, torch.float32):
        check, generator = Check(NOTE, seed, dtype), torch.Generator().manual_seed(seed)
        broken, least, tensors = 0, float("inf"), 0
        for dim, trials in SIZES:
            problem = gaussian_problem(dim, trials, generator).rounded(dtype)
            for offset in (None, 4.0):
                power = tensor_power_construction(dim, 1, offset=offset)
                found = one_step(power, problem, Runtime(dtype, evaluation="structured"))
                broken += found.broken
                tensors += trials
                positive = found.error > 0
                least = min(least, float((found.bound / found.error)[positive].min()))
        claim = "structured evaluation, tensor power: one step keeps its rounding bound at d = 64 and 128"
        note = "pairs and offset heads, against exact arithmetic; observed: largest error/bound of an entry"
        records.append(check.record(claim, 1.0, quotient(1.0, least), tensors, broken == 0, note))
    return records
