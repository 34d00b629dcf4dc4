"""``python -m training.clustering``: its data, figures, words about wins, going on, the page."""

import math
from dataclasses import replace

import numpy as np
import pytest
from commands import invoke, one_file_page, strict_json
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from training.clustering import app
from training.clusterings import command
from training.clusterings import contenders as module
from training.clusterings.contenders import Contender, Grouping, contenders
from training.clusterings.data_sets import DataSet, Source, sources
from training.clusterings.figures import renamed
from training.clusterings.measure import Row, draws, measure
from training.clusterings.names import DATA, METHODS, REAL
from training.clusterings.table import cells_of, said, title, verdicts

RNG = np.random.default_rng(0)
GROUPS = np.repeat([0, 1], 30)
PAIR = DataSet(RNG.normal(size=(60, 2)) + 12.0 * GROUPS[:, None], GROUPS, RNG.normal(size=(60, 2)))
PLANTED = Source("planted", "two far groups", lambda place, seed: PAIR)
FIXED = replace(PLANTED, random=False)


def answering(labels, level=None, **named):
    """A contender whose n-th seed gives the n-th labels."""
    return Contender("it", "It", "", lambda data, seed: Grouping(np.asarray(labels[seed]), level), **named)


@pytest.mark.parametrize("name", [name for name in DATA if name not in ("digits-all", "digits")])
def test_data_sets_are_fixed_by_seed_and_place(name) -> None:
    source = sources()[name]
    first, again, other = source.draw(0, 1), source.draw(0, 1), source.draw(1, 1)
    assert (first.X == again.X).all()
    assert len(first.X) == len(first.groups)
    assert set(first.groups) <= set(range(first.n_groups))
    if name in REAL:
        assert not source.random
        assert first.unseen is None
        assert (first.X == other.X).all()
        return
    assert first.X.shape != other.X.shape or (first.X != other.X).any()
    assert source.draw(0, 2).X.shape != first.X.shape or (source.draw(0, 2).X != first.X).any()
    assert first.unseen.shape == first.X.shape
    assert not set(map(tuple, first.unseen)) & set(map(tuple, first.X))
    assert first.unit == name.startswith("unit")


def test_both_halves_of_a_shape_have_all_groups() -> None:
    """make_moons and make_circles give one group after the other."""
    for name in ("moons", "circles"):
        data = sources()[name].draw(0, 0)
        # Half of 1,000 points without replacement: six standard deviations, each 250 / sqrt(999) = 7.9.
        assert abs(np.bincount(data.groups)[0] - 250) <= 6 * 250 / 999**0.5
        radii = np.linalg.norm(data.X, axis=1)
        # Two samples of 500 radii each: six standard errors of the difference of their means.
        others = np.linalg.norm(data.unseen, axis=1)
        assert abs(others.mean() - radii.mean()) <= 6 * ((radii.var() + others.var()) / 500) ** 0.5


def test_quick_digits_are_few_and_of_all_classes() -> None:
    data = sources(quick=True)["digits"].draw(0, 0)
    assert (len(data.X), data.n_groups) == (200, 10)


def test_the_figures_of_a_planted_contender() -> None:
    wrong = np.where(np.arange(60) < 10, 1, GROUPS)
    left = np.where(np.arange(60) < 6, -1, GROUPS)
    it = answering([GROUPS, wrong, left], lambda X: float(X.sum()))
    row = measure(PLANTED, it, draws(PLANTED, 3, 1, 0), 0)
    for found, index in ((row.ari, adjusted_rand_score), (row.nmi, normalized_mutual_info_score)):
        np.testing.assert_allclose(found, [index(GROUPS, labels) for labels in (GROUPS, wrong, left)])
    assert (row.n_groups, row.left_out) == ([2, 2, 2], pytest.approx(0.1 / 3))
    assert row.log_likelihood == pytest.approx(PAIR.X.sum())
    assert row.unseen == pytest.approx(PAIR.unseen.sum())
    assert row.labels == GROUPS.tolist()
    assert row.cpu_seconds >= 0


def test_a_seed_that_changes_nothing_is_tried_once_on_real_data() -> None:
    unseeded = answering([GROUPS] * 3, seeded=False)
    assert len(measure(FIXED, unseeded, draws(FIXED, 1, 3, 0), 0).ari) == 1
    assert len(measure(FIXED, replace(unseeded, seeded=True), draws(FIXED, 1, 3, 0), 0).ari) == 3
    assert len(measure(PLANTED, unseeded, draws(PLANTED, 3, 1, 0), 0).ari) == 3


@pytest.mark.parametrize("name", METHODS)
def test_every_contender_finds_two_far_groups(name, monkeypatch) -> None:
    for setting, value in (("RESTARTS", 2), ("VIEWS", 1), ("FULL_STEPS", 5)):
        monkeypatch.setattr(module, setting, value)
    it = contenders(quick=True)[name]
    row = measure(PLANTED, it, [PAIR], 0)
    if name in ("truth", "em-unit"):
        assert row.problem
        assert row.ari == ()
        return
    assert row.problem == ""
    if name == "hdbscan":  # at least 5 points a group: it may cut off some
        assert row.ari[0] > 0.5
    else:
        assert row.ari[0] == 1
    with_density = it.mixture or it.bound
    assert (row.log_likelihood is not None) == (row.unseen is not None) == with_density


def test_em_is_likelier_than_the_truth_on_what_it_has_seen_alone() -> None:
    source = sources()["unit-d8"]
    data = draws(source, 2, 1, 0)
    rows = {name: measure(source, contenders()[name], data, 0) for name in ("truth", "em-unit", "bayesian")}
    assert rows["em-unit"].log_likelihood > rows["truth"].log_likelihood
    assert rows["em-unit"].unseen < rows["truth"].unseen
    assert rows["bayesian"].unseen < rows["truth"].unseen
    own = [float(d.truth.log_likelihood_per_point(d.truth.means.new_tensor(d.X))) for d in data]
    # The same numbers, of which the mean of two is taken in one order or another.
    assert math.isclose(rows["truth"].log_likelihood, np.mean(own), rel_tol=4 * 2.0**-53)


def test_what_cannot_be_fitted_says_why() -> None:
    data = DataSet(RNG.normal(size=(60, 3)), np.repeat(np.arange(10), 6))
    row = measure(PLANTED, contenders()["network"], [data], 0)
    assert row.problem == "n_components is 10, this model serves 2, 3, 4, 5"
    assert cells_of(row, contenders()["network"])[-1] == row.problem


def test_cells_and_title() -> None:
    row = Row("a", "it", [0.5, 0.7], [0.6, 0.6], [2, 3], 0.25, -1.5, -1.75, 0.5)
    it = answering([], bound=True, chooses=True)
    expected = ["It", "0.600", "0.100", "0.600", "2.5", "0.250", ">= -1.500", ">= -1.750", "0.5", "chooses K"]
    assert cells_of(row, it) == expected
    assert cells_of(replace(row, ari=[-1e-6]), it)[1:3] == ["0.000", "-"]
    assert title(PLANTED, [PAIR, PAIR]) == "planted: N = 60, d = 2, K = 2, 2 draws"
    assert title(FIXED, [PAIR]) == "planted: N = 60, d = 2, K = 2, 1 seed"


def test_wins_and_losses_are_draw_by_draw() -> None:
    """The differences are 0.1 with little spread, though both move by more from draw to draw."""
    everyone = contenders()
    rows = [
        Row("planted", "em", [0.2, 0.5, 0.81]),
        Row("planted", "sklearn-gmm", [1.0, 1.0, 1.0]),
        Row("planted", "ward", [0.3, 0.6, 0.9]),
        Row("planted", "birch", [0.1, 0.1, 0.1]),
        Row("planted", "dec", problem="none"),
    ]
    [found] = verdicts(rows, {"planted": PLANTED}, everyone)
    assert found == ["planted", "0.503", "agglomerative", "0.600", "-0.097", "0.003", "loses"]
    [found] = verdicts(rows, {"planted": FIXED}, everyone)
    assert found[-2:] == ["-", "behind"]
    assert verdicts(rows[1:], {"planted": PLANTED}, everyone) == []
    cases = {(0.3, 0.1): "wins", (-0.3, 0.1): "loses", (0.2, 0.1): "not told apart", (0.3, None): "one draw"}
    assert {case: said(*case, True) for case in cases} == cases
    assert [said(value, None, False) for value in (0.1, 0.0)] == ["ahead", "even"]


def test_groups_are_renamed_after_those_drawn() -> None:
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    found = renamed(np.array([7, 7, 3, 3, 3, 3, -1, 5]), groups)
    assert found.tolist() == [0, 0, 1, 1, 1, 1, -1, 2]
    split = renamed(np.array([0, 0, 1, 2, 2, 2, 3, 3]), groups)
    assert split.tolist() == [0, 0, 3, 1, 1, 1, 2, 2]
    assert renamed(np.full(8, -1), groups).tolist() == [-1] * 8


def test_the_command_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    out = tmp_path / "new"
    words = ("--data", "circles,iris", "--repeats", 2, "--starts", 2, "--out", out)
    methods = ("--methods", "k-means,spectral,hdbscan-5,truth")
    taken = []

    def interrupted(source, contender, data, seed):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append((source.name, contender.name))
        return measure(source, contender, data, seed)

    monkeypatch.setattr(command, "measure", interrupted)
    stopped = invoke(app, *words, *methods)
    assert stopped.code == 130
    assert f"2 of 8 parts are saved in {out}" in stopped.err
    assert taken == [("circles", "k-means"), ("iris", "k-means")]
    monkeypatch.setattr(command, "measure", measure)
    outcome = invoke(app, *words, *methods)
    assert outcome.code == 0, outcome.err
    assert "2 of 8 parts are there already, going on" in outcome.err
    results = strict_json(out / "results.json")
    rows = {(row["source"], row["contender"]): row for row in results["rows"]}
    assert len(rows) == 8
    assert np.mean(rows["circles", "spectral"]["ari"]) > 0.95
    assert abs(np.mean(rows["circles", "k-means"]["ari"])) < 0.05
    assert len(rows["iris", "hdbscan-5"]["ari"]) == 1
    page, pictures = one_file_page(out)
    assert pictures == {"agreement", "groups"}
    assert "not drawn from a mixture" in page
    assert "circles: N = 500, d = 2, K = 2, 2 draws" in outcome.out
    more = invoke(app, *words, "--methods", "ward")
    assert more.code == 0, more.err
    assert len(strict_json(out / "results.json")["rows"]) == 10
    again = invoke(app, "--repeats", 3, "--starts", 2, "--out", out)
    assert again.code == 2
    assert "repeats: 2 there, 3 now" in again.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--data", "moon"), "error: --data moon: 'moon' is not one of unit-d2, unit-d8, full-d2,"),
        (("--methods", "em,"), "error: --methods em,: '' is not one of truth, em,"),
        (("--repeats", 0), "error: --repeats is 0, needs an integer of at least 1"),
        (("--starts", -2), "error: --starts is -2, needs an integer of at least 1"),
        (("--seed", 2**31), "error: --seed 2147483648: it lies below 2147483648 here"),
    ],
)
def test_bad_input_is_one_line(words, line, tmp_path) -> None:
    outcome = invoke(app, *words, "--out", tmp_path / "new")
    assert outcome.code == 2
    assert outcome.err.startswith(line)
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "new").exists()
