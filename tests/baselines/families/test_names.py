"""Names of covariance types: both conventions, and the count of free numbers from the letters."""

import pytest

from baselines.families import FAMILIES, family_of, n_free_variances
from baselines.gaussian import COVARIANCE_TYPES


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.mclust], ids=lambda family: family.mclust)
@pytest.mark.parametrize(("K", "d"), [(1, 1), (1, 3), (4, 2), (3, 5)])
def test_the_letters_count_the_free_numbers(family, K, d):
    """Volume 1 or K; shape none, d - 1 or K (d - 1); orientation none, d (d - 1)/2 or K times that."""
    volume, shape, orientation = family.mclust
    plane = d * (d - 1) // 2
    letters = {"E": 1, "V": K}[volume]
    letters += {"I": 0, "E": d - 1, "V": K * (d - 1)}[shape]
    letters += {"I": 0, "E": plane, "V": K * plane}[orientation]
    assert n_free_variances(family.mclust, K, d) == n_free_variances(family.name, K, d) == letters


def test_names_of_scikit_learn_and_of_mclust_mean_the_same():
    pairs = {"diag": "VVI", "spherical": "VII", "tied": "EEE", "full": "VVV", "tied_spherical": "EII"}
    for ours, mclust in pairs.items():
        assert family_of(ours) is family_of(mclust)
    assert {family_of(kind).layout for kind in COVARIANCE_TYPES} == set(COVARIANCE_TYPES)
    assert family_of("VEI").label == "VEI"
    assert family_of("EEE").label == "EEE (tied)"


@pytest.mark.parametrize("name", ["VVE", "Full", 3, None])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match=r"covariance_type is .*needs one of unit, .*EII"):
        family_of(name)
