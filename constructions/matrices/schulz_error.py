"""How far the coupled Newton-Schulz iteration is from the square roots, in exact arithmetic and rounded.

Exact: ``s = z sqrt(lambda)`` lies in an interval, which the step ``g(s) = s (3 - s^2)/2`` maps to another; g
is concave for s > 0, with its largest value 1 at 1, so the ends decide. ``|Z - A^-1/2| <= max|s - 1| /
sqrt(low)``. With ``s = 1 + e`` a step is ``e -> -(3/2) e^2 - e^3 / 2``.

Rounded: with ``A = diag(lambda)`` in its own basis, write ``Y + L eps L`` and ``Z^T + L^-1 phi L^-1``,
``L = A^(1/4)``, for what the layers hold. One step maps (eps, phi) by

    entry ij:   ((3 - s_i^2 - s_j^2) eps - s_i s_j phi) / 2,   and with eps and phi exchanged
    beyond:     -(eps S eps + eps phi S + S phi eps + eps phi eps) / 2,   and exchanged

The linear part is symmetric with the eigenvalues ``(3 - s_i^2 - s_j^2 -+ s_i s_j)/2``: for s in [l, h] their
size is at most ``g = max((3 - l^2)/2, 3 (h^2 - 1)/2)``, which tends to 1: errors neither grow nor die. With
``tau >= |(eps, phi)|_F`` and the rounding D of a step,

    tau <- g tau + (3 h tau^2 + tau^3)/sqrt(2) + |L^-1 D_Y L^-1|_F + |L D_Z L|_F

and ``|Z - exact Z| <= tau / sqrt(low)``, ``|Y - exact Y| <= tau sqrt(high)``.

Proof: paper_notes/matrix_machine.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.language.arguments import check_whole
from constructions.language.fewest import fewest
from constructions.language.rounding import gamma, unit_roundoff
from constructions.matrices.machine import check_range


@dataclass(frozen=True)
class SqrtError:
    """Bounds after the last step, spectral norm: of Z against A^-1/2 and of Y against A^1/2.

    Attributes:
        approximation: largest ``|s - 1|`` in exact arithmetic. rounding: tau.
        low, high: of the eigenvalues.
    """

    approximation: float
    rounding: float
    low: float
    high: float

    @property
    def inverse(self) -> float:
        """Bound on ``|Z - A^-1/2|``; relative to the largest it can be, ``approximation + rounding``."""
        return (self.approximation + self.rounding) / math.sqrt(self.low)

    @property
    def root(self) -> float:
        """Bound on ``|Y - A^1/2|``."""
        return (self.approximation + self.rounding) * math.sqrt(self.high)


@dataclass(frozen=True)
class Path:
    """Where the iteration stands.

    Attributes:
        least, most: of ``e = z sqrt(lambda) - 1``. tau: bound on what rounding has added.
    """

    least: float
    most: float
    tau: float = 0.0

    @property
    def approximation(self) -> float:
        """The largest ``|e|``."""
        return max(-self.least, self.most)


def stepped(path: Path, rounding: float = 0.0) -> Path:
    """After one more step, ``e -> -(3 + e) e^2 / 2``, whose own rounding in the units of tau is given."""
    ends = [-(3 + e) * e**2 / 2 for e in (path.least, path.most)]
    most = 0.0 if path.least <= 0 <= path.most else max(ends)
    low, high, tau = 1 + path.least, 1 + path.most, path.tau
    gain = max((3 - low**2) / 2, 3 * (high**2 - 1) / 2)
    beyond = (3 * high * tau**2 + tau**3) / math.sqrt(2) if tau < 1e50 else math.inf
    return Path(min(ends), most, gain * tau + beyond + rounding)


def step_rounding(path: Path, n: int, low: float, high: float, dtype: torch.dtype) -> float:
    """Of a step of :func:`constructions.matrices.inverse_sqrt.newton_schulz_layer`, in the units of tau.

    A product of three factors is two sums of n, and four heads and the move add up: entry by entry
    ``gamma_{2n+12} (2.5 |Y| + |Y||Z||Y| / 2)``; the Frobenius norms of Y and Z are at most
    ``sqrt(n high) h + tau sqrt(high)`` and ``sqrt(n / low) h + tau / sqrt(low)``.
    """
    own = math.sqrt(n) * (1 + path.most) + path.tau
    y, z = own * math.sqrt(high), own / math.sqrt(low)
    if not y * y * z + z * z * y < 1e100:
        return math.inf
    unit = gamma(2 * n + 12, unit_roundoff(dtype))
    lost = n**3 * (2 + y + z) * torch.finfo(dtype).tiny
    D_Y = unit * (2.5 * y + y * y * z / 2) + lost
    D_Z = unit * (2.5 * z + z * z * y / 2) + lost
    return D_Y / math.sqrt(low) + D_Z * math.sqrt(high)


def _start_rounding(n: int, low: float, high: float, a: float, dtype: torch.dtype) -> float:
    """Of the first step: ``(3 a A - a^3 A^2)/2`` and ``(3 a I - a^3 A)/2``, n terms at most."""
    root, unit = math.sqrt(n), gamma(n + 10, unit_roundoff(dtype))
    D_Y = unit * (1.5 * a * root * high + 0.5 * a**3 * n * high**2)
    D_Z = unit * root * (1.5 * a + 0.5 * a**3 * high)
    return D_Y / math.sqrt(low) + D_Z * math.sqrt(high)


def best_root_start(low: float, high: float) -> float:
    """``sqrt(3 / (low + sqrt(low high) + high))``: both ends are equal after a step. Rounded to float32.

    Raises:
        ValueError: unless ``0 < low <= high``.
    """
    check_range(low, high)
    a = math.sqrt(3 / (low + math.sqrt(low * high) + high))
    return float(torch.tensor(a, dtype=torch.float32))


def start_path(low: float, high: float, a: float) -> Path:
    """Before the first step.

    Raises:
        ValueError: ``a^2 high >= 3``, where the iteration need not converge.
    """
    check_range(low, high)
    if not 0 < a * a * high < 3:
        raise ValueError(f"a is {a:g} and the largest eigenvalue {high:g}: 0 < a^2 high < 3 is needed")
    return Path(a * math.sqrt(low) - 1, a * math.sqrt(high) - 1)


def inverse_sqrt_error(
    size: int, low: float, high: float, a: float, steps: int, dtype: torch.dtype | None = None
) -> SqrtError:
    """The bound after ``steps`` steps from ``a A, a I``; with no dtype in exact arithmetic.

    Raises:
        ValueError: unless ``0 < low <= high``, ``a^2 high < 3`` and steps is a whole number from 1 on.
    """
    check_whole(size=size, steps=steps)
    path = start_path(low, high, a)
    for step in range(steps):
        rounding = 0.0
        if dtype is not None:
            rounding = (
                step_rounding(path, size, low, high, dtype)
                if step
                else _start_rounding(size, low, high, a, dtype)
            )
        path = stepped(path, rounding)
    return SqrtError(path.approximation, path.tau, low, high)


def root_residual_bound(A: Tensor, Z: Tensor, low: float) -> Tensor:
    """(B,) bound on ``|Z - A^-1/2|`` of any Z from its residual ``R = I - Z A Z``, rho its norm.

    For a symmetric positive definite Z, ``A - Z^-2 = -Z^-1 R Z^-1`` and ``|Z^-2| <= |A| / (1 - rho)``; with
    ``|A^1/2 - Z^-1| <= |A - Z^-2| / (sqrt(low) + 1/|Z|)`` (Schmitt 1992)

        |Z - A^-1/2| <= |Z| rho |A| / (sqrt(low) (1 - rho) (sqrt(low) + 1/|Z|))

    Z is made symmetric first, half of what that changes is added; so is the rounding of R in float64,
    ``gamma_{2n+4} |Z|_F^2 |A|_F``. inf where Z is not positive definite or rho is not below 1.

    Args:
        A, Z: (B, n, n). low: below every eigenvalue of A.
    """
    A, Z = A.double(), Z.double()
    n, unit = A.shape[-1], gamma(2 * A.shape[-1] + 4, unit_roundoff(torch.float64))
    skew = torch.linalg.matrix_norm(Z - Z.mT) / 2
    Z = (Z + Z.mT) / 2
    R = torch.eye(n).to(A) - Z @ A @ Z
    sizes = torch.linalg.matrix_norm(Z) ** 2 * torch.linalg.matrix_norm(A) + n**0.5
    rho = torch.linalg.matrix_norm(R) + unit * sizes
    z, a, root = torch.linalg.matrix_norm(Z, 2), torch.linalg.matrix_norm(A, 2), math.sqrt(low)
    positive = torch.linalg.eigvalsh(Z)[:, 0] > unit * z
    bound = skew + z * rho * a / (root * (1 - rho) * (root + 1 / z))
    return torch.where(positive & (rho < 1), bound, math.inf)


def inverse_sqrt_steps_needed(low: float, high: float, accuracy: float) -> int:
    """The least t with ``sqrt(low) |Z - A^-1/2| <= accuracy`` in exact arithmetic.

    About ``log_2.25(condition)`` steps to bring s near 1, and then ``log2 log`` of the accuracy.

    Raises:
        ValueError: unless ``0 < low <= high`` and ``0 < accuracy < 1``.
    """
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy is {accuracy!r}; it lies between 0 and 1")
    a = best_root_start(low, high)
    return fewest(lambda t: inverse_sqrt_error(1, low, high, a, t).approximation <= accuracy)
