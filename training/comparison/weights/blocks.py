"""Which named block of a construction another network has, lacks, or has in addition.

    A = c W_Q W_K^T, block (query block a, key block b)
    V = W_V W_O and MLP, block (read r, write w)

Each is given twice: as a Frobenius norm, and weighed by data, since tokens fill only a part of the stream:

    A    standard deviation over the keys of a query of h_i[a]^T A_ab h_j[b], in nats: what softmax sees
    V    root mean square of |h_j[r]^T V_rw| over tokens
    MLP  root mean square of |MLP(h)[w] - MLP(h')[w]| / sqrt(2), h' with block r taken from another token; for
         a sum of functions of single blocks this is the standard deviation of what block r contributes

All networks see the same tokens. Where the entries of a block have one sum on all tokens (a one-hot slot,
probabilities), the average weight of its entries does what a weight of the constant `one` does, and no data
tell them apart: in the sizes by data it counts under `one`, for every network alike. <slot, log_resp> then
shows twice: with the average over slots taken out, and as <one, log_resp>.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from constructions.language.stream import Block, Stream
from constructions.language.transformer import Transformer, TransformerLayer
from training.comparison.symmetry.alignment import align_transformers
from training.comparison.weights.block_verdicts import (
    HALF,
    NATS,
    ROUNDING,
    SHARE,
    BlockLayer,
    BlocksResult,
    Form,
    Products,
    Thresholds,
    counts,
    numbers,
)
from training.model.balance import layers_of


def layer_inputs(transformer: Transformer, h: Tensor) -> list[Tensor]:
    """Per layer, (loops * B, N, D): the tokens that it sees in all loops, for h (B, N, D) without padding."""
    seen: list[list[Tensor]] = [[] for _ in transformer.layers]
    with torch.no_grad():
        for _ in range(transformer.shape.loops):
            for place, layer in enumerate(layers_of(transformer)):
                seen[place].append(h)
                h = layer(h)
    return [torch.cat(states) for states in seen]


@torch.no_grad()
def compare_blocks(
    constructed: Transformer,
    learned: Transformer,
    stream: Stream,
    states: Sequence[Tensor] | None = None,
    slot_blocks: Sequence[Block] = (),
    control: Transformer | None = None,
) -> BlocksResult:
    """Every block of every layer and matched head; blocks_report.render_blocks shows them.

    Args:
        constructed: the hand-built weights, without norms. learned: of the same shape; it is aligned first.
        stream: names of the coordinates.
        states: per layer (B, N, D), the tokens at its input, as :func:`layer_inputs` of the constructed
            network gives them; without them only norms, and verdicts from norms.
        slot_blocks: as for alignment.align.
        control: a network with nothing learned, to be measured beside.

    Raises:
        ValueError: shapes that differ, another stream, norms before the sub-layers, states that do not fit.
    """
    _check(constructed, stream, states)
    networks = {"learned": learned} | ({"control": control} if control is not None else {})
    alignments = {
        name: align_transformers(constructed, network, slot_blocks) for name, network in networks.items()
    }
    aligned = {"constructed": copy.deepcopy(constructed).double()}
    aligned |= {name: alignment.other for name, alignment in alignments.items()}
    blocks = stream.blocks
    layers = []
    for place in range(len(constructed.layers)):
        own = {name: layers_of(network)[place] for name, network in aligned.items()}
        h = None if states is None else states[place].double()
        partners = [
            {n: int(i) + 1 for n, i in zip(alignments, row, strict=True)}
            for row in zip(*(alignment.heads[place] for alignment in alignments.values()), strict=True)
        ]
        forms = _heads(own, constructed.shape.score_scale, stream, h, partners)
        if own["constructed"].mlp is not None:
            forms.append(_mlp(own, blocks, h))
        layers.append(BlockLayer(place + 1, forms))
    return BlocksResult(
        blocks=[block.name for block in blocks],
        data=states is not None,
        tokens=None if states is None else [math.prod(h.shape[:2]) for h in states],
        thresholds=Thresholds(HALF, NATS, SHARE),
        distances={name: alignment.distances() for name, alignment in alignments.items()},
        layers=layers,
        counts={name: counts(layers, name) for name in alignments},
    )


def _check(constructed: Transformer, stream: Stream, states: Sequence[Tensor] | None) -> None:
    shape = constructed.shape
    if shape.norm != "none":
        raise ValueError(f"norm is {shape.norm!r}, needs 'none': a normalised stream has no named blocks")
    if stream.width != shape.width:
        raise ValueError(f"the stream has {stream.width} coordinates, the transformer {shape.width}")
    if states is None:
        return
    if len(states) != len(shape.layers):
        raise ValueError(
            f"states has {len(states)} tensors, needs one for each of {len(shape.layers)} layers"
        )
    for h in states:
        if h.dim() != 3 or h.shape[-1] != shape.width or 0 in h.shape:
            raise ValueError(f"a state has shape {tuple(h.shape)}, needs (B, N, {shape.width})")


def _heads(
    layers: dict[str, TransformerLayer],
    scale: float,
    stream: Stream,
    h: Tensor | None,
    partners: list[dict[str, int]],
) -> list[Form]:
    """A and V of every head of the constructed network beside those of its partners."""
    if layers["constructed"].attention is None:
        return []
    forms = []
    for head in range(layers["constructed"].attention.layer.heads):
        scores, values = {}, {}
        for name, layer in layers.items():
            a = layer.attention
            scores[name] = scale * a.query[head] @ a.key[head].T  # pyright: ignore[reportOptionalMemberAccess]
            values[name] = a.value[head] @ a.output[head]  # pyright: ignore[reportOptionalMemberAccess]
        given_of: tuple[tuple[Literal["A", "V"], dict[str, Tensor]], ...] = (("A", scores), ("V", values))
        for kind, given in given_of:
            plain = {n: _plain(m, given["constructed"], stream.blocks) for n, m in given.items()}
            weighed = None
            if h is not None:
                seen = {n: _booked(m, h, stream, kind) for n, m in given.items()}
                product = _score_products if kind == "A" else _value_products
                weighed = {n: product(m, seen["constructed"], h, stream.blocks) for n, m in seen.items()}
            found = numbers(plain, weighed, kind)
            forms.append(Form(f"head {head + 1}, {kind}", kind, found, partners[head]))
    return forms


def _mlp(layers: dict[str, TransformerLayer], blocks: Sequence[Block], h: Tensor | None) -> Form:
    """What the MLP does from block to block. Its plain size has no sign, so no cosine either."""
    sizes = {}
    for name, layer in layers.items():
        read, write = layer.mlp.w1.square(), layer.mlp.w2.square()  # pyright: ignore[reportOptionalMemberAccess]
        squares = torch.stack([read[b.slice].sum(0) for b in blocks]) @ torch.stack(
            [write[:, b.slice].sum(1) for b in blocks], dim=1
        )
        sizes[name] = Products(squares, torch.full_like(squares, math.nan))
    weighed = None
    if h is not None:
        first = layers["constructed"]
        after = h if first.attention is None else h + first.attention(h)
        tokens = after.flatten(0, 1)
        changes = {name: _changes(layer, tokens, blocks) for name, layer in layers.items()}
        weighed = {
            name: Products(_sums(change * change, blocks), _sums(change * changes["constructed"], blocks))
            for name, change in changes.items()
        }
    return Form("MLP", "MLP", numbers(sizes, weighed, "MLP"))


def _changes(layer: TransformerLayer, tokens: Tensor, blocks: Sequence[Block]) -> Tensor:
    """(blocks, T, D) change of the MLP's output over sqrt(2) when a block is that of another token."""
    if layer.mlp is None:
        raise ValueError("a layer has no MLP, needs one like the constructed layer")
    whole = layer.mlp(tokens)
    elsewhere = tokens.roll(1 + len(tokens) // 3, 0)
    changes = []
    for block in blocks:
        mixed = tokens.clone()
        mixed[:, block.slice] = elsewhere[:, block.slice]
        changes.append((whole - layer.mlp(mixed)) / math.sqrt(2))
    return torch.stack(changes)


def _sums(product: Tensor, blocks: Sequence[Block]) -> Tensor:
    """(blocks, blocks): mean over tokens, sum over the entries of each block written."""
    return torch.stack([product[..., b.slice].sum(-1).mean(-1) for b in blocks], dim=1)


def _by_blocks(blocks: Sequence[Block], entry: Callable[[slice, slice], Tensor]) -> Tensor:
    """(blocks, blocks): a number for every two blocks of a form."""
    return torch.stack([torch.stack([entry(a.slice, b.slice) for b in blocks]) for a in blocks])


def _plain(form: Tensor, constructed: Tensor, blocks: Sequence[Block]) -> Products:
    def sums(other: Tensor) -> Tensor:
        product = form * other
        return _by_blocks(blocks, lambda a, b: product[a, b].sum())

    return Products(sums(form), sums(constructed))


def _score_products(form: Tensor, constructed: Tensor, h: Tensor, blocks: Sequence[Block]) -> Products:
    """mean_i <h_i[a] A_ab (h_j[b] - mean_j), ...>_j = mean over tasks of tr(A_ab^T M_a A'_ab C_b)."""
    moment = h.mT @ h / h.shape[1]
    centred = h - h.mean(1, keepdim=True)
    covariance = centred.mT @ centred / h.shape[1]

    def traces(other: Tensor) -> Tensor:
        return _by_blocks(
            blocks,
            lambda a, b: (
                (moment[:, a, a] @ other[a, b] @ covariance[:, b, b] * form[a, b]).sum((1, 2)).mean()
            ),
        )

    return Products(traces(form), traces(constructed))


def _value_products(form: Tensor, constructed: Tensor, h: Tensor, blocks: Sequence[Block]) -> Products:
    tokens = h.flatten(0, 1)
    moment = tokens.T @ tokens / len(tokens)

    def sums(other: Tensor) -> Tensor:
        return _by_blocks(blocks, lambda a, b: (moment[a, a] @ other[a, b] * form[a, b]).sum())

    return Products(sums(form), sums(constructed))


def _booked(form: Tensor, h: Tensor, stream: Stream, kind: str) -> Tensor:
    """The same form on these tokens, the average over a block of constant sum moved to the block `one`."""
    if "one" not in stream:
        return form
    one = stream.one.start
    form = form.clone()
    for block in stream.blocks:
        entries = h[..., block.slice]
        sums = entries.sum(-1)
        if block.name == "one" or float(sums.max() - sums.min()) > ROUNDING * float(entries.abs().max()):
            continue
        for turned in (form, form.T) if kind == "A" else (form,):
            average = turned[block.slice].mean(0)
            turned[block.slice] -= average
            turned[one] += float(sums.flatten()[0]) * average
    return form
