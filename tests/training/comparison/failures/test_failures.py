import json
import math

import pytest
import torch
from model_instances import small_model
from scipy import stats

from baselines import methods
from baselines.mixture import Mixture
from console.phrases import UNKNOWN, Interval
from console.typed_json import from_plain, to_plain
from training.comparison.common import regimes
from training.comparison.common.parts import Effort, Subject
from training.comparison.common.regimes import SHUFFLED, Regime, regime_tasks
from training.comparison.common.task_statistics import (
    FourFold,
    area,
    four_fold,
    mean_interval,
    median_interval,
    permutation_p,
    pooled_area,
    pooled_odds,
    share_interval,
)
from training.comparison.failures import PART
from training.comparison.failures import strata as failures
from training.comparison.failures.areas import PERMUTATIONS, Area, area_p, areas
from training.comparison.failures.kinds import KINDS, NONE, kinds_of
from training.comparison.failures.measure import bins, pairs
from training.comparison.failures.report import _where
from training.serving.loading import Released


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Iterations that stop after 20 steps: nothing here depends on how far they come."""
    for module in (methods, regimes, failures):
        monkeypatch.setattr(module, "MAX_ITER", 20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def subject(components=(2, 3), tasks: int = 8) -> Subject:
    model, other = (small_model(components=components, seed=s).eval().requires_grad_(False) for s in (0, 1))
    return Subject(Released("small", model, "", {}), other, Effort(True, 0, tasks))


def strata(
    network: torch.Tensor, other: torch.Tensor, hardness: torch.Tensor | None = None
) -> list[failures.Stratum]:
    """Two strata with planted failures, the first and the second half of the tasks given."""
    owner, half = subject(), len(network) // 2
    hardness = torch.arange(2.0 * half, dtype=torch.float64) if hardness is None else hardness
    found = []
    for K, part in ((2, slice(half)), (3, slice(half, None))):
        fails = {"network": network[part], "em normal": other[part], "em random-points": other[part].roll(7)}
        scores = {"closest": hardness[part], "least": -hardness[part], "floor": hardness[part]}
        tasks = regime_tasks(owner, Regime(2, K), 8)
        everything = torch.ones(20, dtype=torch.bool)
        found.append(failures.Stratum(tasks, fails, everything, scores, kinds={}, repaired={}))
    return found


def random_failures(share: float, seed: int, n: int = 400) -> torch.Tensor:
    return torch.rand(n, generator=generator(seed)) < share


def test_planted_common_failures_are_found_and_the_control_is_not():
    network = random_failures(0.1, 1)
    other = network | random_failures(0.05, 2)
    found = pairs(strata(network, other), generator())["em normal"]
    table = found.tables[0]
    a, b, c, d = table.counts
    first, second = network[:200], other[:200]
    assert (a, b) == (int(first.sum()), 0)
    assert (c, d) == (int((second & ~first).sum()), int((~second).sum()))
    assert table.p < 1e-6
    assert found.p == pytest.approx(1 / 1001)
    assert found.odds.value == math.inf  # no task that the network alone fails
    assert found.shuffled.odds.low < 1 < found.shuffled.odds.high
    assert found.shuffled.p > 0.05


def test_unrelated_failures_are_not_called_related():
    found = pairs(strata(random_failures(0.2, 1), random_failures(0.2, 2)), generator())["em normal"]
    assert found.odds.low < 1 < found.odds.high
    assert found.p > 0.05


def test_more_failures_at_larger_k_alone_are_no_association():
    """Independent within each stratum, at 5 and 60 %: the table of both together has phi about 0.3."""
    low = [random_failures(0.05, s, 800) for s in (1, 2)]
    high = [random_failures(0.6, s, 800) for s in (3, 4)]
    together = four_fold(torch.cat([low[0], high[0]]), torch.cat([low[1], high[1]]))
    assert together.phi > 0.2
    apart = pooled_odds([four_fold(*low), four_fold(*high)])
    assert apart[1] < 1 < apart[2]
    assert permutation_p([low[0], high[0]], [low[1], high[1]], generator()) > 0.05


def test_failures_that_never_meet_are_as_unlikely_as_those_that_always_do():
    """Ten of twenty fail by each, none by both, where five are expected: the test has two sides."""
    first = torch.arange(20) < 10
    for second in (~first, first):
        assert permutation_p([first], [second], torch.Generator().manual_seed(0)) < 0.01


def test_fourfold_figures_by_hand():
    table = FourFold(10, 5, 4, 81)
    assert table.phi == pytest.approx((10 * 81 - 5 * 4) / math.sqrt(15 * 85 * 14 * 86))
    one = pooled_odds([table])
    log_error = math.sqrt(1 / 10 + 1 / 5 + 1 / 4 + 1 / 81)  # Woolf's, which one stratum reduces to
    assert one[0] == pytest.approx(10 * 81 / 20)
    assert one[2] == pytest.approx(one[0] * math.exp(1.959964 * log_error), rel=1e-5)
    assert table.odds.low < one[0] < table.odds.high
    empty = FourFold(0, 3, 0, 20)
    assert math.isnan(empty.phi)
    assert all(math.isnan(v) for v in empty.odds)


def test_area_by_hand_and_within_strata():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    fails = torch.tensor([False, True, False, True])
    assert area(scores, fails) == pytest.approx(3 / 4)
    assert area(torch.zeros(4), fails) == pytest.approx(1 / 2)
    assert math.isnan(area(scores, torch.ones(4, dtype=torch.bool)))
    # perfect within strata, worthless across: a score that is 100 higher where fewer fail
    shifted = pooled_area([scores, scores + 100], [scores > 2, scores > 3], generator())
    assert shifted[0] == 1.0


def test_hardness_that_decides_is_found_and_the_next_tasks_says_nothing():
    hardness = torch.rand(400, generator=generator(5), dtype=torch.float64)
    found = areas(strata(hardness > 0.9, random_failures(0.3, 2), hardness), generator())
    assert found["closest"]["network"].area.value == 1.0
    assert found["least"]["network"].area.value == 0.0
    control = found["closest"]["network"].shuffled
    assert control[1] < 0.5 < control[2]
    other = found["closest"]["em normal"].area
    assert other[1] < 0.5 < other[2]


def test_p_of_an_area_is_within_strata():
    scores = torch.arange(200, dtype=torch.float64)
    hard, unrelated = scores > 180, random_failures(0.1, 4, 200)
    assert area_p([scores], [hard], generator()) == 1 / (1 + PERMUTATIONS)
    assert area_p([-scores], [hard], generator()) == 1 / (1 + PERMUTATIONS)  # two-sided
    assert area_p([scores], [unrelated], generator()) > 0.05
    assert area_p([scores], [torch.zeros(200, dtype=torch.bool)], generator()) == 1.0
    assert area_p([torch.zeros(200, dtype=torch.float64)], [hard], generator()) == 1.0
    # A score that is larger where more fail, and says nothing within either stratum.
    more = random_failures(0.6, 5, 200)
    assert area_p([scores, scores + 1000], [unrelated, more], generator()) > 0.05
    assert area_p([torch.cat([scores, scores + 1000])], [torch.cat([unrelated, more])], generator()) < 0.001


def test_p_of_an_area_agrees_with_mann_and_whitney():
    """Of p about 0.1: 1999 draws have a standard error of sqrt(0.1 0.9 / 1999) = 0.007; four of them."""
    scores = torch.rand(60, generator=generator(3), dtype=torch.float64)
    failed = scores + 4 * torch.rand(60, generator=generator(8), dtype=torch.float64) > 3.5
    exact = stats.mannwhitneyu(scores[failed], scores[~failed], method="exact").pvalue
    assert 0.0001 < exact < 0.5
    error = math.sqrt(exact * (1 - exact) / PERMUTATIONS)
    assert area_p([scores], [failed], generator()) == pytest.approx(exact, abs=4 * error + 1 / PERMUTATIONS)


def test_what_is_said_of_hardness_bears_their_number():
    """p = 0.02 would do alone, not among six (0.05 / 6 = 0.0083)."""
    area = Interval(0.6, 0.52, 0.68)
    names = ("closest", "least", "moment", "sample", "floor", "em")
    values = {name: {"network": Area(area, UNKNOWN, 0.02)} for name in names}
    said = _where(values)
    assert "6 hardnesses compared (which asks for p of at most 0.0083): none is apart from 0.5" in said
    assert "taken alone, but not among so many, for two true means are close (0.6 (" in said
    values["em"]["network"] = Area(Interval(0.7, 0.6, 0.8), UNKNOWN, 0.001)
    said = _where(values)
    assert "apart from 0.5 for EM from random points fails often (0.7 (0.6 to 0.8), p = 1.0e-03" in said
    values = {"floor": values["floor"]}
    assert "1 hardnesses" in _where(values)
    assert "apart from 0.5 for large error" in _where(values)  # alone p = 0.02 does


def test_bins_show_where_it_fails():
    hardness = torch.rand(400, generator=generator(5), dtype=torch.float64)
    shares = bins(strata(hardness > 0.9, random_failures(0.3, 2), hardness), generator())["closest"].shares
    assert [round(s[0], 6) for s in shares["network"]] == [
        pytest.approx(float((hardness > 0.9).sum()) / 100),
        0.0,
        0.0,
        0.0,
    ]
    assert all(s[0] == 1.0 for s in shares["untrained"])
    control = [s[0] for s in shares[SHUFFLED]]
    assert max(control) < shares["network"][0][0] / 2


def test_kinds_of_planted_failures():
    means = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 9.0]], dtype=torch.float64).repeat(5, 1, 1)
    truth = Mixture(torch.full((5, 3), 1 / 3, dtype=torch.float64), means)
    X, _ = truth.sample(60, generator())
    estimate, weights = means.clone(), torch.full((5, 3), 1 / 3, dtype=torch.float64)
    estimate[0, 0] += torch.tensor([0.0, -40.0])  # far from every point
    estimate[1, 2] = estimate[1, 1] + 0.5  # two on one cluster
    weights[2] = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64)  # the weights alone
    estimate[3] += 1.5  # every mean at its own cluster
    floor = torch.full((5,), 0.02, dtype=torch.float64)
    failed = torch.tensor([True, True, True, True, False])
    found = kinds_of(X, Mixture(weights, estimate), truth, floor, failed)
    assert [KINDS[i] if i != NONE else None for i in found.tolist()] == [
        "far",
        "doubled",
        "weights",
        "imprecise",
        None,
    ]
    shuffled = torch.tensor([2, 0, 1]).repeat(5, 1)  # an order of components is no kind
    again = kinds_of(X, Mixture(weights, estimate).permute(shuffled), truth, floor, failed)
    assert torch.equal(again, found)


def test_failed_em_is_not_repaired_by_em_and_the_truth_is():
    tasks = regime_tasks(subject(tasks=40), Regime(2, 3, 48), 40)
    everything = torch.ones(40, dtype=torch.bool)
    assert failures._repaired(tasks, tasks.truth, everything) == (40, 40)
    assert failures._repaired(tasks, tasks.truth, ~everything) == (0, 0)


def test_intervals():
    values = torch.arange(100, dtype=torch.float64)
    value, low, high = median_interval(values)
    assert value == 49.5
    rank = int(stats.binom.ppf(0.025, 100, 0.5))
    assert (low, high) == (values[rank - 1], values[100 - rank])
    assert stats.binom.cdf(rank - 1, 100, 0.5) <= 0.025 < stats.binom.cdf(rank, 100, 0.5)
    assert math.isnan(median_interval(values[:3])[1])
    mean = mean_interval(torch.cat([values, torch.tensor([math.nan])]), generator())
    assert mean[0] == 49.5
    spread = 1.96 * float(values.std(correction=0)) / 10
    assert mean[2] - mean[0] == pytest.approx(spread, rel=0.15)  # quantiles of 1,000 draws: 5 % each
    assert share_interval(0, 0)[0] != share_interval(0, 0)[0]


def test_the_section_is_made_from_json_alone():
    started: list[str] = []
    owner = subject(tasks=8)
    values = PART.compute(owner, started.append)
    assert len(started) == PART.pieces(owner)
    section = PART.render(from_plain(PART.result, json.loads(json.dumps(to_plain(values)))))
    assert tuple(p.name for p in section.pictures) == PART.pictures
    assert values.strata[0].shares["untrained"][0] == 1.0
    text = " ".join([*section.paragraphs, *(c for t in section.tables for row in t.rows for c in row)])
    assert "nan" not in text
    assert "K = 3 (K > d)" in text
