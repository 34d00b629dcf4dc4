"""The files that bounds are computed in leave no rounding to Python: balls would not see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

FILES = [
    *(f"constructions/language/{name}.py" for name in ("rounding", "piecewise", "curves")),
    *(
        f"constructions/em/{name}.py"
        for name in (
            "averages",
            "bounds",
            "path_bounds",
            "step_rounding",
            "covariance_bounds",
            "covariance_logits",
            "covariance_path",
            "covariance_rounding",
            "covariance_step",
            "readout_bounds",
            "scale_free",
        )
    ),
    *(f"constructions/tensor_power/{name}.py" for name in ("relu_bounds", "softmax_bounds", "sinh_pairs")),
    *(f"constructions/gallery/{name}_bounds.py" for name in ("kmeans", "mirror", "ridge", "pca")),
    "constructions/gallery/least_squares.py",
    *(
        f"constructions/spectral/{name}.py"
        for name in ("bounds", "exact", "power_bounds", "variance_bounds", "whitening_bounds")
    ),
    "constructions/matrices/newton_error.py",
    "constructions/matrices/sweep_error.py",
]

CHOSEN = "chooses a constant of the weights, which are what they are"
TABLE = "a number for tables"
EXACT = "a float of an array as it stands: nothing is computed"
COUNT = "a whole number of tokens or coordinates, exact"

EXCEPTIONS = {
    ("rounding.py", "number"): "where a float, or a fraction, becomes a tensor; balls have their own",
    ("piecewise.py", "offset"): EXACT,
    ("piecewise.py", "domain"): EXACT,
    ("piecewise.py", "lipschitz"): CHOSEN,
    ("piecewise.py", "approximation_error"): TABLE,
    ("piecewise.py", "chords"): EXACT,
    ("step_rounding.py", "step_rounding"): COUNT,
    ("bounds.py", "reach_of_points"): COUNT,
    ("covariance_step.py", "within_range"): "any number within the range, where nothing is claimed",
    ("covariance_step.py", "inside"): "any number within the range, for coordinates that are absent",
    ("covariance_rounding.py", "_first_and_ratio"): EXACT,
    ("covariance_rounding.py", "variance_rounding"): COUNT,
    ("covariance_bounds.py", "_moved_square"): EXACT,
    ("scale_free.py", "_centred"): CHOSEN,
    ("scale_free.py", "relative_error"): "u is 2^-52 there, and 1 + u exact",
    ("scale_free.py", "least_difference"): CHOSEN,
    ("relu_bounds.py", "required_offset"): CHOSEN,
    ("softmax_bounds.py", "product_rounding"): "a model that predicts, and bounds nothing",
    ("softmax_bounds.py", "best_epsilon"): CHOSEN,
    ("softmax_bounds.py", "epsilon_for"): CHOSEN,
    ("softmax_bounds.py", "largest_product"): CHOSEN,
    ("softmax_bounds.py", "predicted_product_error"): "a model that predicts, and bounds nothing",
    ("softmax_bounds.py", "heads_for"): CHOSEN,
    ("kmeans_bounds.py", "of"): EXACT,
    ("newton_error.py", "chord_excess"): CHOSEN,
    ("newton_error.py", "root_error"): "of 1/sqrt(p): no theorem listed here takes it",
    ("sweep_error.py", "sweep_error"): "of one matrix: no theorem listed here takes it",
}
"""(file, function) -> why a float is made or computed there."""

ROUNDS = {"exp", "log", "sqrt", "tanh", "expm1", "log1p", "pow", "hypot", "log2", "cosh", "sinh"}


def hidden(function: ast.AST) -> Iterator[str]:
    """What Python would round in the function."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "float",
            *(f"{module}.{name}" for module in ("math", "np") for name in ROUNDS),
        }:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.BinOp) and (is_rounded(node) or of_the_plan(node)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_rounded(node: ast.BinOp) -> bool:
    """Whether gamma, a float, meets another in an operation that rounds: all but times a power of two."""
    sides = node.left, node.right
    if not any(isinstance(side, ast.Call) and ast.unparse(side.func) == "gamma" for side in sides):
        return False
    other = sides[1] if isinstance(sides[0], ast.Call) and ast.unparse(sides[0].func) == "gamma" else sides[0]
    if isinstance(other, ast.Constant) and isinstance(node.op, ast.Mult):
        return float(str(other.value)).hex().split("p")[0] not in ("0x1.0000000000000", "0x0.0")
    return is_python(other)


def is_python(node: ast.AST) -> bool:
    """Whether the expression is made of literals and gamma alone, so that Python evaluates it."""
    if isinstance(node, ast.BinOp):
        return is_python(node.left) and is_python(node.right)
    called = isinstance(node, ast.Call) and ast.unparse(node.func) in ("gamma", "unit_roundoff")
    return called or isinstance(node, ast.Constant)


COUNTS = {"K", "N", "S", "d", "m", "plan.max_components"}
ROUNDOFFS = {"u", "U64", "self.u", "self.base"}
"""Whole numbers and powers of two, by their names in the bounds of the spectral algorithm."""


def of_the_plan(node: ast.BinOp) -> bool:
    """Whether numbers of the weights' plan, roots of counts or literals meet in Python with rounding.

    A product with a power of two is exact, and so are sums and products of whole numbers.
    """
    sides = node.left, node.right
    if not all(map(known_float, sides)):
        return False
    if isinstance(node.op, ast.Pow):
        exact = is_whole(node.left) or is_small(node.left)
        return not is_power_of_two(node) and not (exact and is_whole(node.right))
    if isinstance(node.op, (ast.Add, ast.Sub)) and all(is_whole(side) or is_small(side) for side in sides):
        return isinstance(node.op, ast.Add) and ast.unparse(node.right) in ROUNDOFFS and is_whole(node.left)
    if isinstance(node.op, (ast.Mult, ast.Div)) and any(map(is_power_of_two, sides)):
        return isinstance(node.op, ast.Div) and not is_power_of_two(node.right)
    return not all(map(is_whole, sides))


def is_small(node: ast.AST) -> bool:
    """A power of two, or a few: beside a whole number they are exact, but for 1 + u; and so are squares."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return is_power_of_two(node) or (is_whole(node.left) and is_small(node.right))
    return is_power_of_two(node)


def known_float(node: ast.AST) -> bool:
    """A literal, a count, a unit roundoff, a number of the plan, or what Python makes of these."""
    if isinstance(node, ast.BinOp):
        return known_float(node.left) and known_float(node.right)
    if isinstance(node, ast.UnaryOp):
        return known_float(node.operand)
    name = ast.unparse(node)
    return isinstance(node, ast.Constant) or name in COUNTS | ROUNDOFFS or name.startswith("plan.")


def is_power_of_two(node: ast.AST) -> bool:
    """A unit roundoff, a literal such as 4 or 0.5, a power of 2, or a product of them."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return is_power_of_two(node.left) and is_power_of_two(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return isinstance(node.left, ast.Constant) and node.left.value == 2
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value).hex().split("p")[0] == "0x1.0000000000000"
    return ast.unparse(node) in ROUNDOFFS


def is_whole(node: ast.AST) -> bool:
    """Whole numbers, and sums and products of them."""
    if isinstance(node, ast.BinOp):
        return not isinstance(node.op, ast.Div) and is_whole(node.left) and is_whole(node.right)
    whole = isinstance(node, ast.Constant) and float(str(node.value)).is_integer()
    return (
        whole or ast.unparse(node) in COUNTS or ast.unparse(node) in ("plan.squarings", "plan.inverse_steps")
    )


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """All, those within others as parts of these."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield node
        else:
            yield from functions(node)


def found_in(file: str) -> dict[str, list[str]]:
    """Function -> what is hidden in it."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {function.name: list(hidden(function)) for function in functions(tree)}
    return {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("file", FILES)
def test_no_bound_is_rounded_by_python(file: str) -> None:
    found = found_in(file)
    known = {name for place, name in EXCEPTIONS if place == Path(file).name}
    assert {name: lines for name, lines in found.items() if name not in known} == {}


def test_every_exception_is_needed() -> None:
    found = {(Path(file).name, name) for file in FILES for name in found_in(file)}
    assert set(EXCEPTIONS) - found == set()


@pytest.mark.parametrize(
    "formula",
    [
        "math.log(x)",
        "float(x.max())",
        "gamma(n, u) + gamma(m, u)",
        "1 + gamma(n, u)",
        "3 * gamma(n, u)",
        "np.sqrt(x)",
        "gamma(n, u) / gamma(m, u)",
        "12 * u * plan.gate * x",
        "K**0.5 * x",
        "plan.tensor_bound**-0.5 * x",
        "1.5 * plan.margin",
        "1 / K * x",
        "1 + u",
    ],
)
def test_what_python_rounds_is_seen(formula: str) -> None:
    assert list(hidden(ast.parse(formula)))


@pytest.mark.parametrize(
    "formula",
    [
        "2 * gamma(n, u)",
        "gamma(n, u) * x",
        "number(gamma(n, u)) + 1",
        "x.log()",
        "4 * u * plan.gate",
        "1 - 3 * u",
        "(N + 2) * x",
    ],
)
def test_what_python_does_not_round_passes(formula: str) -> None:
    assert not list(hidden(ast.parse(formula)))
