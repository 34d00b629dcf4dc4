"""What a network of the construction's shape does at the places where the theorem has its four steps.

    responsibilities   attention of the E head, summed over the tokens of a slot
    shares             attention of the M layer's first head, averaged over the queries of a slot
    means              block mu, averaged over the tokens of a slot
    answer             weights that are read out

and nine numbers read off from it, a regression at each place (the two loops together):

    log r_ik            on <x_i, mu_k>, -|mu_k|^2/2, log pi_k, centred over k       fit, norm, weight
    log shares_kj       on max(log r_jk, log floor), centred over j                 sharpness, floor
    mu_k after          on the shares' average of x, mu_k before, mean x           average, old, centre
    log answer_k        on log mean_i r_ik of the last loop, centred over k         answer
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.origins.em_problem import EMProblem, Examples
from training.comparison.rule.update_rule import UpdateRule
from training.interpretability.recording import attention_of, head_weights
from training.model.balance import layers_of


@dataclass(frozen=True, eq=False)
class Loop:
    """One pass over T tasks: means (T, K, d) before and after, r (T, N, K), shares (T, K, N); both sum to 1.

    after_e, after_m   the stream (T, N, D) behind each layer.
    """

    before: Tensor
    responsibilities: Tensor
    shares: Tensor
    after: Tensor
    after_e: Tensor
    after_m: Tensor

    __repr__ = short_repr


class SiteFits(NamedTuple):
    """R^2 of the four regressions."""

    responsibilities: float
    shares: float
    means: float
    answer: float


@torch.no_grad()
def loops_of(problem: EMProblem, network: Transformer, tokens: Tensor) -> list[Loop]:
    """Every pass; tokens (T, N, D) in the dtype of the network."""
    s, K = problem.construction.stream, problem.n_components
    e_layer, m_layer = layers_of(network)
    of_slot = torch.nn.functional.one_hot(torch.arange(tokens.shape[1]) % K, K).to(tokens)
    averaged = of_slot / of_slot.sum(0)
    found, h = [], tokens
    for _ in range(network.shape.loops):
        before = averaged.T @ h[..., s.mu.slice]
        responsibilities = head_weights(attention_of(e_layer), h)[:, 0] @ of_slot
        after_e = e_layer(h)
        shares = averaged.T @ head_weights(attention_of(m_layer), after_e)[:, 0]
        h = m_layer(after_e)
        after = averaged.T @ h[..., s.mu.slice]
        found.append(Loop(before, responsibilities, shares, after, after_e, h))
    return found


def read_off(problem: EMProblem, network: Transformer, examples: Examples) -> tuple[UpdateRule, SiteFits]:
    """The rule that regressions at the four places give, and how well each fits."""
    loops = loops_of(problem, network, examples.tokens)
    X = examples.tokens[..., problem.construction.stream.x.slice]
    scores, score_fit = _scores(X, loops)
    lows, low_fit = _sharpness(loops)
    moves, move_fit = _moves(X, loops)
    with torch.no_grad():
        weights, _ = problem.outputs(network, examples)
    last = loops[-1].responsibilities.mean(1).log()
    answer, answer_fit = _regression(_centred(weights.log()), [_centred(last)])
    rule = UpdateRule(*scores, *lows, *moves, *answer)
    return rule, SiteFits(score_fit, low_fit, move_fit, answer_fit)


def _centred(values: Tensor, axis: int = -1) -> Tensor:
    return values - values.mean(axis, keepdim=True)


def _regression(target: Tensor, features: list[Tensor]) -> tuple[list[float], float]:
    """Least squares without a constant: coefficients and R^2 about 0."""
    columns = torch.stack([feature.flatten() for feature in features], dim=1)
    y = target.flatten()
    solution = torch.linalg.lstsq(columns, y[:, None]).solution[:, 0]
    rest = (y - columns @ solution).square().sum() / y.square().sum()
    return solution.tolist(), 1 - float(rest)


def _scores(X: Tensor, loops: list[Loop]) -> tuple[list[float], float]:
    """The weights behind the first pass are equal: centred, their logarithms are 0."""
    log_weights = [torch.zeros_like(loops[0].before[..., 0])]
    log_weights += [loop.responsibilities.mean(1).log() for loop in loops[:-1]]
    rows: list[tuple[Tensor, ...]] = []
    for loop, log_pi in zip(loops, log_weights, strict=True):
        like = loop.responsibilities
        norms = -loop.before.square().sum(-1)[:, None] / 2
        parts = (like.log(), X @ loop.before.mT, norms.expand_as(like), log_pi[:, None].expand_as(like))
        rows.append(tuple(map(_centred, parts)))
    target, *features = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return _regression(target, features)


def _sharpness(loops: list[Loop]) -> tuple[list[float], float]:
    """[floor, sharpness], in the order of a rule."""
    target = _centred(torch.cat([loop.shares.log() for loop in loops]))
    log_r = torch.cat([loop.responsibilities.mT.log() for loop in loops])

    def residuals(values: np.ndarray) -> np.ndarray:
        found = values[1] * _centred(log_r.clamp(min=float(values[0])))
        return (target - found).flatten().numpy()

    start = [math.log(0.1), 1.0]
    found = least_squares(residuals, start, bounds=([-12.0, -np.inf], [-1e-3, np.inf]))
    rest = 2 * found.cost / float(target.square().sum())
    return [math.exp(found.x[0]), float(found.x[1])], 1 - rest


def _moves(X: Tensor, loops: list[Loop]) -> tuple[list[float], float]:
    centre = X.mean(1, keepdim=True)
    averages = torch.cat([loop.shares @ X for loop in loops])
    before, after = (torch.cat([getattr(loop, name) for loop in loops]) for name in ("before", "after"))
    centres = torch.cat([centre.expand_as(loop.before) for loop in loops])
    return _regression(after, [averages, before, centres])
