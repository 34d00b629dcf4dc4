"""Particles that go from the prior to the posterior through those of baselines.posterior_sampling.

A single Gibbs chain stays in the basin it starts in. Here C = I P particles of a task, in I islands of P,
start as independent draws from the prior (b = 0) and go to b = 1 in steps; at each step from b to b'

    weigh     w = f_b'(theta)/f_b(theta), the labels summed out;
    resample  within each island, systematically, in proportion to w;
    move      one sweep (and one jump, if asked for), which leaves p_b' as it is,

and the product over the steps of the averages of w over an island estimates p(X) up to a known factor,
without bias if the b's are fixed beforehand. Source: Del Moral, Doucet and Jasra 2006, section 3.3. b' is
chosen for each task so that log w, whose slope in b is known, has about the standard deviation `step` over
all its particles: that, the only thing the islands share, costs a bias of O(1/C).

**Weights of islands.** After b = 1 the particles are moved on without weighing. sum_i Z_i E_i / sum_i Z_i,
with Z_i an island's estimate of p(X) and E_i its average, is consistent in the number of islands for any P:
an island whose particles all missed the mass has a small Z_i. Its spread says how far the answer can be
trusted; that all islands missed the same mode is what it cannot say.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.map_em import log_prior
from baselines.posterior_sampling import (
    TaskPrior,
    jump,
    level,
    level_and_slope,
    log_joint,
    rows_of,
    sweep,
)
from baselines.task_families import uniform


class Samples(NamedTuple):
    """S samples of each of P particles in I islands, for T tasks.

    means            (T, I, S P, K, d), the P draws of the first kept sweep first; weights (T, I, S P, K).
    log_density      (T, I, S P): log p(X | theta) + log((h/M)^K - (l/m)^K), as baselines.map_em.log_prior.
    log_evidence     (T, I): log p(X), estimated by each island.
    n_temperatures   (T,) steps from the prior to the posterior.
    """

    means: Tensor
    weights: Tensor
    log_density: Tensor
    log_evidence: Tensor
    n_temperatures: Tensor


@dataclass(frozen=True)
class Plan:
    """I islands of P particles; the deviation of log w that sets the temperatures; a jump before each step or
    not; at b = 1, `sweeps` sweeps, of which every `thin`-th is kept."""

    islands: int
    particles: int
    step: float
    jumps: bool
    sweeps: int
    thin: int


def posterior_samples(X: Tensor, K: int, prior: TaskPrior, plan: Plan, generator: torch.Generator) -> Samples:
    """Samples from the posterior of K components in every task of X (T, N, d).

    Raises ValueError where the prior has no such means.
    """
    T, N, d = X.shape
    islands, particles = plan.islands, plan.particles
    theta = prior.draw((T, islands * particles), K, X, generator)
    b = X.new_zeros(T)
    log_evidence = X.new_zeros(T, islands)
    n_temperatures = torch.zeros(T, dtype=torch.long, device=X.device)
    while (b < 1).any():
        joint = log_joint(X, theta)
        if plan.jumps and (b > 0).any():
            theta, joint = jump(theta, joint, X, b, prior, generator)
        log_f, slope = level_and_slope(joint, b)
        new = torch.minimum(b + plan.step / slope.std(-1), torch.ones_like(b))
        then = level(joint, new)
        log_w = (then.log_f - log_f).reshape(T, islands, particles)
        log_evidence += torch.logsumexp(log_w, -1) - math.log(particles)
        parents = resample(log_w, generator)
        n_temperatures += b < 1
        b, theta, running = new, theta.take(parents), rows_of(then.running, parents)
        theta = sweep(theta, running, X, b, prior, generator)
    kept = []
    for count in range(plan.sweeps):
        joint = log_joint(X, theta)
        now = level(joint, b)
        if count % plan.thin == 0:
            kept.append((*theta, now.log_f + log_prior(theta.weights, prior.raw_range)))
        theta = sweep(theta, now.running, X, b, prior, generator)
    means, weights, density = (
        torch.stack([part.reshape(T, islands, particles, *part.shape[2:]) for part in parts], dim=2)
        for parts in zip(*kept, strict=True)
    )
    constant = -0.5 * X.square().sum((-2, -1)) - 0.5 * N * d * math.log(2 * math.pi)
    log_evidence += (constant + N * math.log(K)).unsqueeze(-1)
    return Samples(
        means.reshape(T, islands, -1, K, d),
        weights.reshape(T, islands, -1, K),
        density.reshape(T, islands, -1) + constant[:, None, None],
        log_evidence,
        n_temperatures,
    )


def resample(log_w: Tensor, generator: torch.Generator) -> Tensor:
    """Systematic resampling in every island: log w (T, I, P) -> parents (T, I P), integers into I P.

    Particle p has floor or ceil of P w_p/sum w children; all w equal give each its own.
    """
    T, islands, P = log_w.shape
    edges = torch.softmax(log_w, -1).cumsum(-1)
    start = uniform((T, islands, 1), generator, log_w.dtype, log_w.device)
    places = (torch.arange(P, dtype=log_w.dtype, device=log_w.device) + start) / P * edges[..., -1:]
    parents = torch.searchsorted(edges, places, right=True).clamp(max=P - 1)
    offset = torch.arange(0, islands * P, P, device=log_w.device).unsqueeze(-1)
    return (parents + offset).reshape(T, islands * P)
