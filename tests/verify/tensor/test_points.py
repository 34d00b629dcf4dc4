"""Theorem 2 on points: from a file to the whitened third moment, its directions by the layers, and back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import invoke

from constructions.tensor_power.relu import tensor_power_construction
from verify.em.own_data import UserData, load_file
from verify.tensor import points
from verify.tensor.measure import Runtime
from verify.tensor.points_options import PointsOptions
from verify.tensor_power import app

MEANS = np.array([[4.0, 0.0, 1.0], [0.0, 5.0, -1.0]])
WEIGHTS, DEVIATION, N = np.array([0.3, 0.7]), 0.5, 2000
POWER = tensor_power_construction(2, 1, normalise="rms")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    g = np.random.default_rng(0)
    kinds = (g.random(N) < WEIGHTS[1]).astype(int)
    X = MEANS[kinds] + DEVIATION * g.normal(size=(N, 3))
    path = tmp_path_factory.mktemp("points") / "own.csv"
    rows = [f"{x!r},{y!r},{z!r},{'uv'[kind]}" for (x, y, z), kind in zip(X.tolist(), kinds, strict=True)]
    path.write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def user(file) -> UserData:
    options = {"dims": None, "tensor": None, "start": None, "max_dim": None, "steps": 1, "trials": 1}
    options |= {"dtype": "float64", "device": "cpu", "evaluation": "dense", "seed": 0, "certify": False}
    options |= {"data": file, "dataset": None, "header": None, "columns": None, "drop": None, "label": "kind"}
    options |= {"standardise": None, "pca": None, "components": None}
    found = PointsOptions.checked(options, variance=None).own_points()
    assert found is not None
    return found


def found_by(user: UserData, dtype: torch.dtype = torch.float64) -> points.PointsFound:
    moments = points.whitened(user, user.components(None), None, torch.Generator().manual_seed(0))
    assert moments.T.shape == (2, 2, 2)
    return points.find_components(POWER, moments, Runtime(dtype))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_the_mixture_is_found_and_named(user, dtype, rounding):
    found = found_by(user, dtype)
    order = sorted(range(2), key=lambda k: found.components[k].weight)
    means = np.array([found.components[k].mean for k in order])
    weights = np.array([found.components[k].weight for k in order])
    # Moments of 2,000 points: some standard errors of a mean of 600 of them, enlarged by the third power.
    assert np.abs(means - MEANS).max() < 10 * DEVIATION / 600**0.5
    assert np.abs(weights - WEIGHTS).max() < 5 * (0.21 / N) ** 0.5
    for row in found.components:
        assert row.broken == 0
        assert row.error <= row.bound < rounding
        # Both sides end at one fixed point of one map, where rounding is forgotten: far below sampling.
        assert row.from_baseline < rounding
    assert found.columns == ("a", "b", "c")
    assert found.agreement is not None
    assert found.agreement.index > 0.99  # means are 20 deviations of the noise apart


def test_an_error_above_its_bound_is_counted(user, monkeypatch):
    measured = points.along_path

    def with_error(*arguments):
        found = measured(*arguments)
        return dataclasses.replace(found, error=found.bound * 2)

    monkeypatch.setattr(points, "along_path", with_error)
    assert [row.broken for row in found_by(user).components] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--components", 4), ["--components 4", "n_features = 3"]),
        (("--components", "1,2"), ["--components 1,2"]),
        (("--variance", "50"), ["own.csv", "RANK_DEFICIENT"]),
        (("--variance", "big"), ["--variance big", "estimated"]),
        (("--tensor", "T.npy"), ["--tensor T.npy", "--data"]),
        (("--dims", "3"), ["--dims"]),
        (("--dataset", "iris"), ["--data", "--dataset"]),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(file, arguments, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = invoke(app, "--points", file, "--label", "kind", *arguments)
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert all(text in line for text in named), line
    assert list(tmp_path.iterdir()) == []


def test_components_without_points_are_refused():
    outcome = invoke(app, "--components", 2)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--components: needs --data" in outcome.err


def test_a_file_of_one_column(tmp_path):
    """K = 1: T is one number."""
    np.save(tmp_path / "d.npy", 3 + 0.1 * np.random.default_rng(1).normal(size=(50, 1)))
    user = load_file(tmp_path / "d.npy", False, None)
    power = tensor_power_construction(1, 1, normalise="rms")
    moments = points.whitened(user, 1, 0.01, torch.Generator().manual_seed(0))
    [row] = points.find_components(power, moments, Runtime()).components
    assert row.weight == 1.0
    assert abs(row.mean[0] - 3) < 0.1
