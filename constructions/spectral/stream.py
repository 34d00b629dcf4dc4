"""Who holds what: the tokens of the spectral construction and the blocks of its stream.

data         N tokens: a point x and x / N, and, where they are read in, its products x x^T
noise        3 d tokens, only without products: points m + e_p, m - e_p and m with a weight of their own
coordinates  d tokens: the rows of d x d matrices
pairs        d^2 tokens (p, q), only with products: through them products of points are whitened
rows         K tokens: the rows of K x d and K x K matrices, later the components
entries      K^2 tokens (b, c): the vectors T[:, b, c]
starts       S K tokens (s, i): start s, which all its K tokens hold
"""

from __future__ import annotations

from typing import Literal, get_args

from constructions.language.stream import Stream

ReadIn = Literal["products", "squares"]
"""What a token is told of its point: x and x x^T, or x alone."""

VarianceKind = Literal["given", "estimated"]


def check_kind(name: str, value: object, kind: object) -> None:
    """Refuse what is no ReadIn or VarianceKind.

    Raises:
        ValueError: names the option, the value and what is accepted.
    """
    if value not in get_args(kind):
        raise ValueError(f"{name} is {value!r}; it is {' or '.join(get_args(kind))}")


def spectral_stream(
    max_dim: int, max_components: int, starts: int, read_in: ReadIn, variance: VarianceKind
) -> Stream:
    """The residual stream, of width O(d0^2 + d0 K0 + K0^2 + S K0)."""
    d, K, S = max_dim, max_components, starts
    groups = [
        {"one": 1, "s": 1, "rest": 1},
        {"data": 1, "x": d, "xn": d, "yn": K},
        _products(d, K) if read_in == "products" else _squares(d, K),
        {"id": d, "S2": d, "M2": d, "sI": d},
        _variance(d) if variance == "estimated" else {},
        {"row": K, "next": K, "ones": K, "is_row": 1, "Y": d, "Z": d, "W": d, "P": d, "Q": d},
        {"found": K, "new": K, "values": 1, "new_value": 1, "mu": d},
        {"D": K, "A": K, "X": K, "raw": K, "sum": 1, "weight": K},
        {"entry": K * K, "T": K, "T_left": K},
        {"start": S, "axis": K, "place": S * K, "lead": 1, "pivot": 1, "handicap": 1, "direction": d},
        {"v": K, "v_start": S, "v_axis": K * K, "vv": K * K, "vv_pivot": K * K, "w": K, "wi": 1},
        {"theta": 1, "behind": 1, "chosen": 1, "best": K, "value": 1, "lv": K, "turn": K, "new_turn": K},
    ]
    return Stream(**{name: width for group in groups for name, width in group.items()})


def _products(d: int, K: int) -> dict[str, int]:
    points = {"xx": d * d, "half": d * K, "yy": K * K}
    pairs = {"first": d, "second": d, "pair": d * d, "turned": d * K, "diagonal": 1, "trace": 1, "Wq": K}
    return points | pairs | {"lift": d * K, "m": d, "h": K, "noise": d * K}


def _squares(d: int, K: int) -> dict[str, int]:
    noise = {"plus": d, "minus": d, "side": 1, "centre": 1, "around": 1, "mx": d, "mxn": d}
    weights = {"s_plus": d, "s_minus": d, "s_side": 1, "s_centre": 1}
    pairs = {"axis_sum": K, "axis_difference": K}
    squares = {"y": K, "y_sum": K * K, "y_difference": K * K, "sum2": K * K, "difference2": K * K}
    return noise | weights | pairs | squares


def _variance(d: int) -> dict[str, int]:
    matrices = {"C": d, "inverse": d, "improved": d, "s_id": d}
    return matrices | {"m_pivot": d, "b": d, "b_new": d, "Cb": d, "s_pivot": 1}
