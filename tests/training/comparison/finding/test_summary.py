"""Means with intervals of several seeds, and verdicts."""

import math

import pytest
from finding_results import made_up

from training.comparison.finding.summary import by_number, by_ratio, verdict


def test_the_interval_is_students():
    found = by_number([1.0, 2.0, 3.0])
    # mean 2, standard error 1/sqrt(3), t(0.975; 2) = 4.302653 (table of Student's t)
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.least, found.most) == (1, 3)


def test_ratios_are_averaged_geometrically():
    found = by_ratio([1.0, 100.0])
    assert found.value == pytest.approx(10)
    assert found.low * found.high == pytest.approx(100)


def test_what_is_not_known_is_left_out_and_one_seed_has_no_interval():
    assert by_number([math.nan, 2.0]).value == 2
    assert math.isnan(by_number([2.0]).low)
    assert str(by_number([2.0])) == "2"
    assert str(by_number([])) == "-"
    assert by_ratio([0.0, 5.0]).value == pytest.approx(5)
    assert str(by_number([1.0, 3.0])).startswith("2 (")


def test_fifteen_of_twenty_are_found():
    assert [verdict(cell) for cell in made_up().cells] == ["none", "some", "all", "none"]
