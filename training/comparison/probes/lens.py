"""The estimate that a network holds after each layer.

Logit lens: the model's own final norm and head, applied to the component tokens after layer l.
Tuned lens: an affine map of the component tokens after layer l (ridge regression, one map for all
tokens) to the network's *final* estimate (means, log weights), fitted on tasks of its own; it never sees
a truth or EM.

Sources: nostalgebraist 2020 (logit lens); Belrose et al. 2023 (tuned lens).
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.mixture import Mixture
from training.comparison.probes.ridge import Ridge
from training.interpretability.recording import Recording
from training.model.estimate import Estimate
from training.model.tgmm import TGMM

LENS_PENALTY = 1e-3


@torch.no_grad()
def logit_lens(model: TGMM, recording: Recording, n_components: int) -> list[Mixture]:
    """Estimates (B tasks) before the first layer and after each; ValueError for a pooling read-out."""
    config = model.config
    if config.readout != "tokens":
        raise ValueError(f"readout is {config.readout!r}, needs 'tokens'")
    head = model.heads["all" if config.task_embedding else str(n_components)]
    d, found = config.n_features, []
    for state in recording.tokens[:, :, :n_components]:
        out = head(model.norm(state))
        estimate = Estimate(out[..., 0].log_softmax(-1), config.data_scale * out[..., 1 : 1 + d])
        found.append(estimate.to_mixture())
    return found


class TunedLens:
    """One affine map a layer, fitted on a recording (its L + 1 states) of tasks of K components."""

    def __init__(self, recording: Recording, n_components: int) -> None:
        self.n_components = n_components
        wanted = _numbers(recording.estimate).flatten(0, 1)
        self.maps = []
        for state in recording.tokens[:, :, :n_components]:
            ridge = Ridge(state.double().flatten(0, 1))
            weights, average = ridge.weights(wanted, (LENS_PENALTY,))
            self.maps.append((ridge, weights[0], average))

    def estimates(self, recording: Recording) -> list[Mixture]:
        """The estimates of other tasks after each layer; weights by softmax, so that they sum to 1."""
        found = []
        for (ridge, weights, average), state in zip(self.maps, recording.tokens, strict=True):
            out = average + ridge.standardised(state[:, : self.n_components].double()) @ weights
            found.append(Mixture(out[..., 0].softmax(-1), out[..., 1:].contiguous()))
        return found


def _numbers(estimate: Estimate) -> Tensor:
    """(B, K, 1 + d): log weights, means."""
    return torch.cat([estimate.log_weights[..., None], estimate.means], -1).double()
