"""Whether data are in units in which unit covariances make sense: the spread within the components found.

Under p(x) = sum_k pi_k N(x; mu_k, I), with w_kn the responsibilities and n_k = sum_n a_n w_kn,

    s_k = sum_n a_n w_kn |x_n - mu_k|^2 / (d n_k)

has expectation 1, and d n_k s_k, a conditional expectation of a chi-square number, spreads no more than one
(Rao and Blackwell); a fitted mean takes d degrees of freedom, which leaves d (n_k - 1). With KL_n the
divergence of the responsibilities of x_n from the weights,

    -2 log p(x_n) - d log 2 pi = sum_k w_kn |x_n - mu_k|^2 + 2 KL_n,    0 <= KL_n,

so U = sum_n a_n (-2 log p(x_n) - d log 2 pi) >= sum_k d n_k s_k. The units are called wrong only where no
variance from 1/4 to 4 explains the data (standard deviations from 1/2 to 2), each test at the level of one in
a million:

    too wide    d n_k s_k is above 4 times the upper quantile of chi-square with d (n_k - 1) degrees of
                freedom, in every component that has more than one point
    too narrow  U is below 1/4 of the lower quantile with d (N - K)

Every component, because EM that ended with one component over two groups has too wide a component in data of
the right units, but hardly ever nothing else. And U, because groups that are narrow but far apart keep their
means and labels under unit covariances: their KL is that of certainty. Repeated points, which have no spread
but rounding, say nothing about units: an average of N is off by at most N u times the largest coordinate.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.mixture import Mixture

FACTOR = 2.0  # standard deviations of 1/FACTOR to FACTOR pass
LEVEL = 1e-6  # of each test: in 10,000 fits a warning without cause has a chance of 1 %
NUMBERS_AT_ONCE = 2**20


class UnitScale(NamedTuple):
    """What `unit_scale` found for every task of a batch (B,).

    deviation   sqrt(sum_k n_k s_k / sum_k n_k); NaN where U alone acquits, and it was not computed.
    too_wide    booleans, as too_narrow.
    """

    deviation: Tensor
    too_wide: Tensor
    too_narrow: Tensor

    @property
    def wrong(self) -> Tensor:
        """(B,) booleans: the units are wrong."""
        return self.too_wide | self.too_narrow

    def problem(self, task: int) -> str:
        """What is wrong with a task, and the remedy, in one line; for a task that is `wrong`."""
        taken = "unit covariances take a standard deviation of 1 within a component, and the data show"
        remedy = "bring the columns to one scale first (scikit-learn's StandardScaler)"
        if self.too_narrow[task]:
            remedy = "divide the data by about that"
        return f"{taken} {self.deviation[task].item():.3g}; {remedy}"


def unit_scale(
    X: Tensor, mixture: Mixture, sample_weight: Tensor | None = None, log_likelihood: Tensor | None = None
) -> UnitScale:
    """Judge X (B, N, d) by a mixture of unit covariances fitted to it, batch shape (B,).

    sample_weight   (B, N) >= 0, scaled to Kish's effective number of points, (sum a)^2 / sum a^2.
    log_likelihood  (B,) per point at `mixture`, where it is known: it spares the work for most tasks.
    Raises ValueError unless the mixture is of type "unit" and fits X.
    """
    if mixture.covariance_type != "unit":
        raise ValueError(f"the mixture is of covariance_type {mixture.covariance_type!r}, needs 'unit'")
    mixture.check_points(X)
    if X.dim() != 3 or mixture.batch_shape != X.shape[:1]:
        shapes = f"{tuple(X.shape)} and {tuple(mixture.batch_shape)}"
        raise ValueError(f"X and the batch of the mixture have shapes {shapes}, needs (B, N, d) and (B,)")
    if log_likelihood is None:
        log_likelihood = mixture.log_likelihood_per_point(X, sample_weight)
    N, d = X.shape[-2:]
    K = mixture.n_components
    n_points = X.new_tensor(N) if sample_weight is None else _effective(sample_weight).sum(-1)
    U = n_points * (-2 * log_likelihood - d * math.log(2 * math.pi))
    freedom = d * (n_points - K)
    below = torch.special.gammainc(0.5 * freedom.clamp(min=1), 0.5 * FACTOR**2 * U.clamp(min=0))
    too_narrow = (freedom > 0) & (below < LEVEL)
    # The quantiles are above their d (n_k - 1), whose sum over the components judged is at least `freedom`.
    suspects = (FACTOR**2 * freedom <= U) | too_narrow
    result = UnitScale(torch.full_like(U, torch.nan), torch.zeros_like(too_narrow), too_narrow)
    at_once = max(1, NUMBERS_AT_ONCE // (N * (d + 2 * K)))
    for places in suspects.nonzero().squeeze(-1).split(at_once):
        if len(places):
            weight = None if sample_weight is None else sample_weight[places]
            counts, squares = _within(X[places], mixture[places], weight)
            deviation = (squares.sum(-1) / (d * counts.sum(-1))).sqrt()
            result.deviation[places] = deviation
            rounding = N * torch.finfo(X.dtype).eps * X[places].abs().amax((-2, -1))
            result.too_narrow[places] &= deviation > rounding
            judged = counts > 1
            freedom_k = d * (counts - 1).clamp(min=0.5)
            above = torch.special.gammaincc(0.5 * freedom_k, squares / (2 * FACTOR**2))
            result.too_wide[places] = judged.any(-1) & ((above < LEVEL) | ~judged).all(-1)
    return result


def _within(X: Tensor, mixture: Mixture, sample_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """n_k and d n_k s_k of every component, (B, K) each; differences are taken before they are squared."""
    shares = mixture.responsibilities(X)
    if sample_weight is not None:
        shares = shares * _effective(sample_weight).unsqueeze(-2)
    squares = [
        (shares[..., k, :] * (X - mixture.means[..., k : k + 1, :]).square().sum(-1)).sum(-1)
        for k in range(mixture.n_components)
    ]
    return shares.sum(-1), torch.stack(squares, -1)


def _effective(sample_weight: Tensor) -> Tensor:
    """a_n sum a / sum a^2, whose sum is Kish's effective number of points."""
    a = sample_weight / sample_weight.amax(-1, keepdim=True)
    return a * (a.sum(-1) / a.square().sum(-1)).unsqueeze(-1)
