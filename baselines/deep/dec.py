"""Deep embedded clustering: an encoder and centres that sharpen their own soft assignment.

    q_nk = (1 + |z_n - m_k|^2)^-1 / sum_j (1 + |z_n - m_j|^2)^-1        z_n = f(x_n)
    p_nk = (q_nk^2 / f_k) / sum_j (q_nj^2 / f_j),    f_k = sum_n q_nk
    minimise  (1/N) sum_nk p_nk log(p_nk / q_nk)  over f and the centres m

p is held fixed for `update_interval` steps, then computed anew from all points. It ends when less than a
share `tol` of the points has another largest q than at the last time. f comes from an autoencoder, the
centres from k-means on its latent points; the decoder is not used after that.

A small version in torch: no package that is kept up to date is among this project's libraries. Where it
differs from the paper: widths and steps are for hundreds of points, not 70,000, and all layers of the
autoencoder are trained at once (baselines.deep.autoencoder).
Source: Xie, Girshick and Farhadi 2016, sections 3.1 and 3.3, with alpha = 1.
"""

import warnings
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from baselines.deep.autoencoder import batches
from baselines.deep.estimator import DeepClustering, as_rate
from baselines.estimator_sets import as_amount, as_count
from baselines.kmeans import kmeans

MOMENTUM = 0.9


def soft_assignment(z: Tensor, centres: Tensor) -> Tensor:
    """q: z (N, l), centres (K, l) -> (N, K), rows summing to 1."""
    kernel = 1 / (1 + (z[:, None] - centres).square().sum(-1))
    return kernel / kernel.sum(-1, keepdim=True)


def target_distribution(q: Tensor) -> Tensor:
    """p of q (N, K): the same shape, rows summing to 1."""
    sharp = q.square() / q.sum(0)
    return sharp / sharp.sum(-1, keepdim=True)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """sum_nk p_nk log(p_nk / q_nk) / N, with 0 log 0 = 0."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum() / len(p)


class DEC(DeepClustering):
    """Deep embedded clustering; the formulas are at the head of this file.

    n_clusters       K.
    hidden           widths of the encoder's hidden layers.
    n_latent         latent coordinates; None for 10, or d where that is less.
    pretrain_steps   of the autoencoder, by Adam with pretrain_rate.
    max_updates      of the target p, each followed by update_interval steps of gradient descent with momentum
                     0.9 and learning_rate.
    tol              the share of points whose group changes below which it ends.
    n_init           starts of k-means.
    random_state     None, an integer or a numpy RandomState.

    labels_, cluster_centers_ (K, n_latent) in latent space, n_iter_ updates of the target, converged_ whether
    tol ended it; if not, `fit` gives a ConvergenceWarning.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        hidden: tuple[int, ...] = (64, 64),
        n_latent: int | None = None,
        pretrain_steps: int = 600,
        pretrain_rate: float = 1e-3,
        max_updates: int = 50,
        update_interval: int = 140,
        learning_rate: float = 0.01,
        tol: float = 1e-3,
        batch_size: int = 256,
        n_init: int = 20,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.hidden = hidden
        self.n_latent = n_latent
        self.pretrain_steps = pretrain_steps
        self.pretrain_rate = pretrain_rate
        self.max_updates = max_updates
        self.update_interval = update_interval
        self.learning_rate = learning_rate
        self.tol = tol
        self.batch_size = batch_size
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train and group X (N, d), N >= n_clusters; y is ignored. ValueError for bad input."""
        counts = ("pretrain_steps", "max_updates", "update_interval", "batch_size", "n_init")
        for name in counts:
            as_count(name, getattr(self, name), 0 if name in ("pretrain_steps", "max_updates") else 1)
        rates = [as_rate(name, getattr(self, name)) for name in ("pretrain_rate", "learning_rate")]
        tol = as_amount("tol", self.tol)
        u, K, generator = self._begin(X)
        autoencoder, z = self._pretrained(u, rates[0], generator)
        self._encoder = autoencoder.encoder
        start = kmeans(z.double(), K, n_init=self.n_init, generator=generator)
        self._centres = nn.Parameter(start.centres.to(z))
        self._refine(u, start.labels, rates[1], tol, generator)
        self.labels_: NDArray[np.int64] = self._shares(u).argmax(-1).numpy()
        self.cluster_centers_ = self._centres.detach().double().numpy()
        return self

    def _refine(self, u: Tensor, labels: Tensor, rate: float, tol: float, generator: torch.Generator) -> None:
        parameters = [*self._encoder.parameters(), self._centres]
        optimiser = torch.optim.SGD(parameters, rate, MOMENTUM)
        drawn = batches(len(u), self.batch_size, generator)
        self.n_iter_, self.converged_ = 0, False
        while self.n_iter_ < self.max_updates:
            p = target_distribution(self._shares(u))
            for _ in range(self.update_interval):
                batch = next(drawn)
                optimiser.zero_grad()
                divergence(p[batch], soft_assignment(self._encoder(u[batch]), self._centres)).backward()
                optimiser.step()
            self.n_iter_ += 1
            q = self._shares(u)
            if not q.isfinite().all():
                raise ValueError(
                    f"learning_rate is {self.learning_rate}, too large: training left the numbers"
                )
            before, labels = labels, q.argmax(-1)
            if float((labels != before).double().mean()) < tol:
                self.converged_ = True
                return
        if self.max_updates:
            warnings.warn(
                f"after max_updates = {self.max_updates} the groups still change by tol = {self.tol} or more",
                ConvergenceWarning,
                stacklevel=3,
            )

    @torch.no_grad()
    def _shares(self, u: Tensor) -> Tensor:
        return soft_assignment(self._encoder(u), self._centres)
