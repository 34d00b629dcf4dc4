"""Which head carries which variable: activation patching of heads between two inputs.

    recovery = 1 - |v(patched) - v(clean)|^2 / |v(corrupt) - v(clean)|^2

v is a block of the stream behind a layer. The corrupt input is run with what one head adds taken from the run
of the clean input: 1 means that v is the clean one again, 0 that nothing of it came back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.interpretability.circuit import Circuit
from training.interpretability.recording import (
    attention_of,
    head_changed,
    head_outputs,
    layers_of,
    record_stream,
)


@dataclass(frozen=True)
class Variable:
    """A block of the stream behind layer `layer`, from 0 on."""

    block: str
    layer: int


@dataclass(frozen=True)
class HeadRecovery:
    """Of one head: the recovery of each variable, in their order."""

    layer: int
    head: int
    recoveries: tuple[float, ...]


def recovery(clean: Tensor, corrupt: Tensor, patched: Tensor) -> float:
    """The number above; ValueError where clean and corrupt are equal."""
    size = float((corrupt - clean).square().sum())
    if size == 0:
        raise ValueError("a variable is the same in both runs, needs inputs in which it differs")
    return 1 - float((patched - clean).square().sum()) / size


@torch.no_grad()
def head_recoveries(
    circuit: Circuit, clean: Tensor, corrupt: Tensor, variables: Sequence[Variable]
) -> list[HeadRecovery]:
    """Each head alone is patched, layer by layer.

    Args:
        circuit: with named blocks; of softmax attention.
        clean, corrupt: (B, T, D) tokens of one shape, without padding.
        variables: what is looked at.
    """
    whole, broken = record_stream(circuit, clean), record_stream(circuit, corrupt)
    found = []
    for place, layer in enumerate(layers_of(circuit)):
        if layer.attention is None:
            continue
        attention = attention_of(layer)
        own = head_outputs(attention, layer.norm1(whole.states[place]))
        for head in range(attention.layer.heads):
            with head_changed(circuit, place, head, own[:, head]):
                patched = record_stream(circuit, corrupt)
            parts = [
                [run.block(variable.block)[variable.layer + 1] for run in (whole, broken, patched)]
                for variable in variables
            ]
            found.append(HeadRecovery(place, head, tuple(recovery(*three) for three in parts)))
    return found
