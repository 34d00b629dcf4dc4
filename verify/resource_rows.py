"""What the constructions take against d, L and target error, beside what the theorems promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from console.output import significant
from constructions.em.pieces import Pieces, log_chord_error, logit_spread, split_pieces
from constructions.em.weights import em_construction
from constructions.language.assembly import Construction
from constructions.language.counts import count
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.relu_bounds import relative_chord_error
from constructions.tensor_power.sinh_pairs import leading_constant, weight_moment
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, best_epsilon, product_rounding

COUNTED = ("layers", "heads", "width", "hidden", "parameters", "nonzeros")
HEADER = ("construction", "d", "L", "error", *COUNTED[:-1], "not 0", "largest", "norm")
PROMISE_HEADER = ("claim", "promised", "earlier work", "here")
PROMISES = (
    (
        "Theorem 1: L steps of EM, softmax",
        "O(L) layers, O(1) heads, polynomial in d, K",
        "O(K L) layers, heads without bound, exponential in d",
        "2 L layers (2 looped), 2 heads, width 2 d + 5 K + 3, O((K + d) M) hidden units, error O(M^-2)",
    ),
    (
        "Theorem 2: L tensor power steps, ReLU",
        "2 L layers, about d heads, exact",
        "none that is known to us",
        "2 L layers (2 looped), 2 d heads, or d + 1 given a bound on v; width d^2 + 3 d + 2; exact",
    ),
    (
        "Theorem 2 with softmax",
        "left open",
        "none that is known to us",
        "2 L layers (2 looped), 2 p d heads, one token more, error O(eps^(2p)) + O(n e^-c) + O(u c / eps)",
    ),
)
EM_FLOOR, EM_RADIUS, EM_COMPONENTS = 1e-8, 12.0, 5
NORM_RANGE = (1e-4, 1e2)
PAIRS = (1, 2, 3)
SINK = {torch.float64: 36.0, torch.float32: 15.75}
"""For float32, c lies just below a power of two, where half a unit in the last place jumps."""


def _row(name: str, construction: Construction, dim: int, steps: int, error: str) -> list[str]:
    found = count(construction)
    numbers = (f"{getattr(found, field):,}" for field in COUNTED)
    return [
        name,
        str(dim),
        str(steps),
        error,
        *numbers,
        significant(found.largest),
        significant(found.spectral_norm),
    ]


def tensor_power_resources(dims: list[int], steps: int, pieces: int) -> list[list[str]]:
    """Theorem 2: pairs, offset heads and both norms, for each d."""
    rows = []
    for d in dims:
        plain = tensor_power_construction(d, steps)
        rows.append(_row("pairs, plain", plain.construction, d, steps, "exact"))
        offset = tensor_power_construction(d, steps, offset=1.0, normalise="rms")
        rows.append(_row("offset 1, RMS norm", offset.construction, d, steps, "exact"))
        rows.append(_piecewise_row(d, steps, pieces))
    return rows


def _piecewise_row(dim: int, steps: int, pieces: int) -> list[str]:
    made = tensor_power_construction(dim, steps, normalise="piecewise", pieces=pieces, norm_range=NORM_RANGE)
    return _row(
        "pairs, piecewise norm", made.construction, dim, steps, f"length {significant(_length_error(pieces))}"
    )


def _length_error(pieces: int) -> float:
    made = tensor_power_construction(1, 1, normalise="piecewise", pieces=pieces, norm_range=NORM_RANGE)
    return 0.0 if made.inverse_sqrt is None else relative_chord_error(made.inverse_sqrt)


def piecewise_resources(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Theorem 2 with the piecewise norm: the fewest pieces that keep the length's error below the target."""
    return [
        _piecewise_row(d, steps, _fewest(lambda pieces, e=error: _length_error(pieces) <= e))
        for d in dims
        for error in errors
    ]


def softmax_resources(dims: list[int], steps: int, pairs: list[int], dtype: torch.dtype) -> list[list[str]]:
    """Softmax: for each d and p, at the best epsilon, with the error predicted for one product of 1."""
    return [_softmax_row(d, steps, p, dtype) for d in dims for p in pairs]


def softmax_resources_for(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Softmax: for each d, target and p, a large eps and a low sink whose exact error is below it.

    For products of size at most 1: half the target for approximation (lemma 2 of the note), half for leakage
    (lemma 3). Larger eps and lower sinks mean smaller weights; more pairs allow a larger eps.
    """
    rows = []
    for d in dims:
        for error in errors:
            for p in PAIRS:
                epsilon, sink = settings_for(error, d, p)
                made = softmax_tensor_power_construction(d, steps, epsilon, p, sink)
                name = f"softmax, p={p}, eps={significant(epsilon)}, c={sink:.3g}"
                rows.append(_row(name, made.construction, d, steps, significant(error)))
    return rows


def settings_for(error: float, dim: int, pairs: int) -> tuple[float, float]:
    """eps and c at which ``C eps^(2p) cosh(p eps)`` and ``2 n kappa e^(2 p eps - c)`` are half the error."""
    epsilon = min(1.0, (error / (2 * leading_constant(pairs))) ** (1 / (2 * pairs)))
    while leading_constant(pairs) * epsilon ** (2 * pairs) * math.cosh(pairs * epsilon) > error / 2:
        epsilon *= 0.99
    leak = 4 * dim * weight_moment(pairs, 1) / error
    return epsilon, math.log(leak) + 2 * pairs * epsilon


def _softmax_row(dim: int, steps: int, pairs: int, dtype: torch.dtype) -> list[str]:
    sink = SINK[dtype]
    epsilon = best_epsilon(dtype, pairs, sink)
    made = softmax_tensor_power_construction(dim, steps, epsilon, pairs, sink)
    name = f"softmax, {str(dtype).removeprefix('torch.')}, p={pairs}, eps={significant(epsilon)}"
    return _row(name, made.construction, dim, steps, significant(_product_error(pairs, dtype)))


def _product_error(pairs: int, dtype: torch.dtype) -> float:
    """Predicted error of one product of size 1 at the best epsilon: approximation and rounding."""
    sink = SINK[dtype]
    epsilon = best_epsilon(dtype, pairs, sink)
    rounding = product_rounding(Heads(epsilon, pairs, sink), dtype)
    return math.hypot(leading_constant(pairs) * epsilon ** (2 * pairs), rounding)


def em_resources(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Theorem 1: for each d and target, the fewest pieces with ``tanh(rho / 4) <= error``.

    That is the a-priori bound of one step over the diameter of the data, apart from the floor's part
    ``N floor / W``.
    """
    rows = []
    for d in dims:
        for error in errors:
            pieces = _em_pieces(_fewest(lambda mean, e=error, d=d: _em_error(_em_pieces(mean, d), d) <= e), d)
            em = em_construction(d, EM_COMPONENTS, steps, pieces, EM_FLOOR, EM_RADIUS)
            name = f"EM, K={EM_COMPONENTS}, {pieces.total // 3} pieces"
            rows.append(_row(name, em.construction, d, steps, significant(_em_error(pieces, d))))
    return rows


def _em_pieces(mean: int, dim: int) -> Pieces:
    return split_pieces(mean, "optimal", EM_FLOOR, EM_RADIUS, dim)


def _em_error(pieces: Pieces, dim: int) -> float:
    spread = logit_spread(EM_FLOOR, EM_RADIUS, dim, pieces.log_pi, pieces.square)
    return math.tanh(float(spread + log_chord_error(EM_FLOOR, pieces.log_resp)) / 4)


def _fewest(enough: Callable[[int], bool]) -> int:
    """The least whole number from 1 on for which ``enough`` holds, if it then holds for all larger ones."""
    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
