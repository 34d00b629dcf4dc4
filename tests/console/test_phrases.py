"""Numbers in words: a dash where nothing is known, and never "nan" or "inf"."""

import math

from console.phrases import UNKNOWN, CountedInterval, Interval, interval, listed, number, percent


def test_intervals_and_what_is_not_known():
    assert interval(Interval(0.12, 0.1, 0.14)) == "0.12 (0.1 to 0.14)"
    assert interval(Interval(0.12, math.nan, math.nan)) == "0.12"
    assert interval(Interval(3.0, 1.0, math.inf)) == "3 (1 to -)"
    assert interval(Interval(math.inf, 1.0, 2.0)) == interval(UNKNOWN) == number(math.nan) == "-"


def test_shares():
    assert percent(Interval(0.034, 0.01, 0.2)) == "3.4 % (1.0 to 20)"
    assert percent(CountedInterval(0.5, 0.4, 0.6, 12)) == "50 % (40 to 60)"
    assert percent(Interval(0.5, math.nan, 0.6)) == percent(0.5) == "50 %"
    assert percent(1) == "100 %"
    assert percent(0.0004) == "0 %"
    assert percent(UNKNOWN) == percent(math.nan) == "-"


def test_lists():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
