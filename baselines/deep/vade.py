"""A variational autoencoder whose latent prior is a Gaussian mixture (VaDE), trained on its lower bound.

    p(c) = pi_c,  p(z | c) = N(z; m_c, diag(s_c)),  p(x | z) = N(x; g(z), v I),  q(z | x) = N(z; a, diag(b))
    log p(x) >= E log p(x | z) + log sum_c r_c(x) + 1/2 sum_j (1 + log(2 pi b_j))                  (the bound)
    log r_c = log pi_c - 1/2 sum_j (log(2 pi s_cj) + (b_j + (a_j - m_cj)^2) / s_cj)

a(x) and log b(x) are the two halves of the encoder's output. E over q(z | x) is taken with one draw a point
in training, z = a + sqrt(b) e, e ~ N(0, I). Group of a point: argmax_c r_c.

With gamma_c = r_c / sum r the bound is that of the paper (equation 13) at these gamma, which are the best
ones for q(z | x): log sum_c r_c = max over gamma of sum_c gamma_c (log r_c - log gamma_c). The paper has
gamma_c = E p(c | z), by draws, which is a lower bound too, never above this one.

Start, as in the paper: an autoencoder, then a mixture of diagonal covariances on its latent points.

A small version in torch: no package that is kept up to date is among this project's libraries. Where it
differs from the paper beside gamma: widths and steps for hundreds of points, all layers of the autoencoder
trained at once, a constant rate, and one variance v for all points and coordinates in place of a network's,
which could make a single point as likely as it likes. v is not learned by steps but is, for every batch and
at the end for all points, the one that is best: the mean of (x - g(z))^2.
Source: Jiang, Zheng, Tan, Tang and Zhou 2017; Kingma and Welling 2014 for the draws; Rybkin,
Daniilidis and Levine 2021 for v.
"""

from math import log, pi
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from baselines.deep.autoencoder import Autoencoder, batches
from baselines.deep.estimator import DeepClustering, as_rate
from baselines.em import em
from baselines.estimator_sets import as_count
from baselines.mixture import Mixture

NARROW = 0.01
"""Variances of q(z | x) at the start, in those of a component of the first mixture."""
LEAST_VARIANCE = 1e-4
"""Added to the variances of the first mixture, in those of the latent points."""
START_STEPS = 200


def log_terms(a: Tensor, log_b: Tensor, log_pi: Tensor, means: Tensor, log_s: Tensor) -> Tensor:
    """log r_c: a, log_b (N, l); log_pi (K,); means, log_s (K, l) -> (N, K)."""
    squares = log_b.exp()[:, None] + (a[:, None] - means).square()
    return log_pi - 0.5 * (log(2 * pi) + log_s + squares * (-log_s).exp()).sum(-1)


def entropy(log_b: Tensor) -> Tensor:
    """Of N(., diag(b)): (N, l) -> (N,)."""
    return 0.5 * (1 + log(2 * pi) + log_b).sum(-1)


def log_gaussian(x: Tensor, mean: Tensor, log_v: Tensor) -> Tensor:
    """log N(x; mean, v I): (N, d) twice -> (N,)."""
    return -0.5 * (log(2 * pi) + log_v + (x - mean).square() * (-log_v).exp()).sum(-1)


def best_log_variance(x: Tensor, mean: Tensor) -> Tensor:
    """log of the v for which the points (N, d) are likeliest under N(mean, v I): v = mean (x - mean)^2."""
    return (x - mean).square().mean().log()


class MixturePrior(nn.Module):
    """pi, m_c, s_c of the latent mixture as free numbers: logits, means, logarithms of variances."""

    def __init__(self, mixture: Mixture, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if mixture.covariances is None or mixture.covariance_type != "diagonal":
            raise ValueError(f"the mixture is of {mixture.covariance_type} covariances, needs diagonal ones")
        self.logits = nn.Parameter(mixture.weights.log().to(dtype))
        self.means = nn.Parameter(mixture.means.to(dtype, copy=True))
        self.log_s = nn.Parameter(mixture.covariances.log().to(dtype))

    def terms(self, a: Tensor, log_b: Tensor) -> Tensor:
        """log r_c of every point."""
        return log_terms(a, log_b, self.logits.log_softmax(-1), self.means, self.log_s)


class Network(nn.Module):
    """Encoder to (a, log b), decoder g, log v, prior."""

    log_v: Tensor

    def __init__(self, autoencoder: Autoencoder, prior: MixturePrior) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, prior
        weights, biases = self.encoder.weights, self.encoder.biases
        last, bias = weights[-1].detach(), biases[-1].detach()
        narrow = NARROW * prior.log_s.detach().exp().mean(0)
        # Twice as wide: the second half says log b, the same for all points at the start.
        weights[-1] = nn.Parameter(torch.cat([last, torch.zeros_like(last)], 1))
        biases[-1] = nn.Parameter(torch.cat([bias, narrow.log()]))
        self.register_buffer("log_v", bias.new_zeros(()))

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """a, log b."""
        a, log_b = self.encoder(x).chunk(2, -1)
        return a, log_b

    def drawn(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """g(z) at the draw e = noise (N, l), (N, d), and the bound of every point less log p(x | z), (N,)."""
        a, log_b = self.encoded(x)
        z = a + (0.5 * log_b).exp() * noise
        return self.decoder(z), self.prior.terms(a, log_b).logsumexp(-1) + entropy(log_b)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """Of every point with one draw, at the v of the network: (N, d) -> (N,)."""
        shown, rest = self.drawn(x, noise)
        return log_gaussian(x, shown, self.log_v) + rest

    def bound_at_best_v(self, x: Tensor, noise: Tensor) -> Tensor:
        """The same at the v that is best for these points and draws."""
        shown, rest = self.drawn(x, noise)
        return log_gaussian(x, shown, best_log_variance(x, shown.detach())) + rest


class VaDE(DeepClustering):
    """A Gaussian-mixture variational autoencoder; the formulas are at the head of this file.

    n_clusters       K.
    hidden           widths of the hidden layers of encoder and decoder.
    n_latent         latent coordinates; None for 10, or d where that is less.
    pretrain_steps, pretrain_rate    of the autoencoder, by Adam.
    steps, learning_rate             of the bound, by Adam.
    n_init           starts of EM for the first mixture.
    n_draws          draws a point for `score_bound`.
    random_state     None, an integer or a numpy RandomState.

    labels_; weights_ (K,), means_ and variances_ (K, n_latent) of the latent mixture; lower_bound_, that of
    `score_bound` on the points fitted.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        hidden: tuple[int, ...] = (64, 64),
        n_latent: int | None = None,
        pretrain_steps: int = 600,
        pretrain_rate: float = 1e-3,
        steps: int = 800,
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        n_init: int = 10,
        n_draws: int = 50,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.hidden = hidden
        self.n_latent = n_latent
        self.pretrain_steps = pretrain_steps
        self.pretrain_rate = pretrain_rate
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_init = n_init
        self.n_draws = n_draws
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train and group X (N, d), N >= n_clusters; y is ignored. ValueError for bad input."""
        for name in ("pretrain_steps", "steps", "batch_size", "n_init", "n_draws"):
            as_count(name, getattr(self, name), 0 if "steps" in name else 1)
        rates = [as_rate(name, getattr(self, name)) for name in ("pretrain_rate", "learning_rate")]
        u, K, generator = self._begin(X)
        autoencoder, z = self._pretrained(u, rates[0], generator)
        first = first_mixture(z.double(), K, self.n_init, generator)
        self._network = Network(autoencoder, MixturePrior(first))
        self._train(u, rates[1], generator)
        self._seed = int(torch.randint(2**31, (1,), generator=generator))
        self.labels_: NDArray[np.int64] = self._shares(u).argmax(-1).numpy()
        prior = self._network.prior
        self.weights_ = prior.logits.detach().double().softmax(-1).numpy()
        self.means_ = prior.means.detach().double().numpy()
        self.variances_ = prior.log_s.detach().double().exp().numpy()
        self.lower_bound_ = self._level(u)
        return self

    def score_bound(self, X: ArrayLike) -> float:
        """A lower bound of the mean of log p(x_n), natural log, in the units of X (N, d).

        The mean over n_draws draws a point, the same ones at every call. How far below log p it lies is not
        known: for another model a higher likelihood shows nothing against this one.
        """
        return self._level(self._points(X))

    def _train(self, u: Tensor, rate: float, generator: torch.Generator) -> None:
        network = self._network
        optimiser = torch.optim.Adam(network.parameters(), rate, fused=True)
        drawn = batches(len(u), self.batch_size, generator)
        for _ in range(self.steps):
            x = u[next(drawn)]
            optimiser.zero_grad()
            (-network.bound_at_best_v(x, self._noise(x, generator)).mean()).backward()
            optimiser.step()
        with torch.no_grad():
            errors = [
                (network.drawn(u, self._noise(u, generator))[0] - u).square().mean() for _ in self._draws()
            ]
            network.log_v.copy_(torch.stack(errors).mean().log())
            finite = all(bool(part.isfinite().all()) for part in (*network.parameters(), network.log_v))
        if not finite:
            raise ValueError(f"learning_rate is {self.learning_rate}, too large: training left the numbers")

    @torch.no_grad()
    def _level(self, u: Tensor) -> float:
        generator = torch.Generator().manual_seed(self._seed)
        levels = [self._network.bound(u, self._noise(u, generator)).double().mean() for _ in self._draws()]
        return float(torch.stack(levels).mean()) - self.n_features_in_ * log(self.scale_)

    def _draws(self) -> range:
        return range(self.n_draws)

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(len(x), self._network.prior.means.shape[1], generator=generator)

    @torch.no_grad()
    def _shares(self, u: Tensor) -> Tensor:
        return self._network.prior.terms(*self._network.encoded(u)).softmax(-1)


def first_mixture(z: Tensor, K: int, n_init: int, generator: torch.Generator) -> Mixture:
    """K diagonal components by EM from k-means on latent points z (N, l), the likeliest of n_init starts."""
    least = LEAST_VARIANCE * float(z.var(0, correction=0).mean())
    if not least > 0:
        raise ValueError("all latent points are equal, needs more pretrain_steps or another pretrain_rate")
    found = em(
        z, K, covariance_type="diagonal", init="k-means", n_init=n_init, max_iter=START_STEPS,
        reg_covar=least, generator=generator,
    )  # fmt: skip
    return found.mixture
