"""The torch runtime beside the interpreter in balls, sub-layer by sub-layer.

Each sub-layer is interpreted from the runtime's own state before it. That state is floating point, so it is
exact; what the runtime makes of it may differ from the ball by the rounding of this one sub-layer, which
:mod:`verify.certify.network.rounding` bounds a priori. Nothing is known of the theorem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from constructions.language.transformer import Transformer, TransformerLayer
from verify.balls.flint import FIRST_BITS, precision
from verify.certify.network.interpreter import Interpreter, interpreter
from verify.certify.network.reading import read_weights
from verify.certify.network.rounding import attended_within, fed_within, normed_within, written_within
from verify.certify.network.rows import Rows


@dataclass(frozen=True, eq=False)
class Seen:
    """What the runtime held around one layer, each (B, N, D).

    Attributes:
        number: of the layer. before, after: it. middle: between its sub-layers.
        written: what its attention wrote, where a norm reads that.
    """

    number: int
    before: Tensor
    written: Tensor | None
    middle: Tensor
    after: Tensor


def _run(transformer: Transformer, h: Tensor, mask: Tensor | None) -> list[Seen]:
    """One pass, with hooks that note the states."""
    seen: list[Seen] = []
    inner: dict[str, Tensor] = {}

    def keep(key: str) -> Any:
        def hook(module: Any, arguments: tuple[Tensor, ...]) -> None:
            inner[key] = arguments[0]

        return hook

    def note(number: int) -> Any:
        def hook(module: Any, arguments: tuple[Tensor, ...], after: Tensor) -> None:
            written, middle = inner.pop("norm", None), inner.pop("mlp", after)
            seen.append(Seen(number, arguments[0], written, middle, after))

        return hook

    handles = []
    for number, layer in enumerate(_layers(transformer)):
        handles.append(layer.register_forward_hook(note(number)))
        if layer.mlp is not None:
            handles.append(layer.mlp.register_forward_pre_hook(keep("mlp")))
        if layer.attention is not None and layer.attention.layer.output_norm:
            handles.append(layer.attention.norm.register_forward_pre_hook(keep("norm")))
    try:
        with torch.no_grad():
            transformer.block(h, mask)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _layers(transformer: Transformer) -> list[TransformerLayer]:
    return list(transformer.layers)  # pyright: ignore[reportReturnType]


def disagreements(
    transformer: Transformer, h: Tensor, mask: Tensor | None = None, bits: int = FIRST_BITS
) -> list[str]:
    """Where one pass of the runtime leaves what the interpreter allows, a line a sub-layer and task.

    Args:
        transformer: float64 or float32. h: tokens (B, N, D) in its dtype. mask: (B, N) True at real tokens.
        bits: of the balls. What is not certainly within the bound counts as outside: too few bits never hide
            a disagreement.

    Raises:
        ValueError: a transformer that :func:`verify.certify.network.reading.read_weights` refuses, a dtype
            whose exp nothing is assumed of, or a sub-layer whose rounding has no finite bound.
    """
    seen = _run(transformer, h, mask)
    real = torch.ones(h.shape[:2], dtype=torch.bool) if mask is None else mask
    lines = []
    order = tuple(state.number for state in seen)
    weights = read_weights(transformer)
    if order != weights.sequence:
        lines.append(f"layers were applied in the order {order}; the interpreter says {weights.sequence}")
    before = h
    for place, state in enumerate(seen, 1):
        if not torch.equal(state.before[real], before[real]):
            lines.append(f"place {place}: a layer does not start from what the one before it left")
        before = state.after
    with precision(bits):
        network = interpreter(weights)
        for place, state in enumerate(seen, 1):
            for task in real.any(1).nonzero()[:, 0].tolist():
                for line in _sublayers(network, transformer, state, task, real[task]):
                    lines.append(f"place {place}, layer {state.number + 1}, task {task}: {line}")
    return lines


def _sublayers(
    network: Interpreter, transformer: Transformer, state: Seen, task: int, real: Tensor
) -> Iterator[str]:
    number, layer = state.number, _layers(transformer)[state.number]
    before, middle, after = (x[task][real] for x in (state.before, state.middle, state.after))
    if layer.attention is None:
        if not torch.equal(before, middle):
            yield "there is no attention, and the state is another one before the MLP"
    elif state.written is None:
        found = network.attended(number, network.rows(before))
        allowed = attended_within(layer.attention, before)
        yield from _outside("attention", found, network.attention_writes(number), before, middle, allowed)
    else:
        rows, written = network.rows(before), state.written[task][real]
        columns, nothing = network.attention_writes(number), torch.zeros_like(before)
        allowed = written_within(layer.attention, before)
        yield from _outside("attention", network.written(number, rows), columns, nothing, written, allowed)
        allowed = normed_within(layer.attention, before, written)
        found = network.normed(number, rows, network.rows(written))
        yield from _outside("the norm", found, columns, before, middle, allowed)
    if layer.mlp is not None:
        found = network.fed(number, network.rows(middle))
        allowed = fed_within(layer.mlp, middle)
        yield from _outside("the MLP", found, network.feed_writes(number), middle, after, allowed)


def _outside(
    what: str, found: Rows, columns: tuple[int, ...], before: Tensor, after: Tensor, allowed: Tensor
) -> Iterator[str]:
    """At most one line: how many numbers are not certainly within, and the first.

    Looked at are the columns that are written, and every number that the runtime changed.
    """
    if not bool(allowed.isfinite().all()):
        unbounded = int((~allowed.isfinite()).sum())
        raise ValueError(f"{what}: no finite bound on the rounding of {unbounded} numbers")
    looked_at = before != after
    looked_at[:, list(columns)] = True
    numbers, bounds = after.tolist(), allowed.tolist()
    wrong = [
        (token, column)
        for token, column in looked_at.nonzero().tolist()
        if not abs(found[token][column] - numbers[token][column]) <= bounds[token][column]
    ]
    if wrong:
        token, column = wrong[0]
        yield (
            f"{what}: {len(wrong)} numbers are off; token {token}, column {column} is "
            f"{numbers[token][column]!r}, in balls {found[token][column].str(25)}, "
            f"allowed {bounds[token][column]:.3g}"
        )
