"""PCA in the conformance suite, and a search of its own."""

from __future__ import annotations

import pytest
import torch

from verify.engine.conformance import conformance
from verify.engine.search import search
from verify.gallery.pca import PRINCIPAL_AXES

TestPCA = conformance(PRINCIPAL_AXES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_bound_is_broken(dtype: torch.dtype) -> None:
    found = search(PRINCIPAL_AXES, 240, dtype, seed=3)
    assert found.broken == []
    assert found.claimed > 0.5 * found.steps
