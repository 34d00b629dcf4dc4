import json
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from model_instances import small_model

from baselines import methods
from baselines.align import align
from baselines.metrics import errors
from baselines.mixture import Mixture
from console.output import finite
from training.comparison import regimes
from training.comparison.behaviour import PART, halves_chosen, measure, paired, ranking
from training.comparison.behaviour_directions import STEPS, alignment, displacement, shrunk
from training.comparison.parts import Effort, Subject
from training.comparison.regimes import (
    SHUFFLED,
    Regime,
    all_regimes,
    component_regimes,
    em_iterates,
    refusal,
    regime_tasks,
)
from training.model import ModelConfig
from training.released import Released

REGIME = Regime(2, 3, 48)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Iterations that stop after 20 steps: nothing here depends on how far they come, only on who is who."""
    for module in (methods, regimes):
        monkeypatch.setattr(module, "MAX_ITER", 20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def subject(components: tuple[int, ...] = (2, 3), tasks: int = 8, quick: bool = True, **options) -> Subject:
    model = small_model(options, components=components).eval().requires_grad_(False)
    other = small_model(options, components=components, seed=1).eval().requires_grad_(False)
    return Subject(Released("small", model, "", {}), other, Effort(quick, 0, tasks))


@dataclass(frozen=True)
class Answers:
    """A network that knows what to say."""

    config: ModelConfig
    known: object

    def estimate(self, X: torch.Tensor, n_components: int) -> Mixture:
        return self.known


def planted(answer, regime: Regime = REGIME, n_tasks: int = 24):
    """Tasks on which the learned network says answer(tasks)."""
    owner = subject(tasks=n_tasks)
    known = answer(regime_tasks(owner, regime, n_tasks))
    model = Answers(owner.model.config, known)
    return regime_tasks(replace(owner, released=replace(owner.released, model=model)), regime, n_tasks)


def test_a_network_that_does_three_em_steps_is_nearest_to_just_these():
    found = measure(planted(lambda tasks: tasks.iterates("k-means++", STEPS)[3]), True)
    learned = found["kinds"]["learned"]
    assert learned["order"][0] == "early k-means++"
    assert found["steps"]["learned"]["k-means++"] == [3, 3]
    assert learned["distances"]["early k-means++"]["mean"] == [0.0, 0.0, 0.0]
    assert learned["wins"]["early k-means++"][0] > 0.8  # where EM has arrived by then, others share it
    assert learned["ties"] == []
    curve = [row[0] for row in found["curves"]["learned"]["k-means++"]["mean"]]
    assert curve.index(0.0) == 3
    assert sum(value == 0.0 for value in curve) == 1
    # the control is not fooled: another task's answer has nothing at distance 0
    assert min(v["mean"][0] for v in found["kinds"][SHUFFLED]["distances"].values()) > 0.1
    assert found["kinds"]["untrained"]["distances"]["early k-means++"]["mean"][1] > 0.1


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
    learned = measure(planted(answer, n_tasks=12), True)["kinds"]["learned"]
    assert learned["order"][0] == expected
    assert learned["distances"][expected]["mean"][0] == 0.0
    assert learned["wins"][expected][0] > 0.5  # early EM shares those in which it has arrived
    assert "truth" not in learned["ties"]


def test_spectral_is_found_where_it_exists_and_left_out_where_it_cannot():
    tasks = planted(lambda t: t.method("spectral").mixture, Regime(2, 2, 48), 12)
    learned = measure(tasks, True)["kinds"]["learned"]
    missing = tasks.method("spectral").missing
    assert learned["distances"]["spectral"]["mean"][0] == 0.0
    assert learned["distances"]["spectral"]["n"] == 12 - int(missing.sum())
    impossible = measure(planted(lambda t: t.truth, REGIME, 8), True)
    assert "spectral" not in impossible["kinds"]["learned"]["distances"]
    assert "K = 3 > d = 2" in impossible["spectral_refusal"]


def test_the_direction_towards_the_mode_is_seen_and_the_next_tasks_is_not():
    def halfway(tasks):
        """EM + (mode - EM)/2, components in EM's order: cosine 1, coefficient 1/2."""
        em, mode = tasks.best_em, align(tasks.mode, tasks.best_em)[0]
        return Mixture((em.weights + mode.weights) / 2, (em.means + mode.means) / 2)

    found = measure(planted(halfway), True)["directions"]["map-em"]
    assert found["learned"]["cosine"][0] == pytest.approx(1.0, abs=1e-9)
    assert found["learned"]["coefficient"][0] == pytest.approx(0.5, abs=1e-9)
    assert abs(found[SHUFFLED]["cosine"][0]) < 0.5
    assert found["n"] >= 10


def test_a_network_that_only_shrinks_is_told_from_one_that_follows_the_mode():
    found = measure(planted(lambda tasks: shrunk(tasks.best_em, tasks.batch.X)), True)["directions"]
    assert found["shrunk"]["learned"]["cosine"][0] == pytest.approx(1.0, abs=1e-9)
    assert found["shrunk"]["learned"]["coefficient"][0] == pytest.approx(1.0, abs=1e-9)
    assert found["map-em"]["learned"]["cosine"][2] < 0.9


def test_the_displacement_is_the_metric():
    tasks = regime_tasks(subject(), REGIME, 8)
    em, other = tasks.best_em, tasks.start("random-points").mixture
    size = displacement(other, em).square().sum(-1)
    assert torch.allclose(size, errors(other, em).total, rtol=1e-12, atol=0)


def test_a_deviation_at_a_right_angle_has_no_coefficient():
    u, v = torch.zeros(20, 4, dtype=torch.float64), torch.zeros(20, 4, dtype=torch.float64)
    u[:, 0], v[:, 1] = 1.0, 2.0
    assert alignment(u, v, generator())["cosine"] == [0.0, 0.0, 0.0]
    assert alignment(u + 3 * v, v, generator())["coefficient"][0] == pytest.approx(3.0)


def test_the_step_is_chosen_on_the_other_half():
    curve = torch.ones(4, 10, dtype=torch.float64)
    curve[1, ::2] = 0.0  # the best of the even tasks, which the odd ones are given
    curve[2, 1::2] = 0.0
    values, steps = halves_chosen(curve, 0)
    assert steps == [2, 1]
    assert values.tolist() == [1.0] * 10  # choosing on the same half would say 0


def test_references_that_cannot_be_told_apart_are_ties_and_share_their_wins():
    near = torch.rand(200, generator=generator(), dtype=torch.float64) + 1
    found = ranking({"a": near, "b": near * 1.0001, "c": near + 0.3, "d": near.clone()}, generator())
    assert set(found["ties"]) | {found["order"][0]} == {"a", "b", "d"}
    assert found["differences"]["c"]["mean"][0] == pytest.approx(0.3)
    assert found["wins"]["c"][0] == 0.0
    assert found["wins"]["a"][0] == pytest.approx(1 / 3, abs=0.01)


def test_a_reference_without_an_estimate_never_wins():
    values = torch.ones(10, dtype=torch.float64)
    gone = values * torch.nan
    found = ranking({"a": values, "gone": gone}, generator())
    assert found["order"] == ["a", "gone"]
    assert found["wins"]["gone"][0] == 0.0
    half = torch.where(torch.arange(10) < 4, values + 1, gone)
    assert paired(half, values, generator())["nearer"][0] == 1.0


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
        values = {"name": "planted", "d": 2, "seed": 0, "steps": STEPS, "absent": [], "scales": False}
        section = PART.render(json.loads(json.dumps(finite(values | {"regimes": [found]}))))
        assert f"of 1 regimes with K > d: {said}" in section.paragraphs[0].replace("the posterior ", "")
        assert "0 within rounding in every regime" in section.paragraphs[1]


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
    assert not torch.equal(first.batch.X, regime_tasks(one, REGIME, 8, 1).batch.X)


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
    section = PART.render(json.loads(json.dumps(finite(values), allow_nan=False)))
    assert tuple(p.name for p in section.pictures) == PART.pictures
    assert "The network computes none of them exactly" in section.paragraphs[1]
    text = " ".join(cell for table in section.tables for row in table.rows for cell in row)
    assert "nan" not in text
    assert "inf" not in text
