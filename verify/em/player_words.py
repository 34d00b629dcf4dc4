"""What blocks and layers of EM are called where it is played: symbols as MathML, and words."""

from __future__ import annotations

from verify.player.formulas import MINUS, below, math, name, number, over, row, sign, squared, total

I = "{i}"  # noqa: E741


def _at_token(text: str) -> str:
    return below(name(text), name(I))


def _log(inside: str) -> str:
    return row(name("log"), inside)


SYMBOLS = {
    "x": _at_token("x"),
    "slot": _at_token("e"),
    "mu": _at_token("μ"),
    "pi": _at_token("π"),
    "log_pi": _log(_at_token("π")),
    "half_norm2": row(over(number(1), number(2)), squared(_at_token("μ"))),
    "log_count": _log(_at_token("n")),
    "one": number(1),
    "resp": _at_token("r"),
    "log_resp": _log(_at_token("r")),
    "v": _at_token("v"),
    "precision": _at_token("p"),
    "squares": _at_token("q"),
    "log_det": row(name("log det"), _at_token("S")),
}
"""Of blocks at a token i. Others are shown by their names."""

HOLDS = {
    "x": "the point of this token",
    "slot": "which component the token keeps: 1 at it",
    "mu": "mean of the component that the token keeps",
    "pi": "weights of all components",
    "log_pi": "their logarithms",
    "half_norm2": "half the squared length of the mean kept",
    "log_count": "logarithm of the number of tokens with this slot",
    "one": "the constant 1",
    "resp": "responsibilities of all components for the point",
    "log_resp": "their logarithms, not below that of the floor",
    "wide_x": "the point, K times as large",
    "slot_dim": "slot times each number up to d",
    "dim": "d",
    "placed": "K times the mean, behind its slot",
    "v": "variances of the component that the token keeps",
    "centres": "means of all components",
    "squares": "squared distances of the point from every mean",
    "precision": "one over the variances, behind the slot",
    "log_det": "logarithm of the determinant of the covariance kept",
    "new_mu": "the new mean, before it takes the old one's place",
    "wide_mu": "the same, K times as large",
    "second": "averages of the squares",
    "pooled": "the average variance of all components",
}
"""Of blocks, in words."""

DOES = {
    "P": "Every token gathers the means of all components; squares, reciprocals and logarithms of variances.",
    "E": "Expectation: every token finds how likely each component made its point.",
    "M": "Maximisation: every token averages the points, weighed by the responsibilities of its component.",
    "T": "The variances of all components are averaged, by their weights.",
}
"""Of layers, in words."""


def _r() -> str:
    return below(name("r"), row(name("i"), name("k")))


def _k(text: str) -> str:
    return below(name(text), name("k"))


def _weighed(value: str) -> str:
    return over(total("i", _r(), value), total("i", _r()))


def _e_step(likely: str) -> str:
    return math(_r(), sign("∝"), _k("π"), likely, sign(","), total("k", _r()), sign("="), number(1))


def _m_step(more: str) -> str:
    weights = row(_k("π"), sign("="), over(number(1), name("N")), total("i", _r()))
    means = math(_k("μ"), sign("="), _weighed(below(name("x"), name("i"))), sign(","))
    return " ".join((means, math(weights, sign(",")), math(more)) if more else (means, math(weights)))


UNIT_E = _e_step(
    row(
        name("exp"),
        sign("("),
        *(MINUS, over(number(1), number(2))),
        squared(below(name("x"), name("i")), MINUS, _k("μ")),
        sign(")"),
    )
)
NORMAL_E = _e_step(
    row(name("N"), sign("("), below(name("x"), name("i")), sign(";"), _k("μ"), sign(","), _k("S"), sign(")"))
)

STEPS = {
    "unit": {"E": UNIT_E, "M": _m_step("")},
    "other": {
        "E": NORMAL_E,
        "M": _m_step(row(_k("S"), sign("="), "<mtext>variance of the points so weighed</mtext>")),
    },
}
"""The algorithm's own formulas, by layer."""
