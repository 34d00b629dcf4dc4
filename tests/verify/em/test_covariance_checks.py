"""The ledger's claims about EM with covariances, those that take a second."""

from verify.em import covariance_checks
from verify.em.covariance_checks import check_real_data, geyser


def test_ten_steps_on_real_data_are_those_of_plain_em() -> None:
    records = check_real_data(0, 1)
    assert [record.passed for record in records] == [True] * 4
    assert all(0 < record.observed < 1e-4 for record in records)


def test_lobes_lean_and_are_standardised() -> None:
    X = geyser(0)
    assert X.shape == (272, 2)
    assert X.mean(0).abs().max() < 1e-12
    assert (X.std(0) - 1).abs().max() < 1e-12


def test_a_level_that_is_missed_fails(monkeypatch) -> None:
    monkeypatch.setattr(covariance_checks, "LEVEL", 1e-12)
    assert not covariance_checks._accuracy("full", 0, 3).passed
