"""TGMMMixture outside of what its network was trained on: it says so, and hand-built layers stay EM."""

import json
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import training.serving.bounded_polish as verified
from baselines.estimator import DataWarning
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks
from training.serving.bounded_polish import ACCURACY, constructed_steps
from training.serving.estimator import TGMMMixture
from training.serving.loading import SHIPPED, load_tgmm
from training.trainer.checkpoint import load_model, save_model

IGNORED = "ignore::sklearn.exceptions.ConvergenceWarning"


def points(N=96, d=8, scale=1.0):
    return scale * paper_tasks(1, d, 3, N, torch.Generator().manual_seed(5)).X[0].numpy()


def three_far_groups(seed):
    """Three centres uniform in [-50, 50]^2, 40 points of deviation 1 around each."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-50, 50, (3, 2))
    return np.concatenate([centre + rng.standard_normal((40, 2)) for centre in centres])


def gaps(X, K=3):
    """Levels by EM and by the hand-built layers, data set by data set; and the largest distance of a mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DataWarning)
        exact, built = (
            TGMMMixture(K, model="d2", polish=polish, random_state=0).fit_many(X)
            for polish in ("em", "construction")
        )
    assert not [line for line in built.remarks.values() if "hand-built" in line]
    return exact.log_likelihood, built.log_likelihood, np.linalg.norm(exact.means - built.means, axis=-1)


def test_hand_built_layers_follow_em_to_a_component_of_mass_1e_minus_99():
    """From the network's start no responsibility of one component is above e^-227, far below 1e-8."""
    exact, built, distance = gaps(three_far_groups(43)[None])
    assert exact[0] == pytest.approx(-4.019, abs=5e-4)
    assert abs(built[0] - exact[0]) <= 1e-5
    assert distance.max() <= ACCURACY


@pytest.mark.slow
def test_hand_built_layers_follow_em_on_200_sets_of_far_groups():
    exact, built, distance = gaps(np.stack([three_far_groups(seed) for seed in range(200)]))
    assert np.abs(exact - built).max() <= 1e-5
    assert distance.max() <= ACCURACY


@pytest.mark.slow
@pytest.mark.parametrize("K", [2, 3, 5])
def test_hand_built_layers_follow_em_on_the_tasks_of_the_paper(K):
    *_, distance = gaps(paper_tasks(64, 2, K, 128, torch.Generator().manual_seed(7)).X.numpy(), K)
    assert distance.max() <= ACCURACY


@pytest.mark.filterwarnings(IGNORED)
def test_layers_that_are_not_em_are_said(monkeypatch):
    """With no more than 32 pieces at radius 16; the data are of the network's range."""
    monkeypatch.setattr(verified, "MOST_PIECES", 32)
    means = torch.tensor([[-4.0, -4.0], [4.0, 4.0], [-4.0, 4.0]], dtype=torch.float64)
    X, _ = Mixture(torch.full((3,), 1 / 3, dtype=torch.float64), means).sample(
        96, torch.Generator().manual_seed(0)
    )
    with pytest.warns(
        DataWarning, match=r"hand-built EM layers are [0-9.e-]+ from EM, above 0\.001; use polish='em'"
    ):
        TGMMMixture(3, polish="construction", random_state=0).fit(X.numpy())


@pytest.mark.filterwarnings(IGNORED)
def test_layers_of_another_kind_that_are_not_em_are_said(monkeypatch):
    monkeypatch.setattr(verified, "MOST_PIECES", 8)
    X = points(96, 2)
    with pytest.warns(DataWarning, match=r"hand-built EM layers are [0-9.e-]+ from EM, above 0\.001"):
        TGMMMixture(3, polish="construction", covariance_type="full", polish_steps=4).fit(X)


def shrinking_start():
    """A component on 20 points of deviation 1/1000 in the second of two tasks, the start far wider."""
    rng = np.random.default_rng(0)
    X = torch.tensor(np.stack([3 * rng.standard_normal((60, 2)) for _ in range(2)]))
    X[1, :20] = X[1, 0] + 0.001 * torch.tensor(rng.standard_normal((20, 2)))
    means = torch.stack([X[:, 0], X[:, 40]], 1)
    S = torch.ones(2, 2, dtype=torch.float64)
    return X, Mixture(torch.full((2, 2), 0.5, dtype=torch.float64), means, S, "spherical")


def test_layers_that_leave_their_range_end_there_and_leave_the_others_alone():
    X, start = shrinking_start()
    found, gap = constructed_steps(X, start, None, 40)
    assert gap[0] <= ACCURACY
    assert gap[1] == np.inf
    assert found.covariances[1].min() > 2.0**-10  # the last within
    alone, _ = constructed_steps(X[:1], start[:1], None, 40)
    # The same layers in batches of other shapes: 40 maps that round to 1e-13 and stretch by less than 1.2.
    torch.testing.assert_close(found.covariances[:1], alone.covariances, rtol=0, atol=1e-9)


def test_where_em_cannot_go_on_the_distance_is_nan():
    """A component on three equal points, of d = 2; and a task of two points, where no layer runs."""
    X, start = shrinking_start()
    X[1, :20] = X[1, :1]
    full = Mixture(start.weights, start.means, torch.eye(2).double().expand(2, 2, 2, 2).clone(), "full")
    _, gap = constructed_steps(X, full, None, 40)
    assert gap.isnan().tolist() == [False, True]
    mask = torch.arange(60) < torch.tensor([[60], [2]])
    found, gap = constructed_steps(X, full, mask, 2)
    assert gap.isnan().tolist() == [False, True]
    assert torch.equal(found.means[1], full.means[1])


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize(
    ("gap", "said"),
    [(float("inf"), "end where a component shrinks out of their range"), (float("nan"), "are not compared")],
)
def test_layers_that_end_are_said(gap, said, monkeypatch):
    monkeypatch.setattr(
        "training.serving.estimator.constructed_steps",
        lambda X, start, mask, steps: (start, torch.full((len(X),), gap, dtype=X.dtype)),
    )
    with pytest.warns(DataWarning, match=f"the hand-built EM layers {said}"):
        TGMMMixture(3, polish="construction", covariance_type="full").fit(points(96, 2))


def test_hand_built_layers_of_a_task_do_not_depend_on_its_company():
    """Beside a task of radius 64 and alone: the same layers in batches of other shapes, so up to rounding, of
    means below 16 as averages of 120 points, twice."""
    near, far = points(120, 2), three_far_groups(3)
    X = torch.tensor(np.stack([near, far]))
    start = Mixture(torch.full((2, 3), 1 / 3, dtype=torch.float64), X[:, [0, 40, 80]].clone())
    together, _ = constructed_steps(X, start, None, 2)
    alone, gap = constructed_steps(X[:1], start[:1], None, 2)
    torch.testing.assert_close(together.means[:1], alone.means, rtol=0, atol=1e-10)
    assert gap.max() <= ACCURACY


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize(
    ("X", "said"),
    [
        (points(N=40), "here is N = 40; compare with EMMixture"),
        (points(N=200), "here is N = 200; compare"),
        (points(d=5), "here is d = 5; compare"),
        (points(scale=100.0), "a coordinate .* from the average; bring the data to such units"),
        (points(scale=0.01), "a deviation of 0.0.* in all; bring the data to such units"),
        (points(N=40, d=12), "here is N = 40, d = 12"),
    ],
)
def test_data_outside_of_the_trained_range_get_one_warning(X, said):
    with pytest.warns(DataWarning) as caught:
        TGMMMixture(3, polish_steps=1, random_state=0).fit(X)
    (warning,) = [one for one in caught if one.category is DataWarning]
    text = str(warning.message)
    assert (
        "the network was trained on N = 64 to 128, d = 8, means within 5 of the origin, deviation 1" in text
    )
    assert re.search(said, text)


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize("X", [points(N=64), points(N=128), points(d=2)], ids=["64", "128", "d = 2"])
def test_data_within_the_trained_range_get_none(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        TGMMMixture(3, polish_steps=1, random_state=0).fit(X)


@pytest.mark.filterwarnings(IGNORED)
def test_a_path_gives_the_weights_that_are_there_now(tmp_path, monkeypatch):
    """The file replaced, and the same relative path from another folder."""
    X, weights = points(), load_model(SHIPPED["d8"])
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, shift in ((old, 0.0), (new, 1.0)):
        folder.mkdir()
        tensors = {name: value.clone() for name, value in weights[0].items()}
        tensors["heads.all.bias"] += shift
        save_model(folder / "m", tensors, *weights[1:])

    def fitted():
        return TGMMMixture(3, model="m", polish_steps=0, random_state=0).fit(X).means_

    monkeypatch.chdir(old)
    first = fitted()
    np.testing.assert_array_equal(first, fitted())
    monkeypatch.chdir(new)
    second = fitted()
    assert np.abs(first - second).max() > 1
    save_model(new / "m", load_model(old / "m")[0], *weights[1:])
    np.testing.assert_array_equal(fitted(), first)
    # The facts beside the weights count too: they hold the range.
    facts = json.loads(json.dumps(weights[2]))
    facts["config"]["tasks"]["samples"] = [8, 16]
    save_model(new / "m", load_model(old / "m")[0], weights[1], facts)
    with pytest.warns(DataWarning, match="trained on N = 8 to 16"):
        fitted()


def test_a_network_without_facts_is_used_without_a_range():
    model = load_tgmm("d8")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        TGMMMixture(3, model=model, polish_steps=1).fit(points(N=40))
