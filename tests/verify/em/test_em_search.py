"""The search for broken bounds: what it covers, that it finds nothing, that it could."""

import math
from collections import Counter
from functools import lru_cache, partial
from itertools import islice

import pytest
import torch
from commands import built, flipped_half_norm2, giving_nan, with_wrong_square, without_log_count

import verify.em.search as em_search
from verify.em.families import WITHIN, Place, Size
from verify.em.search import FLOOR, RADIUS, SHAPES, Draw, search


def tensors(draw: Draw):
    c = draw.comparison
    return c.mean_error, c.weight_error, c.bound.mean_instance, c.bound.mean_apriori


def _what(draw: Draw):
    return draw.problem.sizes, draw.problem.name, draw.pieces, draw.refreshed


def instances(draws) -> int:
    return sum(len(draw.comparison.mean_error) for draw in draws)


def broken(draws) -> int:
    return sum(int(draw.comparison.broken().sum()) for draw in draws)


@pytest.fixture(scope="module")
def found():
    """A draw of every shape, up to 128 points a task: up to 512 are in the other searches here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(em_search, "MOST_SAMPLES", 128)
        return list(search(640, seed=0))


def test_a_seed_decides_every_number(found, monkeypatch):
    monkeypatch.setattr(em_search, "MOST_SAMPLES", 128)
    again, other = list(search(40, seed=0)), list(islice(search(40, seed=1), 8))
    assert len(again) == 8  # 4 groups of 5 tasks, two steps each
    for first, second in zip(found, again, strict=False):
        assert _what(first) == _what(second)
        for a, b in zip(tensors(first), tensors(second), strict=True):
            assert torch.equal(a, b)
    assert [d.problem.sizes for d in again] != [d.problem.sizes for d in other]


@pytest.mark.parametrize("asked", [1, 40, 41, 639])
def test_at_least_as_many_as_asked(asked, monkeypatch):
    monkeypatch.setattr(em_search, "compare_groups", lambda em, groups, *_: iter(groups))
    groups = len(list(search(asked, seed=0)))
    assert asked <= groups * em_search.TASKS * em_search.STEPS < asked + 40


def test_every_family_both_read_ins_and_every_shape(found):
    assert instances(found) >= 640
    families = Counter(draw.problem.name for draw in found)
    assert set(families) == set(WITHIN)
    # 64 groups in 6 families: 10.7 expected; 4 groups are 40 instances.
    assert min(families.values()) >= 4
    # 16 first steps of 4 groups; a quarter of them are read in exactly, every second step is not.
    read_in = Counter(draw.refreshed for draw in found)
    assert read_in[False] >= 4
    assert read_in[True] >= 68
    assert {draw.pieces for draw in found} == {pieces for _, _, pieces in SHAPES}
    sizes = [draw.problem.sizes for draw in found]
    assert sum(N == K for _, K, N in sizes) >= 8
    assert any(N % K for _, K, N in sizes)
    for draw, (_, K, _) in zip(found, sizes, strict=True):
        assert draw.comparison.mean_error.shape == (em_search.TASKS, K)


@pytest.mark.parametrize("family", list(WITHIN))
def test_families_are_what_they_are_called(family):
    """Points within the radius, and the awkward property that the name promises."""
    place, size = Place(FLOOR, RADIUS, torch.float64), Size(dim=3, components=4, samples=33)
    X, means = WITHIN[family](torch.Generator().manual_seed(1), place, size, 50)
    assert X.shape == (50, 33, 3)
    assert means.shape == (50, 4, 3)
    assert X.abs().max() <= RADIUS
    assert means.abs().max() <= RADIUS
    apart = (means - means[:, :1]).norm(dim=-1).amax(-1)
    properties = {
        "separated": bool((apart > 1).all()),
        "means at points": torch.equal(means, X[:, :4]),
        "near-equal means": bool((apart <= 2 * math.sqrt(3)).all() and (apart < 1e-3).any()),
        "duplicated points": all(len(task.unique(dim=0)) == 4 for task in X),
        "points on the edge": bool((X.abs() == RADIUS).all() and (means.abs() == RADIUS).all()),
        "one blob": bool(X.std() < 1.2),
    }
    assert properties[family]


def test_nothing_broken_in_float64(found):
    assert broken(found) == 0
    assert sum(int(draw.comparison.defined.sum()) for draw in found) > 2000


def test_nothing_broken_in_float32():
    draws = list(search(160, seed=2, dtype=torch.float32))
    assert instances(draws) >= 160
    assert broken(draws) == 0


@pytest.mark.parametrize(
    "mutate", [flipped_half_norm2, without_log_count, with_wrong_square, giving_nan], ids=lambda m: m.__name__
)
def test_a_wrong_construction_is_found(mutate, monkeypatch):
    made = lru_cache(lambda d0, K0, pieces: built(d0, K0, 1, pieces, radius=RADIUS, mutate=mutate))
    monkeypatch.setattr(em_search, "_construction", made)
    assert any(broken([draw]) for draw in search(240, seed=0))


def too_small(bound_of, name, *arguments):
    bound = bound_of(*arguments)
    object.__setattr__(bound, name, 0.99 * getattr(bound, name))
    return bound


@pytest.mark.parametrize("name", ["mean_instance"])
def test_a_bound_one_percent_too_small_is_found(name, monkeypatch):
    """The instance bound is reached to better than one percent somewhere, so less of it cannot be had."""
    import verify.em.compare as em_compare

    monkeypatch.setattr(em_compare, "one_step_bound", partial(too_small, em_compare.one_step_bound, name))
    assert any(broken([draw]) for draw in search(240, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "count", "widest"), [(torch.float64, 20_000, 64), (torch.float32, 5_000, 48)]
)
def test_nothing_broken_in_many(dtype, count, widest):
    searched, violations, ratios = 0, 0, []
    dims, components, samples, pieces = set(), set(), set(), set()
    for draw in search(count, seed=20_000, dtype=dtype):
        searched += len(draw.comparison.mean_error)
        violations += int(draw.comparison.broken().sum())
        d, K, N = draw.problem.sizes
        dims.add(d)
        components.add(K)
        samples.add(N)
        pieces.add(draw.pieces)
        if d >= 3 and draw.pieces >= 128:
            ratio = draw.comparison.ratio()
            ratios.append(ratio[ratio.isfinite()])
    assert searched >= count
    assert violations == 0
    assert min(dims) == 1
    assert max(dims) >= widest
    assert (min(components), max(components)) == (1, 17)
    assert min(samples) == 1
    assert max(samples) >= 500
    assert (min(pieces), max(pieces)) == (8, 4096)
    together = torch.cat(ratios)
    assert len(together) > count / 10
    # In float32 the rounding part, a worst case, is most of the bound; the issue asks 5 of the bound itself.
    assert float(together.median()) <= {torch.float64: 5, torch.float32: math.inf}[dtype]
