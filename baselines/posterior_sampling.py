"""Draws from the posterior of a mixture under the prior of the paper's tasks: tempered Gibbs sweeps.

Prior (baselines.tasks.paper_tasks): means uniform in [-B, B]^d given that every pairwise cosine is below c;
pi = u / sum u with u uniform in [l, h]^K, whose density is p(pi) ~ (h/M)^K - (l/m)^K (baselines.map_em; the
scale of u is integrated out there, so pi itself is the state). Components N(mu_k, I), labels exchangeable.

**Tempered posterior.** With l_nk = log pi_k + log N(x_n; mu_k, I) and 0 <= b <= 1,

    p_b(theta, z) ~ prior(theta) prod_n exp(b l_(n, z_n)),   so   p_b(theta) ~ prior(theta) f_b(theta),
    f_b(theta) = prod_n sum_k exp(b l_nk).

p_1 is the posterior, p_0 the prior.

**Sweep**, which leaves p_b as it is, n_k the number of points with label k and c_k their average:

    z_n    from softmax_k(b l_nk), independently;
    pi     proposed from Dirichlet(1 + b n_k), which is its law for a flat prior, and accepted with
           probability min(1, p(pi')/p(pi));
    mu_k   for k = 1, ..., K in turn: proposed from N(c_k, I/(b n_k)) cut to the box (uniform in it where
           b n_k = 0), which is its law without the cosines, and accepted where they stay below c.

Both are Metropolis-Hastings steps whose proposal does not depend on the old value: the ratio of target to
proposal is p(pi), or 1 where the cosines are allowed and 0 elsewhere.

**Jump**, which leaves p_b(theta) as it is and takes a mean from where two share a cluster to where none is:
k uniform, mu_k' = x_n + e with n uniform and e ~ N(0, I), accepted with probability min(1, r),

    r = [theta' allowed] f_b(theta') q(mu_k)/(f_b(theta) q(mu_k')),   q(y) = sum_n exp(-|y - x_n|^2/2).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.map_em import BOX, RAW_RANGE, log_prior
from baselines.task_families import largest_cosine, means_in_box, uniform
from baselines.truncated_normal import truncated_normal

MAX_COSINE = 0.8


@dataclass(frozen=True)
class TaskPrior:
    """B, (l, h) and c of the head of this file; the defaults are the paper's. ValueError for a bad value."""

    box: float = BOX
    raw_range: tuple[float, float] = RAW_RANGE
    max_cosine: float = MAX_COSINE

    def __post_init__(self) -> None:
        if not 0 < self.box < float("inf"):
            raise ValueError(f"box is {self.box}, needs a finite number > 0")
        low, high = self.raw_range
        if not 0 < low < high < float("inf"):
            raise ValueError(f"raw_range is {self.raw_range}, needs 0 < low < high, both finite")
        if not self.max_cosine > -1:
            raise ValueError(f"max_cosine is {self.max_cosine}, needs > -1")

    def draw(self, shape: tuple[int, int], K: int, like: Tensor, generator: torch.Generator) -> "Draws":
        """Independent draws for T tasks and C chains, shape = (T, C), with the d, dtype and device of `like`.

        Raises ValueError where the cosines leave no means (baselines.task_families.means_in_box).
        """
        T, C = shape
        d, dtype, device = like.shape[-1], like.dtype, like.device
        kind = {"box": self.box, "max_cosine": self.max_cosine, "dtype": dtype, "device": device}
        means = means_in_box(T * C, K, d, generator, **kind).reshape(T, C, K, d)
        low, high = self.raw_range
        raw = low + (high - low) * uniform((T, C, K), generator, dtype, device)
        return Draws(means, raw / raw.sum(-1, keepdim=True))


class Draws(NamedTuple):
    """theta: means (T, C, K, d) and weights (T, C, K) of C chains a task."""

    means: Tensor
    weights: Tensor

    def take(self, chains: Tensor) -> "Draws":
        """Chain chains[t, c] in place of chain c: (T, C) integers."""
        tasks = torch.arange(len(chains), device=chains.device).unsqueeze(-1)
        return Draws(self.means[tasks, chains], self.weights[tasks, chains])


class Joint(NamedTuple):
    """l_nk + |x_n|^2/2 + (d/2) log 2 pi, what depends on theta, as most_n + relative_nk, most_n = max over k.

    relative (T, K, C, N), most_sum = sum_n most_n (T, C).
    """

    relative: Tensor
    most_sum: Tensor


def log_joint(X: Tensor, theta: Draws) -> Joint:
    """X (T, N, d) under theta of C chains a task."""
    T, C, K, d = theta.means.shape
    own = theta.weights.log() - 0.5 * theta.means.square().sum(-1)
    joint = (theta.means.transpose(1, 2).reshape(T, K * C, d) @ X.mT).reshape(T, K, C, -1)
    joint += own.mT.unsqueeze(-1)
    most = joint.amax(1, keepdim=True)
    return Joint(joint.sub_(most), most.sum((1, 3)))


class Level(NamedTuple):
    """log f_b (T, C), and running sums over k of exp(b relative_nk): (T, K, C, N)."""

    log_f: Tensor
    running: Tensor


def level(joint: Joint, b: Tensor) -> Level:
    """log f_b of every chain, b (T,)."""
    running = (joint.relative * b[:, None, None, None]).exp_()
    for k in range(1, running.shape[1]):
        running[:, k] += running[:, k - 1]
    return Level(b.unsqueeze(-1) * joint.most_sum + running[:, -1].log().sum(-1), running)


def level_and_slope(joint: Joint, b: Tensor) -> tuple[Tensor, Tensor]:
    """log f_b and d log f_b/db = sum_n sum_k softmax_k(b l_nk) l_nk, both (T, C)."""
    terms = (joint.relative * b[:, None, None, None]).exp_()
    total = terms.sum(1)
    log_f = b.unsqueeze(-1) * joint.most_sum + total.log().sum(-1)
    slope = joint.most_sum + (terms.mul_(joint.relative).sum(1) / total).sum(-1)
    return log_f, slope


def rows_of(running: Tensor, chains: Tensor) -> Tensor:
    """running[t, k, chains[t, c]]: (T, K, C, N) -> (T, K, C, N)."""
    T, K, C, N = running.shape
    first = torch.arange(0, T * K * C, C, device=chains.device).reshape(T, K, 1)
    return running.reshape(T * K * C, N)[first + chains.unsqueeze(1)]


def draw_groups(running: Tensor, X: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels drawn from softmax_k(b l_nk): numbers n_k (T, C, K) and sums of points (T, C, K, d) of each k.

    Label k is drawn where r_(k-1) <= w r_K < r_k, w uniform in [0, 1), r the running sums. Summed over the
    points with w r_K >= r_k are the labels above k; the differences of these sums are those of each label.
    """
    T, K, C, N = running.shape
    cut = running[:, -1:] * uniform((T, 1, C, N), generator, X.dtype, X.device)
    above = (cut >= running[:, :-1]).to(X.dtype)
    points = torch.cat([X, torch.ones_like(X[..., :1])], dim=-1)
    sums = (above.reshape(T, (K - 1) * C, N) @ points).reshape(T, K - 1, C, X.shape[-1] + 1)
    everyone = points.sum(-2)[:, None, None].expand(T, 1, C, -1)
    sums = torch.cat([everyone, sums, torch.zeros_like(everyone)], dim=1)
    groups = (sums[:, :-1] - sums[:, 1:]).transpose(1, 2)
    return groups[..., -1], groups[..., :-1]


def sweep(
    theta: Draws, running: Tensor, X: Tensor, b: Tensor, prior: TaskPrior, generator: torch.Generator
) -> Draws:
    """One sweep of the head of this file at b (T,), `running` being that of `level` for theta and b."""
    counts, sums = draw_groups(running, X, generator)
    strength = counts * b[:, None, None]
    weights = weights_move(theta.weights, strength, prior, generator)
    mean = torch.where(counts.unsqueeze(-1) > 0, sums / counts.unsqueeze(-1), 0.0)
    deviation = strength.rsqrt().unsqueeze(-1)
    proposal = truncated_normal(mean, deviation, -prior.box, prior.box, generator)
    return Draws(means_move(theta.means, proposal, prior.max_cosine), weights)


def weights_move(weights: Tensor, strength: Tensor, prior: TaskPrior, generator: torch.Generator) -> Tensor:
    """pi (..., K) after its step, strength = b n (..., K)."""
    # torch.distributions.Gamma draws by this function too, but from the global generator only
    gammas = torch._standard_gamma(strength + 1, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
    proposal = gammas / gammas.sum(-1, keepdim=True)
    gain = log_prior(proposal, prior.raw_range) - log_prior(weights, prior.raw_range)
    accepted = uniform(tuple(gain.shape), generator, gain.dtype, gain.device) < gain.exp()
    return torch.where(accepted.unsqueeze(-1), proposal, weights)


def means_move(means: Tensor, proposal: Tensor, max_cosine: float) -> Tensor:
    """mu (..., K, d) after the K steps in turn: proposal k is taken where its cosines with the others are
    below max_cosine."""
    K = means.shape[-2]
    if K == 1:
        return proposal
    means, lengths, new_lengths = means.clone(), means.norm(dim=-1), proposal.norm(dim=-1)
    for k in range(K):
        new = proposal[..., k, :]
        products = (means @ new.unsqueeze(-1)).squeeze(-1)
        near = products >= max_cosine * lengths * new_lengths[..., k : k + 1]
        near[..., k] = False
        accepted = ~near.any(-1)
        means[..., k, :] = torch.where(accepted.unsqueeze(-1), new, means[..., k, :])
        lengths[..., k] = torch.where(accepted, new_lengths[..., k], lengths[..., k])
    return means


def jump(
    theta: Draws, joint: Joint, X: Tensor, b: Tensor, prior: TaskPrior, generator: torch.Generator
) -> tuple[Draws, Joint]:
    """theta and its `log_joint` after the jump of the head of this file at b (T,); `joint` is overwritten."""
    T, C, K, d = theta.means.shape
    place = torch.randint(K, (T, C, 1, 1), generator=generator, device=X.device).expand(T, C, 1, d)
    points = torch.randint(X.shape[1], (T, C), generator=generator, device=X.device)
    old = theta.means.gather(2, place).squeeze(2)
    noise = torch.randn((T, C, d), generator=generator, dtype=X.dtype, device=X.device)
    new = X.gather(1, points.unsqueeze(-1).expand(T, C, d)) + noise
    moved = Draws(theta.means.scatter(2, place, new.unsqueeze(2)), theta.weights)
    moved_joint = log_joint(X, moved)
    gain = level(moved_joint, b).log_f - level(joint, b).log_f + log_kernel_density(X, old, new)
    allowed = (new.abs() <= prior.box).all(-1) & (largest_cosine(moved.means) < prior.max_cosine)
    taken = allowed & (uniform((T, C), generator, X.dtype, X.device) < gain.exp())
    joint.relative.transpose(1, 2)[taken] = moved_joint.relative.transpose(1, 2)[taken]
    means = torch.where(taken[..., None, None], moved.means, theta.means)
    most_sum = torch.where(taken, moved_joint.most_sum, joint.most_sum)
    return Draws(means, theta.weights), Joint(joint.relative, most_sum)


def log_kernel_density(X: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """log q(y) - log q(y') of places y, y' (T, C, d), q(y) = sum_n exp(-|y - x_n|^2/2): (T, C)."""

    def log_q(places: Tensor) -> Tensor:
        products = places @ X.mT - 0.5 * X.square().sum(-1).unsqueeze(1)
        return torch.logsumexp(products, -1) - 0.5 * places.square().sum(-1)

    return log_q(first) - log_q(second)
