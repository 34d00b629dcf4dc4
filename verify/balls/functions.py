"""What each torch function is in balls: movements by indices, the rest entry by entry or line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import Balls, NotInBallsError, balls, lower_ends, middles, plain, upper_ends
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
from verify.balls.lines import LINES, cholesky, contraction, eigenvalues, inverse, matrix_norm, product
from verify.balls.movement import MOVES, moved, placed
from verify.balls.norms import distances, length, norm, vector_norm
from verify.balls.numbers import ONE, ZERO
from verify.balls.order import by_key
from verify.balls.spaces import decomposition, leading_axes, least_squares, singular_values

Function = Callable[..., Any]


def evaluated(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The function of these arguments in balls; what involves no floating-point number, as torch does it.

    Raises:
        NotInBallsError: a function of floating-point numbers that is not known here.
        Undecided: a comparison of balls that overlap.
    """
    name = name_of(func)
    if name in MOVES:
        return moved(func, args, kwargs)
    if name in PLAIN:
        return plain(func, args, kwargs)
    kinds: set[type] = set()
    _collect((*args, *kwargs.values()) if kwargs else args, kinds)
    if Balls not in kinds and (name in EXACT or (name not in MADE and float not in kinds)):
        return plain(func, args, kwargs)
    if name in TABLE:
        return TABLE[name](*args, **kwargs)
    raise NotInBallsError(f"torch's {name} has no evaluation in balls")


def name_of(func: Function) -> str:
    """As in "add" for ``+`` too; "shape" for the attribute."""
    name = func.__name__
    if name in ("__get__", "__set__"):
        return func.__self__.__name__  # pyright: ignore[reportFunctionMemberAccess]
    return name.strip("_")


def _collect(values: Sequence[Any], kinds: set[type]) -> None:
    """Whether balls stand anywhere in the arguments, or other floating-point numbers, in tensors or not."""
    for value in values:
        if isinstance(value, Balls):
            kinds.add(Balls)
        elif isinstance(value, Tensor):
            with torch._C.DisableTorchFunction():
                if value.dtype.is_floating_point:
                    kinds.add(float)
        elif isinstance(value, float):
            kinds.add(float)
        elif isinstance(value, (tuple, list)):
            _collect(value, kinds)


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
    "rounded_to": rounded,
    "unrounded": lambda compute: plain(compute, (), {}),
    "any": some,
    "all": every,
    "einsum": contraction,
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
    "number": balls,
    "as_tensor": lambda x, **_: balls(x),
    "length": length,
    "interpolated": interpolated,
    **LINES,
}
"""In balls, by the name of the function or method, without underscores."""

EXACT = {
    *("neg", "abs", "maximum", "minimum", "clamp", "clamp_min", "clamp_max", "where", "masked_fill"),
    *("lt", "le", "gt", "ge", "eq", "ne", "isfinite", "isinf", "isnan", "amax", "amin", "max", "min"),
    *("argsort", "argmax", "argmin", "sort", "searchsorted", "cummax", "any", "all", "ceil", "relu"),
    *("setitem", "to", "type", "double", "float", "item", "tolist", "numpy", "array", "bool", "int"),
    *("long", "approximately", "above", "below", "nan_to_num", "frexp"),
    *("tensor", "as_tensor", "new_tensor", "arange", "empty", "full", "eye"),
}
"""Functions that torch evaluates without rounding, so that ordinary tensors stay what they are."""

MADE = {
    *("number", "unrounded", "zeros", "ones", "zeros_like", "ones_like"),
    *("div", "truediv", "rdiv", "rtruediv", "sqrt", "log"),
}
"""Functions that make floating-point numbers out of none."""

PLAIN = {
    *("shape", "size", "dim", "ndim", "dtype", "device", "numel", "len", "nelement", "element_size"),
    *("is_floating_point", "is_complex", "requires_grad", "grad", "is_contiguous", "stride"),
    *("storage_offset", "layout", "is_cuda", "is_sparse", "is_meta", "is_nested", "names", "dim_order"),
    *("finfo", "has_torch_function"),
}
"""What is about a tensor, not about its numbers."""
