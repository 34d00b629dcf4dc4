"""Two thousand instances of every theorem of the gallery, by both evaluations, in both dtypes."""

from __future__ import annotations

import pytest
import torch

from constructions.language.structured.evaluation import Evaluation
from verify.engine.search import search
from verify.registry import GALLERY


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", ["dense", "structured"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("key", GALLERY)
def test_no_bound_is_broken(key: str, dtype: torch.dtype, evaluation: Evaluation) -> None:
    found = search(GALLERY[key], 2000, dtype, seed=5, evaluation=evaluation)
    assert found.instances >= 2000
    assert found.broken == []
    assert found.margin >= 1
    assert found.claimed > 0.6 * found.steps
