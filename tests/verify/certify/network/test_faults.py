"""One weight off by 1e-9 is a fault, in whatever construction and wherever it stands."""

import pytest
import torch
from every_part import every_part

from constructions.language.assembly import Construction, Layer
from constructions.language.heads import Head, ReluHead, SoftmaxHead
from constructions.language.scores import Score
from constructions.language.stream import Stream
from constructions.language.transformer import Transformer
from verify.certify.network.faults import faults
from verify.engine.theorem import Theorem, formulas
from verify.registry import THEOREMS


def planted(construction: Construction, transformer: Transformer, at_most: int) -> list[str]:
    """Parameters of which one entry was moved by 1e-9, and nothing was said."""
    generator = torch.Generator().manual_seed(0)
    named = list(transformer.named_parameters())
    missed = []
    for index in torch.randperm(len(named), generator=generator)[:at_most].tolist():
        name, parameter = named[index]
        entry = int(torch.randint(parameter.numel(), (), generator=generator))
        with torch.no_grad():
            flat = parameter.view(-1)
            before = float(flat[entry])
            flat[entry] += 1e-9
            if len(faults(construction, transformer)) == 0:
                missed.append(f"{name} entry {entry}, {before}")
            flat[entry] = before
    return missed


@pytest.mark.parametrize("theorem", THEOREMS.values(), ids=THEOREMS.keys())
def test_one_weight_off_by_a_billionth_is_found_in_every_construction(theorem: Theorem) -> None:
    weights = theorem.construct(theorem.sizes[0], 1, theorem.accuracies[0])
    transformer = weights.to_transformer()
    assert planted(formulas(weights), transformer, at_most=8) == []
    assert faults(formulas(weights), transformer) == []


def test_each_parameter_of_every_part_is_looked_at() -> None:
    construction = every_part()
    transformer = construction.to_transformer()
    assert planted(construction, transformer, at_most=100) == []


def test_the_line_says_where() -> None:
    construction = every_part()
    transformer = construction.to_transformer()
    with torch.no_grad():
        transformer.layers[1].attention.query[1, 0, 0] = 2.0  # pyright: ignore
    first, second = faults(construction, transformer)
    assert first == "layer 2: head 2, (query, key) (((0, 1.0),), ((14, -0.2),)) is not there"
    assert second == "layer 2: head 2, (query, key) (((0, 2.0),), ((14, -0.2),)) is in no formula"


def test_other_layers_orders_and_loops_are_faults() -> None:
    construction = every_part()
    assert faults(construction, construction.to_transformer(looped=False)) == [
        "sequence is (0, 1, 2); the formulas say (0, 1, 1)",
        "3 layers; the formulas say 2",
    ]


def averaging(*heads: Head) -> Construction:
    stream = Stream(x=1, y=1, z=1)
    return Construction("averages", "a test", stream, (stream.x,), (Layer("one", heads),))


def test_another_kind_or_number_of_heads_is_a_fault() -> None:
    s = Stream(x=1, y=1, z=1)
    softmax, relu = SoftmaxHead(Score(), s.x, s.y), ReluHead(Score(), s.x, s.y)
    two = averaging(softmax, SoftmaxHead(Score(), s.x, s.z))
    found = faults(averaging(softmax), averaging(relu).to_transformer())
    assert found == ["layer 1: attention is 'relu'; the formulas say 'softmax'"]
    found = faults(averaging(softmax), two.to_transformer())
    assert found == ["layer 1: 2 heads; the formulas say 1"]
