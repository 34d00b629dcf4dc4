"""The torch runtime beside the interpreter in balls, sub-layer by sub-layer.

Each sub-layer is interpreted from the runtime's own state before it. That state is floating point, so it is
exact; what the runtime makes of it may differ from the ball by the rounding of this one sub-layer, which
:mod:`verify.certify.network.rounding` bounds a priori. Nothing is known of the theorem.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from constructions.language.transformer import Transformer, TransformerLayer
from verify.balls.flint import FIRST_BITS, precision
from verify.certify.network.interpreter import Interpreter, interpreter
from verify.certify.network.reading import read_weights
from verify.certify.network.rounding import attended_within, fed_within
from verify.certify.network.rows import Rows


@dataclass(frozen=True, eq=False)
class Seen:
    """What the runtime held around one layer, each (B, N, D); ``middle`` stands between its sub-layers."""

    number: int
    before: Tensor
    middle: Tensor
    after: Tensor


@dataclass(eq=False)
class _Recorder:
    """Hooks on a transformer that note the states of each layer as it is applied."""

    transformer: Transformer
    seen: list[Seen] = field(default_factory=list)
    _fed: list[Tensor] = field(default_factory=list)

    def run(self, h: Tensor, mask: Tensor | None) -> list[Seen]:
        handles = []
        for number, layer in enumerate(self.transformer.layers):
            handles.append(layer.register_forward_hook(self._layer(number)))
            if layer.mlp is not None:
                handles.append(layer.mlp.register_forward_pre_hook(self._mlp))  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        try:
            with torch.no_grad():
                self.transformer.block(h, mask)
        finally:
            for handle in handles:
                handle.remove()
        return self.seen

    def _mlp(self, module: Any, arguments: tuple[Tensor, ...]) -> None:
        self._fed.append(arguments[0])

    def _layer(self, number: int) -> Any:
        def note(module: Any, arguments: tuple[Tensor, ...], after: Tensor) -> None:
            middle = self._fed.pop() if self._fed else after
            self.seen.append(Seen(number, arguments[0], middle, after))

        return note


def disagreements(
    transformer: Transformer, h: Tensor, mask: Tensor | None = None, bits: int = FIRST_BITS
) -> list[str]:
    """Where one pass of the runtime leaves what the interpreter allows, a line a sub-layer and task.

    Args:
        transformer: float64 or float32. h: tokens (B, N, D) in its dtype. mask: (B, N) True at real tokens.
        bits: of the balls. Their radius only widens what is allowed by nothing: a number is within the bound
            where this is certain.

    Raises:
        ValueError: a transformer that :func:`verify.certify.network.reading.read_weights` refuses, a dtype
            whose exp nothing is assumed of, or a sub-layer whose rounding has no finite bound.
    """
    seen = _Recorder(transformer).run(h, mask)
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
            for task in range(len(h)):
                for line in _sublayers(network, transformer, state, task, real[task]):
                    lines.append(f"place {place}, layer {state.number + 1}, task {task}: {line}")
    return lines


def _sublayers(
    network: Interpreter, transformer: Transformer, state: Seen, task: int, real: Tensor
) -> Iterator[str]:
    before, middle, after = (x[task][real] for x in (state.before, state.middle, state.after))
    layer: TransformerLayer = transformer.layers[state.number]  # pyright: ignore[reportAssignmentType]
    if layer.attention is not None:
        found = network.attended(state.number, network.rows(before))
        yield from _outside("attention", found, before, middle, attended_within(layer.attention, before))
    elif not torch.equal(before, middle):
        yield "there is no attention, and the state is another one before the MLP"
    if layer.mlp is not None:
        found = network.fed(state.number, network.rows(middle))
        yield from _outside("the MLP", found, middle, after, fed_within(layer.mlp, middle))


def _outside(what: str, found: Rows, before: Tensor, after: Tensor, allowed: Tensor) -> Iterator[str]:
    """At most one line: how many numbers are not certainly within, and the first."""
    if not bool(allowed.isfinite().all()):
        raise ValueError(f"{what}: no finite bound on the rounding of {int((~allowed.isfinite()).sum())} numbers")
    numbers = zip(found, before.tolist(), after.tolist(), allowed.tolist(), strict=True)
    wrong = []
    for token, (balls, old, new, within) in enumerate(numbers):
        for column, ball in enumerate(balls):
            kept = new[column] == old[column] == ball
            if not kept and not abs(ball - new[column]) <= within[column]:
                wrong.append((token, column))
    if wrong:
        token, column = wrong[0]
        yield (
            f"{what}: {len(wrong)} numbers are off; token {token}, column {column} is "
            f"{float(after[token, column])!r}, in balls {found[token][column].str(25)}, "
            f"allowed {float(allowed[token, column]):.3g}"
        )
