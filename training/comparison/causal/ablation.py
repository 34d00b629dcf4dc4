"""What the estimate loses with each head: its output replaced by its average, by 0, or moved elsewhere.

    change of the error   E(ablated, truth) - E(whole, truth)
    distance moved        E(ablated, whole),  E the paper's error after the best permutation

The control takes the same change of the attention output, turned by one random rotation a head: the
same norm at every token and the same rank, in a direction that the head does not write to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from baselines.metrics import errors
from training.comparison.common.em_answers import AnsweredTasks, HeadGrid, head_grid
from training.interpretability.recording import Recording, ablated, attention_of, layers_of, removing
from training.model.estimate import Estimate
from training.model.tgmm import TGMM

KINDS = ("mean", "zero", "rotated")


@dataclass(frozen=True)
class Ablations:
    """Of every head, by kind: distance moved, and by how much the error is worse. error: with all heads."""

    error: float
    moved: dict[str, HeadGrid]
    worse: dict[str, HeadGrid]


@dataclass(frozen=True)
class Agreement:
    """Spearman's correlation over heads, with p by permuting heads.

    p         two-sided, all heads permuted.
    p_within  heads permuted inside their layer only, which leaves what is due to the layer alone.
    """

    rho: float
    p: float
    p_within: float


class _Rest(nn.Module):
    """The layers from one on, from a stream that is given."""

    def __init__(self, layers: list[nn.Module], state: Tensor) -> None:
        super().__init__()
        self.layers, self.state = nn.ModuleList(layers), state

    def forward(self, h: Tensor, key_mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            self.state = layer(self.state, key_mask)
        return self.state


@contextmanager
def resumed(model: TGMM, layer: int, state: Tensor) -> Iterator[None]:
    """Inside, the network starts at `layer` (0 the first, L behind the last) from `state` (B, T, D).

    Enter it behind other contexts of interpretability/recording.py: inside, these do not see the layers.
    Raises ValueError for a layer that is not there.
    """
    whole, layers = model.backbone, layers_of(model)
    if not 0 <= layer <= len(layers):
        raise ValueError(f"layer is {layer}, needs 0 to {len(layers)}")
    model.backbone = _Rest(list(layers[layer:]), state)
    try:
        yield
    finally:
        model.backbone = whole


@torch.no_grad()
def resume(model: TGMM, X: Tensor, n_components: int, layer: int, state: Tensor) -> Estimate:
    """The estimate from `state` at layer `layer`."""
    with resumed(model, layer, state):
        return model.network(X.to(model.dtype), n_components)


def rotation(width: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """A uniformly random orthogonal matrix (width, width)."""
    Q, R = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    return torch.where(R.diagonal() < 0, -Q, Q).to(dtype)


@torch.no_grad()
def without_head(
    model: TGMM, X: Tensor, recording: Recording, layer: int, head: int, turn: Tensor
) -> dict[str, Estimate]:
    """The estimates with a head's average, with zeros, and with the turned change: names as in KINDS."""
    K, state = recording.estimate.means.shape[1], recording.states[layer]
    module = layers_of(model)[layer]
    attention, h = attention_of(module), module.norm1(state)
    found: dict[str, Estimate] = {}
    for kind in ("mean", "zero"):
        with ablated(model, layer, head, recording.n_tokens, kind):
            left = attention(h)
            found[kind] = resume(model, X, K, layer, state)
        if kind == "mean":
            whole = attention(h)
            turned = whole - (whole - left) @ turn
            with removing(attention.register_forward_hook(lambda *_, output=turned: output)):
                found["rotated"] = resume(model, X, K, layer, state)
    return found


def ablations(
    model: TGMM, tasks: AnsweredTasks, recording: Recording, generator: torch.Generator
) -> Ablations:
    """Each head alone is replaced, in each way."""
    config = model.config
    whole = recording.estimate.to_mixture()
    before = errors(whole, tasks.truth).total
    moved: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    worse: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    for layer in range(config.layers):
        for head in range(config.heads):
            turn = rotation(config.width, generator, recording.states.dtype)
            for kind, estimate in without_head(model, tasks.X, recording, layer, head, turn).items():
                mixture = estimate.to_mixture()
                moved[kind].append(errors(mixture, whole).total)
                worse[kind].append(errors(mixture, tasks.truth).total - before)
    shape = (config.layers, config.heads)
    grids = (
        {kind: head_grid(torch.stack(values, 1), shape) for kind, values in found.items()}
        for found in (moved, worse)
    )
    return Ablations(float(before.mean()), *grids)


def rank_agreement(
    statistic: Tensor, effect: Tensor, permutations: int, generator: torch.Generator
) -> Agreement:
    """Of two (L, H) arrays; ValueError for fewer than one permutation."""
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}, needs at least 1")
    a, b = (_standard_ranks(values) for values in (statistic, effect))
    found = float((a * b).mean())
    L, H = statistic.shape
    everywhere = torch.rand(permutations, L * H, generator=generator).argsort(1)
    inside = torch.rand(permutations, L, H, generator=generator).argsort(2)
    within = (inside + H * torch.arange(L)[:, None]).flatten(1)
    p = []
    for order in (everywhere, within):
        chance = (a[order] * b).mean(1)
        # Equal in real arithmetic must count as equal: a mean of L H products of standard ranks.
        beyond = chance.abs() >= abs(found) - 4 * L * H * torch.finfo(torch.float64).eps
        p.append((1 + int(beyond.sum())) / (1 + permutations))
    return Agreement(found, p[0], p[1])


def _standard_ranks(values: Tensor) -> Tensor:
    ranks = torch.from_numpy(rankdata(values.flatten().double().numpy()))
    spread = ranks.std(correction=0)
    return (ranks - ranks.mean()) / spread if spread > 0 else torch.zeros_like(ranks)
