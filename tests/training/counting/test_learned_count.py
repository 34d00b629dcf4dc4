"""The learned criterion: training, what it says, files, the command, bad input."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.choosing.selection import Selections
from baselines.estimator_sets import DataWarning
from console.errors import run_command
from training.count import app
from training.counting import choose, learned_count, load_criterion
from training.counting.choose import CRITERIA
from training.counting.head import CountHead, HeadConfig
from training.counting.learning import Examples, examples_from, examples_of, quality, record_of, train
from training.serving.shipped import WEIGHTS
from training.tasks.priors import PRIORS, held_out

EPS = float(np.finfo(np.float32).eps)
CONFIG = HeadConfig(2, "full", 3, 8, 50, 200)


def run(arguments):
    return run_command(app, [str(one) for one in arguments])


def told(n_sets: int) -> Examples:
    """Evidence that says K in one of its numbers, among noise."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(1, 4, (n_sets,), generator=generator)
    seen = torch.randn(n_sets, 18, generator=generator, dtype=torch.float64)
    seen[:, 5] = 10.0 * truth + 100
    return Examples(seen, truth, torch.ones_like(truth), 1 + truth % 3)


def test_it_learns_what_the_evidence_says():
    head = CountHead(CONFIG, torch.Generator().manual_seed(1))
    fresh = told(300)
    before = quality(head, fresh)
    train(head, told(4000), torch.Generator().manual_seed(0))
    after = quality(head, fresh)
    assert after.found > 0.99 > 0.7 > before.found
    assert after.cross_entropy < 0.1 < math.log(2) < before.cross_entropy
    assert after.by_bic == float((fresh.n_components == 1).double().mean())
    assert after.by_icl == 0.0
    assert after.off_by_one >= after.found


def test_the_same_seed_gives_the_same_head():
    heads = [CountHead(CONFIG, torch.Generator().manual_seed(1)) for _ in range(2)]
    for head in heads:
        train(head, told(64), torch.Generator().manual_seed(3), epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(*(head.parameters() for head in heads), strict=True))


def test_probabilities_sum_to_one_and_are_those_of_the_formula():
    head = CountHead(CONFIG, torch.Generator().manual_seed(2))
    seen = told(5).evidence.float()
    head.standardise(seen)
    first, second, last = head.layers
    z = (seen - seen.mean(0)) / seen.std(0)
    h = torch.nn.functional.gelu(z @ first.weight.T + first.bias)
    scores = torch.nn.functional.gelu(h @ second.weight.T + second.bias) @ last.weight.T + last.bias
    # 18 + 8 + 8 products of numbers of size 1, and a softmax.
    torch.testing.assert_close(head(seen).exp(), scores.softmax(-1), rtol=0, atol=100 * EPS)


def test_examples_come_back_from_json():
    sets = list(held_out(PRIORS["cluster-pfn"], 3, 5))
    examples = examples_of(sets, "full", 4)
    back = examples_from(json.loads(json.dumps(record_of(examples))))
    assert all(torch.equal(getattr(back, name), getattr(examples, name)) for name in vars(examples))
    assert examples.n_components.tolist() == [one.truth.n_components for one in sets]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("count") / "run"
    assert run(["cluster-pfn", "--sets", 12, "--held-out", 4, "--width", 4, "--out", out]) == 0
    return out


def test_the_command_writes_a_criterion_that_is_taken(trained, capsys):
    head = load_criterion(trained / "criterion.safetensors")
    assert (head.config.most, head.config.covariance_type, head.config.n_features) == (10, "full", 2)
    facts = json.loads((trained / "results.json").read_text())
    assert facts["sets"] == 12
    assert facts["quality"]["n_sets"] == 4
    kept = (trained / "criterion.safetensors").read_bytes()
    for path in (trained / "criterion.safetensors", trained / "criterion.json"):
        path.unlink()
    assert run(["cluster-pfn", "--sets", 12, "--held-out", 4, "--width", 4, "--out", trained]) == 0
    assert (trained / "criterion.safetensors").read_bytes() == kept  # from the fits kept in parts/
    assert "K found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["set-transformer"], "set-transformer: has K = 4 alone, needs a law of several"),
        (["nowhere"], "no prior 'nowhere'; there are paper-d2"),
        (["cluster-pfn", "--sets", "1"], "--sets is 1, needs an integer of at least 2"),
        (["cluster-pfn", "--held-out", "1"], "--held-out is 1, needs an integer of at least 2"),
        (["cluster-pfn", "--width", "0"], "--width is 0, needs an integer of at least 1"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    assert run([*arguments, "--out", tmp_path / "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def points(n_sets=2, n_points=120):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(n_points, 2)) + 9 * (np.arange(n_points)[:, None] % 3) for _ in range(n_sets)]


def test_the_shipped_criterion_counts_components_far_apart():
    found = learned_count(points())
    assert found.n_components.tolist() == [3, 3]
    # Ten probabilities of float32 logarithms: each is off by a few u of its logarithm, up to 20.
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0, rtol=0, atol=40 * EPS)
    assert found.fitted(0).n_components == 3
    assert found.fitted(1, 5).n_components == 5
    assert "LearnedCount" in repr(found)


def test_the_choice_is_the_most_probable_whose_fit_did_not_fail(monkeypatch):
    """The fit of the most probable K has a singular component: the next one is taken."""
    plain = learned_count(points(1))
    original = choose.select_many

    def failing(*arguments, **settings):
        [selection] = original(*arguments, **settings)
        candidates = tuple(
            replace(one, problem="singular component") if one.n_components == 3 else one
            for one in selection.candidates
        )
        return Selections([replace(selection, candidates=candidates)])

    monkeypatch.setattr(choose, "select_many", failing)
    found = learned_count(points(1))
    assert plain.n_components.tolist() == [3]
    assert found.n_components[0] != 3
    others = np.delete(found.probabilities[0], 2)
    assert found.probabilities[0, found.n_components[0] - 1] == others.max()


def test_other_numbers_of_points_are_said():
    with pytest.warns(DataWarning, match="N is 60 to 60, the criterion was trained on 100 to 500"):
        learned_count(points(1, 60))


def test_units_and_order_of_sets_do_not_matter():
    """Powers of two: scaled to [0, 1] the points are the same to the last bit."""
    plain = learned_count(points())
    for scale in (2.0**-20, 2.0**10):
        scaled = learned_count([scale * X for X in reversed(points())])
        np.testing.assert_array_equal(plain.probabilities, scaled.probabilities[::-1])
        # Log densities of size 50 round by 50 u, and so do the shares by which coordinates up to 30 are
        # averaged; EM of groups far apart contracts: no more than that for each of at most 100 steps.
        allowed = scale * 100 * 50 * 30 * np.finfo(float).eps
        means = scaled.fitted(0).means_, scale * plain.fitted(1).means_
        np.testing.assert_allclose(*means, rtol=0, atol=allowed)


def test_what_cannot_be_taken(tmp_path):
    with pytest.raises(ValueError, match="X has d = 3, the criterion is of mixtures in d = 2"):
        learned_count([np.zeros((120, 3))])
    with pytest.raises(ValueError, match="no such file; needs a criterion, or one of full-d2"):
        load_criterion(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is no criterion that training\.counting wrote"):
        load_criterion(WEIGHTS / "tgmm_d2.safetensors")
    with pytest.raises(ValueError, match="high is 40, needs an integer of at least 50"):
        HeadConfig(2, "full", 3, 8, 50, 40)


def test_every_shipped_criterion_is_of_a_prior():
    laws = [
        (p.law.n_features, p.covariance_type, max(p.law.components), *p.law.samples) for p in PRIORS.values()
    ]
    for name in CRITERIA:
        config = load_criterion(name).config
        assert (config.n_features, config.covariance_type, config.most, config.low, config.high) in laws


def test_sets_of_training_and_measuring_differ():
    from training.counting.command import MEASURED, TRAINED, _examples

    prior = PRIORS["cluster-pfn"]
    one, other = (_examples(prior, purpose, 0, 2, 0) for purpose in (TRAINED, MEASURED))
    again = _examples(prior, TRAINED, 0, 2, 0)
    assert torch.equal(one.evidence, again.evidence)
    assert not torch.equal(one.evidence, other.evidence)
    assert len(list(itertools.chain(one.evidence, other.evidence))) == 4


def test_loading_draws_nothing():
    before = torch.get_rng_state()
    load_criterion("full-d2")
    assert torch.equal(torch.get_rng_state(), before)
