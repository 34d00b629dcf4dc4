"""EM with a floor as a causal model: what it answers when one variable is taken from another task.

    E   r_ik = softmax_k(<x_i, mu_k> + log pi_k - h_k)
    M   w_ik = max(r_ik, floor),  mu_k = sum_i w_ik x_i / sum_i w_ik
        log pi_k = log max(mean_i r_ik, floor),  h_k = |mu_k|^2 / 2

These are the formulas that the construction approximates, without its pieces: no weight enters. With floor
0 they are EM (baselines.em). An interchange replaces one variable of the base task, after the E or the M
step of one loop, by that of a source task with as many points, and goes on from there with the points of
the base.

The floor matters here: half squared norms that do not belong to the means can leave a component without
points, and there EM without a floor and the construction, which has one, say different things.

Means, log weights and half squared norms after the last M step are left out: the means and weights are the
answer itself, and nothing reads the half squared norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from constructions.language.stream import Block, Stream

Variable = Literal["responsibilities", "means", "log_weights", "half_norms", "means_and_half_norms"]


class State(NamedTuple):
    """The variables of B tasks between two layers; means (B, K, d), log_weights and half_norms (B, K).

    responsibilities are (B, N, K), those of the last E step; before the first they are zeros.
    """

    responsibilities: Tensor
    means: Tensor
    log_weights: Tensor
    half_norms: Tensor


def e_step(X: Tensor, state: State) -> State:
    """New responsibilities of the points X (B, N, d)."""
    scores = X @ state.means.mT + (state.log_weights - state.half_norms)[:, None]
    return state._replace(responsibilities=scores.softmax(-1))


def m_step(X: Tensor, state: State, floor: float) -> State:
    """New means, log weights and half squared norms."""
    r = state.responsibilities
    w = r.clamp_min(floor)
    means = w.mT @ X / w.sum(1)[..., None]
    log_weights = r.mean(1).clamp_min(floor).log()
    return State(r, means, log_weights, means.square().sum(-1) / 2)


def first_state(X: Tensor, weights: Tensor, means: Tensor) -> State:
    """The start (weights (B, K), means (B, K, d)) as a state."""
    nothing = X.new_zeros(*X.shape[:2], means.shape[1])
    return State(nothing, means, weights.log(), means.square().sum(-1) / 2)


@dataclass(frozen=True)
class Place:
    """A variable where it is still to be used.

    variable  means_and_half_norms moves both: a network that takes squares of the means has no other place.
    loop      from 1 on.
    """

    variable: Variable
    loop: int

    @property
    def layers_before(self) -> int:
        """Layers that ran before the place: up to the E layer of its loop, or up to its M layer."""
        return 2 * self.loop - (self.variable == "responsibilities")

    @property
    def parts(self) -> tuple[str, ...]:
        """The fields of a State that move."""
        return ("means", "half_norms") if self.variable == "means_and_half_norms" else (self.variable,)

    def blocks(self, stream: Stream) -> tuple[Block, ...]:
        """Where the construction holds the variable: its E layer writes responsibilities and their log."""
        named = {
            "responsibilities": (stream.resp, stream.log_resp),
            "means": (stream.mu,),
            "log_weights": (stream.log_pi,),
            "half_norms": (stream.half_norm2,),
            "means_and_half_norms": (stream.mu, stream.half_norm2),
        }
        return named[self.variable]

    def at_tokens(self, state: State) -> Tensor:
        """(B, N, width) the variable as tokens hold it: token i its own point's, or that of slot i mod K.

        The log weights of all components stand at every token.
        """
        return torch.cat([_at_tokens(part, state) for part in self.parts], dim=-1)

    def content(self, state: State, floor: float) -> Tensor:
        """(B, N, width) what the blocks hold but for pieces: beside responsibilities log max(r, floor)."""
        held = self.at_tokens(state)
        if self.variable == "responsibilities":
            return torch.cat([held, held.clamp_min(floor).log()], dim=-1)
        return held


def _at_tokens(part: str, state: State) -> Tensor:
    values: Tensor = getattr(state, part)
    n_points, n_components = state.responsibilities.shape[1:]
    if part == "responsibilities":
        return values
    if part == "log_weights":
        return values[:, None].expand(-1, n_points, -1)
    slots = torch.arange(n_points) % n_components
    return values[:, slots] if values.dim() == 3 else values[:, slots, None]


def places(steps: int) -> tuple[Place, ...]:
    """All places of L = steps loops, in the order of the run."""
    found: list[Place] = []
    for loop in range(1, steps + 1):
        found.append(Place("responsibilities", loop))
        if loop < steps:
            found += [
                Place("means", loop),
                Place("log_weights", loop),
                Place("half_norms", loop),
                Place("means_and_half_norms", loop),
            ]
    return tuple(found)


def run(
    X: Tensor,
    start: State,
    steps: int,
    floor: float,
    place: Place | None = None,
    source: Sequence[State] = (),
) -> tuple[State, ...]:
    """The states after every layer, 2 L of them, the last one the answer.

    Args:
        X: (B, N, d) points of the base tasks, float64. start: their start.
        steps, floor: L and the floor; 0 for none.
        place: whose variable is replaced, None for nothing.
        source: the states of the source tasks, as this function gives them.
    """
    states: list[State] = []
    state = start
    for number in range(1, 2 * steps + 1):
        state = e_step(X, state) if number % 2 else m_step(X, state, floor)
        if place is not None and number == place.layers_before:
            put_in = source[number - 1]
            state = state._replace(**{part: getattr(put_in, part) for part in place.parts})
        states.append(state)
    return tuple(states)


def answer(weights: Tensor, means: Tensor) -> Tensor:
    """(B, K + K d) such that squared distances are those of the loss: |mu|^2 / (K d) and pi^2 / K."""
    n_components, n_features = means.shape[1:]
    scaled = means.flatten(1) / (n_components * n_features) ** 0.5
    return torch.cat([weights / n_components**0.5, scaled], dim=1)


def exact_answer(states: Sequence[State]) -> Tensor:
    """The answer of a run; its weights are the softmax of the log weights, as the read-out takes it."""
    return answer(states[-1].log_weights.softmax(-1), states[-1].means)
