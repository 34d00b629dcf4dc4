"""Training of a criterion: mixtures of a law, the fits of every K, cross-entropy of the true K."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from baselines.choosing.select import select_many
from baselines.choosing.selection import ranked
from constructions.language.shown import short_repr
from training.counting.evidence import evidence
from training.counting.head import CountHead
from training.tasks.priors import HeldOut

EPOCHS, BATCH, RATE, DECAY, DROPPED = 40, 128, 2e-3, 0.05, 0.1
"""Of AdamW, whose rate falls by half a cosine. DROPPED: share of the evidence that a step does not see."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Of B data sets: the evidence (B, n), the true K (B,), and K by BIC and by ICL (B,)."""

    evidence: Tensor
    n_components: Tensor
    by_bic: Tensor
    by_icl: Tensor

    __repr__ = short_repr


def examples_of(sets: Sequence[HeldOut], covariance_type: str, most: int) -> Examples:
    """The fits of K = 1..most, and what is known of the truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = select_many([one.X.numpy() for one in sets], range(1, most + 1), covariance_type)
    by_bic, by_icl = (
        torch.tensor([ranked(selection.candidates, name)[0].n_components for selection in found])
        for name in ("bic", "icl")
    )
    truth = torch.tensor([one.truth.n_components for one in sets])
    return Examples(evidence(found, covariance_type), truth, by_bic, by_icl)


def joined(parts: Sequence[Examples]) -> Examples:
    """One after another."""
    names = ("evidence", "n_components", "by_bic", "by_icl")
    return Examples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def record_of(examples: Examples) -> dict[str, Any]:
    """As JSON values."""
    return {name: value.tolist() for name, value in vars(examples).items()}


def examples_from(record: dict[str, Any]) -> Examples:
    """What :func:`record_of` wrote down."""
    rest = (torch.tensor(record[name]) for name in ("n_components", "by_bic", "by_icl"))
    return Examples(torch.tensor(record["evidence"], dtype=torch.float64), *rest)


def train(head: CountHead, examples: Examples, generator: torch.Generator, epochs: int = EPOCHS) -> float:
    """Minimise the cross-entropy of the true K; the average of the last epoch, in nats."""
    head.standardise(examples.evidence.to(torch.float32))
    seen, truth = examples.evidence.to(torch.float32), examples.n_components - 1
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    n_sets, mean = len(seen), math.nan
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        total = 0.0
        for places in torch.randperm(n_sets, generator=generator).split(BATCH):
            shown = seen[places]
            kept = torch.rand(shown.shape, generator=generator) >= DROPPED
            loss = nn.functional.nll_loss(head(torch.where(kept, shown, head.centre)), truth[places])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(places)
        mean = total / n_sets
    return mean


@dataclass(frozen=True)
class Quality:
    """On data sets that were not trained on.

    found, by_bic, by_icl  share of sets whose K is the true one: by the head, BIC, ICL.
    off_by_one             share where the head's K is at most one off.
    cross_entropy          of the true K, in nats; log M knows nothing.
    claimed                average probability of the K that the head says: about `found` if it is calibrated.
    """

    n_sets: int
    found: float
    by_bic: float
    by_icl: float
    off_by_one: float
    cross_entropy: float
    claimed: float


@torch.no_grad()
def quality(head: CountHead, examples: Examples) -> Quality:
    """Of the head on these sets."""
    said = head(examples.evidence)
    truth, chosen = examples.n_components, said.argmax(1) + 1

    def share(right: Tensor) -> float:
        return float(right.double().mean())

    return Quality(
        len(truth),
        share(chosen == truth),
        share(examples.by_bic == truth),
        share(examples.by_icl == truth),
        share((chosen - truth).abs() <= 1),
        float(nn.functional.nll_loss(said.double(), truth - 1)),
        float(np.mean(said.amax(1).exp().numpy())),
    )
