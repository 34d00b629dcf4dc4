"""The ledger's lines of evidence "learned": they hold, and they fail when the claim or its control does."""

from types import SimpleNamespace

import pytest
import torch
from scipy import stats

from training.comparison.symmetry.group import random_copy
from verify.engine.record import Record
from verify.learned import networks as learned_networks
from verify.learned import weights as learned
from verify.learned.weights import mean_interval

ARGUMENTS = ("a claim", "a note", "learned", 2.0, 1.0, 3, "float32", 0, 0.1, True)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_learned_evidence_names_steps_device_and_interval():
    Record(*ARGUMENTS, steps=3, device="cpu", interval=(0.9, 1.1))
    for missing in ({"steps": None}, {"device": ""}, {"interval": None}):
        with pytest.raises(ValueError, match="needs steps, device and a confidence interval"):
            Record(*ARGUMENTS, **({"steps": 3, "device": "cpu", "interval": (0.9, 1.1)} | missing))


def test_the_interval_is_students():
    values = [0.4, 0.5, 0.45, 0.7]
    sample = torch.tensor(values, dtype=torch.float64)
    expected = stats.t.interval(0.95, 3, loc=float(sample.mean()), scale=float(sample.std()) / 2)
    assert mean_interval(values) == pytest.approx(expected)


def test_copies_hold():
    [record] = learned.check_copies(0, 1)
    assert record.passed
    assert record.observed <= 1e-10
    assert record.instances == 9


def test_copies_fail_without_alignment(monkeypatch):
    """Weight by weight a copy is far away."""

    def apart(a, b, slots=()):
        flat = [torch.cat([p.detach().flatten() for p in network.parameters()]) for network in (a, b)]
        return SimpleNamespace(distance=float((flat[0] - flat[1]).norm() / flat[0].norm()))

    monkeypatch.setattr(learned, "align_transformers", apart)
    monkeypatch.setattr(learned, "STUDIED", ())
    assert not learned.check_copies(0, 1)[0].passed


def test_copies_fail_where_their_control_does_not(monkeypatch):
    monkeypatch.setattr(learned, "_change", lambda layers: None)
    monkeypatch.setattr(learned, "STUDIED", ())
    [record] = learned.check_copies(0, 1)
    assert record.observed <= 1e-10
    assert not record.passed


@pytest.fixture
def short(monkeypatch):
    """Twenty steps in place of a thousand: the construction stays, noise is not yet undone."""
    for name, value in {"STEPS": 20, "SEEDS": 2, "CONTROL_SEEDS": 1, "TASKS": 24}.items():
        monkeypatch.setattr(learned, name, value)


@pytest.mark.usefixtures("short")
def test_training_claims_follow_what_training_does(monkeypatch):
    [stays] = learned.check_staying(0, 1)
    assert stays.passed
    assert stays.evidence == "learned"
    assert stays.steps == 20
    assert stays.interval[0] <= stays.observed
    [returns] = learned.check_returning(0, 1)
    assert not returns.passed
    assert returns.observed > 2
    monkeypatch.setattr(learned, "TOO_MUCH_NOISE", 0.0)  # a control that does not fail
    assert not learned.check_staying(0, 1)[0].passed


def planted(value, control):
    def measure(data):
        return learned_networks.Measured(value, (value - 0.1, value + 0.1), control, 5)

    return measure


@pytest.mark.parametrize(
    ("value", "control", "passed"),
    [(0.9, 0.1, True), (0.6, 0.1, True), (0.59, 0.1, False), (0.9, 0.5, False), (0.9, 0.49, True)],
)
def test_claims_about_networks_need_value_and_control(value, control, passed):
    part = SimpleNamespace(compute=lambda subject, start: {})
    record = learned_networks._record("it is so", part, planted(value, control), 0.5, 0, "nothing")
    assert record.passed is passed
    assert record.instances == 10
    assert record.steps == 16500
    assert "control, nothing" in record.note


def test_the_least_of_several():
    found = [learned_networks.Measured(v, (v - 1, v + 1), c, 5) for v, c in ((3.0, 0.2), (2.0, 0.1))]
    assert learned_networks._least(found) == learned_networks.Measured(2.0, (1.0, 3.0), 0.2, 10)


def test_copies_differ_from_what_they_copy():
    """Or their distance of 0 would say nothing."""
    problem = learned.EMProblem(dtype=torch.float64)
    constructed = problem.constructed()
    copied = random_copy(constructed, torch.Generator().manual_seed(0)).transformer
    assert not torch.allclose(constructed.layers[0].mlp.w1, copied.layers[0].mlp.w1)
