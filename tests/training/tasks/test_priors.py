"""Named laws: what their sources say, held-out sets that a seed fixes."""

import itertools

import pytest
import torch

from training.tasks.priors import PRIORS, held_out, named_prior


@pytest.mark.parametrize("name", PRIORS)
def test_sets_are_of_the_law_and_fixed_by_the_seed(name: str) -> None:
    prior = PRIORS[name]
    law = prior.law
    some, more, other = (list(held_out(prior, n, seed)) for n, seed in ((5, 3), (8, 3), (5, 4)))
    for one, again in zip(some, more, strict=False):
        assert torch.equal(one.X, again.X)
        assert torch.equal(one.labels, again.labels)
    assert all(a.X.shape != b.X.shape or not torch.equal(a.X, b.X) for a, b in zip(some, other, strict=True))
    assert {one.truth.n_components for one in more} <= set(law.components)
    for one in more:
        assert law.samples[0] <= len(one.X) <= law.samples[1]
        assert one.X.dtype == torch.float64
        assert int(one.labels.max()) < one.truth.n_components


def test_the_oracle_of_the_set_transformers_benchmark() -> None:
    """Published about -1.473 to -1.478 nats a point (remembered), five standard errors of 0.012 at most."""
    levels = [
        float(one.truth.log_likelihood_per_point(one.X)) for one in held_out(PRIORS["set-transformer"], 300)
    ]
    assert abs(torch.tensor(levels).mean() + 1.475) < 0.06


def test_every_coordinate_of_cluster_pfn_lies_between_0_and_1() -> None:
    for one in itertools.islice(held_out(PRIORS["cluster-pfn"], 6), 6):
        assert one.X.amin(0).tolist() == [0.0, 0.0]
        assert one.X.amax(0).tolist() == [1.0, 1.0]


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="no prior 'pfn'; there are paper-d2, paper-d8, set-transformer, "):
        named_prior("pfn")
