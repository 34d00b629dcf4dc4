"""What goes on inside a network: its stream, its attention, and interventions on both.

Constructed, or read from files; the blocks of the stream have names:

circuit = circuit_of(em_construction(2, 3, steps=2, pieces=64))
recording = record_stream(circuit, tokens)
recording.states              (L + 1, B, T, D): the stream before the first layer and after each layer
recording.block("mu")         (L + 1, B, T, d): the same in the columns of one block
with patched(circuit, 2, value, block="mu"): record_stream(circuit, tokens)      # the means before layer 2
with head_changed(circuit, 1, 0, change): record_stream(circuit, tokens)         # what a head adds

Learned:

recording = record(model, X, K)
recording.states              (L + 1, B, T, D)
recording.points              (L + 1, B, N, D): the same at the tokens of the points
recording.tokens              (L + 1, B, K, D): and at the component tokens, where the network has them
with patched(model, layer, change): model.network(X, K)        # change(state) replaces the stream there
with ablated(model, layer, head, K): model.network(X, K)       # that head adds its average instead

L counts a looped layer as often as it is applied. Layers and heads have numbers from 0 on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.transformer import SelfAttention, TransformerLayer
from training.interpretability.circuit import Circuit, transformer_of
from training.model.estimate import Estimate
from training.model.tgmm import TGMM

Replacement = Literal["mean", "zero"]


Change = Callable[[Tensor], Tensor]
"""What stands there -> what is to stand there."""

Network = TGMM | Circuit


@dataclass(frozen=True, eq=False)
class StreamRecording:
    """One pass over B sequences of T tokens.

    states   (L + 1, B, T, D) the residual stream: before the first layer, then after each of the L layers.
    circuit  whose it is.
    """

    states: Tensor
    circuit: Circuit

    __repr__ = short_repr

    def block(self, name: str) -> Tensor:
        """(L + 1, B, T, width) the columns of one block; ValueError for a name that is none."""
        return self.states[..., self.circuit.columns(name)]


@dataclass(frozen=True, eq=False)
class Recording:
    """One forward pass over B tasks of one K and one N, without padding.

    estimate    the network's.
    states      (L + 1, B, T, D) the residual stream: before the first layer, then after each of the L layers.
    n_points    N; T = N + number of component tokens.
    n_tokens    component tokens, 0 for the pooling read-out.
    tokens_last whether these stand behind the points.
    """

    estimate: Estimate
    states: Tensor
    n_points: int
    n_tokens: int
    tokens_last: bool

    __repr__ = short_repr

    @property
    def points(self) -> Tensor:
        """(L + 1, B, N, D)."""
        return self.states[:, :, self.point_places]

    @property
    def tokens(self) -> Tensor:
        """(L + 1, B, n_tokens, D)."""
        return self.states[:, :, self.token_places]

    @property
    def point_places(self) -> slice:
        """Where the points stand in the sequence."""
        first = 0 if self.tokens_last else self.n_tokens
        return slice(first, first + self.n_points)

    @property
    def token_places(self) -> slice:
        """Where the component tokens stand."""
        first = self.n_points if self.tokens_last else 0
        return slice(first, first + self.n_tokens)

    @property
    def read_places(self) -> slice:
        """Where those component tokens stand that are read out: the first K."""
        first = self.token_places.start
        return slice(first, first + min(self.n_tokens, self.estimate.means.shape[1]))


def layers_of(network: Network) -> list[TransformerLayer]:
    """Its layers as they are applied, looped ones several times; ValueError for a backbone without."""
    transformer = transformer_of(network)
    places = transformer.shape.sequence * transformer.shape.loops
    return [transformer.layers[number] for number in places]  # pyright: ignore[reportReturnType]


def attention_of(layer: TransformerLayer) -> SelfAttention:
    """Its attention; ValueError for a layer without."""
    if layer.attention is None:
        raise ValueError("the layer has no attention")
    return layer.attention


@torch.no_grad()
def record(model: TGMM, X: Tensor, n_components: int) -> Recording:
    """Run the learned part on X (B, N, d), of any floating dtype, and keep the stream.

    Raises ValueError where the estimate or the stream is not finite.
    """
    with _keeping(model) as states:
        estimate = model.network(X.to(model.dtype), n_components)
    found = torch.stack(states)
    if not all(bool(part.isfinite().all()) for part in (found, *estimate[:2])):
        raise ValueError("the network's estimate of a task is not finite, needs smaller weights")
    n_points = X.shape[1]
    return Recording(estimate, found, n_points, found.shape[2] - n_points, model.config.tokens_last)


@torch.no_grad()
def record_stream(circuit: Circuit, tokens: Tensor, key_mask: Tensor | None = None) -> StreamRecording:
    """Run the transformer on tokens (B, T, D) of its dtype, and keep the stream.

    ``key_mask`` (B, T) is True at real tokens. Raises ValueError where the stream is not finite.
    """
    with _keeping(circuit) as states:
        circuit.transformer(tokens, key_mask)
    found = torch.stack(states)
    if not bool(found.isfinite().all()):
        raise ValueError("a state of the stream is not finite, needs tokens or weights of smaller size")
    return StreamRecording(found, circuit)


@contextmanager
def _keeping(network: Network) -> Iterator[list[Tensor]]:
    """The list gets what each layer is given, patched or not, and at last what the last one gives."""
    states: list[Tensor] = []
    transformer = transformer_of(network)
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: states.append(given[0]))
        for layer in dict.fromkeys(layers_of(network))
    ]
    hooks.append(transformer.register_forward_hook(lambda *given: states.append(given[-1])))
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(removing(hook))
        yield states


def check_varied(recording: Recording) -> None:
    """Refuse a network that says the same of every task, within rounding: ValueError.

    Rounding: the read-out adds up D numbers, and equal sums may be off by D u of the largest coordinate.
    """
    means = recording.estimate.means
    bound = recording.states.shape[-1] * torch.finfo(means.dtype).eps * means.abs().max()
    if not bool((means - means[:1]).abs().max() > bound):
        raise ValueError("the network's estimate is the same for every task, needs one that depends on it")


@torch.no_grad()
def attention_maps(model: TGMM, recording: Recording, layer: int) -> Tensor:
    """(B, H, T, T) attention weights of layer `layer` (0 the first), rows the attending tokens, sums 1."""
    module = layers_of(model)[layer]
    return head_weights(attention_of(module), module.norm1(recording.states[layer]))


def head_scores(attention: SelfAttention, h: Tensor) -> Tensor:
    """(B, H, T, T): log attention up to a number for each row."""
    q, k = (torch.einsum("btd,hde->bhte", h, w) for w in (attention.query, attention.key))
    return attention.shape.score_scale * q @ k.mT


def head_weights(attention: SelfAttention, h: Tensor) -> Tensor:
    """A (B, H, T, T) of softmax attention on what it is given, h (B, T, D)."""
    if attention.kind != "softmax":
        raise ValueError(f"attention is {attention.kind!r}, needs 'softmax'")
    scores = head_scores(attention, h)
    if attention.shape.causal:
        later = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(-1)


def head_outputs(attention: SelfAttention, h: Tensor) -> Tensor:
    """(B, H, T, D): what each head adds to the stream; their sum is attention(h).

    Raises ValueError for ReLU attention, and for a layer that norms the sum: it has no parts.
    """
    if attention.layer.output_norm:
        raise ValueError("the sum of the heads is normed, needs a layer whose heads add to the stream")
    values = torch.einsum("btd,hde->bhte", h, attention.value)
    return torch.einsum("bhte,hed->bhtd", head_weights(attention, h) @ values, attention.output)


@contextmanager
def patched(
    network: Network, layer: int, change: Change | Tensor, block: str | None = None
) -> Iterator[None]:
    """Inside, the stream (B, T, D) before layer `layer` is another one; layer = L: at the end.

    Args:
        network: a learned network, or a circuit.
        layer: 0 to L; L at the end.
        change: what stands there instead, or a function of what stands there. It is spread over tasks and
            tokens where it has fewer axes.
        block: the name of a block of a circuit, which alone is replaced; all of the stream without.

    Raises:
        ValueError: a layer or a block that is not there, a value of a shape that does not fit.
    """
    layers = layers_of(network)
    if not 0 <= layer <= len(layers):
        raise ValueError(f"layer is {layer}, needs 0 to {len(layers)}")
    columns = _columns(network, block)

    visit = _Visit(layers, min(layer, len(layers) - 1))
    module = layers[visit.place]

    def before(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (_with_columns(given[0], columns, change), *given[1:]) if visit.now() else given

    def after(_: nn.Module, given: tuple[Tensor, ...], state: Tensor) -> Tensor:
        return _with_columns(state, columns, change) if visit.now() else state

    at_end = layer == len(layers)
    with (
        removing(module.register_forward_hook(after) if at_end else module.register_forward_pre_hook(before)),
        removing(transformer_of(network).register_forward_pre_hook(visit.restart)),
    ):
        yield


@contextmanager
def head_changed(network: Network, layer: int, head: int, change: Change | Tensor) -> Iterator[None]:
    """Inside, head `head` of layer `layer` adds something else to the stream.

    Args:
        network, layer: as in :func:`patched`, up to L - 1.
        head: from 0 on.
        change: what it adds instead, or a function of what it adds (B, T, D), as :func:`head_outputs` gives.

    Raises:
        ValueError: a layer or head that is not there, one without parts (see :func:`head_outputs`), padding,
            a value of a shape that does not fit.
    """
    layers = layers_of(network)
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer is {layer}, needs 0 to {len(layers) - 1}")
    attention = attention_of(layers[layer])
    heads = attention.layer.heads
    if not 0 <= head < heads:
        raise ValueError(f"head is {head}, needs 0 to {heads - 1}")
    visit = _Visit(layers, layer)

    def after(module: nn.Module, arguments: tuple[Tensor | None, ...], output: Tensor) -> Tensor:
        if not visit.now():
            return output
        h, *mask = arguments
        if h is None or any(part is not None for part in mask):
            raise ValueError("a head is changed on tokens with padding, needs tokens without")
        own = head_outputs(attention, h)[:, head]
        return output - own + _with_columns(own, slice(None), change)

    with (
        removing(attention.register_forward_hook(after)),
        removing(transformer_of(network).register_forward_pre_hook(visit.restart)),
    ):
        yield


def ablated(
    model: TGMM, layer: int, head: int, n_tokens: int, replacement: Replacement = "mean"
) -> AbstractContextManager[None]:
    """Inside, head `head` of layer `layer` adds zeros, or its average over the batch.

    The average is over tasks and points, and over tasks at each of the `n_tokens` component tokens: what is
    left when the head says nothing about the task at hand.
    """

    def average(own: Tensor) -> Tensor:
        first = own.shape[1] - n_tokens if model.config.tokens_last else 0
        tokens = slice(first, first + n_tokens)
        points = torch.cat([own[:, :first], own[:, first + n_tokens :]], dim=1)
        found = points.mean((0, 1), keepdim=True).expand_as(own).clone()
        found[:, tokens] = own[:, tokens].mean(0, keepdim=True)
        return found

    return head_changed(model, layer, head, torch.zeros_like if replacement == "zero" else average)


class _Visit:
    """Whether a call of a layer is that at one place of a pass: a looped layer is called several times."""

    def __init__(self, layers: list[TransformerLayer], place: int) -> None:
        self.places = [at for at, layer in enumerate(layers) if layer is layers[place]]
        self.place, self.calls = place, 0

    def restart(self, *_: object) -> None:
        """A pass begins."""
        self.calls = 0

    def now(self) -> bool:
        """To be asked once a call."""
        self.calls += 1
        return self.places[(self.calls - 1) % len(self.places)] == self.place


def _columns(network: Network, block: str | None) -> slice:
    if block is None:
        return slice(None)
    if not isinstance(network, Circuit):
        raise ValueError(f"block is {block!r}, needs none: the stream of a learned network has no names")
    return network.columns(block)


def _with_columns(state: Tensor, columns: slice, change: Change | Tensor) -> Tensor:
    """A copy (B, T, D) whose columns are the value, or the function of them."""
    old = state[..., columns]
    new = change(old) if callable(change) else change
    try:
        new = new.expand(old.shape)
    except RuntimeError:
        shapes = f"{tuple(new.shape)}, needs one that spreads to {tuple(old.shape)}"
        raise ValueError(f"what is put into the stream has shape {shapes}") from None
    found = state.clone()
    found[..., columns] = new
    return found


@contextmanager
def removing(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    """Inside, the hook is there."""
    try:
        yield
    finally:
        handle.remove()
