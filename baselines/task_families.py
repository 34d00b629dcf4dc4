"""What tasks are made of: random means, weights, covariances, and points, each for a whole batch at once.

T tasks, K components, d features; every function draws only from the generator it is given, on the device of
that generator. `baselines.tasks` and `training.tasks` put these together.
"""

import torch
from torch import Tensor

from baselines.mixture import Mixture

DRAWS_WITHOUT_SUCCESS = 200_000
CHUNK_VALUES = 2**21  # coordinates drawn at a time: temporaries stay at some tens of MB however many points


def means_in_box(
    n_tasks: int,
    n_components: int,
    n_features: int,
    generator: torch.Generator,
    *,
    box: float,
    max_cosine: float,
    dtype: torch.dtype,
    device: torch.device | str,
    block: int = 1024,
) -> Tensor:
    """(T, K, d), uniform in [-box, box]^d given that every pairwise cosine is below max_cosine, by rejection.

    Sets of K means are drawn `block` at a time (more when more tasks are missing), and the first T that pass
    are kept, so the law does not depend on `block`; the numbers do. ValueError when 200,000 sets in a row are
    refused.
    """
    if not box > 0:
        raise ValueError(f"box is {box}, needs > 0")
    accepted: list[Tensor] = []
    missing, failures = n_tasks, 0
    while missing > 0:
        shape = (max(missing, block), n_components, n_features)
        drawn = box * (2 * uniform(shape, generator, dtype, device) - 1)
        good = drawn[largest_cosine(drawn) < max_cosine][:missing]
        accepted.append(good)
        missing -= len(good)
        failures = 0 if len(good) else failures + len(drawn)
        if failures >= DRAWS_WITHOUT_SUCCESS:
            raise ValueError(
                f"max_cosine is {max_cosine}, kept by 0 of {failures} draws of n_components = {n_components}"
                f" means in n_features = {n_features}, needs a larger one or fewer components"
            )
    return torch.cat(accepted)


def simplex_means(
    n_tasks: int,
    n_components: int,
    n_features: int,
    generator: torch.Generator,
    *,
    separation: float,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """(T, K, d): corners of a regular simplex about 0, edges `separation`, rotated at random task by task.

    ValueError unless K <= d + 1 and separation > 0.
    """
    check_simplex(n_components, n_features)
    if not separation > 0:
        raise ValueError(f"separation is {separation}, needs > 0")
    corners = _simplex(n_components, n_features, dtype, device) * separation
    return corners @ random_rotations((n_tasks,), n_features, generator, dtype, device)


def check_simplex(n_components: int, n_features: int) -> None:
    """Refuse K > d + 1: so many points cannot be equally far apart."""
    if n_components > n_features + 1:
        raise ValueError(
            f"n_components is {n_components}, needs <= n_features + 1 = {n_features + 1}: "
            "no more points can be equally far apart"
        )


def paper_weights(
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """(T, K): uniform in [0.2, 0.8], then normalised to sum 1."""
    raw = 0.2 + 0.6 * uniform((n_tasks, n_components), generator, dtype, device)
    return raw / raw.sum(-1, keepdim=True)


def flat_weights(
    n_tasks: int,
    n_components: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """(T, K): uniform on the simplex, the flat Dirichlet law: exponentials, then normalised to sum 1."""
    raw = torch.empty(n_tasks, n_components, dtype=dtype, device=device).exponential_(generator=generator)
    return raw / raw.sum(-1, keepdim=True)


def equal_weights(means: Tensor) -> Tensor:
    """1/K for every component of means (..., K, d): (..., K)."""
    return torch.full_like(means[..., 0], 1 / means.shape[-2])


def deviations_within(
    shape: tuple[int, ...] | torch.Size,
    deviation_range: tuple[float, float],
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Standard deviations uniform in deviation_range = (low, high), 0 < low <= high, else ValueError."""
    check_deviation_range(deviation_range)
    low, high = deviation_range
    return low + (high - low) * uniform(shape, generator, dtype, device)


def check_deviation_range(deviation_range: tuple[float, float]) -> None:
    """Refuse anything but two numbers 0 < low <= high < inf."""
    low, high = deviation_range
    if not 0 < low <= high < float("inf"):
        raise ValueError(f"deviation_range is {deviation_range}, needs 0 < low <= high, both finite")


def rotated_covariances(deviations: Tensor, generator: torch.Generator) -> Tensor:
    """Q_k diag(s_k1^2, ..., s_kd^2) Q_k^T with Q_k uniform on the rotations: s (T, K, d) -> (T, K, d, d).

    Symmetric to the bit.
    """
    rotations = random_rotations(
        deviations.shape[:-1], deviations.shape[-1], generator, deviations.dtype, deviations.device
    )
    roots = rotations * deviations.unsqueeze(-2)
    covariances = roots @ roots.mT
    return (covariances + covariances.mT) / 2


def random_signs(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """-1 or 1, equally likely."""
    return 1 - 2 * torch.randint(2, shape, dtype=dtype, device=device, generator=generator)


def correlated_covariances(signs: Tensor, correlation: float) -> Tensor:
    """D ((1 - rho) I + rho 1 1^T) D, D = diag(signs): signs (..., d) -> (..., d, d), symmetric to the bit.

    Unit variances; coordinates i and j are correlated by rho signs_i signs_j. ValueError unless 0 <= rho < 1.
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation is {correlation}, needs 0 <= correlation < 1")
    off = correlation * signs.unsqueeze(-1) * signs.unsqueeze(-2)
    return off.diagonal_scatter(torch.ones_like(signs), dim1=-2, dim2=-1)


def inverse_wishart_roots(
    batch: tuple[int, ...],
    n_features: int,
    degrees: int,
    generator: torch.Generator,
    device: torch.device | str,
    *,
    largest_condition: float,
) -> Tensor:
    """A (*batch, d, d) with A A^T inverse-Wishart of `degrees` >= d degrees of freedom and scale I, float64.

    Z (degrees, d) standard normal has Z^T Z Wishart; with Z = QR, its inverse is A A^T for A = R^-1. Those
    with a condition number of A A^T above `largest_condition` are drawn again.
    """
    places = 1
    for count in batch:
        places *= count
    roots = torch.empty(places, n_features, n_features, dtype=torch.float64, device=device)
    missing = torch.arange(places, device=device)
    eye = torch.eye(n_features, dtype=torch.float64, device=device)
    while len(missing):
        Z = torch.randn(
            len(missing), degrees, n_features, dtype=torch.float64, device=device, generator=generator
        )
        R = torch.linalg.qr(Z, mode="r").R
        values = torch.linalg.svdvals(R)
        good = values[:, 0] <= largest_condition**0.5 * values[:, -1]
        roots[missing[good]] = torch.linalg.solve_triangular(R[good], eye, upper=True)
        missing = missing[~good]
    return roots.reshape(*batch, n_features, n_features)


def random_rotations(
    batch: tuple[int, ...] | torch.Size,
    n_features: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Orthogonal matrices, uniform (Haar measure, reflections included): (*batch, d, d).

    Q of a Gaussian matrix's QR with R_jj >= 0; in float32 it is 0 once in ten million matrices of d = 2.
    LAPACK's own signs of R make Q_11 <= 0 always, which is not uniform: Mezzadri, Notices of the AMS 54
    (2007) 592.
    """
    shape = (*batch, n_features, n_features)
    Q, R = torch.linalg.qr(torch.randn(shape, dtype=dtype, device=device, generator=generator))
    negative = R.diagonal(dim1=-2, dim2=-1) < 0
    return torch.where(negative.unsqueeze(-2), -Q, Q)


def points(truth: Mixture, n_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """X (T, N, d) and labels (T, N) from mixtures of batch shape (T,); memory beyond them some tens of MB.

    Drawn by `Mixture.sample`, all at once up to 2^21 coordinates and in chunks of so many beyond.
    """
    n_tasks, n_features = truth.batch_shape[0], truth.n_features
    chunk = max(1, CHUNK_VALUES // (n_tasks * n_features))
    if n_samples <= chunk:
        return truth.sample(n_samples, generator)
    X = truth.means.new_empty(n_tasks, n_samples, n_features)
    labels = torch.empty(n_tasks, n_samples, dtype=torch.long, device=X.device)
    for start in range(0, n_samples, chunk):
        part = slice(start, min(start + chunk, n_samples))
        X[:, part], labels[:, part] = truth.sample(part.stop - part.start, generator)
    return X, labels


def uniform(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Uniform in [0, 1)."""
    return torch.rand(shape, dtype=dtype, device=device, generator=generator)


def largest_cosine(means: Tensor) -> Tensor:
    """Largest cosine between two different means of each set, (T,); -1 for a single mean."""
    directions = means / means.norm(dim=-1, keepdim=True)
    cosines = directions @ directions.mT
    same = torch.eye(means.shape[-2], dtype=torch.bool, device=means.device)
    return cosines.masked_fill(same, -1.0).amax((-2, -1))


def _simplex(n_components: int, n_features: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """K corners in R^d, K <= d + 1, every two at distance 1, averaging to 0: (K, d)."""
    corners = torch.eye(n_components, dtype=dtype, device=device) / 2**0.5
    corners = corners - corners.mean(0)
    basis = torch.linalg.svd(corners).Vh[: n_components - 1]
    flat = corners @ basis.mT
    return torch.nn.functional.pad(flat, (0, n_features - flat.shape[1]))
