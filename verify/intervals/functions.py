"""What each torch function is in intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from verify.enclosure.contraction import contraction
from verify.enclosure.evaluation import Arithmetic, plain
from verify.intervals.array import Intervals, NotInIntervalsError, intervals, moved
from verify.intervals.choices import (
    by_order,
    cast,
    ceiling,
    chosen,
    clamped,
    double,
    every,
    extreme,
    filled_where,
    is_finite,
    is_infinite,
    is_nan,
    larger,
    leaves,
    less,
    lower_ends,
    middles,
    no_more,
    rounded_difference,
    same,
    smaller,
    some,
    upper_ends,
    without_nan,
)
from verify.intervals.created import created, full_like, like, new, new_full, placed
from verify.intervals.curves import interpolated
from verify.intervals.elementary import (
    exponential,
    exponential_less_one,
    hyperbolic_cosine,
    hyperbolic_sine,
    hyperbolic_tangent,
    log_one_more,
    log_sigmoid,
    logarithm,
    power,
    sigmoid,
)
from verify.intervals.entrywise import (
    absolute,
    add,
    divide,
    multiply,
    negative,
    reciprocal,
    root,
    square,
    subtract,
)
from verify.intervals.matrices import (
    cholesky,
    cholesky_inverse,
    eigenvalues,
    matrix_norm,
    solved,
    triangular_solved,
)
from verify.intervals.products import product
from verify.intervals.sums import (
    distances,
    length,
    log_shares,
    log_sum_exp,
    mean,
    multiplied,
    norm,
    running,
    shares,
    total,
    vector_norm,
)

Function = Callable[..., Any]


def _extreme(which: str) -> Function:
    def found(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
        if isinstance(dim, Tensor):
            return TABLE[f"{which}imum"](x, dim)
        values = extreme(which, dim, keepdim)(x)
        return values if dim is None else (values, TABLE[f"arg{which}"](x, dim, keepdim))

    return found


TABLE: dict[str, Function] = {
    "add": add,
    "radd": add,
    "sub": subtract,
    "rsub": lambda a, b: subtract(b, a),
    "mul": multiply,
    "rmul": multiply,
    "multiply": multiply,
    "div": divide,
    "truediv": divide,
    "rdiv": lambda a, b: divide(b, a),
    "rtruediv": lambda a, b: divide(b, a),
    "reciprocal": reciprocal,
    "neg": negative,
    "abs": absolute,
    "square": square,
    "sqrt": root,
    "rsqrt": lambda x: reciprocal(root(x)),
    "pow": power,
    "rpow": lambda x, base: power(base, x),
    "exp": exponential,
    "expm1": exponential_less_one,
    "log": logarithm,
    "log1p": log_one_more,
    "tanh": hyperbolic_tangent,
    "sinh": hyperbolic_sine,
    "cosh": hyperbolic_cosine,
    "logsigmoid": log_sigmoid,
    "log_sigmoid": log_sigmoid,
    "sigmoid": sigmoid,
    "ceil": ceiling,
    "relu": lambda x: larger(x, 0.0),
    "maximum": larger,
    "minimum": smaller,
    "clamp": clamped,
    "clamp_min": lambda x, min: clamped(x, min),  # noqa: A006
    "clamp_max": lambda x, max: clamped(x, None, max),  # noqa: A006
    "nan_to_num": without_nan,
    "where": chosen,
    "masked_fill": filled_where,
    "lt": less,
    "le": no_more,
    "gt": lambda a, b: less(b, a),
    "ge": lambda a, b: no_more(b, a),
    "eq": same,
    "ne": lambda a, b: ~same(a, b),
    "isfinite": is_finite,
    "isinf": is_infinite,
    "isnan": is_nan,
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
    "amax": lambda x, dim=None, keepdim=False: extreme("max", dim, keepdim)(x),
    "amin": lambda x, dim=None, keepdim=False: extreme("min", dim, keepdim)(x),
    "argsort": by_order(Tensor.argsort),
    "argmax": by_order(Tensor.argmax),
    "argmin": by_order(Tensor.argmin),
    "max": _extreme("max"),
    "min": _extreme("min"),
    "sum": total,
    "mean": mean,
    "prod": multiplied,
    "cumsum": running,
    "logsumexp": log_sum_exp,
    "log_softmax": log_shares,
    "softmax": shares,
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
    "zeros": created(torch.zeros, 0.0),
    "ones": created(torch.ones, 1.0),
    "zeros_like": like(torch.zeros_like, 0.0),
    "ones_like": like(torch.ones_like, 1.0),
    "new_zeros": new(0.0),
    "new_ones": new(1.0),
    "full_like": full_like,
    "new_full": new_full,
    "rounded_difference": rounded_difference,
    "unrounded": lambda compute: plain(compute, (), {}),
    "any": some,
    "all": every,
    "einsum": contraction(product, total, intervals),
    "linalg_solve_ex": solved,
    "linalg_cholesky": cholesky,
    "cholesky_inverse": cholesky_inverse,
    "linalg_solve_triangular": triangular_solved,
    "linalg_eigvalsh": eigenvalues,
    "above": lambda x: intervals(upper_ends(x)),
    "below": lambda x: intervals(lower_ends(x)),
    "approximately": middles,
    "sum_above": add,
    "number": intervals,
    "as_tensor": lambda x, **_: intervals(x),
    "length": length,
    "interpolated": interpolated,
}
"""In intervals, by the name of the function or method, without underscores."""

INTERVALS = Arithmetic(Intervals, moved, TABLE, NotInIntervalsError, "in intervals")
"""Interval arithmetic, as torch functions meet it."""
