"""Tasks for the spectral check: random mixtures of the paper's kind, or the user's own points."""

from __future__ import annotations

import torch

from console.errors import BadInputError
from constructions.spectral.exact import Problem
from constructions.spectral.weights import SpectralConstruction, spectral_construction
from verify.em.own_data import UserData
from verify.spectral.families import points
from verify.spectral.options import Options

DEFAULT_SIZES = ((2, 2, 256), (5, 1, 256), (5, 3, 512), (8, 4, 2000), (4, 4, 1000))
"""(d, K, N) of the default grid."""

MOST_NUMBERS = 2**28
"""Numbers that the tokens of all tasks of one size may hold: 2 GiB in float64."""


def mixture(d: int, K: int, N: int, tasks: int, options: Options, generator: torch.Generator) -> Problem:
    """Gaussian means and random weights; variance 1, or s where another is given."""
    X = points("Gaussian means", tasks, K, d, N, generator)
    return started(X * (options.variance or 1.0) ** 0.5, K, options, generator)


def started(X: torch.Tensor, K: int, options: Options, generator: torch.Generator) -> Problem:
    """Points (B, N, d) with random starts; the variance is filled in where they are measured."""
    B, _, d = X.shape
    directions = torch.randn(B, options.starts, d, generator=generator, dtype=torch.float64)
    basis = torch.randn(B, K, d, generator=generator, dtype=torch.float64)
    return Problem(X, torch.zeros(B, dtype=torch.float64), directions, basis)


def built(problem: Problem, options: Options, **changes: object) -> SpectralConstruction:
    """Weights for d0 = d, K0 = K of a problem; ``changes`` go before the options."""
    asked: dict[str, object] = {
        "read_in": options.read_in,
        "variance": "estimated" if options.variance is None else "given",
        "rounds": options.rounds,
        "steps": options.steps,
        "starts": options.starts,
        "pieces": options.pieces,
        "largest_variance": 2.0 * max(options.variance or 1.0, 1.0),
    }
    return spectral_construction(problem.X.shape[2], problem.n_components, **asked | changes)


def sizes(options: Options) -> list[tuple[int, int, int]]:
    """(d, K, N) of the grid.

    Raises:
        BadInputError: more components than coordinates.
    """
    if options.dims is None and options.components is None and options.samples is None:
        return list(DEFAULT_SIZES)
    grid = [
        (d, K, N)
        for d in options.dims or [8]
        for K in options.components or [2, 4]
        for N in options.samples or [1000]
    ]
    for d, K, N in grid:
        if d < K:
            raise BadInputError(
                f"--components {K} with --dims {d}: K <= d is needed, more means are linearly dependent"
            )
        numbers = (options.trials or 1) * (N + d * d + K * K + options.starts * K) * (d * d + d * K)
        if numbers > MOST_NUMBERS:
            raise BadInputError(
                f"--dims {d} with --samples {N}: the tokens would hold {numbers:.2g} numbers; at most "
                f"{MOST_NUMBERS:.2g} are taken, so fewer --trials or --samples are needed"
            )
    return grid


def components_of(options: Options, user: UserData) -> int:
    """K for the user's own points.

    Raises:
        BadInputError: none or several given, or more than there are coordinates.
    """
    K, d = user.components(options.components), user.X.shape[1]
    if d < K:
        raise BadInputError(
            f"--components {K}: {user.name} has d = {d} coordinates, and more than d means are linearly "
            "dependent (TOO_MANY_COMPONENTS)"
        )
    return K
