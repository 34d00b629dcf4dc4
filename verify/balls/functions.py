"""What each torch function is in balls: movements by indices, the rest entry by entry or line by line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.balls import numbers
from verify.balls.array import (
    Balls,
    balls,
    broadcast,
    entries_of,
    lower_ends,
    middles,
    rows,
    shape_of,
    spread,
    upper_ends,
)
from verify.balls.flint import arb
from verify.balls.lines import LINES, cholesky, contraction, eigenvalues, inverse, matrix_norm, product
from verify.balls.movement import MOVES, moved, placed
from verify.balls.numbers import ONE, ZERO, ends

Function = Callable[..., Any]


class NotInBallsError(NotImplementedError):
    """A torch function that has no evaluation in balls."""


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


def plain(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """As torch does it."""
    with torch._C.DisableTorchFunction():
        return func(*args, **kwargs)


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


# --- entry by entry ------------------------------------------------------------------------------------


def _one(function: Callable[[arb], arb]) -> Function:
    def found(x: Tensor, **_: Any) -> Balls:
        return Balls.of([function(entry) for entry in entries_of(x)], shape_of(x))

    return found


def _two(function: Callable[[arb, arb], arb], swapped: bool = False) -> Function:
    def found(a: Tensor | float, b: Tensor | float) -> Balls:
        if isinstance(b, (int, float)) and isinstance(a, Balls):
            c = arb(b)
            if swapped:
                return Balls.of([function(c, x) for x in a.entries], shape_of(a))
            return Balls.of([function(x, c) for x in a.entries], shape_of(a))
        (first, second), shape = broadcast(b, a) if swapped else broadcast(a, b)
        return Balls.of(list(map(function, first, second)), shape)

    return found


def _decision(function: Callable[[arb, arb], bool], swapped: bool = False, negated: bool = False) -> Function:
    def found(a: Tensor | float, b: Tensor | float) -> Tensor:
        (first, second), shape = broadcast(b, a) if swapped else broadcast(a, b)
        answers = [function(x, y) != negated for x, y in zip(first, second, strict=True)]
        return truths(answers, shape)

    return found


def truths(answers: list[bool], shape: tuple[int, ...]) -> Tensor:
    """A tensor of them."""
    with torch._C.DisableTorchFunction():
        return torch.tensor(answers, dtype=torch.bool).reshape(shape)


def _test(function: Callable[[arb], bool]) -> Function:
    def found(x: Tensor) -> Tensor:
        return truths([function(entry) for entry in entries_of(x)], shape_of(x))

    return found


def _is_nan(x: arb) -> bool:
    if x.is_nan() or x.is_finite() or x.is_exact():
        return x.is_nan()
    raise numbers.Undecided


def _power(x: Tensor | float, exponent: Tensor | float) -> Balls:
    if isinstance(exponent, (int, float)) and exponent == 2 and isinstance(x, Tensor):
        return TABLE["square"](x)
    if isinstance(exponent, (int, float)) and isinstance(x, Tensor):
        whole = float(exponent).is_integer()
        power = int(exponent) if whole else arb(exponent)
        if whole and exponent >= 0:
            return _one(lambda entry: entry**power)(x)
        return _one(lambda entry: ONE / entry**-power if whole else entry**power)(x)
    return _two(lambda a, b: a**b)(x, exponent)


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> Balls:  # noqa: A002 - torch's names
    found = balls(x)
    if min is not None:
        found = TABLE["maximum"](found, min)
    return found if max is None else TABLE["minimum"](found, max)


def _where(condition: Tensor, a: Any = None, b: Any = None) -> Any:
    if a is None:
        return plain(torch.where, (condition,), {})
    (first, second), shape = broadcast(a, b)
    with torch._C.DisableTorchFunction():
        whole = torch.broadcast_shapes(shape, condition.shape)
        chosen = condition.expand(whole).reshape(-1).tolist()
    first, second = (spread(part, shape, tuple(whole)) for part in (first, second))
    return Balls.of([x if c else y for c, x, y in zip(chosen, first, second, strict=True)], whole)


def _masked_fill(x: Tensor, mask: Tensor, value: Any) -> Balls:
    return _where(mask, value, x)


def _nan_to_num(x: Tensor, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Balls:
    if nan != math.inf or posinf not in (None, math.inf) or neginf is not None:
        raise NotInBallsError(f"nan_to_num to {nan}: only inf, of which nothing is claimed, is known")
    return _one(lambda entry: entry if entry.is_finite() else numbers.INFINITY)(x)


def _cast(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    wanted = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)), None)
    if not isinstance(x, Balls):
        return plain(Tensor.to, (x, *args), kwargs)
    if wanted in (None, torch.float64):
        return x
    raise NotInBallsError(f"balls cannot be made {wanted}")


def _double(x: Tensor) -> Any:
    return x if isinstance(x, Balls) else plain(Tensor.double, (x,), {})


def _leaves(x: Tensor, *_: Any, **__: Any) -> Any:
    raise NotInBallsError("a ball is no Python number; say above, below or approximately first")


def _some(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return plain(torch.any, (_nonzero(x), *(() if dim is None else (dim, keepdim))), {})


def _every(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return plain(torch.all, (_nonzero(x), *(() if dim is None else (dim, keepdim))), {})


def _nonzero(x: Tensor) -> Tensor:
    return truths([not numbers.same(entry, ZERO) for entry in entries_of(x)], shape_of(x))


def _rounded(x: Tensor, dtype: torch.dtype) -> Balls:
    """Rounding is monotone: what it makes of the ends of a ball encloses what it makes of the ball."""
    nearest = [[float(end.mid()) for end in (entry.lower(), entry.upper())] for entry in entries_of(x)]
    with torch._C.DisableTorchFunction():
        both = torch.tensor(nearest, dtype=torch.float64)
        if dtype != torch.float64:  # by way of float64 numbers on either side of the ends
            outer = [ends(entry) for entry in entries_of(x)]
            both = torch.tensor(outer, dtype=torch.float64).to(dtype).to(torch.float64)
        both = both.reshape(-1, 2).tolist()
    return Balls.of(
        [arb(low) if low == high else arb(low).union(arb(high)) for low, high in both], shape_of(x)
    )


def _full_like(x: Tensor, value: float, **_: Any) -> Balls:
    return _filled(shape_of(x), arb(value))


def _new_full(x: Tensor, size: Sequence[int], fill_value: float, **_: Any) -> Balls:
    return _filled(tuple(size), arb(fill_value))


def _filled(shape: Sequence[int], value: arb) -> Balls:
    return Balls.of([value] * math.prod(shape), tuple(shape))


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if size and not isinstance(size[0], int) else tuple(size)


def _created(func: Function, value: arb) -> Function:
    def found(*size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(func, size, {"dtype": dtype, **kwargs})
        return _filled(_size(size if size else kwargs.get("size", size)), value)

    return found


def _like(func: Function, value: arb) -> Function:
    def found(x: Tensor, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        like = plain(lambda: x.dtype, (), {}) if dtype is None else dtype
        if not like.is_floating_point:
            return plain(func, (x,), {"dtype": dtype, **kwargs})
        return _filled(shape_of(x), value)

    return found


def _new(value: arb) -> Function:
    def found(x: Tensor, *size: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        if dtype is not None and not dtype.is_floating_point:
            return plain(Tensor.new_zeros, (x, *size), {"dtype": dtype, **kwargs})
        return _filled(_size(size), value)

    return found


def _interpolated(function: Any, x: Tensor) -> Balls:
    from verify.balls.curves import curve_between

    at = curve_between(function.knots, function.values)
    return _one(at)(x)


def _ceil(x: Tensor) -> Balls:
    return _one(lambda entry: entry.ceil())(x)


def _matmul(a: Tensor, b: Tensor) -> Balls:
    return product(a, b)


def _length(v: Tensor) -> Balls:
    lines, left, _ = rows(v, -1)
    return Balls.of([numbers.root(sum(map(numbers.square, line), ZERO)) for line in lines], left)


def _vector_norm(
    x: Tensor,
    ord: float = 2,  # noqa: A002 - torch's name
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Balls:
    if ord != 2:
        raise NotInBallsError(f"a norm of order {ord}")
    lines, left, ones = rows(x, dim)
    found = [numbers.root(sum(map(numbers.square, line), ZERO)) for line in lines]
    return Balls.of(found, ones if keepdim else left)


def _norm(x: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Balls:
    return _vector_norm(x, 2 if p in (None, "fro") else p, dim, keepdim)


def _distances(a: Tensor, b: Tensor, p: float = 2, compute_mode: str = "") -> Balls:
    if p != 2:
        raise NotInBallsError(f"distances of order {p}")
    return _length(balls(a)[..., :, None, :] - balls(b)[..., None, :, :])


def _sort_key(x: Tensor) -> Tensor:
    """Floats in the same order, where the order is decided."""
    entries = entries_of(x)
    order = sorted(range(len(entries)), key=lambda i: float(entries[i].mid()))
    for i, j in itertools.pairwise(order):
        numbers.no_more(entries[i], entries[j])
    key = [0.0] * len(entries)
    place = 0.0
    for i, j in zip(order, [None, *order], strict=False):
        place += 0.0 if j is not None and entries[i].is_exact() and bool(entries[i] == entries[j]) else 1.0
        key[i] = place
    with torch._C.DisableTorchFunction():
        return torch.tensor(key, dtype=torch.float64).reshape(shape_of(x))


def _by_key(func: Function) -> Function:
    def found(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return plain(func, (_sort_key(x), *args), kwargs)

    return found


def _extreme(which: str) -> Function:
    def found(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
        if isinstance(dim, Tensor):
            return TABLE[f"{which}imum"](x, dim)
        values = LINES[f"a{which}"](x, dim, keepdim)
        return values if dim is None else (values, TABLE[f"arg{which}"](x, dim, keepdim))

    return found


TABLE: dict[str, Function] = {
    "add": lambda a, b, alpha=1: _two(arb.__add__)(a, b if alpha == 1 else _two(arb.__mul__)(b, alpha)),
    "sub": lambda a, b, alpha=1: _two(arb.__sub__)(a, b if alpha == 1 else _two(arb.__mul__)(b, alpha)),
    "radd": _two(arb.__add__),
    "rsub": _two(arb.__sub__, swapped=True),
    "mul": _two(arb.__mul__),
    "rmul": _two(arb.__mul__),
    "multiply": _two(arb.__mul__),
    "div": _two(numbers.quotient),
    "truediv": _two(numbers.quotient),
    "rdiv": _two(numbers.quotient, swapped=True),
    "rtruediv": _two(numbers.quotient, swapped=True),
    "reciprocal": _one(lambda x: numbers.quotient(ONE, x)),
    "neg": _one(arb.__neg__),
    "abs": _one(arb.__abs__),
    "square": _one(numbers.square),
    "sqrt": _one(numbers.root),
    "rsqrt": _one(lambda x: numbers.quotient(ONE, numbers.root(x))),
    "pow": _power,
    "rpow": lambda x, base: _two(lambda b, e: b**e)(base, x),
    "exp": _one(numbers.exponential),
    "expm1": _one(numbers.exponential_less_one),
    "log": _one(numbers.logarithm),
    "log1p": _one(numbers.log_one_more),
    "tanh": _one(arb.tanh),
    "sinh": _one(arb.sinh),
    "cosh": _one(arb.cosh),
    "logsigmoid": _one(numbers.log_sigmoid),
    "log_sigmoid": _one(numbers.log_sigmoid),
    "sigmoid": _one(lambda x: numbers.exponential(numbers.log_sigmoid(x))),
    "ceil": _ceil,
    "relu": _one(lambda x: x.max(ZERO)),
    "maximum": _two(numbers.larger),
    "minimum": _two(numbers.smaller),
    "clamp": _clamp,
    "clamp_min": lambda x, min: _clamp(x, min),  # noqa: A006
    "clamp_max": lambda x, max: _clamp(x, None, max),  # noqa: A006
    "nan_to_num": _nan_to_num,
    "where": _where,
    "masked_fill": _masked_fill,
    "lt": _decision(numbers.less),
    "le": _decision(numbers.no_more),
    "gt": _decision(numbers.less, swapped=True),
    "ge": _decision(numbers.no_more, swapped=True),
    "eq": _decision(numbers.same),
    "ne": _decision(numbers.same, negated=True),
    "isfinite": _test(arb.is_finite),
    "isinf": _test(lambda x: not x.is_finite() and not _is_nan(x)),
    "isnan": _test(_is_nan),
    "matmul": _matmul,
    "rmatmul": lambda a, b: _matmul(b, a),
    "mm": _matmul,
    "bmm": _matmul,
    "linalg_vector_norm": _vector_norm,
    "vector_norm": _vector_norm,
    "norm": _norm,
    "linalg_norm": _norm,
    "matrix_norm": matrix_norm,
    "linalg_matrix_norm": matrix_norm,
    "cdist": _distances,
    "argsort": _by_key(Tensor.argsort),
    "argmax": _by_key(Tensor.argmax),
    "argmin": _by_key(Tensor.argmin),
    "max": _extreme("max"),
    "min": _extreme("min"),
    "setitem": placed,
    "to": _cast,
    "type": _cast,
    "double": _double,
    "float": _leaves,
    "item": _leaves,
    "tolist": _leaves,
    "numpy": _leaves,
    "array": _leaves,
    "bool": _leaves,
    "int": _leaves,
    "zeros": _created(torch.zeros, ZERO),
    "ones": _created(torch.ones, ONE),
    "zeros_like": _like(torch.zeros_like, ZERO),
    "ones_like": _like(torch.ones_like, ONE),
    "new_zeros": _new(ZERO),
    "new_ones": _new(ONE),
    "full_like": _full_like,
    "new_full": _new_full,
    "rounded_to": _rounded,
    "unrounded": lambda compute: plain(compute, (), {}),
    "any": _some,
    "all": _every,
    "einsum": contraction,
    "linalg_cholesky": cholesky,
    "cholesky_inverse": lambda factor: inverse(product(factor, balls(factor).mT)),
    "linalg_solve_triangular": lambda a, b, upper: product(inverse(a), b),
    "linalg_eigvalsh": eigenvalues,
    "above": lambda x: balls(upper_ends(x)),
    "below": lambda x: balls(lower_ends(x)),
    "approximately": middles,
    "number": balls,
    "length": _length,
    "interpolated": _interpolated,
    **LINES,
}
"""In balls, by the name of the function or method, without underscores."""

EXACT = {
    *("neg", "abs", "maximum", "minimum", "clamp", "clamp_min", "clamp_max", "where", "masked_fill"),
    *("lt", "le", "gt", "ge", "eq", "ne", "isfinite", "isinf", "isnan", "amax", "amin", "max", "min"),
    *("argsort", "argmax", "argmin", "sort", "setitem", "to", "type", "double", "float", "item", "tolist"),
    *("numpy", "array", "bool", "int", "ceil", "relu", "approximately", "above", "below", "nan_to_num"),
    *("searchsorted", "cummax", "frexp", "any", "all"),
}
"""Functions that torch evaluates without rounding, so that ordinary tensors stay what they are."""

MADE = {
    "number",
    "unrounded",
    "zeros",
    "ones",
    "zeros_like",
    "ones_like",
    "div",
    "truediv",
    "rdiv",
    "rtruediv",
    "sqrt",
    "log",
}
"""Functions that make floating-point numbers out of none."""

PLAIN = {
    *(
        "shape",
        "size",
        "dim",
        "ndim",
        "dtype",
        "device",
        "numel",
        "len",
        "is_floating_point",
        "requires_grad",
    ),
    *("is_contiguous", "stride", "storage_offset", "layout", "is_cuda", "is_sparse", "is_meta", "names"),
    *("tensor", "as_tensor", "arange", "empty", "full", "eye", "finfo", "bool", "long", "is_complex"),
    *("has_torch_function", "new_tensor", "nelement", "element_size", "is_nested", "grad", "dim_order"),
}
"""What is about a tensor, or makes one of numbers that are given."""
