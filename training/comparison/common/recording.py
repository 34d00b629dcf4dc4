"""What goes on inside a learned network: its stream, its attention, and interventions on both.

recording = record(model, X, K)
recording.states          (L + 1, B, T, D): the stream before the first layer and after each layer
recording.points          (L + 1, B, N, D): the same at the tokens of the points
recording.tokens          (L + 1, B, K, D): and at the component tokens, where the network has them

with patched(model, layer, change): model.network(X, K)        # change(state) replaces the stream there
with ablated(model, layer, head, K): model.network(X, K)       # that head adds its average instead
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from constructions.language.transformer import SelfAttention, Transformer, TransformerLayer
from training.model.estimate import Estimate
from training.model.tgmm import TGMM

Replacement = Literal["mean", "zero"]


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


def layers_of(model: TGMM) -> list[TransformerLayer]:
    """The layers of its transformer; ValueError for another backbone."""
    if not isinstance(model.backbone, Transformer):
        raise ValueError(f"the backbone is {model.config.backbone!r}, needs 'transformer'")
    return list(model.backbone.layers)  # pyright: ignore[reportReturnType]


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
    layers = layers_of(model)
    states: list[Tensor] = []
    hooks = [layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0]))]
    hooks += [layer.register_forward_hook(lambda *given: states.append(given[-1])) for layer in layers]
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(removing(hook))
        estimate = model.network(X.to(model.readin.weight.dtype), n_components)
    found = torch.stack(states)
    if not all(bool(part.isfinite().all()) for part in (found, *estimate[:2])):
        raise ValueError("the network's estimate of a task is not finite, needs smaller weights")
    n_points = X.shape[1]
    return Recording(estimate, found, n_points, found.shape[2] - n_points, model.config.tokens_last)


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
    """(B, H, T, D): what each head adds to the stream; their sum is attention(h)."""
    values = torch.einsum("btd,hde->bhte", h, attention.value)
    return torch.einsum("bhte,hed->bhtd", head_weights(attention, h) @ values, attention.output)


@contextmanager
def patched(model: TGMM, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the stream (B, T, D) before layer `layer` is change(stream) instead; layer = L: at the end."""
    layers = layers_of(model)
    if not 0 <= layer <= len(layers):
        raise ValueError(f"layer is {layer}, needs 0 to {len(layers)}")
    if layer < len(layers):
        hook = layers[layer].register_forward_pre_hook
        handle = hook(lambda _, given: (change(given[0]), *given[1:]))
    else:
        handle = layers[-1].register_forward_hook(lambda *given: change(given[-1]))
    with removing(handle):
        yield


@contextmanager
def ablated(
    model: TGMM, layer: int, head: int, n_tokens: int, replacement: Replacement = "mean"
) -> Iterator[None]:
    """Inside, head `head` of layer `layer` adds zeros, or its average over the batch.

    The average is over tasks and points, and over tasks at each of the `n_tokens` component tokens: what is
    left when the head says nothing about the task at hand.
    """
    layers = layers_of(model)
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer is {layer}, needs 0 to {len(layers) - 1}")
    attention = attention_of(layers[layer])
    heads = attention.layer.heads
    if not 0 <= head < heads:
        raise ValueError(f"head is {head}, needs 0 to {heads - 1}")

    def after(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own = head_outputs(attention, arguments[0])[:, head]
        if replacement == "zero":
            return output - own
        first = own.shape[1] - n_tokens if model.config.tokens_last else 0
        tokens = slice(first, first + n_tokens)
        points = torch.cat([own[:, :first], own[:, first + n_tokens :]], dim=1)
        average = points.mean((0, 1), keepdim=True).expand_as(own).clone()
        average[:, tokens] = own[:, tokens].mean(0, keepdim=True)
        return output - own + average

    with removing(attention.register_forward_hook(after)):
        yield


@contextmanager
def removing(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    """Inside, the hook is there."""
    try:
        yield
    finally:
        handle.remove()
