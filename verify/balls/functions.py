"""What each torch function is in balls: movements by indices, the rest entry by entry or line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, NotInBallsError, balls, lower_ends, middles, upper_ends
from verify.balls.created import created, full_like, like, new, new_full
from verify.balls.entrywise import (
    cast,
    chosen,
    clamped,
    decision,
    double,
    every,
    filled_where,
    interpolated,
    is_nan,
    leaves,
    of_one,
    of_two,
    power,
    property_of,
    rounded,
    some,
    without_nan,
)
from verify.balls.flint import arb
from verify.balls.lines import LINES, cholesky, eigenvalues, inverse, matrix_norm, product
from verify.balls.movement import moved, placed
from verify.balls.norms import distances, length, norm, vector_norm
from verify.balls.numbers import ONE, ZERO
from verify.balls.order import by_key
from verify.balls.spaces import decomposition, leading_axes, least_squares, singular_values
from verify.enclosure.contraction import contraction
from verify.enclosure.evaluation import Arithmetic, plain

Function = Callable[..., Any]


def _extreme(which: str) -> Function:
    def found(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
        if isinstance(dim, Tensor):
            return TABLE[f"{which}imum"](x, dim)
        values = LINES[f"a{which}"](x, dim, keepdim)
        return values if dim is None else (values, TABLE[f"arg{which}"](x, dim, keepdim))

    return found


TABLE: dict[str, Function] = {
    "add": lambda a, b, alpha=1: of_two(arb.__add__)(a, b if alpha == 1 else of_two(arb.__mul__)(b, alpha)),
    "sub": lambda a, b, alpha=1: of_two(arb.__sub__)(a, b if alpha == 1 else of_two(arb.__mul__)(b, alpha)),
    "radd": of_two(arb.__add__),
    "rsub": of_two(arb.__sub__, swapped=True),
    "mul": of_two(arb.__mul__),
    "rmul": of_two(arb.__mul__),
    "multiply": of_two(arb.__mul__),
    "div": of_two(numbers.quotient),
    "truediv": of_two(numbers.quotient),
    "rdiv": of_two(numbers.quotient, swapped=True),
    "rtruediv": of_two(numbers.quotient, swapped=True),
    "reciprocal": of_one(lambda x: numbers.quotient(ONE, x)),
    "neg": of_one(arb.__neg__),
    "abs": of_one(arb.__abs__),
    "square": of_one(numbers.square),
    "sqrt": of_one(numbers.root),
    "rsqrt": of_one(lambda x: numbers.quotient(ONE, numbers.root(x))),
    "pow": power,
    "rpow": lambda x, base: of_two(lambda b, e: b**e)(base, x),
    "exp": of_one(numbers.exponential),
    "expm1": of_one(numbers.exponential_less_one),
    "log": of_one(numbers.logarithm),
    "log1p": of_one(numbers.log_one_more),
    "tanh": of_one(arb.tanh),
    "sinh": of_one(arb.sinh),
    "cosh": of_one(arb.cosh),
    "logsigmoid": of_one(numbers.log_sigmoid),
    "log_sigmoid": of_one(numbers.log_sigmoid),
    "sigmoid": of_one(lambda x: numbers.exponential(numbers.log_sigmoid(x))),
    "ceil": of_one(lambda x: x.ceil()),
    "relu": of_one(lambda x: x.max(ZERO)),
    "maximum": of_two(numbers.larger),
    "minimum": of_two(numbers.smaller),
    "clamp": clamped,
    "clamp_min": lambda x, min: clamped(x, min),  # noqa: A006
    "clamp_max": lambda x, max: clamped(x, None, max),  # noqa: A006
    "nan_to_num": without_nan,
    "where": chosen,
    "masked_fill": filled_where,
    "lt": decision(numbers.less),
    "le": decision(numbers.no_more),
    "gt": decision(numbers.less, swapped=True),
    "ge": decision(numbers.no_more, swapped=True),
    "eq": decision(numbers.same),
    "ne": decision(numbers.same, negated=True),
    "isfinite": property_of(arb.is_finite),
    "isinf": property_of(lambda x: not x.is_finite() and not is_nan(x)),
    "isnan": property_of(is_nan),
    "matmul": product,
    "rmatmul": lambda a, b: product(b, a),
    "mm": product,
    "bmm": product,
    "linalg_vector_norm": vector_norm,
    "vector_norm": vector_norm,
    "norm": norm,
    "linalg_norm": norm,
    "matrix_norm": matrix_norm,
    "linalg_matrix_norm": matrix_norm,
    "cdist": distances,
    "argsort": by_key(Tensor.argsort),
    "argmax": by_key(Tensor.argmax),
    "argmin": by_key(Tensor.argmin),
    "max": _extreme("max"),
    "min": _extreme("min"),
    "setitem": placed,
    "to": cast,
    "type": cast,
    "double": double,
    "float": leaves,
    "item": leaves,
    "tolist": leaves,
    "numpy": leaves,
    "array": leaves,
    "bool": leaves,
    "int": leaves,
    "long": leaves,
    "zeros": created(torch.zeros, ZERO),
    "ones": created(torch.ones, ONE),
    "zeros_like": like(torch.zeros_like, ZERO),
    "ones_like": like(torch.ones_like, ONE),
    "new_zeros": new(ZERO),
    "new_ones": new(ONE),
    "full_like": full_like,
    "new_full": new_full,
    "rounded_difference": lambda x, c, dtype: rounded(balls(x) - c, dtype),
    "unrounded": lambda compute: plain(compute, (), {}),
    "any": some,
    "all": every,
    "einsum": contraction(product, LINES["sum"], balls),
    "linalg_cholesky": cholesky,
    "cholesky_inverse": lambda factor: inverse(product(factor, balls(factor).mT)),
    "linalg_solve_triangular": lambda a, b, upper: product(inverse(a), b),
    "linalg_eigvalsh": eigenvalues,
    "linalg_eigh": decomposition,
    "linalg_svdvals": singular_values,
    "linalg_lstsq": least_squares,
    "leading_axes": leading_axes,
    "above": lambda x: balls(upper_ends(x)),
    "below": lambda x: balls(lower_ends(x)),
    "approximately": middles,
    "sum_above": of_two(arb.__add__),
    "number": balls,
    "as_tensor": lambda x, **_: balls(x),
    "length": length,
    "interpolated": interpolated,
    **LINES,
}
"""In balls, by the name of the function or method, without underscores."""

BALLS = Arithmetic(Balls, moved, TABLE, NotInBallsError, "in balls")
"""Ball arithmetic, as torch functions meet it."""
