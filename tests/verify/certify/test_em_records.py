"""The EM command's records: certified by default for the finest weights of small problems, or as asked."""

import pytest
import torch

from constructions.em.weights import em_construction
from verify.em.certified import with_certificates
from verify.em.measure import Measurement, measure
from verify.em.options import Options
from verify.em.problems import random_problem
from verify.engine.certificates import SMALL

GRID: dict[str, object] = dict.fromkeys(
    ("data", "dataset", "header", "columns", "dims", "components", "samples", "init", "radius", "max_dim")
)


def options(certify: bool | None, kind: str = "unit") -> Options:
    others = dict.fromkeys(("max_components", "standardise", "pca", "starts", "drop", "label"))
    on = {"steps": 2, "trials": 3, "dtype": torch.float64, "device": "cpu", "evaluation": "dense", "seed": 0}
    chosen = {"pieces": [16], "floor": 1e-8, "covariance": kind, "certify": certify}
    return Options(**GRID | others | on | chosen)  # pyright: ignore[reportArgumentType]


def measured(samples: int = 30, kind: str = "unit") -> Measurement:
    generator = torch.Generator().manual_seed(0)
    problem = random_problem(2, 2, samples, "random-points", 3, generator, kind)  # pyright: ignore
    of_kind = {} if kind == "unit" else {"covariance_type": kind}
    em = em_construction(2, 2, 2, 16, 1e-8, problem.smallest_radius(), **of_kind)
    return measure(em, problem, torch.float64, "cpu", 0)


@pytest.mark.parametrize(("certify", "tasks"), [(None, 1), (True, 3)])
def test_the_first_task_or_all(certify: bool | None, tasks: int) -> None:
    found = with_certificates(measured(), options(certify), finest=True)
    certified = [record.certified for record in found.records]
    assert [one.tasks for one in certified if one] == [tasks, tasks]
    assert {one.verdict for one in certified if one} == {"held"}
    assert all((one.approximation is None) == (certify is None) for one in certified if one)


def test_only_the_finest_weights_and_small_problems_unless_asked() -> None:
    small, large = measured(), measured(samples=SMALL)
    for m, asked, finest in ((small, None, False), (large, None, True), (small, False, True)):
        assert with_certificates(m, options(asked), finest) is m
    found = with_certificates(small, options(True), finest=False)
    assert all(record.certified for record in found.records)


def test_another_kind_of_covariance() -> None:
    found = with_certificates(measured(kind="diagonal"), options(None, "diagonal"), finest=True)
    assert [record.certified and record.certified.verdict for record in found.records] == ["held", "held"]
