"""The search for a broken bound of EM with covariances: few instances of every kind, and one planted."""

import dataclasses

import pytest
import torch

from verify.em import covariance_search
from verify.em.covariance_checks import KINDS
from verify.em.covariance_search import construction, search


@pytest.mark.parametrize("kind", KINDS)
def test_few_instances_break_nothing(kind) -> None:
    found = list(search(kind, 40, 5, evaluation="structured"))
    assert sum(len(one.errors[0]) for one in found) >= 40
    assert sum(one.broken() for one in found) == 0
    assert any(bool(one.instance[2].isfinite().any()) for one in found)


def test_a_bound_that_is_too_small_is_met(monkeypatch) -> None:
    bounded = covariance_search.one_step_bound

    def halved(em, data, dtype):
        bound = bounded(em, data, dtype)
        return dataclasses.replace(bound, covariance_instance=bound.covariance_instance / 2)

    monkeypatch.setattr(covariance_search, "one_step_bound", halved)
    assert sum(one.broken() for one in search("diagonal", 40, 5, evaluation="structured")) > 0


def test_a_bound_that_is_no_number_is_broken() -> None:
    one = next(search("full", 1, 0, evaluation="structured"))
    nothing = dataclasses.replace(one, instance=tuple(torch.full_like(b, torch.nan) for b in one.instance))
    assert nothing.broken() >= int((~one.errors[0].isnan()).sum()) > 0


def test_weights_of_a_shape_are_built_once() -> None:
    assert construction("full", 2, 2, 64) is construction("full", 2, 2, 64)
