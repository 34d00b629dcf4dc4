"""What the constructions take against d, L and target error, beside what the theorems promise."""

from __future__ import annotations

import torch

from console.output import significant
from constructions.em.pieces import pieces_for, relative_error
from constructions.em.weights import em_construction
from constructions.language.assembly import Construction
from constructions.language.counts import count
from constructions.language.fewest import fewest
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.relu_bounds import relative_chord_error
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from constructions.tensor_power.softmax_bounds import Heads, best_epsilon, heads_for, predicted_product_error

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
        "EM with unknown covariances",
        "left open",
        "none that is known to us",
        "3 L layers diagonal and spherical, 4 L tied spherical, softmax, 4 heads, width O(d K); "
        "((t + 3) d + 6) L full, 7 tied, 12 heads, width O(d^2 + d K); error O(M^-2)",
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
COVARIANCE_PIECES = 2048
NORM_RANGE = (1e-4, 1e2)
PAIRS = (1, 2, 3)
SINK = {torch.float64: 36.0, torch.float32: 15.75}
"""For float32, c lies just below a power of two, where half a unit in the last place jumps."""


def _row(name: str, construction: Construction, dim: int, steps: int, error: str) -> list[str]:
    found = count(construction)
    numbers = (f"{getattr(found, field):,}" for field in COUNTED)
    sizes = significant(found.largest), significant(found.spectral_norm)
    return [name, str(dim), str(steps), error, *numbers, *sizes]


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
    error = f"length {significant(_length_error(pieces))}"
    return _row("pairs, piecewise norm", made.construction, dim, steps, error)


def _length_error(pieces: int) -> float:
    made = tensor_power_construction(1, 1, normalise="piecewise", pieces=pieces, norm_range=NORM_RANGE)
    return 0.0 if made.inverse_sqrt is None else float(relative_chord_error(made.inverse_sqrt))


def piecewise_resources(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Theorem 2 with the piecewise norm: the fewest pieces that keep the length's error below the target."""
    needed = [fewest(lambda pieces, e=error: _length_error(pieces) <= e) for error in errors]
    return [_piecewise_row(d, steps, pieces) for d in dims for pieces in needed]


def softmax_resources(dims: list[int], steps: int, pairs: list[int], dtype: torch.dtype) -> list[list[str]]:
    """Softmax: for each d and p, at the best epsilon, with the error predicted for one product of 1."""
    best = [Heads(best_epsilon(dtype, p, SINK[dtype]), p, SINK[dtype]) for p in pairs]
    name = str(dtype).removeprefix("torch.")
    return [
        _softmax_row(
            f"{name}, p={heads.pairs}, eps={significant(heads.epsilon)}",
            *(heads, d, steps, predicted_product_error(heads, dtype)),
        )
        for d in dims
        for heads in best
    ]


def softmax_resources_for(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Softmax: for each d, target and p, a large eps and a low sink whose exact error is below it."""
    cases = [(d, error, heads_for(error, d, p)) for d in dims for error in errors for p in PAIRS]
    return [
        _softmax_row(f"p={h.pairs}, eps={significant(h.epsilon)}, c={h.sink:.3g}", h, d, steps, error)
        for d, error, h in cases
    ]


def _softmax_row(name: str, heads: Heads, dim: int, steps: int, error: float) -> list[str]:
    made = softmax_tensor_power_construction(dim, steps, heads.epsilon, heads.pairs, heads.sink)
    return _row(f"softmax, {name}", made.construction, dim, steps, significant(error))


def em_resources(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Theorem 1: for each d and target, the fewest pieces whose relative error is below it."""
    rows = []
    for d in dims:
        for error in errors:
            pieces = pieces_for(error, EM_FLOOR, EM_RADIUS, d)
            em = em_construction(d, EM_COMPONENTS, steps, pieces, EM_FLOOR, EM_RADIUS)
            name = f"EM, K={EM_COMPONENTS}, {pieces.total // 3} pieces"
            reached = significant(relative_error(pieces, EM_FLOOR, EM_RADIUS, d))
            rows.append(_row(name, em.construction, d, steps, reached))
    return rows


def covariance_resources(dims: list[int], steps: int) -> list[list[str]]:
    """EM with covariances of every kind, for each d; the error is that of the logarithms."""
    rows = []
    for d in dims:
        for kind in ("spherical", "tied_spherical", "diagonal", "full", "tied"):
            em = em_construction(
                d, EM_COMPONENTS, steps, COVARIANCE_PIECES, EM_FLOOR, EM_RADIUS, covariance_type=kind
            )
            name = f"EM, {kind}, K={EM_COMPONENTS}, {COVARIANCE_PIECES} pieces"
            rows.append(
                _row(name, em.construction, d, steps, f"log {significant(em.log_resp.approximation_error)}")
            )
    return rows
