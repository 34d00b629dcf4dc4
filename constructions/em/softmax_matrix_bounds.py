"""How far one step of EM in softmax attention alone is from the same step with linear pairs.

Before E the layers are pairs: radii as in constructions.matrices.pair_path. With rho_j the largest radius of
a logit of point j, rounding included, and q the ratio of two knots of log, whose chords have slopes <= q/x,

    r'_jk = r_jk e^(+-2 rho_j),     log r'_jk = log r_jk +- 2 q rho_j
    |pi'_k - pi_k|    <=  mean_j r_jk (e^(2 rho_j) - 1)
    |mu'_k - mu_k|    <=  (e^(2 tau) - 1) sum_j w_jk |x_j - mu_k|,    tau = 2 q max rho + rounding of log

and second moments as means; w_jk are the weights that M has. S is then pairs again, T too. All of it is for
float64, beside what the linear pairs are off by.

Source: ours, paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.softmax_matrices import SoftmaxMatrixEM
from constructions.em.tasks import TaskBatch
from constructions.language.assembly import Layer
from constructions.language.rounding import EXP_ULPS, gamma
from constructions.language.shown import short_repr
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.matrices.pair_path import F64, Held, Radii, U, mlp_radii, pairs_radius

USELESS = 1e6
"""A radius from which on nothing is claimed for the task."""


@dataclass(frozen=True, eq=False)
class StepGap:
    """Bounds on the distance of two computed steps, padded as the tasks; inf where nothing is claimed.

    Attributes:
        logits: (B, N) of the largest logit of each point, before E.
        weights, means, covariances: (B, K0), (B, K0, d0), (B, K0, d0, d0) after the step.
    """

    logits: Tensor
    weights: Tensor
    means: Tensor
    covariances: Tensor

    __repr__ = short_repr


def step_gap(em: SoftmaxMatrixEM, tasks: TaskBatch) -> StepGap:
    """Of the first step from the tasks, which are as :meth:`SoftmaxMatrixEM.gather` returns them."""
    plain, s = em.plain, em.plain.stream
    runs = StructuredEvaluator(plain.construction, FloatArithmetic(F64, "cpu"))
    state = runs.start(plain.tokens(tasks))
    partition, radii = state.values[s.ids].partition, {}
    logits = tasks.X.new_zeros(tasks.X.shape[:2])
    lost = torch.zeros(len(logits), dtype=torch.bool)

    def held(tokens: Tokens) -> Held:
        counts = partition.counts
        if counts is None:
            raise ValueError("the rows are no classes")
        return Held(tokens, partition, counts, radii)

    for number in plain.construction.sequence:
        formula, layer = plain.construction.layers[number], runs.layers[number]
        attended, before = layer.attend(state), held(state)
        if formula.name == "E":
            logits = _logits_off(em, before, tasks)
        elif formula.name == "M":
            radii = radii | _moments_off(em, before, logits, tasks)
        else:
            radii = radii | {p.write: pairs_radius(p, before, em.heads, em.reach) for p in formula.heads}
        if formula.name == "E":  # what it writes stands at the points
            radii = {block: radius for block, radius in radii.items() if block not in _cleared(formula)}
        else:
            radii = mlp_radii(formula, held(attended))
        for known in (logits, *radii.values()):
            lost = lost | ~(known.flatten(1).amax(1) < USELESS)
        radii = {block: radius.masked_fill(lost[:, None, None], 0.0) for block, radius in radii.items()}
        logits = logits.masked_fill(lost[:, None], 0.0)
        state = layer.feed(attended)
    gap = _of_rows(em, held(state), tasks, logits)
    for bound in (gap.logits, gap.weights, gap.means, gap.covariances):
        bound[lost] = math.inf
    return gap


def _cleared(layer: Layer) -> set[Block]:
    return {block for part in layer.mlp for block in part.clears}


def _logits_off(em: SoftmaxMatrixEM, before: Held, tasks: TaskBatch) -> Tensor:
    """(B, N) rho: radii of eta, P, norm and log det at the leading rows, and the rounding of two softmaxes.

    inf where a hidden key is off by more than 100: up to that its score is 746 below those of the leading
    rows, and exp underflows.
    """
    s, N = em.plain.stream, tasks.X.shape[1]
    x, xx, log_pi = (before.tokens.read(block, N).abs() for block in (s.x, s.xx, s.log_pi))

    def added(numbers: Callable[[Block], Tensor]) -> Tensor:
        products = x @ numbers(s.eta).mT + 0.5 * xx @ numbers(s.precision).mT
        return products + 0.5 * (numbers(s.norm) + numbers(s.log_det)).mT

    off = added(before.radius)
    size = off + added(lambda block: before.middle(block).abs()) + log_pi.amax(-1, keepdim=True)
    keys = before.counts.shape[-1]
    terms = x.shape[-1] + xx.shape[-1] + log_pi.shape[-1] + 10
    off = off + 2 * (gamma(terms, U) + 4 * U) * size + gamma(keys + 20, U)
    leads = before.middle(s.lead).mT > 0
    rho = off.masked_fill(~leads, 0.0).amax(-1)
    return rho.masked_fill(~(off.amax(-1) < 100), math.inf)


def _moments_off(em: SoftmaxMatrixEM, before: Held, logits: Tensor, tasks: TaskBatch) -> Radii:
    """Of the means, second moments and weights that M reads.

    Weights of attention round by omega: the score ``log r - hide``, of which the largest is subtracted, exp,
    and their sum over the tokens.
    """
    s, N, log = em.plain.stream, tasks.X.shape[1], em.log_resp
    mask = tasks.token_mask
    rho = logits.masked_fill(~mask, 0.0)
    ratio = float((log.knots[1:] / log.knots[:-1]).max())
    tau = 2 * ratio * rho.amax(-1) + 2 * log.rounding_error(F64)
    summed = gamma(mask.shape[1] + before.counts.shape[-1] + 20, U)
    omega = 4 * (abs(math.log(em.floor)) + EXP_ULPS[F64]) * U + summed
    grown = torch.expm1(2 * tau + 2 * omega)[:, None, None]
    scores = before.tokens.read(s.log_resp, N).masked_fill(~mask[:, :, None], -torch.inf)
    w, member = scores.softmax(1).mT, before.middle(s.member)

    def moment(read: Block) -> Tensor:
        values = before.tokens.read(read, N)
        away = [(values - mean).abs() for mean in (w @ values).split(1, 1)]
        spread = torch.cat([w[:, [k]] @ distance for k, distance in enumerate(away)], 1)
        return member @ (grown * spread) + 2 * summed * values.abs().amax(1, keepdim=True)

    r = before.tokens.read(s.resp, N) * mask[:, :, None]
    shares = (r * torch.expm1(2 * rho)[:, :, None]).sum(1, keepdim=True) / tasks.n_samples[:, None, None]
    pi = (shares + 2 * summed).expand(-1, before.counts.shape[-1], -1)
    return {s.new_mu: moment(s.x), s.second: moment(s.xx), s.pi: pi}


def _of_rows(em: SoftmaxMatrixEM, after: Held, tasks: TaskBatch, logits: Tensor) -> StepGap:
    s = em.plain.stream
    K, d = (int(sizes.max()) for sizes in (tasks.n_components, tasks.n_features))
    mu, row = (after.radius(block)[:, 1:].unflatten(1, (K, d)) for block in (s.mu, s.row))
    means = tasks.means.new_zeros(tasks.means.shape)
    covariances = means.new_zeros(*means.shape, means.shape[-1])
    means[:, :K], covariances[:, :K, :d] = mu[:, :, 0], row
    return StepGap(logits, after.radius(s.pi)[:, 0], means, covariances)
