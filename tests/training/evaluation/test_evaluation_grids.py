"""Which cells a grid has, and that their tasks depend on the cell alone."""

import pytest

from console.folder import word
from training.evaluation.grids import AXES, SAMPLES, cells_of

SEEDS = {"main": 621645661606589705, "far": 2533822325973651360, "diagonal": 4440395992792422033}


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
    short = {16: 2048, 32: 2048, 64: 2048, 128: 2048, 256: 2048, 512: 1024, 1024: 512}
    assert counts == short | {4096: 128, 16384: 32, 100_000: 5}
    assert cells_of("samples", [8], [3])[-1].count(4) == 2


def test_titles():
    [cell] = cells_of("perturbation", [8], [5], quick=True)[1:2]
    assert cell.title == "d = 8, K = 5, N = 128, sigma_p = 2"
    assert cells_of("separation", [8], [5], quick=True)[0].title.endswith("separation = 1")
    assert cells_of("diagonal", [8], [5])[0].title.endswith("diagonal covariances")


def test_grids_of_covariances():
    [full] = cells_of("full", [8], [5])
    assert full.title == "d = 8, K = 5, N = 128, full covariances"
    elongated = cells_of("anisotropic", [8], [5])
    eps = 2.0**-52  # a root, an inverse and a quotient or a product: three roundings of half of it
    assert [c.elongation for c in elongated] == pytest.approx([c.value for c in elongated], rel=2 * eps)
    for c in elongated:
        D = c.distribution
        assert D is not None
        assert (D.covariance_type, D.deviation_law) == ("full", "spaced")
        assert D.deviation_range[0] * D.deviation_range[1] == pytest.approx(1, rel=2 * eps)
    assert elongated[2].title.endswith("N = 128, elongation = 4")
    correlated = cells_of("correlation", [8], [5])
    assert [c.distribution.correlation for c in correlated if c.distribution] == [
        0,
        0.5,
        0.8,
        0.9,
        0.95,
        0.99,
    ]
    assert correlated[0].title.endswith("N = 128, correlation = 0")


def test_cells_whose_law_there_is_not_say_why():
    assert "needs n_features >= 2" in cells_of("anisotropic", [1, 2], [2])[0].impossible


def test_starts_are_no_property_of_the_tasks():
    """Every noise on the start of EM has the tasks of main; its cell has a name of its own."""
    [main] = cells_of("main", [8], [5])
    cells = cells_of("initialisation", [8], [5])
    assert [c.start for c in cells] == [0, 0.5, 1, 2, 3, 4, 6, 8]
    assert {c.seed(0, 0, 0) for c in cells} == {main.seed(0, 0, 0)}
    assert len({c.tasks for c in cells}) == 1
    assert main.tasks == main
    assert cells[0].title.endswith("noise on the start = 0")


@pytest.mark.parametrize("grid", AXES)
def test_every_cell_of_a_grid_has_a_name_of_its_own(grid):
    """They name the files of parts/."""
    titles = [word(c.title) for c in cells_of(grid, [2, 8], [2, 3, 5]) if not c.impossible]
    assert len(set(titles)) == len(titles) > 1


def test_seeds_of_cells_whose_figures_were_published():
    """The seeds of tasks are those of the first release of each grid."""
    seeds = {
        name: cells_of(grid, [8], [5])[place].seed(0, 0, 0)
        for name, grid, place in (
            ("main", "main", 0),
            ("far", "perturbation", 3),
            ("diagonal", "diagonal", 0),
        )
    }
    assert seeds == SEEDS


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
