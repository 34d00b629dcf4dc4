"""Layers as MathML, which browsers typeset by themselves: written from the formulas that are compiled.

head    write_i += sum_j softmax_j(<q_i, k_j> + ...) read_j
MLP     write_i = f(read_i), f a chain of straight pieces
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from constructions.language.assembly import Layer
from constructions.language.heads import Head
from constructions.language.mlp import Apply, Carry, MLPPart, PartSum
from constructions.language.scores import Score, Term
from constructions.language.stream import Block

Symbols = Mapping[str, str]
"""Of blocks by their names: MathML with ``{i}`` where the token stands."""

SIGNIFICANT = 4


def math(*parts: str) -> str:
    """A formula of its own."""
    return f"<math>{row(*parts)}</math>"


def row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def name(text: str) -> str:
    """A variable; of several letters upright."""
    return f"<mi>{escape(text)}</mi>"


def sign(text: str) -> str:
    return f"<mo>{escape(text)}</mo>"


def number(value: float) -> str:
    return f"<mn>{value:.{SIGNIFICANT}g}</mn>"


def below(base: str, index: str) -> str:
    return f"<msub>{base}{index}</msub>"


def over(top: str, bottom: str) -> str:
    return f"<mfrac>{top}{bottom}</mfrac>"


MINUS = sign("\u2212")


def total(index: str, *parts: str) -> str:
    """The sum over an index."""
    return row(f"<munder><mo>∑</mo>{name(index)}</munder>", *parts)


def squared(*parts: str) -> str:
    """The squared length."""
    return f"<msup>{row(sign('|'), *parts, sign('|'))}<mn>2</mn></msup>"


def symbol(block: Block, index: str, symbols: Symbols) -> str:
    """A block at a token; of a part of a block its number stands before the token's."""
    if block.part_of is not None:
        return symbol(block.whole, f"{block.name.rpartition('.')[2]},{index}", symbols)
    plain = f"<msub><mtext>{escape(block.name)}</mtext><mi>{{i}}</mi></msub>"
    return symbols.get(block.name, plain).replace("{i}", index)


def head_formula(head: Head, symbols: Symbols) -> str:
    """``write_i += scale sum_j softmax_j(score) read_j``, in formulas between which a line may break."""
    kind = below(name(head.attention), name("j")) if head.attention == "softmax" else name(head.attention)
    scale = factor(head.scale)
    written, read = symbol(head.write, "i", symbols), symbol(head.read, "j", symbols)
    first, *more = score_formulas(head.score, symbols)
    begun = math(written, sign("="), scale, total("j"), kind, *_open(first))
    if not more:
        return begun.removesuffix("</mrow></math>") + row(_close(), read) + "</mrow></math>"
    *between, last = more
    return " ".join((begun, *map(math, between), math(last, _close(), read)))


def _open(inside: str) -> tuple[str, str]:
    return '<mo stretchy="false">(</mo>', inside


def _close() -> str:
    return '<mo stretchy="false">)</mo>'


def norm_formula(layer: Layer, symbols: Symbols) -> str:
    """``write_i = write_i / |write_i|`` of a layer whose heads write one block."""
    written = symbol(layer.all_heads[0].write, "i", symbols)
    return math(written, sign("\u2190"), over(written, row(sign("|"), written, sign("|"))))


def score_formulas(score: Score, symbols: Symbols) -> list[str]:
    """The terms of ``<q_i, k_j> - k_j``, each with its sign; 0 without terms."""
    parts = []
    for term in score.terms:
        minus = term.coefficient < 0
        # In front of a term alone browsers would take it for the sign of a number, and leave no space.
        form = "infix" if parts else "prefix"
        mark = "\u2212" if minus else "+"
        before = f'<mo form="{form}">{mark}</mo>' if parts or minus else ""
        parts.append(row(before, _term(term, symbols)))
    return parts or [number(0)]


def _term(term: Term, symbols: Symbols) -> str:
    size = "" if abs(term.coefficient) == 1 else number(abs(term.coefficient))
    key = symbol(term.key, "j", symbols)
    if term.query is None or term.query.name == "one":
        return row(size, key)
    query = symbol(term.query, "i", symbols)
    if term.key.width == 1:
        return row(size, query, key)
    return row(size, sign("⟨"), query, sign(","), key, sign("⟩"))


def part_formula(part: MLPPart, symbols: Symbols) -> str | None:
    """What a part of the MLP writes, in formulas between which a line may break; None of one that empties."""
    if not part.writes:
        return None
    first, *more = part.parts if isinstance(part, PartSum) else (part,)
    begun = math(symbol(part.writes[0], "i", symbols), sign("="), _written(first, symbols))
    return " ".join((begun, *(math(_plus(one), _written(one, symbols)) for one in more)))


def _plus(part: MLPPart) -> str:
    """Before a further part of a sum; a scale below 0 has its own sign."""
    return "" if isinstance(part, Apply | Carry) and part.scale < 0 else '<mo form="infix">+</mo>'


def factor(scale: float) -> str:
    """A number in front; nothing for 1."""
    before = MINUS if scale < 0 else ""
    return before if abs(scale) == 1 else before + number(abs(scale))


def _written(part: MLPPart, symbols: Symbols) -> str:
    if isinstance(part, Carry):
        return row(factor(part.scale), symbol(part.read, "i", symbols))
    if isinstance(part, Apply):
        inside = symbol(part.read, "i", symbols)
        if part.minus is not None:
            inside = row(inside, MINUS, symbol(part.minus, "i", symbols))
        f = row(name(part.function.curve.name), sign("("), inside, sign(")"))
        several = "<mo>∑</mo>" if part.summed > 1 else ""
        pieces = f"<mtext>\u00a0in {part.function.pieces} pieces</mtext>"
        return row(factor(part.scale), several, f, pieces)
    return f"<mtext>{escape(str(part))}</mtext>"
