"""Ridge regression in the conformance suite, and a search of its own."""

from __future__ import annotations

import pytest
import torch

from verify.engine.conformance import conformance
from verify.engine.search import search
from verify.gallery.ridge import RIDGE

TestRidge = conformance(RIDGE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_bound_is_broken(dtype: torch.dtype) -> None:
    found = search(RIDGE, 240, dtype, seed=3)
    assert found.broken == []
    assert found.claimed == found.steps
