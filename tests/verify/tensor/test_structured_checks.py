"""The ledger's lines about the structured evaluation hold, and a wrong construction breaks them."""

import dataclasses

import numpy as np
import pytest

from constructions import tensor_power_construction
from constructions.language.structured.piece_table import PieceTable
from verify.em import checks as em_checks
from verify.tensor import structured_checks
from verify.tensor.exact import draw_task


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(structured_checks, "SIZES", ((6, 3),))
    monkeypatch.setattr(structured_checks, "DYADIC_INSTANCES", 30)


def test_the_lines_hold(small):
    exact, *rounding = structured_checks.check_structured(0, 2000)
    assert exact.evidence == "proved"
    assert exact.passed
    assert exact.instances == 30
    assert [record.dtype for record in rounding] == ["float64", "float32"]
    assert all(record.passed and 0 < record.observed < 1 for record in rounding)


def without_last_head(*arguments, **named):
    """The contract layer lacks its last head."""
    built = tensor_power_construction(*arguments, **named)
    first, *rest = built.construction.layers
    heads = dataclasses.replace(first.heads[0], heads=first.heads[0].heads[:-1])
    layers = (dataclasses.replace(first, heads=(heads,)), *rest)
    return dataclasses.replace(built, construction=dataclasses.replace(built.construction, layers=layers))


def test_a_missing_head_is_found(small, monkeypatch):
    monkeypatch.setattr(structured_checks, "tensor_power_construction", without_last_head)
    assert not any(record.passed for record in structured_checks.check_structured(0, 2000)[1:])
    rng = np.random.default_rng(0)
    tasks = [draw_task(index, rng) for index in range(160)]
    dyadic = [task for task in tasks if task.dyadic and not task.form.offset]
    assert dyadic
    found = [
        structured_checks.structured_difference(
            without_last_head(task.max_dim, task.steps, divide_by_tokens=task.form.mean), task
        )
        for task in dyadic
    ]
    wrong = [line is not None for line in found]
    assert sum(wrong) >= 5
    # The last head reads zeros where d < d0; else it matters where v_m s_j is negative for some j.
    assert not any(line for line, task in zip(wrong, dyadic, strict=True) if task.dim < task.max_dim)


def test_large_sizes_of_em_are_searched(monkeypatch):
    """The line of the ledger on fewer and smaller shapes."""
    monkeypatch.setattr(em_checks, "LARGE_SHAPES", ((3, 2, 64), (2, 3, 32)))
    records = em_checks.check_structured(0, 160)
    assert [record.dtype for record in records] == ["float64", "float64", "float32"]
    assert all(record.passed for record in records)
    assert all("structured evaluation" in record.claim for record in records)


def test_an_error_of_the_structured_evaluation_alone_breaks_the_lines_of_em(monkeypatch):
    right = PieceTable.__call__
    monkeypatch.setattr(PieceTable, "__call__", lambda self, x: right(self, x) * 1.01)
    monkeypatch.setattr(em_checks, "LARGE_SHAPES", ((3, 2, 4096),))
    assert not em_checks.check_structured(0, 160)[0].passed
