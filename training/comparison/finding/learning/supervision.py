"""The losses of the study, one number a seed.

    output      (1/K) sum_k (|mu_hat_k - mu_k|^2 / d + (pi_hat_k - pi_k)^2) of what is read out at the end
    every step  its mean over the loops, each against EM after so many steps
    trace       mean over states t of sum over blocks b of  mean |h_t[b] - h*_t[b]|^2 / (width_b v_b)

means over the tasks and tokens. h*_t are the exact states (trace.py), v_b the variance of the block over
them: a block adds about 1 where the network knows its mean alone. trace compares the network's own states;
forced gives every layer, or every sub-layer, the exact state before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.shown import short_repr
from training.comparison.finding.learning.cells import Supervision
from training.comparison.finding.learning.stacked import E, M, StackedNetworks
from training.comparison.finding.learning.trace import EMPath, states
from training.comparison.origins.em_problem import EMProblem


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses on tasks of a problem; scales (D,) as trace.scales gives them."""

    problem: EMProblem
    scales: Tensor

    __repr__ = short_repr

    def named(
        self, kind: Supervision, sub_layers: bool, networks: StackedNetworks, path: EMPath, loops: int
    ) -> Tensor:
        """(S,) what networks are trained on; the path's tasks are (S, B)."""
        if kind in ("trace", "forced"):
            return self.trace(networks, path, loops, kind == "forced", sub_layers)
        found = networks.states(path.tokens, loops)[3::4]
        every = range(loops) if kind == "every step" else (loops - 1,)
        return torch.stack([self.mixture(found[loop], path, loop) for loop in every]).mean(0)

    def output(self, networks: StackedNetworks, path: EMPath, loops: int) -> Tensor:
        """(S,) loss of what is read out after so many loops."""
        return self.mixture(networks.states(path.tokens, loops)[-1], path, loops - 1)

    def mixture(self, state: Tensor, path: EMPath, loop: int) -> Tensor:
        """(S,) loss of a state (S, B, N, D) against EM after `loop` + 1 steps."""
        S, B = state.shape[:2]
        K = path.weights.shape[-1]
        present = torch.ones(S * B, K, dtype=torch.bool)
        weights, means = self.problem.readout(state.flatten(0, 1), present)
        apart = (means.unflatten(0, (S, B)) - path.means[:, :, loop]).square().mean(-1)
        apart = apart + (weights.unflatten(0, (S, B)) - path.weights[:, :, loop]).square()
        return apart.mean((1, 2))

    def trace(
        self, networks: StackedNetworks, path: EMPath, loops: int, forced: bool, sub_layers: bool
    ) -> Tensor:
        """(S,) loss of the states behind every layer, with sub_layers behind every attention too."""
        exact = states(self.problem.construction.stream, path, self.problem.floor)[: 1 + 4 * loops]
        if not forced:
            every = 1 if sub_layers else 2
            pairs = zip(
                networks.states(path.tokens, loops)[every - 1 :: every], exact[every::every], strict=True
            )
            return torch.stack([self._apart(own, wanted) for own, wanted in pairs]).mean(0)
        found: list[Tensor] = []
        for layer in (E, M):
            before, attended, after = (
                torch.cat(exact[2 * layer + place : len(exact) - (2 - place) : 4], dim=1)
                for place in range(3)
            )
            reached = networks.attention(layer, before)
            if sub_layers:
                found.append(self._apart(reached, attended))
            found.append(self._apart(networks.mlp(layer, attended if sub_layers else reached), after))
        return torch.stack(found).mean(0)

    def _apart(self, state: Tensor, wanted: Tensor) -> Tensor:
        return ((state - wanted).square() * self.scales).sum(-1).mean((1, 2))
