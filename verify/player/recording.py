"""The stream and the attention of a run as the player keeps them: equal rows and columns once, exactly."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from constructions.language.assembly import Construction, Layer
from constructions.language.stream import Block
from constructions.language.structured.evaluation import DenseState, Evaluator
from constructions.language.structured.partitions import Tokens
from constructions.language.transformer import SelfAttention, Transformer
from training.interpretability.recording import head_scores, head_weights
from verify.player.scene import Recorded, State, Values, Weights


def attention_of_heads(attention: SelfAttention, h: Tensor) -> Tensor:
    """(H, N, N) what each token (row) gives to each (column), from the stream h (N, D) and the dense weights.

    Softmax weights have sum 1; ReLU ones are what they are, divided by N where the layers do so.
    """
    with torch.no_grad():
        if attention.kind == "softmax":
            return head_weights(attention, h[None])[0]
        found = head_scores(attention, h[None])[0].relu()
        return found / len(h) if attention.shape.divide_by_tokens else found


def classes_of(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) the first row of each class of equal ones, and (N,) the class of each; numbered as they come."""
    _, found = torch.unique(rows, dim=0, return_inverse=True)
    places = torch.arange(len(rows), device=rows.device)
    first = torch.full((int(found.max()) + 1,), len(rows), device=rows.device)
    first = first.scatter_reduce(0, found, places, "amin")
    order = first.argsort()
    return first[order], order.argsort()[found]


Item = TypeVar("Item")


class _Pool(Generic[Item]):
    """Things stored once each, told apart by a key."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._places: dict[Hashable, int] = {}

    def place(self, key: Hashable, item: Item) -> int:
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append(item)
        return self._places[key]


class _Kept:
    """What is stored so far."""

    def __init__(self) -> None:
        self.classes: _Pool[list[int]] = _Pool()
        self.values: _Pool[Values] = _Pool()
        self.weights: _Pool[Weights] = _Pool()

    def partition(self, labels: Tensor) -> int:
        found = labels.tolist()
        return self.classes.place(tuple(found), found)

    def block(self, held: Tensor) -> int:
        """Of what the tokens hold, (N, width)."""
        first, labels = classes_of(held)
        found = Values(held[first].tolist(), self.partition(labels))
        return self.values.place((str(found.rows), found.of), found)

    def head(self, A: Tensor) -> int:
        """Of a matrix (N, N)."""
        (rows, queries), (columns, keys) = classes_of(A), classes_of(A.mT)
        found = Weights(A[rows][:, columns].tolist(), self.partition(queries), self.partition(keys))
        return self.weights.place((str(found.rows), found.queries, found.keys), found)


def live_after(layer: Layer, live: frozenset[Block]) -> frozenset[Block]:
    """The blocks that hold a value after a layer."""
    written = {head.write for head in layer.all_heads}
    cleared = {block for part in layer.mlp for block in part.clears}
    return frozenset((live | written) - cleared | {block for part in layer.mlp for block in part.writes})


def recorded(
    construction: Construction, transformer: Transformer, start: Tensor, after: Iterable[Tensor]
) -> Recorded:
    """The states of one task of which every token is real.

    Args:
        construction: the layers as formulas. transformer: their dense weights.
        start: (N, D) what the first layer sees. after: the same after every layer of every pass.
    """
    kept, live = _Kept(), frozenset(construction.inputs)
    sequence = construction.sequence
    states = [State(0, None, _blocks(kept, live, start), [])]
    before = start
    for count, h in enumerate(after):
        number = sequence[count % len(sequence)]
        attention = transformer.layers[number].attention
        heads = attention_of_heads(attention, before) if isinstance(attention, SelfAttention) else ()
        live = live_after(construction.layers[number], live)
        steps = (count + 1) // len(sequence)
        states.append(State(steps, number, _blocks(kept, live, h), [kept.head(A) for A in heads]))
        before = h
    return Recorded(len(start), kept.classes.items, kept.values.items, kept.weights.items, states)


def passes(layers: Evaluator[Any], state: Any, steps: int) -> Iterator[Any]:
    """The states after every layer of so many passes."""
    for _ in range(steps):
        for after in layers.states(state):
            state = after
            yield state


def stream_of(state: DenseState | Tokens, task: int) -> Tensor:
    """(N, D) what the tokens of a task hold, on the CPU."""
    return (state.h if isinstance(state, DenseState) else state.dense())[task].cpu()


def _blocks(kept: _Kept, live: frozenset[Block], h: Tensor) -> dict[str, int]:
    found = sorted(live, key=lambda block: block.start)
    return {block.name: kept.block(h[:, block.slice]) for block in found}
