"""The ledger's lines about what training finds follow what training does, and fail with their controls."""

from dataclasses import replace

import pytest
import torch

from training.comparison.finding.design import settings_of
from training.comparison.rule.settings import settings_of as rule_settings_of
from verify.learned import finding


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_interchanges_of_the_hand_built_em_hold(monkeypatch):
    [record] = finding.check_interchange(0, 1)
    assert record.passed
    assert record.observed == 1
    monkeypatch.setattr(finding, "untrained", lambda problem, seed: problem.constructed())
    assert not finding.check_interchange(0, 1)[0].passed  # a control that does not fail


def test_too_short_a_training_finds_nothing(monkeypatch):
    few = replace(settings_of(True, 0), cells=("strongest",))
    monkeypatch.setattr(finding, "settings_of", lambda quick, seed: few)
    [record] = finding.check_traced(0, 1)
    assert not record.passed
    assert record.evidence == "learned"
    assert record.bound == 15
    assert record.steps == 30
    monkeypatch.setattr(finding, "blocks_found", lambda name, settings: [20 - (name != "strongest")] * 2)
    assert not finding.check_traced(0, 1)[0].passed  # the control has them as well
    monkeypatch.setattr(finding, "blocks_found", lambda name, settings: [20 * (name == "strongest")] * 2)
    assert finding.check_traced(0, 1)[0].passed


def test_a_rule_of_hardly_trained_networks_explains_little(monkeypatch):
    few = replace(rule_settings_of(True, 0), training_steps=3, seeds=2)
    monkeypatch.setattr(finding, "rule_settings_of", lambda quick, seed: few)
    [record] = finding.check_rule(0, 1)
    assert record.evidence == "learned"
    assert record.steps == 3
    assert record.interval[0] <= record.observed <= record.interval[1]
    monkeypatch.setattr(finding, "EXPLAINED", 2.0)
    assert not finding.check_rule(0, 1)[0].passed
