"""The conformance suite of a theorem whose properties take seconds: by default every family once a dtype."""

from __future__ import annotations

from typing import Any

import pytest

from verify.engine.conformance import conformance
from verify.engine.theorem import Theorem

SLOW = (
    "test_every_family_and_size_is_within_its_bounds_in_float32",
    "test_the_structured_evaluation_is_within_the_bounds_in_float64",
)


def crossed(theorem: Theorem[Any]) -> type:
    """Its tests, two of them marked slow.

    What stays runs every family and size by dense weights in float64, and every family by the formulas in
    float32: a mistake in a bound, in either evaluation or in either dtype's rounding shows there. Dense
    weights in float32 stay in the tests of one family: loops, padding, tasks alone, missing heads.
    """
    tests: Any = conformance(theorem)
    for name in SLOW:
        setattr(tests, name, pytest.mark.slow(getattr(tests, name)))
    return tests
