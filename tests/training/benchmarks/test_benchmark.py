"""``python -m training.benchmark``: its figures, solvers that fail or cannot, going on, the page."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import invoke, one_file_page, strict_json
from sklearn.metrics import adjusted_rand_score

from baselines.mixture import Mixture
from training.benchmark import app
from training.benchmarks import command
from training.benchmarks.measure import measure
from training.benchmarks.solvers import Solver, solvers
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.tasks.priors import PRIORS, held_out
from training.trainer.checkpoint import save_model

PRIOR = PRIORS["cluster-pfn"]


@pytest.fixture(scope="module")
def sets():
    return [one for one in held_out(PRIOR, 40, 0) if one.truth.n_components <= 4][:6]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network of random weights: K of 2 and 3 only."""
    torch.manual_seed(0)
    config = ModelConfig(2, (2, 3), layers=1, heads=1, width=8, covariance="full", standardise=True)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    described = vars(config) | {"components": list(config.components)}
    save_model(path, TGMM(config).state_dict(), described, {})
    return path


def test_the_figures_of_a_planted_solver(sets) -> None:
    """The truth with one component more for the first set, none for the second, shifted for the others."""

    def run(given, seed):
        first = given[0].truth
        split = Mixture(
            torch.cat([first.weights[:1] / 2, first.weights[:1] / 2, first.weights[1:]]),
            torch.cat([first.means[:1], first.means]),
            torch.cat([first.covariances[:1], first.covariances]),
            "full",
        )
        return [split, None, *(replace(one.truth, means=one.truth.means + 0.01) for one in given[2:])]

    row = measure(Solver("planted", "", run, chooses=True), sets, 0)
    found = run(sets, 0)
    there = [(one, mixture) for one, mixture in zip(sets, found, strict=True) if mixture is not None]
    levels = np.array([float(mixture.log_likelihood_per_point(one.X)) for one, mixture in there])
    own = np.array([float(one.truth.log_likelihood_per_point(one.X)) for one, _ in there])
    grouped = [adjusted_rand_score(one.labels, mixture.predict(one.X)) for one, mixture in there]
    assert (row.n_sets, row.n_failed, row.found_components) == (6, 1, 4 / 6)
    assert math.isclose(row.log_likelihood, levels.mean(), rel_tol=1e-12)
    assert math.isclose(row.log_likelihood_se, levels.std(ddof=1) / 5**0.5, rel_tol=1e-9)
    assert math.isclose(row.above, (levels - own).mean(), rel_tol=1e-9)
    assert math.isclose(row.ari, np.mean(grouped), rel_tol=1e-12)
    assert row.cpu_milliseconds >= 0


def test_one_set_has_no_spread(sets) -> None:
    alone = measure(Solver("one", "", lambda given, seed: [given[0].truth]), sets[:1], 0)
    assert (alone.n_sets, alone.log_likelihood, alone.above_se) == (1, None, None)


@pytest.mark.parametrize("name", ["paper-d2", "set-transformer", "cluster-pfn"])
def test_every_solver_of_every_prior_fits(name: str, model) -> None:
    """What is likeliest of ten starts and EM from the truth are above the truth on the points they fitted."""
    prior = PRIORS[name]
    small = [one for one in held_out(prior, 60, 1) if one.truth.n_components in (2, 3, 4)][:2]
    everyone, counts = solvers(prior, str(model), (2, 3)), {one.truth.n_components for one in small}
    rows = {one.name: measure(one, small, 0) for one in everyone if all(map(one.serves, counts))}
    assert rows["truth"].above == 0
    assert rows["EM from the truth"].above > 0
    assert rows["EM, 10 restarts"].above > 0
    assert rows["scikit-learn, 10 restarts"].n_failed == 0
    assert all((row.n_failed, row.n_sets) == (0, 2) for row in rows.values())
    choosing = {key for key, row in rows.items() if row.chooses}
    several = {"select, BIC", "select, ICL", "scikit-learn, BIC", "network + 10 EM steps, BIC"}
    learned = {"learned K"} if name == "cluster-pfn" else set()  # the criterion that is shipped is of it
    assert choosing == (several | learned if len(prior.law.components) > 1 else set())


def test_the_command_goes_on_where_it_stopped(tmp_path, model, monkeypatch) -> None:
    out = tmp_path / "new"
    words = ("cluster-pfn", "--sets", 9, "--model", model, "--out", out)
    taken = []

    def interrupted(solver, given, seed):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(solver.name)
        return measure(solver, given, seed)

    monkeypatch.setattr(command, "measure", interrupted)
    stopped = invoke(app, *words)
    assert stopped.code == 130
    assert f"2 of 15 parts are saved in {out}" in stopped.err
    monkeypatch.setattr(command, "measure", measure)
    outcome = invoke(app, *words)
    assert outcome.code == 0, outcome.err
    assert "2 of 15 parts are there already, going on" in outcome.err
    results = strict_json(out / "results.json")
    assert [row["solver"] for row in results["rows"]][:2] == taken == ["truth", "EM from the truth"]
    assert results["law"]["covariance"] == "inverse-wishart"
    told = [one.truth.n_components in (1, 2, 3) for one in held_out(PRIOR, 9, 0)]
    assert {row["n_sets"] for row in results["rows"] if not row["chooses"]} == {sum(told)}
    assert {row["n_sets"] for row in results["rows"] if row["chooses"]} == {9}
    page, _ = one_file_page(out)
    for row in results["rows"]:
        assert row["solver"] in page
        assert row["solver"] in outcome.out
    again = invoke(app, "cluster-pfn", "--sets", 8, "--model", model, "--out", out)
    assert again.code == 2
    assert "sets: 9 there, 8 now" in again.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("pfn",),
            "error: no prior 'pfn'; there are paper-d2, paper-d8, set-transformer, dac-like, cluster-pfn",
        ),
        (("paper-d2", "--sets", 1), "--sets is 1, needs an integer of at least 2"),
        (("paper-d2", "--model", "nowhere"), "nowhere: no such file"),
        (("paper-d2", "--seed", -1), "--seed -1"),
        (("paper-d2", "--model", "d8"), "--model d8: is of d = 8, paper-d2 of d = 2"),
    ],
)
def test_bad_input_is_one_line(words, line, tmp_path) -> None:
    outcome = invoke(app, *words, "--out", tmp_path / "new")
    assert outcome.code == 2
    assert line in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_network_that_serves_none_of_the_sets(tmp_path, model) -> None:
    outcome = invoke(app, "set-transformer", "--sets", 3, "--model", model, "--out", tmp_path / "new")
    assert outcome.code == 2
    assert f"--model {model}: serves K = (2, 3), 0 of the 3 sets are of it" in outcome.err
