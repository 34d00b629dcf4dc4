"""What blocks and layers of tensor power iteration are called where it is played."""

from __future__ import annotations

from constructions.language.heads import Head
from verify.player.formulas import below, math, name, over, row, sign, total
from verify.player.layers import Words

I = "{i}"  # noqa: E741


def _at_token(text: str) -> str:
    return below(name(text), name(I))


SYMBOLS = {
    **{block: _at_token(block) for block in ("v", "s", "T", "w", "r")},
    "id": _at_token("e"),
    "unit": _at_token("u"),
    "sink": _at_token("z"),
    "one": "<mn>1</mn>",
}

HOLDS = {
    "id": "which coordinate the token stands for: 1 at it",
    "v": "the vector",
    "s": "the token's own coordinate of v",
    "T": "the slice T[:, j, :] of token j, column after column",
    "w": "T(I, v, v), or it divided by its length",
    "unit": "1 at the first token",
    "sink": "1 at the sink, the first token, which takes the attention that no product needs",
    "one": "the constant 1",
}

DOES = {
    "contract": "Every token computes T(I, v, v): each pair of heads weighs one column of every slice.",
    "copy": "The result becomes v, and every token picks its own coordinate of it.",
    "broadcast": "Every token takes the sink's result for v, and picks its own coordinate of it.",
}


def _term() -> str:
    indices = row(name("i"), name("j"), name("m"))
    return row(below(name("T"), indices), below(name("v"), name("j")), below(name("v"), name("m")))


def _long(text: str) -> str:
    return row(sign("|"), name(text), sign("|"))


STEPS = {
    "contract": math(below(name("w"), name("i")), sign("="), total("j"), total("m"), _term()),
    "copy": math(name("v"), sign("="), over(name("w"), _long("w"))),
    "broadcast": math(name("v"), sign("="), over(name("w"), _long("w"))),
}


def _ends(head: Head) -> str:
    return "tokens"


WORDS = Words(SYMBOLS, HOLDS, DOES, STEPS, _ends)
