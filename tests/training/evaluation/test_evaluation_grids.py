"""Which cells a grid has, and that their tasks depend on the cell alone."""

import pytest

from training.evaluation.grids import AXES, SAMPLES, cells_of


def values(grid, **arguments):
    return [(*c.group, c.n_samples, c.value) for c in cells_of(grid, [2], [2, 3, 4], **arguments)]


def test_grids_over_components():
    assert values("main") == [(2, K, 128, K) for K in (2, 3, 4)]
    assert values("components") == [(2, K, 128, K) for K in (2, 3, 4)]
    assert [c.n_components for c in cells_of("components", [8], [2, 3])] == [2, 3, 9, 10]
    assert [c.group for c in cells_of("dxk", [8, 2], [3])] == [(2, 3), (8, 3)]
    diagonal = [c.distribution for c in cells_of("diagonal", [2], [3])]
    assert [D.covariance for D in diagonal if D is not None] == ["diagonal"]


def test_grids_over_something_else_keep_two_counts():
    assert values("samples") == [(2, K, N, N) for K in (3, 4) for N in SAMPLES]
    assert {c.n_components for c in cells_of("perturbation", [8], [2])} == {2}
    noise = [c.distribution.perturbation for c in cells_of("perturbation", [8], [5]) if c.distribution]
    assert noise == [v for _ in (3, 5) for v in (0, 1, 2, 4, 6, 8, 10)][: len(noise)]
    assert {c.n_components for c in cells_of("samples", [8], [2, 3, 5], quick=True)} == {5}


def test_quick_grids_are_small():
    assert [c.n_components for c in cells_of("main", [8], [2, 3, 4, 5], quick=True)] == [3, 5]
    separated = cells_of("separation", [2], [2, 3, 4, 5], quick=True)
    assert [c.group for c in separated] == [(2, 3)] * 3
    assert [c.impossible for c in separated] == [""] * 3


def test_nothing_to_measure():
    with pytest.raises(ValueError, match=r"grid separation: n_components is 4, needs <= n_features \+ 1 = 3"):
        cells_of("separation", [2], [4, 5])


def test_components_that_cannot_be_equally_far_apart():
    cells = cells_of("separation", [2], [3, 4])
    assert [c.impossible for c in cells if c.n_components == 3] == [""] * 8
    assert all("<= n_features + 1 = 3" in c.impossible for c in cells if c.n_components == 4)
    assert all((c.distribution is None) == (c.n_components == 4) for c in cells)


def test_a_cell_has_one_seed_whatever_the_grid():
    [main] = [c for c in cells_of("main", [8], [3, 5]) if c.n_components == 5]
    [again] = [c for c in cells_of("samples", [8], [5]) if c.n_samples == 128 and c.n_components == 5]
    assert main.seed(3, 0, 0) == again.seed(3, 0, 0)
    seeds = [c.seed(3, i, j) for g in AXES for c in cells_of(g, [2, 8], [3]) for i in (0, 1) for j in (0, 1)]
    different = {(c.group, c.n_samples, str(c.distribution)) for g in AXES for c in cells_of(g, [2, 8], [3])}
    assert len(set(seeds)) == 4 * len(different)
    assert main.seed(3, 0, 0) != main.seed(4, 0, 0)


def test_long_tasks_are_fewer():
    """256 points and more: 2,048 * 256 points in all."""
    counts = {c.n_samples: c.count(2048) for c in cells_of("samples", [8], [3])}
    assert counts == {16: 2048, 32: 2048, 64: 2048, 128: 2048, 256: 2048, 512: 1024, 1024: 512, 4096: 128}
    assert cells_of("samples", [8], [3])[-1].count(4) == 2


def test_titles():
    [cell] = cells_of("perturbation", [8], [5], quick=True)[1:2]
    assert cell.title == "d = 8, K = 5, N = 128, sigma_p = 2"
    assert cells_of("separation", [8], [5], quick=True)[0].title.endswith("separation = 1")
    assert cells_of("diagonal", [8], [5])[0].title.endswith("diagonal covariances")


@pytest.mark.parametrize(
    ("grid", "samples", "message"),
    [
        ("all", None, "no grid 'all'; there are main, samples"),
        ("main", [3], "N is 3, needs at least K = 4 points a task"),
        ("samples", [64, 10**11], "N is 100000000000, needs at most 100000 points a task"),
        ("main", [64, 128], "N is 64, 128, needs one value on the grid 'main'"),
    ],
)
def test_refused(grid, samples, message):
    with pytest.raises(ValueError, match=message):
        cells_of(grid, [2], [2, 4], samples)
