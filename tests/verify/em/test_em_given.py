"""A start of EM from JSON: what is taken, and what is refused in one line."""

import json

import pytest
import torch

from console.errors import BadInputError
from constructions.em.tasks import COVARIANCE_SHAPES
from verify.em.given import LAYOUTS, load_init

K, D = 3, 2
START = {"weights": [0.25, 0.25, 0.5], "means": [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]}
MATRIX = [[2.0, 0.5], [0.5, 1.0]]
COVARIANCES = {
    "tied_spherical": 2.5,
    "spherical": [1.0, 2.0, 3.0],
    "diagonal": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "tied": MATRIX,
    "full": [MATRIX] * 3,
}


def written(folder, content):
    path = folder / "init.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("kind", list(COVARIANCES))
def test_covariances_of_every_kind(kind, labelled, tmp_path):
    label = {"covariance_type": kind} if labelled else {}
    found = load_init(written(tmp_path, START | label | {"covariances": COVARIANCES[kind]}), kind)
    assert found.weights.tolist() == START["weights"]
    assert found.means.tolist() == START["means"]
    assert found.covariances is not None
    assert found.covariances.dtype == torch.float64
    assert found.covariances.tolist() == COVARIANCES[kind]


def test_unit_covariances_are_none(tmp_path):
    assert load_init(written(tmp_path, START)).covariances is None
    assert load_init(written(tmp_path, START | {"covariance_type": "unit"})).covariances is None


def test_typed_decimals_are_made_symmetric(tmp_path):
    S = [[2.0, 0.3333333], [0.3333334, 1.0]]
    found = load_init(written(tmp_path, START | {"covariances": S}), "tied").covariances
    assert found is not None
    assert torch.equal(found, found.mT)
    assert abs(float(found[0, 1]) - 1 / 3) < 1e-7


@pytest.mark.parametrize("asked", ["unit", *COVARIANCES])
@pytest.mark.parametrize("kind", list(COVARIANCES))
def test_kinds_that_do_not_agree(kind, asked, tmp_path):
    """K and d differ, so the shape tells the kind; a label is the word to use."""
    if kind == asked:
        return
    content = START | {"covariances": COVARIANCES[kind]}
    with pytest.raises(BadInputError, match=f"--covariance {asked}: --init") as bare:
        load_init(written(tmp_path, content), asked)
    assert "\n" not in str(bare.value)
    if asked != "unit":
        assert f"as {kind} ones have; {asked} ones are {LAYOUTS[asked]}" in str(bare.value)
    with pytest.raises(BadInputError, match=f"has {kind} covariances; give --covariance {kind}"):
        load_init(written(tmp_path, content | {"covariance_type": kind}), asked)


@pytest.mark.parametrize("kind", list(COVARIANCES))
def test_a_start_without_covariances_for_a_kind_that_has_them(kind, tmp_path):
    with pytest.raises(
        BadInputError, match=f"--covariance {kind}: --init .*has no 'covariances'; {kind} ones"
    ):
        load_init(written(tmp_path, START), kind)


def test_layouts_are_of_every_kind_that_has_covariances():
    assert LAYOUTS.keys() == COVARIANCE_SHAPES.keys()


BAD = {
    "text": ("one", "must be numbers, d rows of d"),
    "ragged": ([[1.0, 0.0], [0.0]], "must be numbers"),
    "not finite": ([[float("nan"), 0.0], [0.0, 1.0]], "hold nan"),
    "not symmetric": ([[2.0, 0.5], [0.25, 1.0]], "not symmetric: entries differ by 0.25"),
    "indefinite": ([[1.0, 2.0], [2.0, 1.0]], "eigenvalue -1"),
    "singular": ([[0.0, 0.0], [0.0, 1.0]], "eigenvalue 0"),
    "too small": ([[1.0]], r"of shape \(1, 1\); tied ones are d rows of d: \(2, 2\)"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_covariance(case, tmp_path):
    S, what = BAD[case]
    with pytest.raises(BadInputError, match=what) as found:
        load_init(written(tmp_path, START | {"covariances": S}), "tied")
    assert "--init" in str(found.value)


def test_an_unknown_label(tmp_path):
    with pytest.raises(BadInputError, match="covariance_type is 'round'; it is one of unit, tied_spherical"):
        load_init(written(tmp_path, START | {"covariance_type": "round"}))
