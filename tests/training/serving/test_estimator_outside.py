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
            TGMMMixture(K, polish=polish, random_state=0).fit_many(X) for polish in ("em", "construction")
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
