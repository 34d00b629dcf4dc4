"""EM written out in mpmath, as many digits as the caller has set."""

import mpmath
import torch

__all__ = ["as_mp", "dense_covariances", "exact_em_step"]


def exact_em_step(X, weights, means, covariances, covariance_type):
    """One EM step in mpmath. covariances: one d x d mpmath matrix for every component."""
    N, d, K = len(X), len(X[0]), len(weights)

    def density(x, k):
        gap = mpmath.matrix([x[j] - means[k][j] for j in range(d)])
        distance = (gap.T * mpmath.inverse(covariances[k]) * gap)[0]
        return mpmath.exp(-distance / 2) / mpmath.sqrt((2 * mpmath.pi) ** d * mpmath.det(covariances[k]))

    shares, log_likelihood = [], mpmath.mpf(0)
    for x in X:
        joint = [weights[k] * density(x, k) for k in range(K)]
        total = mpmath.fsum(joint)
        log_likelihood += mpmath.log(total)
        shares.append([value / total for value in joint])
    sizes = [mpmath.fsum(share[k] for share in shares) for k in range(K)]
    new_means = [
        [mpmath.fsum(shares[n][k] * X[n][j] for n in range(N)) / sizes[k] for j in range(d)] for k in range(K)
    ]
    scatter = [
        mpmath.matrix(
            [
                [
                    mpmath.fsum(
                        shares[n][k] * (X[n][i] - new_means[k][i]) * (X[n][j] - new_means[k][j])
                        for n in range(N)
                    )
                    for j in range(d)
                ]
                for i in range(d)
            ]
        )
        for k in range(K)
    ]
    new_covariances = restricted(scatter, sizes, covariances, covariance_type)
    return [size / N for size in sizes], new_means, new_covariances, log_likelihood


def restricted(scatter, sizes, old, covariance_type):
    """The covariance matrices that a type allows, from the scatter matrices of the components."""
    d, K, N = scatter[0].rows, len(sizes), mpmath.fsum(sizes)
    pooled = sum(scatter[1:], scatter[0].copy()) / N
    own = [scatter[k] / sizes[k] for k in range(K)]

    def trace(matrix):
        return mpmath.fsum(matrix[j, j] for j in range(d))

    return {
        "unit": lambda: old,
        "tied_spherical": lambda: [mpmath.eye(d) * (trace(pooled) / d)] * K,
        "spherical": lambda: [mpmath.eye(d) * (trace(matrix) / d) for matrix in own],
        "diagonal": lambda: [mpmath.diag([matrix[j, j] for j in range(d)]) for matrix in own],
        "tied": lambda: [pooled] * K,
        "full": lambda: own,
    }[covariance_type]()


def dense_covariances(mixture):
    """(K, d, d) whatever the type."""
    K, d = mixture.means.shape
    identity = torch.eye(d, dtype=torch.float64)
    covariances = mixture.covariances
    return {
        "unit": lambda: identity.expand(K, d, d),
        "tied_spherical": lambda: (covariances * identity).expand(K, d, d),
        "spherical": lambda: covariances[:, None, None] * identity,
        "diagonal": lambda: torch.diag_embed(covariances),
        "tied": lambda: covariances.expand(K, d, d),
        "full": lambda: covariances,
    }[mixture.covariance_type]()


def as_mp(values):
    return [[mpmath.mpf(float(v)) for v in row] for row in values]


def exact_step(X, start):
    """Weights [K], means [K][d] and d x d covariances [K] after one exact step from a mixture of float64."""
    covariances = [mpmath.matrix(as_mp(matrix)) for matrix in dense_covariances(start)]
    weights = as_mp(start.weights[None])[0]
    return exact_em_step(as_mp(X), weights, as_mp(start.means), covariances, start.covariance_type)[:3]
