"""select: criteria by definition, the data set of mclust's manual, many data sets as each alone, errors."""

import math
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from baselines.choosing import Selection, select, select_many
from baselines.choosing.figures import COLOURS, MARKERS, style
from baselines.choosing.packing import pack
from baselines.families import FAMILIES

IRIS = load_iris().data
U = 2.0**-53


def groups(seed, sizes, d=2):
    generator = np.random.default_rng(seed)
    return [np.concatenate([8 * k + generator.normal(size=(n, d)) for k in range(3)]) for n in sizes]


def test_iris_as_mclust_chooses_it():
    """VEV with 2 components, BIC 561.7285, before VEV with 3: published with mclust."""
    found = select(IRIS, range(1, 5), ["EII", "EEE", "VEV", "VVV"])
    assert (found.covariance_type, found.n_components) == ("VEV", 2)
    assert found.best.bic == pytest.approx(561.7285, abs=5e-5 + 2e-5 * 216)
    assert found.best.icl == pytest.approx(561.7289, abs=5e-5 + 2e-5 * 216)
    assert (found.ranked[1].mclust, found.ranked[1].n_components) == ("VEV", 3)
    np.testing.assert_array_equal(np.bincount(found.estimator.predict(IRIS)), [50, 100])


@pytest.mark.parametrize("kind", ["EII", "VEI", "full"])
def test_criteria_are_their_definitions(kind):
    """By the fitted estimator's own densities: sums of N = 150 terms below 20 round by some 2 N u 3000."""
    found = select(IRIS, [1, 3], kind, "icl", tol=1e-6)
    for candidate in found.candidates:
        model = found.fitted(candidate.n_components, kind)
        close = {"rel": 0, "abs": 1e4 * 300 * U}
        assert candidate.bic == pytest.approx(model.bic(IRIS), **close)
        assert candidate.aic == pytest.approx(model.aic(IRIS), **close)
        certain = np.log(model.predict_proba(IRIS).max(1)).sum()
        assert candidate.icl == pytest.approx(model.bic(IRIS) - 2 * certain, **close)
        assert model.n_parameters_ == candidate.n_parameters
        assert candidate.cv is None


def deviance_rounding(X, least, squares):
    """Of sum_n (x_n - m)^T S^-1 (x_n - m) + log det 2 pi S: (N + 16 (d + 8)) u R^2/s (sum of squares + N d).

    S is an average of N squares no larger than R^2, off by (N + 8) u R^2; a Cholesky factor and a solve add
    some d operations on numbers of its size. Over its least eigenvalue s that is the relative error of each
    square, and d times it that of the logarithm.
    """
    N, d = X.shape
    reach = np.sum(np.ptp(X, axis=0) ** 2)
    return (N + 16 * (d + 8)) * 2**-53 * reach / least * (squares + N * d)


def test_cross_validation_holds_points_out():
    """One Gaussian: the deviance of each point under the average and covariance of the other folds.

    Off by `deviance_rounding` on either side.
    """
    X = groups(0, [20])[0]
    found = select(X, [1], "full", "cv", n_folds=60, reg_covar=0.0)  # leave one out
    expected, squares, least = 0.0, 0.0, np.inf
    for n in range(len(X)):
        rest = np.delete(X, n, 0)
        S = np.cov(rest.T, bias=True)
        gap = X[n] - rest.mean(0)
        square = gap @ np.linalg.solve(S, gap)
        squares, least = squares + square, min(least, np.linalg.eigvalsh(S)[0])
        expected += square + np.linalg.slogdet(2 * math.pi * S)[1]
    allowed = 2 * deviance_rounding(X, least, squares)
    assert found.best.cv == pytest.approx(expected, abs=allowed)
    assert allowed < 1e-6
    chosen = select(X, range(1, 6), ["EII", "full"], "cv", random_state=0)
    assert chosen.n_components == 3
    again = select(X, range(1, 6), ["EII", "full"], "cv", random_state=0)
    assert [c.cv for c in again.candidates] == [c.cv for c in chosen.candidates]


def test_each_of_many_data_sets_is_as_if_alone():
    """Choices are the same; up to K = 3, where every step averages over groups, criteria but for rounding.

    That is 2 N (6 N + 14 + d) 2 u R^2 (1 + 4/s + (16/s^2 + d/s)/2) by `averaging_rounding` of
    test_estimators_many, with N <= 270, R <= 17 and variances s >= 1/2: below 3e-6.
    """
    sets = groups(1, [20, 33, 90, 21])
    together = select_many(sets, range(1, 5), ["EII", "VVI", "full"])
    for points, found in zip(sets, together, strict=True):
        alone = select(points, range(1, 5), ["EII", "VVI", "full"])
        assert (found.n_components, found.covariance_type) == (alone.n_components, alone.covariance_type)
        for one, other in zip(found.candidates, alone.candidates, strict=True):
            if one.n_components <= 3:
                assert one.bic == pytest.approx(other.bic, abs=3e-6)
    assert together.n_components == [3] * 4
    assert len(together[1:]) == 3


def test_more_starts_are_never_less_likely():
    """The first start is the same; a log-density rounds by 12 u R^2/s, below 1e-9 here, N = 150 of them."""
    few, more = (select(IRIS, [4, 6], "full", n_init=n, random_state=0) for n in (1, 4))
    for one, other in zip(few.candidates, more.candidates, strict=True):
        assert other.log_likelihood >= one.log_likelihood - 150e-9


def test_blocks_hold_each_data_set_once_and_little_padding():
    sets = groups(2, [5, 100, 6, 400, 7, 90])
    blocks = pack(sets, [1, 2])
    assert sorted(place for block in blocks for place in block.places) == list(range(6))
    for block in blocks:
        real = sum(len(sets[place]) for place in block.places)
        assert block.points.X.shape[0] * block.points.X.shape[1] <= 2 * real


def test_table_fits_eighty_columns_and_names_every_candidate():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = select(IRIS, range(1, 4), max_iter=3)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert all(family.mclust in text for family in FAMILIES if family.mclust)
    assert f"{found.best.bic:.2f}" in text
    assert "* did not converge" in text
    assert len(repr(found)) < 80
    assert found.rows()[0]["covariance_type"] == "tied_spherical"
    many = str(select_many([IRIS, IRIS[::2]], [1, 2], "EII"))
    assert max(map(len, many.splitlines())) <= 80


def test_figure_has_a_legend_beside_the_axes_and_one_style_a_family():
    found = select(IRIS, [1, 2], ["EII", "VEV", "full"])
    figure = found.plot()
    figure.draw_without_rendering()
    [axes] = figure.axes
    [legend] = figure.legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["VEV", "VVV (full)", "EII (tied_spherical)", "chosen by BIC"]
    many = select(IRIS, [1, 2]).plot()
    assert len(many.legends[0].get_texts()) == 8
    assert many.axes[0].get_title(loc="left") == "the 7 best of 12 families"
    styles = [tuple(style(family.name).values()) for family in FAMILIES]
    assert len({(colour, line) for colour, line, _ in styles}) == len(styles)
    assert len(set(MARKERS.values())) == len(FAMILIES)
    assert len(set(COLOURS.values())) == len(COLOURS)
    with pytest.raises(ValueError, match="criterion is 'wic', needs one of bic, icl, aic, cv"):
        found.plot("wic")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "BIC"}, "criterion is 'BIC', needs one of bic, icl, aic, cv"),
        ({"n_components": []}, "n_components is empty, needs at least one integer"),
        ({"n_components": [0, 1]}, "n_components is 0, needs an integer of at least 1"),
        ({"n_components": [400]}, r"X\[0\] has n_samples = 150, needs at least n_components = 400"),
        ({"covariance_types": "VVX"}, "covariance_type is 'VVX', needs one of unit"),
        ({"covariance_types": []}, "covariance_types is empty, needs at least one name"),
        ({"criterion": "cv", "n_folds": 1}, "n_folds is 1, needs an integer of at least 2"),
        ({"criterion": "cv", "n_folds": 151}, r"n_folds is 151, needs at most 150, the points of X\[0\]"),
        ({"tol": -1}, "tol is -1, needs a finite number of at least 0"),
        ({"n_init": 0}, "n_init is 0, needs an integer of at least 1"),
    ],
)
def test_bad_input_is_one_line_naming_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        select(IRIS, **{"n_components": [1], "covariance_types": "EII"} | arguments)
    assert "\n" not in str(raised.value)


def test_a_candidate_that_was_not_asked_for_is_refused_and_an_unconverged_choice_is_told():
    with pytest.warns(ConvergenceWarning, match=r"1 of 1 data sets; X\[0\], full, K = 3: it still rose"):
        found = select(IRIS, [3], "full", max_iter=1)
    assert isinstance(found, Selection)
    with pytest.raises(ValueError, match="covariance_type 'EII' with n_components 3 is no candidate"):
        found.fitted(3, "EII")


def test_scikit_learn_agrees_on_one_component():
    """Where nothing is iterated: its BIC, both with reg_covar 1e-6.

    Off by `deviance_rounding` on either side; the squares add up to N d at the maximum.
    """
    for ours, theirs in (("VII", "spherical"), ("VVI", "diag"), ("EEE", "tied"), ("VVV", "full")):
        peer = GaussianMixture(1, covariance_type=theirs).fit(IRIS)
        least = np.linalg.eigvalsh(np.cov(IRIS.T, bias=True))[0]
        allowed = 2 * deviance_rounding(IRIS, least, IRIS.size)
        assert select(IRIS, [1], ours).best.bic == pytest.approx(peer.bic(IRIS), abs=allowed)
        assert allowed < 1e-5
