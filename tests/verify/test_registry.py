"""The lines that are imported when they run are those of their names."""

import importlib

import pytest

from verify.registry import CHECKS

LATER = {
    "reference-levels": ("verify.levels.check", "check_reference_levels"),
    "learned-copies": ("verify.learned.weights", "check_copies"),
    "learned-staying": ("verify.learned.weights", "check_staying"),
    "learned-returning": ("verify.learned.weights", "check_returning"),
    "learned-probes": ("verify.learned.networks", "check_probes"),
    "learned-patches": ("verify.learned.networks", "check_patches"),
    "learned-worth": ("verify.learned.networks", "check_worth"),
    "learned-traced": ("verify.learned.finding", "check_traced"),
    "learned-interchange": ("verify.learned.finding", "check_interchange"),
    "learned-rule": ("verify.learned.finding", "check_rule"),
}


@pytest.mark.parametrize("line", LATER)
def test_a_line_of_the_ledger_is_the_check_of_its_name(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = LATER[line]
    assert callable(getattr(importlib.import_module(module), name))
    monkeypatch.setattr(importlib.import_module(module), name, lambda seed, instances: [seed, instances])
    assert CHECKS[line](3, 20) == [3, 20]


def test_every_line_of_the_learned_model_is_looked_at() -> None:
    assert {name for name in CHECKS if name.startswith("learned")} <= LATER.keys()
