"""What the constructions take against d, L and target error, beside what the theorems promise."""

from __future__ import annotations

import math

import torch

from constructions.construction import Construction
from constructions.counts import count
from constructions.em import em_construction
from constructions.em_pieces import Pieces, log_chord_error, logit_spread, split_pieces
from constructions.softmax_tensor_bounds import best_epsilon
from constructions.softmax_tensor_power import softmax_tensor_power_construction
from constructions.tensor_power import tensor_power_construction
from constructions.tensor_power_bounds import relative_chord_error
from verify.output import significant

HEADER = (
    "construction",
    "d",
    "L",
    "error",
    "layers",
    "heads",
    "width",
    "hidden",
    "parameters",
    "not 0",
    "largest",
)
PROMISES = (
    (
        "Theorem 1 (EM, softmax)",
        "O(L) layers, O(1) heads, polynomial in d and K",
        "O(K L) layers, heads without bound, exponential in d",
    ),
    ("Theorem 2 (tensor power, ReLU)", "2 L layers, about d heads", "none known"),
    ("softmax in Theorem 2", "an open question", "none known"),
)
EM_FLOOR, EM_RADIUS, EM_COMPONENTS = 1e-8, 12.0, 5
SINK = 36.0


def _row(name: str, construction: Construction, dim: int, steps: int, error: str) -> list[str]:
    found = count(construction)
    numbers = (found.layers, found.heads, found.width, found.hidden, found.parameters, found.nonzeros)
    return [name, str(dim), str(steps), error, *(f"{n:,}" for n in numbers), significant(found.largest)]


def tensor_power_resources(dims: list[int], steps: int, pieces: int) -> list[list[str]]:
    """Theorem 2: pairs, offset heads and both norms, for each d."""
    rows = []
    for d in dims:
        plain = tensor_power_construction(d, steps)
        rows.append(_row("pairs, plain", plain.construction, d, steps, "exact"))
        offset = tensor_power_construction(d, steps, offset=1.0, normalise="rms")
        rows.append(_row("offset 1, RMS norm", offset.construction, d, steps, "exact"))
        chords = tensor_power_construction(d, steps, normalise="piecewise", pieces=pieces)
        length = 0.0 if chords.inverse_sqrt is None else relative_chord_error(chords.inverse_sqrt)
        name = "pairs, piecewise norm"
        rows.append(_row(name, chords.construction, d, steps, f"length {significant(length)}"))
    return rows


def softmax_resources(dims: list[int], steps: int, pairs: list[int], dtype: torch.dtype) -> list[list[str]]:
    """Softmax: for each d and p, at the predicted best epsilon; error of one product of size 1."""
    rows = []
    for d in dims:
        for p in pairs:
            epsilon = best_epsilon(dtype, p, SINK)
            made = softmax_tensor_power_construction(d, steps, epsilon, p, SINK)
            order = f"O(eps^{2 * p})"
            rows.append(
                _row(f"softmax, p={p}, eps={significant(epsilon)}", made.construction, d, steps, order)
            )
    return rows


def em_resources(dims: list[int], steps: int, errors: list[float]) -> list[list[str]]:
    """Theorem 1: for each d and target, the fewest pieces with ``tanh(rho / 4) <= error``.

    That is the a-priori bound of one step over the diameter of the data, apart from the floor's part
    ``N floor / W``.
    """
    rows = []
    for d in dims:
        for error in errors:
            pieces = pieces_for(error, d)
            em = em_construction(d, EM_COMPONENTS, steps, pieces, EM_FLOOR, EM_RADIUS)
            name = f"EM, {pieces.total // 3} pieces"
            rows.append(_row(name, em.construction, d, steps, significant(error)))
    return rows


def pieces_for(error: float, dim: int) -> Pieces:
    """The best split of the fewest pieces that keep ``tanh(rho / 4)`` at or below ``error``."""

    def enough(mean: int) -> bool:
        found = split_pieces(mean, "optimal", EM_FLOOR, EM_RADIUS, dim)
        rho = logit_spread(EM_FLOOR, EM_RADIUS, dim, found.log_pi, found.square)
        return math.tanh(float(rho + log_chord_error(EM_FLOOR, found.log_resp)) / 4) <= error

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return split_pieces(high, "optimal", EM_FLOOR, EM_RADIUS, dim)
