import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from planted_networks import REGIME, Answers, planted, subject

from baselines import methods
from baselines.align import align
from baselines.metrics import errors
from baselines.mixture import Mixture
from console.phrases import UNKNOWN, Interval
from console.typed_json import from_plain, to_plain
from training.comparison.behaviour import PART
from training.comparison.behaviour.directions import (
    Alignment,
    Direction,
    alignment,
    directions,
    leaning,
    shrunk,
)
from training.comparison.behaviour.estimators import PRIOR_FREE, STEPS, displacement, noisy
from training.comparison.behaviour.measure import (
    BehaviourResult,
    halves_chosen,
    measure,
    paired,
    ranking,
    references_of,
)
from training.comparison.behaviour.report import _direction
from training.comparison.common import regimes
from training.comparison.common.random_paths import TaskSet
from training.comparison.common.regimes import (
    SHUFFLED,
    Regime,
    all_regimes,
    component_regimes,
    em_iterates,
    refusal,
    regime_tasks,
)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Iterations that stop after 20 steps: nothing here depends on how far they come, only on who is who."""
    for module in (methods, regimes):
        monkeypatch.setattr(module, "MAX_ITER", 20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_network_that_does_three_em_steps_is_nearest_to_just_these():
    found = measure(planted(lambda tasks: tasks.iterates("k-means++", STEPS)[3]), True)
    learned = found.kinds["learned"]
    assert learned.order[0] == "early k-means++"
    assert found.steps["learned"]["k-means++"] == (3, 3)
    assert learned.distances["early k-means++"].mean == (0.0, 0.0, 0.0)
    assert learned.wins["early k-means++"].value > 0.8  # where EM has arrived by then, others share it
    assert learned.ties == []
    curve = [row.value for row in found.curves["learned"]["k-means++"].mean]
    assert curve.index(0.0) == 3
    assert sum(value == 0.0 for value in curve) == 1
    # the control is not fooled: another task's answer has nothing at distance 0
    assert min(v.mean.value for v in found.kinds[SHUFFLED].distances.values()) > 0.1
    assert found.kinds["untrained"].distances["early k-means++"].mean.low > 0.1


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("truth", lambda tasks: tasks.truth),
        ("em", lambda tasks: tasks.best_em),
        ("k-means", lambda tasks: tasks.method("k-means").mixture),
        ("map-em", lambda tasks: tasks.mode),
    ],
)
def test_a_network_that_is_an_algorithm_is_found_out(expected, answer):
    learned = measure(planted(answer, n_tasks=12), True).kinds["learned"]
    assert learned.order[0] == expected
    assert learned.distances[expected].mean.value == 0.0
    assert learned.wins[expected].value > 0.5  # early EM shares those in which it has arrived
    assert "truth" not in learned.ties


def test_spectral_is_found_where_it_exists_and_left_out_where_it_cannot():
    tasks = planted(lambda t: t.method("spectral").mixture, Regime(2, 2, 48), 12)
    learned = measure(tasks, True).kinds["learned"]
    missing = tasks.method("spectral").missing
    assert learned.distances["spectral"].mean.value == 0.0
    assert learned.distances["spectral"].n == 12 - int(missing.sum())
    impossible = measure(planted(lambda t: t.truth, REGIME, 8), True)
    assert "spectral" not in impossible.kinds["learned"].distances
    assert "K = 3 > d = 2" in impossible.spectral_refusal


def test_the_direction_towards_the_mode_is_seen_and_the_next_tasks_is_not():
    def halfway(tasks):
        """EM + (mode - EM)/2, components in EM's order: cosine 1, coefficient 1/2."""
        em, mode = tasks.best_em, align(tasks.mode, tasks.best_em)[0]
        return Mixture((em.weights + mode.weights) / 2, (em.means + mode.means) / 2)

    found = measure(planted(halfway), True).directions["map-em"]
    assert found.learned.cosine.value == pytest.approx(1.0, abs=1e-9)
    assert found.learned.coefficient.value == pytest.approx(0.5, abs=1e-9)
    assert abs(found.controls[SHUFFLED].cosine.value) < 0.5
    assert found.n >= 10
    assert leaning(found) == "towards"


def test_a_network_that_only_shrinks_is_told_from_one_that_follows_the_mode():
    found = measure(planted(lambda tasks: shrunk(tasks.best_em, tasks.batch.X)), True).directions
    assert found["shrunk"].learned.cosine.value == pytest.approx(1.0, abs=1e-9)
    assert found["shrunk"].learned.coefficient.value == pytest.approx(1.0, abs=1e-9)
    assert found["map-em"].learned.cosine.high < 0.9


PRIOR_REGIME = Regime(2, 5, 128)
"""Components overlap: there estimators that know no prior lie towards the posterior mode, as seen from EM."""


def leans(answer, regime: Regime = PRIOR_REGIME, n_tasks: int = 60) -> dict[str, Direction]:
    """Directions of a network that says answer(tasks)."""
    tasks = planted(answer, regime, n_tasks)
    return directions(tasks, references_of(tasks, True)[0], generator(3))


def said_of(found: dict[str, Direction]) -> str:
    """The paragraph on directions of one regime."""
    plain = json.loads(json.dumps(to_plain(found)))
    return _direction({PRIOR_REGIME.title: from_plain(dict[str, Direction], plain)})


@pytest.mark.parametrize("name", ["k-means", "early 3"])
def test_a_network_that_knows_no_prior_does_not_lean_to_the_mode(name):
    found = leans(
        lambda tasks: (
            tasks.method("k-means").mixture if name == "k-means" else tasks.iterates("k-means++", STEPS)[3]
        )
    )
    towards = found["map-em"]
    # Without the controls that keep the link through EM it would: the interval is clear of the others'.
    broken = {key: towards.controls[key] for key in (SHUFFLED, "untrained")}
    assert leaning(replace(towards, controls=broken)) == "towards"
    assert leaning(towards) == ""
    assert leaning(found["truth"]) == leaning(found["shrunk"]) == ""
    # It is the control: only what is drawn for the interval differs.
    assert towards.controls[name].cosine.value == towards.learned.cosine.value
    said = said_of(found)
    assert "the posterior mode beyond what estimators without the prior do in 0 of 1 regimes" in said


def test_a_network_that_is_the_mode_leans_to_it():
    found = leans(lambda tasks: tasks.mode)
    assert leaning(found["map-em"]) == "towards"
    assert found["map-em"].learned.cosine.value == pytest.approx(1.0, abs=1e-9)
    assert max(found["map-em"].controls[key].cosine.high for key in PRIOR_FREE) < 0.9
    said = said_of(found)
    assert "the posterior mode beyond what estimators without the prior do in 1 of 1 regimes" in said
    assert "have a cosine with the direction of the posterior mode of up to 0.4" in said


def test_noise_about_em_or_about_the_truth_does_not_lean_to_the_mode():
    def noise(start):
        draws = torch.randn(start.means.shape, generator=generator(5), dtype=torch.float64)
        return Mixture(start.weights, start.means + 0.1 * draws)

    for answer in (lambda tasks: noise(tasks.best_em), lambda tasks: noise(tasks.truth)):
        assert leaning(leans(answer)["map-em"]) == ""


def test_a_control_is_left_out_where_it_is_the_reference():
    found = leans(lambda tasks: tasks.mode, REGIME, 24)
    assert set(PRIOR_FREE) - set(found["k-means"].controls) == {"k-means"}
    assert set(PRIOR_FREE) - set(found["early 3"].controls) == {"early 3"}
    assert set(PRIOR_FREE) - set(found["truth"].controls) == {"truth noise"}
    assert set(PRIOR_FREE) <= set(found["map-em"].controls)


def test_leaning_asks_for_every_control_and_for_0():
    def found(own, *controls):
        cosines = [Alignment(9, Interval(*one), UNKNOWN) for one in (own, *controls)]
        return Direction(9, 3, cosines[0], {str(i): one for i, one in enumerate(cosines[1:])})

    low, high = [0.1, 0.0, 0.2], [0.4, 0.3, 0.5]
    assert leaning(found([0.6, 0.51, 0.7], low, high)) == "towards"
    assert leaning(found([0.6, 0.49, 0.7], low, high)) == ""  # above one of them only
    assert leaning(found([0.0, -0.1, 0.1], [-0.4, -0.5, -0.3])) == ""  # above the control, not above 0
    assert leaning(found([-0.6, -0.7, -0.51], [-0.4, -0.5, -0.3])) == "away"
    assert leaning(found([-0.1, -0.2, -0.01], low, high)) == "away"
    assert leaning(found([0.6, 0.51, 0.7], UNKNOWN)) == ""  # one that cannot be ruled out


def test_noise_has_the_size_of_the_networks_distance():
    """Sums of squares of 6 standard normal numbers for the means, of 3 less their average for the weights:
    over T = 4000 tasks their averages are within 5 sqrt(2 / 6 T) = 4.6 % and 5 sqrt(1 / T) = 7.9 % of 1."""
    T = 4000
    means = 100.0 * torch.arange(6, dtype=torch.float64).reshape(1, 3, 2).expand(T, 3, 2)
    base = Mixture(torch.full((T, 3), 1 / 3, dtype=torch.float64), means.contiguous())
    own = torch.zeros(T, 9, dtype=torch.float64)
    own[:, 0], own[:, 7] = 0.5, 0.01
    drawn = noisy(base, base, own, generator())
    assert float(drawn[:, :6].square().sum(-1).mean()) == pytest.approx(0.25, rel=0.046)
    assert float(drawn[:, 6:].square().sum(-1).mean()) == pytest.approx(1e-4, rel=0.079)
    assert float(drawn[:, 6:].sum(-1).abs().max()) < 1e-15
    still = noisy(base, base, torch.zeros_like(own), generator())
    assert float(still.abs().max()) == 0.0


def test_the_displacement_is_the_metric():
    tasks = regime_tasks(subject(), REGIME, 8)
    em, other = tasks.best_em, tasks.start("random-points").mixture
    size = displacement(other, em).square().sum(-1)
    assert torch.allclose(size, errors(other, em).total, rtol=1e-12, atol=0)


def test_a_deviation_at_a_right_angle_has_no_coefficient():
    u, v = torch.zeros(20, 4, dtype=torch.float64), torch.zeros(20, 4, dtype=torch.float64)
    u[:, 0], v[:, 1] = 1.0, 2.0
    assert alignment(u, v, generator()).cosine == (0.0, 0.0, 0.0)
    assert alignment(u[:4], v[:4], generator()).n == 4  # too few for an interval
    assert math.isnan(alignment(u[:4], v[:4], generator()).cosine.value)
    assert alignment(u + 3 * v, v, generator()).coefficient.value == pytest.approx(3.0)


def test_the_step_is_chosen_on_the_other_half():
    curve = torch.ones(4, 10, dtype=torch.float64)
    curve[1, ::2] = 0.0  # the best of the even tasks, which the odd ones are given
    curve[2, 1::2] = 0.0
    values, steps = halves_chosen(curve, 0)
    assert steps == (2, 1)
    assert values.tolist() == [1.0] * 10  # choosing on the same half would say 0


def test_references_that_cannot_be_told_apart_are_ties_and_share_their_wins():
    near = torch.rand(200, generator=generator(), dtype=torch.float64) + 1
    found = ranking({"a": near, "b": near * 1.0001, "c": near + 0.3, "d": near.clone()}, generator())
    assert set(found.ties) | {found.order[0]} == {"a", "b", "d"}
    assert found.differences["c"].mean.value == pytest.approx(0.3)
    assert found.wins["c"].value == 0.0
    assert found.wins["a"].value == pytest.approx(1 / 3, abs=0.01)


def test_a_reference_without_an_estimate_never_wins():
    values = torch.ones(10, dtype=torch.float64)
    gone = values * torch.nan
    found = ranking({"a": values, "gone": gone}, generator())
    assert found.order == ["a", "gone"]
    assert found.wins["gone"].value == 0.0
    half = torch.where(torch.arange(10) < 4, values + 1, gone)
    assert paired(half, values, generator()).nearer.value == 1.0


def test_regimes_cover_k_n_and_separation():
    titles = [r.title for r in all_regimes(subject((2, 3), quick=False))]
    assert titles == [
        "K = 2, N = 128",
        "K = 3, N = 128",
        "K = 3, N = 32",
        "K = 3, N = 512",
        "K = 3, N = 128, separation 2",
        "K = 3, N = 128, separation 4",
        "K = 3, N = 128, separation 8",
    ]
    assert [r.n_components for r in component_regimes(subject((2, 3, 4, 5)))] == [2, 5]
    positions = subject((2, 3), max_positions=40, readout="pooling")
    assert {r.n_samples for r in all_regimes(positions)} == {40, 32}


def test_the_finding_follows_the_numbers():
    for answer, said in ((lambda t: t.truth, "the truth in 1 (1 alone)"), (lambda t: t.mode, "mode in 1 (")):
        found = measure(planted(answer, n_tasks=12), True)
        values = BehaviourResult("planted", 2, 0, STEPS, absent=[], scales=False, regimes=[found])
        section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(values)))))
        assert f"of 1 regimes with K > d: {said}" in section.paragraphs[0].replace("the posterior ", "")
        assert "0 within rounding in every regime" in section.paragraphs[1]
        assert tuple(p.name for p in section.pictures) == PART.pictures
        table = next(table for table in section.tables if "deviate from converged EM" in table.title)
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_refusals_say_why():
    assert refusal(subject()) == ""
    assert "K = 1" in refusal(subject((1,)))
    owner = subject()
    line = Answers(replace(owner.model.config, n_features=1, components=(3,)), owner)
    assert "one dimension" in refusal(replace(owner, released=replace(owner.released, model=line)))
    assert "5 points, needs at least 2 K = 6" in refusal(subject(max_positions=5))
    with pytest.raises(ValueError, match="number of tasks is 3, needs at least 4"):
        regime_tasks(subject(), REGIME, 3)


def test_tasks_and_estimates_are_made_once_and_the_same_again():
    one = subject()
    assert regime_tasks(one, REGIME, 8) is regime_tasks(one, REGIME, 8)
    first, again = regime_tasks(one, REGIME, 8), regime_tasks(subject(), REGIME, 8)
    again.method("k-means")  # in another order
    assert torch.equal(first.batch.X, again.batch.X)
    assert torch.equal(first.best_em.means, again.best_em.means)
    assert not torch.equal(first.batch.X, regime_tasks(one, REGIME, 8, TaskSet.FAILURES).batch.X)


def test_iterates_go_on_from_each_other():
    tasks = regime_tasks(subject(), REGIME, 8)
    path = tasks.iterates("k-means++", 4)
    again = em_iterates(tasks.batch.X, path[2], 2)
    assert torch.equal(again[2].means, path[4].means)
    likelihoods = [m.log_likelihood_per_point(tasks.batch.X) for m in path]
    assert all(bool((b >= a - 1e-12).all()) for a, b in pairwise(likelihoods))


def test_the_section_is_made_from_json_alone():
    started: list[str] = []
    owner = subject((2,), tasks=8, quick=True)
    values = PART.compute(owner, started.append)
    assert len(started) == PART.pieces(owner)
    section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(values)))))
    # A network with random weights fails every task: it has no direction.
    assert tuple(p.name for p in section.pictures) == PART.pictures[:3]
    assert "The network computes none of them exactly" in section.paragraphs[1]
    text = " ".join(cell for table in section.tables for row in table.rows for cell in row)
    assert "nan" not in text
    assert "inf" not in text
