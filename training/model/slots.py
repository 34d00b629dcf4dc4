"""The construction's tokens as read-in and read-out of a learned network (Theorem 1; d0 = d, K0 = max K).

    token i    x_i, and the start of component k = i mod K: its mean, 1/K, their logarithms and squares
    mean k     the average of the block ``mu`` over the tokens of slot k
    weights    softmax of ``log_pi``, averaged over the slots' averages

Neither is trained. A task's start is k-means++ with `TRIALS` trials a mean, and its draws come from one fixed
row of uniform numbers for every task and call: the estimate of a task depends on its points in their order
alone, neither on the batch nor on padding. `look` picks another row. Source: arXiv 2505.11918, Theorem 1;
constructions/em/unit.py writes these tokens.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from constructions import em_construction
from constructions.em.tasks import TaskBatch
from constructions.em.unit import EMConstruction
from constructions.language.transformer import Transformer, TransformerShape
from training.model.balance import balanced
from training.model.settings import ModelConfig
from training.model.widened import wide_shape, widened

PIECES, FLOOR, RADIUS = 9, 1e-3, 12.0
"""Of the constructed EM steps that training starts from."""
FREE = 0.1
"""Size of the random numbers in what the construction does not use: with streams of some tens, hidden values
are about 1."""
NOISE = 3e-3
"""Every tensor of the start is moved by so much of its norm."""
TRIALS = 6
"""Points that k-means++ tries for each mean after the first."""


@cache
def construction_of(n_features: int, max_components: int, steps: int) -> EMConstruction:
    """The hand-built EM steps whose tokens these are."""
    with torch.device("cpu"):  # what is kept must not depend on where it was first asked for
        return em_construction(n_features, max_components, steps, PIECES, FLOOR, RADIUS)


def check_slots_fit(config: ModelConfig) -> None:
    """Refuse sizes that the construction does not fit into: ValueError."""
    if config.layers % 2 or (config.loops > 1 and config.layers != 2):
        raise ValueError(
            f"layers is {config.layers} and loops {config.loops}, read-out 'slots' needs an even number of "
            "layers (an EM step is two), and two with loops"
        )
    narrow = _narrow_shape(config)
    sizes = max(layer.head_dim for layer in narrow.layers), max(layer.hidden for layer in narrow.layers)
    heads = max(layer.heads for layer in narrow.layers)
    for name, given, least in (
        ("width", config.width, narrow.width),
        ("heads", config.heads, heads),
        ("width / heads", config.width // config.heads, sizes[0]),
        ("mlp_ratio * width", config.mlp_ratio * config.width, sizes[1]),
    ):
        if given < least:
            raise ValueError(
                f"{name} is {given}, read-out 'slots' needs at least {least} "
                f"for d = {config.n_features} and K up to {max(config.components)}"
            )


def slots_shape(config: ModelConfig) -> TransformerShape:
    """Of the backbone: the construction's kinds of layers, the configuration's sizes."""
    head_dim, hidden = config.width // config.heads, config.mlp_ratio * config.width
    return wide_shape(_narrow_shape(config), config.width, config.heads, head_dim, hidden)


@torch.no_grad()
def begin_with_em(backbone: Transformer, config: ModelConfig, noise: float = NOISE) -> None:
    """In place: the constructed EM steps, widened, every tensor W moved by noise |W| z / |z|, z normal.

    Draws from torch's generator. With noise 0 the function is the construction's: what is free of it holds
    small random numbers and writes nothing.
    """
    generator = torch.default_generator
    narrow = _construction(config).to_transformer(torch.float64, looped=config.loops > 1)
    start = widened(balanced(narrow), backbone.shape, FREE, generator)
    add_noise(start, noise, generator)
    for own, given in zip(backbone.parameters(), start.parameters(), strict=True):
        own.copy_(given)


@torch.no_grad()
def add_noise(network: nn.Module, size: float, generator: torch.Generator) -> None:
    """In place: every tensor is moved by `size` of its norm in a random direction."""
    for parameter in network.parameters():
        z = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(size * parameter.norm() * z / z.norm())


def slot_tokens(
    config: ModelConfig, X: Tensor, n_components: int, mask: Tensor | None, look: int
) -> tuple[Tensor, Tensor | None]:
    """The stream (B, N, width) for X (B, N, d), zeros at padding, and where points stand in it.

    Points come first, in their order, and padding behind; None where all are points.

    Raises:
        ValueError: a task with fewer than K points.
    """
    if mask is None:
        present = X.new_ones(X.shape[:2], dtype=torch.bool)
    else:
        order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
        X, present = X.take_along_dim(order[:, :, None], 1), mask.take_along_dim(order, 1)
    counts = present.sum(1)
    if int(counts.min()) < n_components:
        raise ValueError(
            f"a task has {int(counts.min())} points, read-out 'slots' needs at least "
            f"n_components = {n_components}"
        )
    K0, d = max(config.components), config.n_features
    means = functional.pad(kmeans_starts(X, n_components, present, look), (0, 0, 0, K0 - n_components))
    weights = X.new_zeros(len(X), K0)
    weights[:, :n_components] = 1 / n_components
    sizes = (torch.full_like(counts, size) for size in (n_components, d))
    tasks = TaskBatch(X, weights, means, counts, *sizes, single=False)
    tokens = _construction(config).embed(tasks)
    return functional.pad(tokens, (0, config.width - tokens.shape[-1])), None if mask is None else present


def kmeans_starts(X: Tensor, n_components: int, present: Tensor, look: int) -> Tensor:
    """Starting means (B, K, d): K points of each task of X (B, N, d), by greedy k-means++.

    Each next mean is the best of TRIALS points drawn with probability min_k |x_n - mu_k|^2: the one with the
    smallest sum_n min_k |x_n - mu_k|^2 once added. present (B, N) bool has its points first.
    """
    drawn = torch.rand(
        n_components, TRIALS, generator=torch.Generator().manual_seed(look), dtype=torch.float64
    )
    drawn = drawn.to(X.device)
    rows = torch.arange(len(X), device=X.device)[:, None]
    chosen = _drawn(present.double(), drawn[0, :1])
    nearest = _squared_distances(X, X[rows, chosen])[:, 0]
    for trial in drawn[1:]:
        candidates = _drawn(nearest * present, trial)
        distances = torch.minimum(nearest[:, None], _squared_distances(X, X[rows, candidates]))
        best = (distances * present[:, None]).sum(-1).argmin(1, keepdim=True)
        chosen = torch.cat([chosen, candidates.gather(1, best)], dim=1)
        nearest = distances.take_along_dim(best[:, :, None], 1)[:, 0]
    return X[rows, chosen]


def _drawn(mass: Tensor, uniform: Tensor) -> Tensor:
    """(B, T) places n with probability mass_n / sum(mass), of (B, N) and uniform numbers (T,).

    The last place but padding's where no point has mass: all are at a mean already.
    """
    upto = mass.cumsum(-1)
    places = torch.searchsorted(upto, uniform * upto[:, -1:], right=True)
    return places.where(places < mass.shape[1], (mass > 0).sum(-1, keepdim=True).clamp(min=1) - 1)


def _squared_distances(X: Tensor, centres: Tensor) -> Tensor:
    """(B, T, N) in float64, of (B, N, d) and (B, T, d)."""
    return (X[:, None].double() - centres[:, :, None].double()).square().sum(-1)


def slots_read(
    config: ModelConfig, tokens: Tensor, states: Tensor, n_components: int
) -> tuple[Tensor, Tensor]:
    """Logits of the weights (B, K) and means (B, K, d) of the stream (B, N, width) behind the layers.

    tokens: what :func:`slot_tokens` gave; it says which slot a token is of, whatever became of that block.
    """
    s = _construction(config).stream
    members = tokens[..., s.slot.slice][..., :n_components].to(states).mT
    counts = members.sum(-1, keepdim=True)
    means = members @ states[..., s.mu.slice] / counts
    logits = (members @ states[..., s.log_pi.slice][..., :n_components] / counts).mean(1)
    return logits, means


def _construction(config: ModelConfig) -> EMConstruction:
    steps = config.layers // 2 * config.loops
    return construction_of(config.n_features, max(config.components), steps)


def _narrow_shape(config: ModelConfig) -> TransformerShape:
    return _construction(config).construction.shape(looped=config.loops > 1)
