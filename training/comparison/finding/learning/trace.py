"""The exact path of EM as states of the construction's stream: what every layer should leave.

    E attention  resp = r_k(x_i; pi, mu)
    E MLP        log_resp = log max(resp, floor); mu, pi, log_pi, half_norm2 emptied
    M attention  mu = sum_j r_jk x_j / sum_j r_jk of the token's slot k, pi = mean_j r_j
    M MLP        log_pi = log max(pi, floor), half_norm2 = |mu|^2 / 2; resp, log_resp emptied

The logarithms stop at the construction's floor, since its hypotheses do; all else is exact EM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.em_steps import e_step, m_step
from baselines.mixture import Mixture
from constructions.language.shown import short_repr
from constructions.language.stream import Block, Stream
from training.comparison.origins.em_problem import EMProblem, Examples

WRITTEN = ("mu", "pi", "log_pi", "half_norm2", "resp", "log_resp")
"""Blocks that some layer writes; the others stay what they are."""


@dataclass(frozen=True, eq=False)
class EMPath:
    """Tasks with the path of EM from their starts; leading dimensions (...) of the tasks.

    tokens   (..., N, D) what the first layer sees.
    resp     (..., L, N, K) responsibilities of step 1 to L.
    weights  (..., L, K), means (..., L, K, d): the mixtures after each step.
    """

    tokens: Tensor
    resp: Tensor
    weights: Tensor
    means: Tensor

    __repr__ = short_repr

    def __getitem__(self, part: slice | Tensor) -> EMPath:
        return EMPath(self.tokens[part], self.resp[part], self.weights[part], self.means[part])

    def tasks(self, part: slice) -> EMPath:
        """Some tasks of every seed, of a path (S, B)."""
        return EMPath(*(one[:, part] for one in (self.tokens, self.resp, self.weights, self.means)))

    @staticmethod
    def stacked(paths: list[EMPath]) -> EMPath:
        """One path a seed -> with a dimension of seeds before that of tasks."""
        return EMPath(*(torch.stack([getattr(path, name) for path in paths]) for name in _PARTS))

    @staticmethod
    def joined(paths: list[EMPath]) -> EMPath:
        """The tasks of all paths, one after another."""
        return EMPath(*(torch.cat([getattr(path, name) for path in paths]) for name in _PARTS))


_PARTS = ("tokens", "resp", "weights", "means")


def em_path(problem: EMProblem, examples: Examples) -> EMPath:
    """The path of EM, computed in float64 from the tokens, in the tokens' dtype."""
    s, K = problem.construction.stream, problem.n_components
    tokens = examples.tokens.double()
    X = tokens[..., s.x.slice]
    start = tokens[:, 0, s.pi.slice]  # sums to 1 within the tokens' rounding
    mixture = Mixture(start / start.sum(-1, keepdim=True), tokens[:, :K, s.mu.slice])
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(problem.steps):
        responsibilities, _ = e_step(X, mixture)
        mixture = m_step(X, responsibilities)
        found.append((responsibilities.mT, mixture.weights, mixture.means))
    parts = (torch.stack(part, dim=1).to(examples.tokens.dtype) for part in zip(*found, strict=True))
    return EMPath(examples.tokens, *parts)


def states(stream: Stream, path: EMPath, floor: float) -> list[Tensor]:
    """1 + 4 L states (..., N, D): the tokens, then a loop's behind E attention, E MLP, M attention, M MLP."""
    s, n = stream, path.tokens.shape[-2]
    slots = torch.arange(n, device=path.tokens.device) % path.means.shape[-2]
    found = [path.tokens]
    for loop in range(path.resp.shape[-3]):
        resp = path.resp[..., loop, :, :]
        pi = path.weights[..., loop, None, :].expand(resp.shape)
        mu = path.means[..., loop, :, :][..., slots, :]
        attended = _with(found[-1], {s.resp: resp})
        e = _with(attended, {s.log_resp: resp.clamp_min(floor).log()} | _empty(s, "mu pi log_pi half_norm2"))
        averaged = _with(e, {s.mu: mu, s.pi: pi})
        new = {s.log_pi: pi.clamp_min(floor).log(), s.half_norm2: mu.square().sum(-1, keepdim=True) / 2}
        m = _with(averaged, new | _empty(s, "resp log_resp"))
        found += [attended, e, averaged, m]
    return found


def _empty(stream: Stream, names: str) -> dict[Block, float]:
    return {getattr(stream, name): 0.0 for name in names.split()}


def _with(state: Tensor, written: Mapping[Block, Tensor | float]) -> Tensor:
    state = state.clone()
    for block, value in written.items():
        state[..., block.slice] = value
    return state


def scales(stream: Stream, trace: list[Tensor]) -> Tensor:
    """(D,) 1 / (width v_b) at the coordinates of block b: what makes errors of blocks comparable.

    v_b is the variance of the block's entries over tasks, tokens and the states in which it is not empty; of
    a block that no layer writes, whose variance may be 0, their mean square.
    """
    weights = torch.empty(stream.width, dtype=trace[0].dtype)
    for block in stream.blocks:
        filled = [state[..., block.slice] for state in trace if bool(state[..., block.slice].any())]
        values = torch.cat([one.flatten(0, -2) for one in filled])
        written = block.name in WRITTEN
        spread = values.var(0, correction=0).mean() if written else values.square().mean()
        weights[block.slice] = 1 / (block.width * spread)
    return weights
