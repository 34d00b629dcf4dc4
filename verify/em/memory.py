"""What the EM check takes in memory, estimated before it is built."""

from __future__ import annotations

from collections.abc import Sequence

from console.memory import check_fits
from constructions.em.matrices import matrix_stream
from constructions.em.tasks import CovarianceType
from constructions.em.unit import em_stream
from constructions.em.variances import variance_stream
from verify.em.options import Options

RECORD = 8000
"""Bytes of what is reported of a step."""


def check_memory(options: Options, sizes: Sequence[tuple[int, int, int]], trials: int) -> None:
    """Refuse weights or tasks that cannot fit, all of them kept until the report.

    Args:
        sizes: (d, K, N) of every problem. trials: tasks of each.

    Raises:
        BadInputError: names --pieces, --trials, --steps or --samples, and what would fit.
    """
    for d, K, N in sizes:
        d0, K0 = options.max_dim or d, options.max_components or K
        width, places = width_and_places(options.covariance, d0, K0)
        # Both matrices of each MLP: 16 bytes a unit and coordinate, 2.5 times that in the making (measured).
        if options.evaluation == "dense":
            check_fits("pieces", max(options.pieces), 40 * width * places)
        runs = len(options.pieces) * len(sizes)
        # Per task: responsibilities and bounds of a point at every step, and its tokens, in float64.
        step = runs * (160 * N * K + 80 * K * (d + 1))
        # From the formulas a token is its x, its responsibilities and their logs, not the stream.
        token = 32 * (width if options.evaluation == "dense" else d0 + 2 * K0)
        task = runs * (N * (token + 150 * d + 200 * K) + matrices_of(options.covariance, d, K, N))
        check_fits("samples", N, 8 * (width + d + K))
        check_fits("trials", trials, task + step)
        check_fits("steps", options.steps, trials * step + runs * RECORD, trials * task)


def matrices_of(kind: CovarianceType, d: int, K: int, N: int) -> int:
    """Bytes of a task of tied or full covariances: products of coordinates, K d rows of six K d numbers."""
    return 8 * (N * d * d + 6 * (K * d) ** 2) if kind in ("tied", "full") else 0


def width_and_places(kind: CovarianceType, d: int, K: int) -> tuple[int, int]:
    """Width of the stream, and how often the pieces of a function stand in the layers of a step, on average.

    The logarithms of responsibilities and weights stand in K places each. Unit: the square in d. Variances:
    squares in K d and d, reciprocals in K d, the logarithm in one a number held. Matrices: that in one.
    """
    if kind == "unit":
        return em_stream(d, K).width, 2 * K + d
    if kind in ("tied", "full"):
        return matrix_stream(d, K, kind).width, 2 * K + 1
    held = d if kind == "diagonal" else 1
    return variance_stream(kind, d, K).width, 2 * K + 2 * K * d + d + held
