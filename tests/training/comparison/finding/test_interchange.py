"""Interchanges in networks of which the answer is known, and what is said of them."""

import math
from dataclasses import astuple

import pytest
import torch
from torch import nn

from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.comparison.finding.counterfactuals import Place, places
from training.comparison.finding.interchange import (
    QUICK,
    Bench,
    bench_uses,
    measure_interchange,
    score,
)
from training.comparison.finding.references import untrained, without_means
from training.comparison.finding.triples import triples
from training.comparison.origins.em_problem import EMProblem
from training.comparison.symmetry.group import random_copy

PROBLEM = EMProblem(n_samples=16)
SMALL = EMProblem(n_samples=12, steps=1)
RESPONSIBILITIES = [place.variable == "responsibilities" for place in places(PROBLEM.steps)]


@pytest.fixture(scope="module")
def hand_built():
    return measure_interchange(PROBLEM, PROBLEM.constructed(), 0, quick=True)


def test_the_hand_built_em_uses_every_variable(hand_built):
    """Its answers err by 0.05 at most here, a quarter of what an interchange of the weights changes."""
    assert [(use.variable, use.loop) for use in hand_built] == [
        (place.variable, place.loop) for place in places(PROBLEM.steps)
    ]
    for use in hand_built:
        assert use.bases >= 10
        assert use.accuracy == 1
        assert use.r2 > 0.99
        assert use.source_r2 > 0.99
        assert use.decodable_r2 > 0.999
        assert use.shuffled_r2 < 0.02
        assert use.shuffled_accuracy <= 0.1


def test_symmetries_of_the_weights_change_nothing_but_rounding(hand_built):
    copied = random_copy(PROBLEM.constructed(), torch.Generator().manual_seed(1)).transformer
    for use, own in zip(measure_interchange(PROBLEM, copied, 0, quick=True), hand_built, strict=True):
        assert use.accuracy == own.accuracy
        assert use.decodable_r2 == pytest.approx(own.decodable_r2, abs=1e-4)


class Turned(nn.Module):
    """A layer in a stream that is turned: out of `before`, into `after`."""

    def __init__(self, layer: nn.Module, before: torch.Tensor, after: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.before, self.after = layer, before, after

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.layer(h @ self.before.mT) @ self.after


def test_a_turned_stream_is_found_without_the_coordinates(hand_built):
    bench = Bench(PROBLEM, PROBLEM.constructed())
    width = PROBLEM.construction.stream.width
    Q = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(2))).Q
    one, last = torch.eye(width), len(bench.layers) - 1
    bench.layers = [
        Turned(layer, one if number == 0 else Q, one if number == last else Q)
        for number, layer in enumerate(bench.layers)
    ]
    for use, own in zip(bench_uses(bench, 0, QUICK), hand_built, strict=True):
        # Few tasks: the directions that half squared norms are read from are not known well.
        assert use.accuracy >= (0.75 if "half_norms" in use.variable else 0.95)
        assert use.source_r2 > (0.8 if "half_norms" in use.variable else 0.95)
        assert use.decodable_r2 == pytest.approx(own.decodable_r2, abs=1e-3)


def test_without_the_head_that_reads_them_responsibilities_are_not_used():
    found = measure_interchange(PROBLEM, without_means(PROBLEM), 0, quick=True)
    first = found[0]
    assert first.decodable_r2 > 0.999  # they are there
    for use in (use for use, named in zip(found, RESPONSIBILITIES, strict=True) if named):
        assert use.accuracy <= 0.05
        assert use.source_r2 < 0.2


def test_untrained_networks_are_at_chance():
    for use in measure_interchange(PROBLEM, untrained(PROBLEM, 0), 0, quick=True):
        assert use.accuracy <= 0.05
        assert use.source_r2 < 0.1


def test_a_network_that_carries_its_start_along_is_at_chance():
    network = PROBLEM.constructed()
    for parameter in network.parameters():
        parameter.data.zero_()
    found = measure_interchange(PROBLEM, network, 0, quick=True)
    assert found[1].decodable_r2 > 0.4  # the start says something of the means
    for use in found:
        assert use.accuracy <= 0.05
        assert use.source_r2 < 0.1


def test_other_sizes_of_layers_and_gelu():
    width, generator = SMALL.construction.stream.width, torch.Generator().manual_seed(0)
    shape = TransformerShape(width, (LayerShape(3, 5, 8), LayerShape(1, 4, 6)), activation="gelu")
    network = Transformer(shape, torch.float32, drawn=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    (found,) = measure_interchange(SMALL, network, 0, quick=True)
    assert found.accuracy <= 0.05
    assert all(map(math.isfinite, (found.r2, found.source_r2, found.decodable_r2)))


def test_what_is_not_finite_has_no_numbers():
    network = untrained(SMALL, 0)
    network.state_dict()["layers.0.mlp.b2"].fill_(math.nan)
    (found,) = measure_interchange(SMALL, network, 0, quick=True)
    assert found.bases == 0
    assert all(map(math.isnan, (found.accuracy, found.r2, found.source_r2, found.decodable_r2)))


def test_seeds_decide():
    first, again, other = (
        measure_interchange(SMALL, SMALL.constructed(), seed, quick=True) for seed in (0, 0, 1)
    )
    assert astuple(first[0]) == astuple(again[0])
    assert astuple(first[0]) != astuple(other[0])


def test_networks_of_another_shape_are_refused():
    wide = TransformerShape(PROBLEM.construction.stream.width + 1, (LayerShape(1, 1, 1),) * 2, loops=2)
    with pytest.raises(ValueError, match="needs width 22 and 4"):
        measure_interchange(PROBLEM, Transformer(wide, torch.float32, drawn=False), 0, quick=True)
    short = TransformerShape(PROBLEM.construction.stream.width, (LayerShape(1, 1, 1),), loops=3)
    with pytest.raises(ValueError, match="3 layers in all"):
        measure_interchange(PROBLEM, Transformer(short, torch.float32, drawn=False), 0, quick=True)


def test_scores_of_answers_that_are_known():
    tasks = triples(PROBLEM, 40, torch.Generator().manual_seed(0))
    wanted = tasks.counterfactuals(Place("responsibilities", 1))
    exact = score(tasks, wanted, wanted)
    assert (exact.accuracy, exact.r2, exact.source_r2) == (1, 1, 1)
    assert 10 <= exact.bases <= 120
    nothing = score(tasks, tasks.answers(), wanted)
    assert (nothing.accuracy, nothing.source_r2) == (0, 0)
    assert nothing.r2 == pytest.approx(0, abs=1e-12)
    middle = score(tasks, (wanted + tasks.with_other(wanted)) / 2, wanted)  # the best without the source
    assert (middle.accuracy, middle.source_r2) == (0, 0)
    assert middle.r2 > 0.3
    assert score(tasks, tasks.with_other(wanted), wanted).accuracy == 0
    shifted = score(tasks, wanted + 3.0, wanted)  # an error of its own with any source
    assert (shifted.accuracy, shifted.source_r2) == (0, pytest.approx(1, abs=1e-12))
