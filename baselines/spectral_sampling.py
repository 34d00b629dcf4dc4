"""Whether the K-th eigenvalue of M2 is one of the means, or what sampling makes of 0.

**The eigenvalue.** Let the K means span fewer than K dimensions. Then some d - K + 1 dimensions hold
noise alone: N independent points N(0, s I), whatever their components. By Courant and Fischer the K-th
largest eigenvalue of (1/N) sum_n x_n x_n^T is at most its largest value on these dimensions, so at most s
times the largest eigenvalue of a white Wishart matrix of p = d - K + 1 dimensions and N degrees of
freedom, over N; exactly, for every N. That has approximately the law of Tracy and Widom (order 1):

    ((a + b)^2 + (a + b) (1/a + 1/b)^(1/3) t) / N,    a = sqrt(N - 1/2), b = sqrt(p - 1/2),

t at the upper 1 % is 2.0234. In 4,000 samples each of N = 8 to 1,000 and p = 1 to 50 between 0.4 and 1.2
% were above. Where s is estimated, the average of the d - K + 1 least eigenvalues of the covariance times
N/(N - K) is taken for it, as K means were fitted; they are of the noise whether or not the means are
independent.

**The average.** m = sum_k pi_k mu_k = 0 is one such dependence, that of centred data; noise of unequal
variances (columns scaled one by one) hides it from the eigenvalue. With h = m^T (M2 + s I)^-1 m,
Hotelling's N h/(1 - h) has a known law where the true average is 0, also without normality. Independent
means are far from it: then m^T M2^-1 m = 1, since m = A q with M2 = A A^T and |q| = 1, so N h/(1 - h) is
at least N e_K/s.

Sources: Johnstone 2001, "On the distribution of the largest eigenvalue in principal components analysis";
Ma 2012, "Accuracy of the Tracy-Widom limits for the extreme eigenvalues in white Wishart matrices", for
the halves; Hotelling 1931.
"""

import math
from collections.abc import Sequence

from torch import Tensor

TRACY_WIDOM = 2.0234  # exceeded with probability 1 % by the law of order 1
LEVEL = 0.01


def noise_eigenvalue(n_features: int, n_samples: float) -> float:
    """Upper 1 % of the largest eigenvalue of (1/N) sum_n z_n z_n^T, z_n ~ N(0, I_p) independent.

    N is 1 or more; where weights make it less, it counts as 1.
    """
    n_samples = max(n_samples, 1.0)
    a, b = math.sqrt(n_samples - 0.5), math.sqrt(n_features - 0.5)
    return ((a + b) ** 2 + TRACY_WIDOM * (a + b) * (1 / a + 1 / b) ** (1 / 3)) / n_samples


def noise_variance(covariance_eigenvalues: Tensor, n_components: int, n_samples: Sequence[float]) -> Tensor:
    """s estimated for the test from the eigenvalues (B, d) of the covariance, ascending: (B,)."""
    n_noise = covariance_eigenvalues.shape[-1] - n_components + 1
    N = covariance_eigenvalues.new_tensor(n_samples)
    return covariance_eigenvalues[..., :n_noise].mean(-1) * N / (N - n_components).clamp(min=1)


def smallest_resolved(
    variance: Tensor, noise: Tensor, n_features: int, n_components: int, n_samples: Sequence[float]
) -> Tensor:
    """The K-th eigenvalue of M2 that sampling makes of 0 once in a hundred times, (B,).

    variance (B,) is the s subtracted in M2, noise (B,) the s that the points are taken to have, n_samples B
    numbers of points.
    """
    edges = {N: noise_eigenvalue(n_features - n_components + 1, N) for N in set(n_samples)}
    return noise * noise.new_tensor([edges[N] for N in n_samples]) - variance


def average_is_nothing(
    average: Tensor, n_samples: Sequence[float], W: Tensor, eigenvalues: Tensor, variance: Tensor
) -> Tensor:
    """(B,) booleans: the average (B, d) of n_samples points each cannot be told from 0 at the level of 1 %.

    h is taken on the K leading dimensions of M2; W (B, d, K) and eigenvalues (B, K) as of `whiten`.
    Always False for N <= d, where nothing is known of the covariance.
    """
    from scipy.special import fdtri

    d = average.shape[-1]
    along = (W.mT @ average.unsqueeze(-1)).squeeze(-1)
    h = (along.square() * eigenvalues / (eigenvalues + variance.unsqueeze(-1))).sum(-1)
    limits = {N: d * (N - 1) / (N - d) * float(fdtri(d, N - d, 1 - LEVEL)) for N in set(n_samples) if d < N}
    limit = h.new_tensor([limits.get(N, -1.0) for N in n_samples])
    return (limit >= 0) & (h.new_tensor(n_samples) * h <= limit * (1 - h))
