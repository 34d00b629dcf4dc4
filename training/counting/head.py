"""The learned criterion: a distribution over K from the evidence of the fits."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from baselines.checks import check_count
from training.counting.evidence import n_numbers


@dataclass(frozen=True)
class HeadConfig:
    """What fixes a head but its weights.

    n_features, covariance_type  of the mixtures whose fits it reads.
    most                         M: K is one of 1..M.
    width                        units of its two hidden layers.
    low, high                    N of the data sets that it was trained on.
    """

    n_features: int
    covariance_type: str
    most: int
    width: int
    low: int
    high: int

    def __post_init__(self) -> None:
        for name in ("n_features", "width", "low"):
            check_count(name, getattr(self, name))
        check_count("most", self.most, 2)
        check_count("high", self.high, self.low)


class CountHead(nn.Module):
    """log P(K = 1..M | evidence) = log softmax(W_3 gelu(W_2 gelu(W_1 z + b_1) + b_2) + b_3), z = (e - m) / s.

    e is the evidence of a data set, m and s its average and deviation over the sets of training. Without a
    generator the weights hold anything until they are loaded.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, config: HeadConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        inputs = n_numbers(config.most)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        sizes = (inputs, config.width, config.width, config.most)
        with torch.device("meta"):  # nn.Linear would draw from torch's own generator
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = nn.ModuleList(layer.to_empty(device="cpu") for layer in layers)
        for layer in layers if generator is not None else ():
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def standardise(self, evidence: Tensor) -> None:
        """Take m and s from the evidence (B, n) of many sets; what does not vary keeps the unit 1."""
        spread = evidence.std(0)
        self.centre.copy_(evidence.mean(0))
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, evidence: Tensor) -> Tensor:
        """(B, n) -> log probabilities (B, M)."""
        h = (evidence.to(self.centre) - self.centre) / self.spread
        *hidden, last = self.layers
        for layer in hidden:
            h = nn.functional.gelu(layer(h))
        return last(h).log_softmax(-1)
