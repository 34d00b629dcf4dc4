"""Properties of the conformance suite that compare what is compiled and run with a second implementation."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import torch

from verify.certify.network.faults import faults
from verify.engine.measure import drawn
from verify.engine.requirement import require
from verify.engine.theorem import Theorem, formulas


def every_weight_is_what_the_formulas_say(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """Each number of the dense weights beside a second reading of heads and MLP parts, exactly."""
    weights = _coarsest(theorem)
    found = faults(formulas(weights), weights.to_transformer(dtype))
    require(not found, f"{len(found)} weights; first: {'; '.join(found[:2])}")


def the_runtime_agrees_with_a_second_implementation(theorem: Theorem[Any], dtype: torch.dtype) -> None:
    """One task through one pass: each sub-layer within its rounding of an interpreter in balls."""
    try:
        from verify.certify.network.agreement import disagreements
    except ImportError as missing:
        raise SkipTest(f"{theorem.key}: {missing}") from missing
    weights, sizes = _coarsest(theorem), theorem.sizes[0]
    family = next(iter(theorem.families))
    instance = drawn(theorem, family, sizes, 1, dtype, torch.Generator().manual_seed(0))
    tokens, mask = theorem.embed(weights, instance, dtype)
    found = disagreements(weights.to_transformer(dtype), tokens, None if bool(mask.all()) else mask)
    require(not found, f"{len(found)} sub-layers; first: {'; '.join(found[:2])}")


def _coarsest(theorem: Theorem[Any]) -> Any:
    return theorem.construct(theorem.sizes[0], 1, theorem.accuracies[0])
