"""The claims of the ledger about tensor power: well-formed records that hold, and fail when they should."""

import dataclasses
import math

import pytest
import torch
from commands import invoke, strict_json
from tensor_commands import building, missing_negative_head, wrong_alpha, wrong_slice

import verify.tensor.relu_checks as relu
import verify.tensor.relu_rows as rows
import verify.tensor.softmax_checks as softmax
import verify.tensor.softmax_rows as softmax_rows
from verify.__main__ import app
from verify.engine.record import Record
from verify.registry import CHECKS
from verify.resource_rows import SINK

NAMES = {
    "tensor-symbolic": 2,
    "tensor-rational": 3,
    "tensor-rounding": 2,
    "tensor-paths": 1,
    "tensor-recovery": 2,
    "softmax-search": 1,
    "softmax-search-float32": 1,
    "softmax-best": 3,
    "softmax-sink": 2,
    "softmax-paths": 2,
}
SAMPLED = [name for name in NAMES if name not in ("tensor-symbolic", "tensor-rational")]


@pytest.fixture
def small(monkeypatch):
    """Fewer tensors of smaller sizes, and no weights for d up to 64, which take a gigabyte."""
    gaussian, build = relu.gaussian_problem, relu.tensor_power_construction
    monkeypatch.setattr(relu, "tensor_power_construction", lambda d0, *a, **k: build(min(d0, 8), *a, **k))

    def few(dim, trials, generator):
        return gaussian(min(dim, 8), min(trials, 20), generator)

    for module in (relu, softmax):
        monkeypatch.setattr(module, "gaussian_problem", few)
    monkeypatch.setattr(softmax, "TRIALS", 20)
    for module, take in ((rows, "recovery_rows"), (softmax_rows, "recovery_rows")):
        make = getattr(module, take)

        def smaller(dim, components, *arguments, make=make):
            return make(min(dim, 4), min(components, 4), *arguments)

        monkeypatch.setattr(relu if module is rows else softmax, take, smaller)


@pytest.fixture
def few_epsilons(monkeypatch):
    """Every fifth eps of a sweep: enough to see that a claim fails."""
    monkeypatch.setattr(softmax_rows, "EPSILONS", softmax_rows.EPSILONS[::5])


def assert_well_formed(record: Record, seed: int) -> None:
    assert record.claim
    assert "\n" not in record.claim + record.note + record.source
    assert record.source.startswith(("arXiv 2505.11918", "open question of arXiv 2505.11918"))
    assert record.evidence == "sampled"
    assert record.seed == seed
    assert record.seconds >= 0
    assert record.instances >= 1
    assert record.dtype in ("float64", "float32", "float64, float32")
    for value in (record.bound, record.observed, record.margin):
        assert isinstance(value, float)
        assert not math.isnan(value)


def test_the_checks_are_registered():
    assert set(NAMES) <= set(CHECKS)
    found = {name for name in CHECKS if name.startswith(("tensor", "softmax"))}
    certified = {"tensor-power-certified", "softmax-tensor-power-certified"}
    assert found == {*NAMES, "tensor-structured", *certified}  # which have tests of their own


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SAMPLED)
def test_every_check_holds_and_says_so(name):
    records = CHECKS[name](3, 100)
    assert len(records) == NAMES[name]
    for record in records:
        assert_well_formed(record, 3)
        assert record.passed, record
        assert record.margin >= 1
        if name != "softmax-sink":  # there the observed failure must be above the bound
            assert record.margin == pytest.approx(record.bound / record.observed, rel=1e-12)


@pytest.mark.parametrize(("instances", "enough", "records"), [(1, 2000, 1), (1999, 2000, 2), (550, 600, 1)])
def test_a_median_is_claimed_of_enough(instances, enough, records, monkeypatch):
    """1999 are rounded up to 40 groups of 50, that is to 2000; 550 are 550."""
    assert softmax.TIGHTNESS_FROM[torch.float64] == 2000
    monkeypatch.setattr(softmax, "TIGHTNESS_FROM", {torch.float64: enough})
    found = CHECKS["softmax-search"](0, instances)
    assert len(found) == records
    assert all(record.passed for record in found)
    assert found[0].instances == -(-instances // 50) * 50


def test_float32_is_searched_in_a_quarter():
    [record] = CHECKS["softmax-search-float32"](0, 800)
    assert (record.instances, record.dtype) == (200, "float32")


# ---- broken


def failed(name: str, instances: int = 100) -> list[str]:
    return [record.claim for record in CHECKS[name](0, instances) if not record.passed]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("edit", [wrong_slice, missing_negative_head, wrong_alpha])
def test_wrong_relu_heads_fail_their_claims(edit, monkeypatch):
    build = relu.tensor_power_construction
    monkeypatch.setattr(relu, "tensor_power_construction", building(build, edit, lambda em: em.max_dim > 1))
    monkeypatch.setattr(rows, "tensor_power_construction", building(build, edit, lambda em: em.max_dim > 1))
    assert len(failed("tensor-rounding")) == 2
    if edit is wrong_alpha:  # vectors of the others leave what the piecewise norm covers, and a run says so
        assert len(failed("tensor-paths")) == 1


@pytest.mark.usefixtures("small", "few_epsilons")
@pytest.mark.parametrize("edit", [wrong_slice, wrong_alpha])
def test_wrong_softmax_heads_fail_their_claims(edit, monkeypatch):
    import verify.tensor.softmax_search as searching

    build = softmax_rows.softmax_tensor_power_construction
    wrong = building(build, edit, lambda em: em.max_dim > 1)
    monkeypatch.setattr(softmax_rows, "softmax_tensor_power_construction", wrong)
    assert searching.one_step_construction is softmax_rows.one_step_construction
    assert failed("softmax-search")
    assert failed("softmax-search-float32", 1600)
    assert "best error" in failed("softmax-best")[0]
    if edit is wrong_slice:
        assert len(failed("softmax-paths")) == 2


def test_a_sink_that_is_not_needed_fails_its_claim(monkeypatch):
    measure, needed = softmax.measure_point, SINK[torch.float64]

    def with_sink(problem, max_dim, heads, on):
        return measure(problem, max_dim, dataclasses.replace(heads, sink=needed), on)

    monkeypatch.setattr(softmax, "measure_point", with_sink)
    assert len(failed("softmax-sink")) == 1
    monkeypatch.setattr(softmax, "without_sink", lambda *_: 0.0)
    assert len(failed("softmax-sink")) == 2


@pytest.mark.usefixtures("small")
def test_components_that_are_missed_fail_their_claim(monkeypatch):
    make = rows.recovery_row
    for module in (rows, softmax_rows):
        monkeypatch.setattr(module, "recovery_row", lambda *a: dataclasses.replace(make(*a), broken=1))
    assert len(failed("tensor-recovery")) == 2
    assert ["deflation" in claim for claim in failed("softmax-paths")] == [True]


@pytest.mark.usefixtures("small", "few_epsilons")
def test_bounds_that_are_kept_by_luck_are_not_enough(monkeypatch):
    """The rounding bound must be small too, and the tensors' components near."""
    monkeypatch.setattr(relu, "SCALE_LIMIT", 1e-17)
    assert ["below 1e-12" in claim for claim in failed("tensor-rounding")] == [True]
    monkeypatch.setattr(relu, "RECOVERY_LIMIT", 1e-18)
    assert ["to 1e-10" in claim for claim in failed("tensor-recovery")] == [True]
    monkeypatch.setattr(softmax, "TARGETS", {(torch.float64, 1): 1e-14})
    monkeypatch.setattr(softmax, "SLOPE_TOLERANCE", 1e-9)
    monkeypatch.setattr(softmax, "PREDICTION", 1e-9)
    assert len(failed("softmax-best")) == 3
    monkeypatch.setattr(softmax, "TIGHT", {torch.float64: 0.5})
    monkeypatch.setattr(softmax, "TIGHTNESS_FROM", {torch.float64: 200})
    assert len([r for r in CHECKS["softmax-search"](0, 200) if not r.passed]) == 1


@pytest.mark.usefixtures("small")
def test_one_broken_vector_of_many_fails_a_path(monkeypatch):
    for module, name in ((rows, "tensor-paths"), (softmax_rows, "softmax-paths")):
        along = module.along_path

        def once(*arguments, along=along):
            found = along(*arguments)
            error = found.error.clone()
            error[-1, 1] = found.bound[-1, 1] * 2
            return dataclasses.replace(found, error=error)

        monkeypatch.setattr(module, "along_path", once)
        assert "steps keep" in failed(name)[0]


# ---- the command


def test_the_ledger_runs_one_of_them(tmp_path):
    outcome = invoke(app, "--only", "softmax-sink", "--seed", 4, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "index.html").read_text()
    records = strict_json(tmp_path / "out" / "results.json")["records"]
    assert len(records) == 2
    for record in records:
        assert record["passed"] is True
        assert record["seed"] == 4
        assert record["observed"] > record["bound"] == softmax.LOST
        assert record["claim"] in outcome.out
        assert record["claim"].split(",")[0] in page


def test_the_ledger_fails_with_one_of_them(tmp_path, monkeypatch):
    build = softmax_rows.softmax_tensor_power_construction
    monkeypatch.setattr(softmax_rows, "softmax_tensor_power_construction", building(build, wrong_slice))
    outcome = invoke(app, "--only", "softmax-search", "--instances", 300, "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "FAILED" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NAMES))
@pytest.mark.parametrize("seed", [0, 1])
def test_every_check_at_its_full_size(name, seed):
    for record in CHECKS[name](seed, 20_000 if "search" in name else 2000):
        assert record.passed, record
