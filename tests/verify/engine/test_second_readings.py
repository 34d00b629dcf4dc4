"""Properties that compare with a second reading catch what is planted, and skip without python-flint."""

import subprocess
import sys

import pytest
import torch

from constructions.language.assembly import Construction
from verify.engine.requirement import PropertyError
from verify.engine.second_readings import (
    every_weight_is_what_the_formulas_say,
    the_runtime_agrees_with_a_second_implementation,
)
from verify.gallery.ridge import RIDGE


def test_a_weight_that_the_formulas_do_not_say_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Construction.to_transformer

    def off(self: Construction, *options):
        transformer = compiled(self, *options)
        with torch.no_grad():
            transformer.layers[1].mlp.w1[0, 0] += 1e-9  # pyright: ignore
        return transformer

    every_weight_is_what_the_formulas_say(RIDGE, torch.float64)
    monkeypatch.setattr(Construction, "to_transformer", off)
    with pytest.raises(PropertyError, match=r"layer 2: hidden unit \(reads, bias, writes\)"):
        every_weight_is_what_the_formulas_say(RIDGE, torch.float64)


def test_without_python_flint_the_comparison_is_skipped_and_the_engine_works() -> None:
    """In a process that cannot import it: the weights are still compared with the formulas."""
    program = f"""
import sys
sys.modules["flint"] = None
import torch
from unittest import SkipTest
from verify.engine import conformance, second_readings
from verify.gallery.ridge import RIDGE
second_readings.{every_weight_is_what_the_formulas_say.__name__}(RIDGE, torch.float64)
try:
    second_readings.{the_runtime_agrees_with_a_second_implementation.__name__}(RIDGE, torch.float64)
except SkipTest as skipped:
    print(skipped)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.startswith("ridge: verify.balls needs python-flint, which is not installed: pip")
