"""The search at the edges of floating point: what it covers, that it finds nothing, that it could."""

import dataclasses
from collections import Counter

import pytest
import torch

import constructions.em.bounds as em_bounds
import verify.em.search as em_search
from verify.em.families import EDGES
from verify.em.search import search_edges


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=str)
def found(request):
    return list(search_edges(240, seed=1, dtype=request.param))


def test_no_bound_is_broken(found):
    assert sum(len(draw.comparison.mean_error) for draw in found) >= 240
    assert sum(int(draw.comparison.broken().sum()) for draw in found) == 0


def test_the_corner_is_reached(found):
    """Components that die by the floor, some that EM itself loses, and most that are compared."""
    comparisons = [draw.comparison for draw in found]
    dying = sum(int((c.bound.dying & c.defined).sum()) for c in comparisons)
    undefined = sum(int((~c.defined).sum()) for c in comparisons)
    compared = sum(int(c.defined.sum()) for c in comparisons)
    assert dying >= 20
    assert 0 < undefined < compared / 2
    assert len({draw.problem.name for draw in found}) >= 4


def test_every_family_is_drawn():
    """The rarest has a share of 1 / (2 * 6): in 200 draws 17 are expected, and 0 with probability 3e-8."""
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(em_search._size_at_edges(generator, 3, 4, 1e-8)[1] for _ in range(200))
    assert set(drawn) == set(EDGES)


def test_floors_and_radii_cover_the_orders_of_magnitude(monkeypatch):
    drawn = []

    def record(em, groups, pieces, refreshed, dtype, evaluation):
        drawn.append((em.floor, em.radius, pieces, refreshed))
        yield from ()

    monkeypatch.setattr(em_search, "compare_groups", record)
    monkeypatch.setattr(em_search, "em_construction", lambda *_, floor, radius: Edge(floor, radius))
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        list(em_search._one_construction(generator, torch.float64, "dense"))
    floors, radii, pieces, refreshed = zip(*drawn, strict=True)
    assert min(floors) == 1e-300
    assert max(floors) == pytest.approx(0.9)
    assert min(radii) < 1e-120
    assert max(radii) > 1e20
    assert {1, 2} < set(pieces)
    assert set(refreshed) == {False, True}


@dataclasses.dataclass
class Edge:
    floor: float
    radius: float


def test_the_search_sees_a_bound_that_forgets_misplaced_mass(monkeypatch):
    """The fault that the search was written for: N floor as a float32, which is 0 below 1e-45."""

    @property
    def samples(self):
        return self.token_mask.sum(-1, keepdim=True)

    monkeypatch.setattr(em_bounds.StepData, "samples", samples)
    broken = sum(int(draw.comparison.broken().sum()) for draw in search_edges(240, seed=0))
    assert broken > 0
