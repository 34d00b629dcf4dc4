"""The rows of the table: of each case, dtype and kernel the median and the largest certified error."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from constructions.language.hypotheses import HypothesisError
from constructions.language.transformer import Transformer
from verify.balls.array import NotInBallsError
from verify.certify.network.interpreter import Interpreter, interpreter
from verify.certify.network.reading import read_weights
from verify.certify.precision.cases import ERROR_ALONE, Case
from verify.certify.precision.distances import Held, Off, off
from verify.certify.precision.running import Ran, Read, kernels_of, read_in, run_layers

WORDS = 110
"""Characters of a reason that are shown."""

MOST_BFLOAT16 = 2**22
"""Hidden values of a layer; torch's products in bfloat16 take a second for so many on a common processor."""


@dataclass(frozen=True)
class Spread:
    """Upper ends over the runs: of an even number the upper median, so that it stays certified."""

    median: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """None where a value is not known, or there is none."""
        found = list(values)
        known = [value for value in found if value is not None]
        if not known or len(known) < len(found):
            return None
        return cls(statistics.median_high(known), max(known))


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        theorem, size, accuracy, steps: the case. dtype: of weights and stream.
        kernel: of softmax attention, "products" of ReLU attention. attention: the dtype it was computed in.
        tasks: tried. runs: of them certified, which the numbers are about. families: of these.
        error, weights, rounding: over the scale (verify.certify.precision.distances).
        quantity: that the largest error is of. bits: the most that a run took.
        refused: runs whose task the theorem's own check refuses in this dtype: the layers run all the same.
        remarks: what did not run, and why; a reason each.
    """

    theorem: str
    size: str
    accuracy: str
    steps: int
    dtype: str
    kernel: str
    attention: str
    tasks: int
    runs: int
    families: list[str]
    error: Spread | None
    weights: Spread | None
    rounding: Spread | None
    quantity: str
    bits: int
    refused: int
    remarks: list[str]


@dataclass(eq=False)
class _Kernel:
    """What one kernel gave so far."""

    found: list[Off] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    attention: Counter[torch.dtype] = field(default_factory=Counter)
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def rows_of(case: Case, dtype: torch.dtype, tasks: int, seed: int) -> list[Row]:
    """A row a kernel."""
    theorem, weights = case.theorem, case.weights()
    transformer = weights.to_transformer(dtype)
    kernels = {name: _Kernel() for name in kernels_of(transformer)}
    network, why = _network(case, transformer)
    for family, instance in case.tasks(tasks, seed):
        try:
            read = read_in(theorem, weights, instance, dtype)
        except HypothesisError as problem:
            _all(kernels, f"refused: {problem}")
            continue
        if (values := _hidden(transformer, read)) > MOST_BFLOAT16 and dtype == torch.bfloat16:
            _all(
                kernels, f"too slow in bfloat16: {values:,} hidden values a layer, at most {MOST_BFLOAT16:,}"
            )
            continue
        ran = _runs(transformer, read, kernels)
        held = {name: theorem.decode(weights, read.instance, one.stream) for name, one in ran.items()}
        finite = {name: states for name, states in held.items() if _finite(states, kernels[name])}
        try:
            decided = off(theorem, weights, network, read, case.steps, finite) if finite else {}
        except NotInBallsError as problem:
            decided, none = {}, f"the algorithm is not evaluated in balls: {problem}"
            _all(kernels, none)
        if decided is None:
            _all(kernels, "where the exact algorithm is not defined, or not decided by 512 bits")
            continue
        _noted(kernels, ran, decided, read, family)
    return [_row(case, dtype, tasks, name, kernel, why) for name, kernel in kernels.items()]


def _network(case: Case, transformer: Transformer) -> tuple[Interpreter | None, str | None]:
    if case.theorem.key in ERROR_ALONE:
        return None, "layers not evaluated in balls"
    try:
        return interpreter(read_weights(transformer)), None
    except ArithmeticError as problem:
        return None, f"layers not evaluated in balls: {problem}"


def _all(kernels: dict[str, _Kernel], reason: str) -> None:
    for kernel in kernels.values():
        kernel.reasons[reason] += 1


def _hidden(transformer: Transformer, read: Read) -> int:
    return read.mask.numel() * max(layer.hidden for layer in transformer.shape.layers)


def _runs(transformer: Transformer, read: Read, kernels: dict[str, _Kernel]) -> dict[str, Ran]:
    found = {}
    for name, kernel in kernels.items():
        try:
            found[name] = run_layers(transformer, read, name)
        except RuntimeError as problem:
            kernel.reasons[f"does not run: {str(problem).splitlines()[0]}"] += 1
    return found


def _finite(held: Held, kernel: _Kernel) -> bool:
    finite = all(bool(state.isfinite().all()) for state in held.values())
    if not finite:
        kernel.reasons["leaves the range of the dtype or divides 0 by 0: not finite"] += 1
    return finite


def _noted(
    kernels: dict[str, _Kernel], ran: dict[str, Ran], decided: dict[str, Off], read: Read, family: str
) -> None:
    for name, one in decided.items():
        kernel = kernels[name]
        kernel.found.append(one)
        kernel.families.append(family)
        kernel.attention.update(ran[name].attention)
        if read.refused is not None:
            kernel.refused += 1
            kernel.reasons[f"refused by the theorem's check, layers run directly: {read.refused}"] += 1


def _row(case: Case, dtype: torch.dtype, tasks: int, name: str, kernel: _Kernel, why: str | None) -> Row:
    found = kernel.found
    worst = max(found, key=lambda one: one.error, default=None)
    remarks = [] if why is None else [_short(why)]
    remarks += [f"{count} of {tasks} {_short(reason)}" for reason, count in _grouped(kernel.reasons).items()]
    attention = sorted(map(_plain, kernel.attention)) or [_plain(dtype)]
    return Row(
        theorem=case.theorem.key,
        size=case.size,
        accuracy=case.accuracy,
        steps=case.steps,
        dtype=_plain(dtype),
        kernel=name,
        attention=", ".join(attention),
        tasks=tasks,
        runs=len(found),
        families=kernel.families,
        error=Spread.of(one.error for one in found),
        weights=Spread.of(one.weights for one in found),
        rounding=Spread.of(one.rounding for one in found),
        quantity="" if worst is None else worst.quantity,
        bits=max((one.bits for one in found), default=0),
        refused=kernel.refused,
        remarks=remarks,
    )


def _grouped(reasons: Counter[str]) -> Counter[str]:
    """One reason a kind, which stands before the colon: the first of each with all its tasks."""
    first: dict[str, str] = {}
    found: Counter[str] = Counter()
    for reason, count in reasons.items():
        found[first.setdefault(reason.split(":")[0], reason)] += count
    return found


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= WORDS else f"{line[: WORDS - 4].rstrip()} ..."


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
