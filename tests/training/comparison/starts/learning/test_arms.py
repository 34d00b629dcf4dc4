"""The networks at step 0: what each start has of the construction, and what not."""

import pytest
import torch

from constructions.language.rounding import gamma, unit_roundoff
from training.comparison.starts.learning.arms import NOISE, RunPlan, WideSizes, fresh, starting_network
from training.comparison.starts.learning.slotted_tasks import StartProblem
from training.model.balance import balanced

U = unit_roundoff(torch.float64)
PROBLEM = StartProblem(2, dtype=torch.float64)
SIZES = WideSizes(width=40, hidden=100)


def start(arm, change="none", seed=0):
    return starting_network(PROBLEM, RunPlan(2, arm, change, 1e-3, 1, seed), SIZES).requires_grad_(False)


@pytest.mark.parametrize("change", ["none", "tied"])
def test_the_constructed_start_is_the_construction(change):
    tasks = PROBLEM.batch(4, 0, 1)
    narrow = PROBLEM.construction.to_transformer().requires_grad_(False)
    network = start("constructed", change)
    expected = PROBLEM.states(narrow, tasks)[-1]
    found = PROBLEM.states(network, tasks)[-1][..., : expected.shape[-1]]
    # The sums of tests/.../test_widened.py with slopes of 1e3 (floor 1e-3), points to 12, three steps, and
    # weights rounded once by balancing: e = 1e4 gamma_142; log r passes on 1e3, scores 12 times an error of
    # means, three times over.
    assert float((found - expected).abs().max()) <= 1e4 * gamma(142, U) * (1e3) ** 2
    moved = PROBLEM.states(start("noise", change), tasks)[-1][..., : expected.shape[-1]]
    assert float((moved - expected).abs().max()) > 1e-2  # the control


def test_tied_networks_have_a_third_of_the_weights():
    tied, untied = start("constructed", "tied"), start("constructed")
    assert tied.shape.loops == 3
    assert untied.shape.loops == 1
    count = [sum(p.numel() for p in one.parameters()) for one in (tied, untied)]
    assert count[1] == 3 * count[0]
    h = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    random = start("random", "tied")
    assert random.shape.loops == 3
    assert random(h).shape == h.shape


def test_noise_has_the_named_size_in_every_tensor():
    before, after = start("constructed", seed=4), start("noise", seed=4)
    for p, q in zip(before.parameters(), after.parameters(), strict=True):
        # The sum and the difference round by u |p| in all, 1e-13 of the noise.
        assert float((q - p).norm()) == pytest.approx(NOISE * float(p.norm()), rel=1e-9, abs=1e-12)


def test_random_starts_have_the_stated_spread():
    network = start("random")
    attention, mlp = network.layers[0].attention, network.layers[0].mlp
    depth = 12**0.5
    wanted = {
        "query": (attention.query, (40 * 16) ** -0.5),
        "key": (attention.key, 40**-0.5),
        "value": (attention.value, 40**-0.5),
        "output": (attention.output, (4 * 16) ** -0.5 / depth),
        "w1": (mlp.w1, 40**-0.5),
        "w2": (mlp.w2, 100**-0.5 / depth),
    }
    for name, (weight, spread) in wanted.items():
        # 2,560 or 4,000 normal numbers: their deviation errs by 1.4 % (one standard error); five of them.
        assert float(weight.std()) == pytest.approx(spread, rel=0.07), name
    assert not mlp.b1.any()
    assert not mlp.b2.any()


def test_the_normed_start_differs_from_the_random_one_in_its_norms_alone():
    random, normed = start("random"), start("normed")
    names = dict(normed.named_parameters())
    for name, weight in random.named_parameters():
        assert torch.equal(names.pop(name), weight)
    assert names
    assert all("norm" in name for name in names)
    h = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert not torch.allclose(random(h), normed(h))


def test_seeds_give_other_weights_and_equal_ones_the_same():
    for arm in ("constructed", "noise", "random"):
        one, same, other = start(arm), start(arm), start(arm, seed=1)
        pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
        assert all(torch.equal(p, q) for p, q, _ in pairs)
        assert any(not torch.equal(p, q) for p, _, q in pairs)


def test_fresh_draws_from_its_generator_alone():
    shape = balanced(PROBLEM.construction.to_transformer(looped=False)).shape
    before = torch.get_rng_state()
    fresh(shape, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
