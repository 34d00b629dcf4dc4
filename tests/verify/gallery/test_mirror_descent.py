"""Mirror descent in the conformance suite, and a search of its own."""

from __future__ import annotations

import pytest
import torch

from verify.engine.conformance import conformance
from verify.engine.search import search
from verify.gallery.mirror_descent import MIRROR_DESCENT

TestMirrorDescent = conformance(MIRROR_DESCENT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_bound_is_broken(dtype: torch.dtype) -> None:
    found = search(MIRROR_DESCENT, 240, dtype, seed=3)
    assert found.broken == []
    assert found.claimed > 0.5 * found.steps
