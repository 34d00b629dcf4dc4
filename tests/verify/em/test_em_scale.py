"""When the units of data ask for another kind of covariance than unit, and when not."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import invoke

from baselines.em_paths import reference_path
from baselines.mixture import Mixture
from verify.em.problems import random_problem
from verify.em.scale import scale_remark
from verify.em_construction import app

F64 = torch.float64


def remark(X, weights, means, standardised=False):
    best = SimpleNamespace(
        measurement=SimpleNamespace(problem=SimpleNamespace(X=X[None])),
        task=0,
        mixture=Mixture(weights / weights.sum(), means),
    )
    return scale_remark(best, standardised)


def three_groups(deviations, samples=120, apart=1.0):
    """Around (-8, 0), (8, 0), (0, 12), ``apart`` times; with weights and means of the groups."""
    generator = torch.Generator().manual_seed(0)
    centres = apart * torch.tensor([[-8.0, 0.0], [8.0, 0.0], [0.0, 12.0]], dtype=F64)
    label = torch.arange(samples) % 3
    noise = torch.randn(samples, 2, generator=generator, dtype=F64)
    X = centres[label] + torch.tensor(deviations, dtype=F64).expand(3, 2)[label] * noise
    return X, torch.full((3,), 1 / 3, dtype=F64), centres


def test_data_of_the_right_units_are_left_alone():
    assert remark(*three_groups([1.0, 1.0])) is None
    assert remark(*three_groups([0.8, 1.3])) is None


@pytest.mark.parametrize("deviations", [[0.6, 1.8], [1.8, 0.6]])
def test_uneven_coordinates_ask_for_diagonal(deviations):
    said = remark(*three_groups(deviations))
    assert said is not None
    low, high = map(float, re.findall(r"deviations from (\S+) to ([\d.]+)", said)[0])
    # Of 120 points: within four standard errors, a fifteenth each, of the true ones.
    assert low == pytest.approx(0.6, rel=4 / 15)
    assert high == pytest.approx(1.8, rel=4 / 15)
    assert said.endswith("--covariance diagonal estimates them")


@pytest.mark.parametrize(
    ("deviations", "kind"),
    [
        ([20.0, 20.0], "tied_spherical"),
        ([10.0, 40.0], "diagonal"),
        ([[10.0, 10.0], [40.0, 40.0], [20.0, 20.0]], "spherical"),
    ],
)
def test_wrong_units_name_the_kind_as_a_remedy(deviations, kind):
    said = remark(*three_groups(deviations, apart=100.0))
    assert said is not None
    assert "have standard deviation 1 in the units of the data" in said
    assert said.endswith(f"--standardise brings them to one scale, or --covariance {kind} estimates it")
    again = remark(*three_groups(deviations, apart=100.0), standardised=True)
    assert again is not None
    assert "divide the data by about" in again
    assert "--standardise" not in again


@pytest.mark.parametrize(("dim", "components", "samples"), [(2, 3, 128), (2, 2, 60), (8, 5, 128)])
def test_tasks_of_unit_covariances_give_no_remark(dim, components, samples):
    """Also where EM has left one component over two groups, which is wide along one direction."""
    generator = torch.Generator().manual_seed(1)
    p = random_problem(dim, components, samples, "random-points", 100, generator)
    path = reference_path(p.X, p.weights, p.means, 8)
    ends = [(p.X[i], path.weights[i, -1], path.means[i, -1]) for i in range(100) if path.defined[i, -1]]
    assert len(ends) > 50
    assert all(remark(*end) is None for end in ends)


@pytest.mark.usefixtures("no_figures")
def test_the_command_says_it_on_one_line_and_only_of_unit_covariances(tmp_path):
    X, _, _ = three_groups([0.5, 1.6])
    np.save(tmp_path / "d.npy", X.numpy())
    asked = (
        "--data",
        tmp_path / "d.npy",
        "--components",
        3,
        "--start",
        "k-means++",
        "--steps",
        2,
        "--pieces",
        8,
    )
    unit, diagonal = (
        invoke(app, *asked, "--covariance", kind, "--out", tmp_path / kind) for kind in ("unit", "diagonal")
    )
    assert unit.code == diagonal.code == 0
    assert [line for line in unit.err.splitlines() if "--covariance diagonal estimates them" in line]
    assert "warning" not in diagonal.err
