"""MathML of the layers: well-formed, and with the terms of the score that is compiled."""

import xml.etree.ElementTree as ET

import pytest

from constructions.em.weights import em_construction
from constructions.language.mlp import PartSum
from verify.em.player_words import DOES, HOLDS, STEPS, SYMBOLS
from verify.player.formulas import factor, head_formula, part_formula
from verify.player.layers import Words, blocks_shown, layers_shown

WORDS = Words(SYMBOLS, HOLDS, DOES, STEPS["unit"], lambda head: head.write.name)
KINDS = ("unit", "tied_spherical", "spherical", "diagonal")


def built(kind):
    sizes = (2, 3, 1, 8)
    if kind == "unit":
        return em_construction(*sizes, radius=5.0)
    return em_construction(*sizes, radius=5.0, covariance_type=kind, eigenvalues=(0.5, 4.0))


def read(formulas):
    """The text of formulas; an error where they are not well-formed."""
    return "".join(ET.fromstring(f"<all>{formulas}</all>").itertext())  # noqa: S314  our own text


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_and_layer_is_written_and_well_formed(kind):
    em = built(kind)
    blocks, layers = blocks_shown(em.stream, WORDS), layers_shown(em.construction, WORDS)
    assert [b.name for b in blocks] == [b.name for b in em.stream.blocks]
    assert all(b.holds for b in blocks)
    assert all(read(b.symbol) for b in blocks)
    for shown, layer in zip(layers, em.construction.layers, strict=True):
        assert shown.does
        assert len(shown.heads) == len(layer.all_heads)
        texts = [*(h.formula for h in shown.heads), *shown.mlp, *filter(None, [shown.step])]
        assert all(read(text) for text in texts)
        assert not set(shown.written) & set(shown.emptied)


def test_the_score_of_the_e_head_has_its_four_terms():
    em = built("unit")
    text = read(head_formula(em.construction.layers[0].all_heads[0], SYMBOLS))
    assert text.replace(" ", "") == (
        "ri=∑jsoftmaxj(⟨xi,μj⟩+⟨logπi,ej⟩\u221212|μj|2\u2212lognj)ej"  # 1/2 is a fraction: 12 as text
    )


def test_a_wrong_sign_in_the_weights_shows_in_the_formula():
    em = built("unit")
    head = em.construction.layers[0].all_heads[0]
    turned = type(head)(-1.0 * head.score, head.read, head.write)
    assert read(head_formula(turned, SYMBOLS)) != read(head_formula(head, SYMBOLS))
    assert "(\u2212⟨" in read(head_formula(turned, SYMBOLS))


def test_parts_of_the_mlp_say_their_pieces_and_parts_that_only_empty_say_nothing():
    em = built("unit")
    parts = [part_formula(part, SYMBOLS) for part in em.construction.layers[1].mlp]
    texts = [read(part) for part in parts if part]
    assert texts[0] == f"logπi=log(πi)\u00a0in {em.log_pi.pieces} pieces"
    assert texts[1] == f"12|μi|2=0.5∑square(μi)\u00a0in {em.square.pieces} pieces"
    assert parts[2:] == [None, None]


def test_a_sum_of_parts_has_the_sign_of_each_scale():
    em = built("diagonal")
    summed = next(part for part in em.construction.layers[2].mlp if isinstance(part, PartSum))
    text = read(part_formula(summed, SYMBOLS))
    scale = -summed.parts[1].scale
    assert scale > 0
    assert f"\u2212{scale:.4g}square(new_mui\u2212μi)" in text
    assert "+" not in text.replace("e+", "")


@pytest.mark.parametrize(("scale", "text"), [(1.0, ""), (-1.0, "\u2212"), (0.5, "0.5"), (-2.0, "\u22122")])
def test_factors(scale, text):
    assert read(factor(scale)) == text
