"""Units with one argument are one function; a column that is cleared is exactly 0, of any ball."""

from fractions import Fraction

from every_part import every_part
from hypothesis import given
from hypothesis import strategies as st

from verify.balls.flint import arb, fmpq, precision
from verify.certify.network.feed import feed_forward
from verify.certify.network.formulas import read_formulas
from verify.certify.network.reading import LayerWeights, Unit
from verify.certify.network.rows import Pool

numbers = st.floats(-4, 4, width=16)
forms = st.dictionaries(st.integers(0, 2), numbers.filter(bool), max_size=3).map(
    lambda entries: tuple(sorted(entries.items()))
)
units = st.lists(st.builds(Unit, forms, numbers, forms), max_size=8)


def layer(units: tuple[Unit, ...], offsets: tuple[tuple[int, float], ...] = ()) -> LayerWeights:
    return LayerWeights(None, (), None, units, offsets)


def directly(weights: LayerWeights, row: list[float]) -> list[Fraction]:
    out = [Fraction(x) for x in row]
    for column, x in weights.offsets:
        out[column] += Fraction(x)
    for unit in weights.units:
        value = max(Fraction(unit.bias) + sum(Fraction(g) * Fraction(row[c]) for c, g in unit.reads), 0)
        for column, x in unit.writes:
            out[column] += Fraction(x) * value
    return out


@given(units=units, offsets=forms, row=st.lists(numbers, min_size=3, max_size=3))
def test_the_columns_are_those_of_the_units(units: list[Unit], offsets: tuple, row: list[float]) -> None:
    weights = layer(tuple(units), offsets)
    feed = feed_forward(weights)
    wanted = [fmpq(x.numerator, x.denominator) for x in directly(weights, row)]
    with precision(128):
        pool = Pool()
        rows = [[pool.number(x) for x in row]]
        (found,) = rows if feed is None else feed(rows, pool)
        for ball, number in zip(found, wanted, strict=True):
            assert ball.contains(arb(number))
            assert ball.rad() < arb(2) ** -90


def test_a_ball_that_is_moved_keeps_its_radius_and_what_is_cleared_is_zero() -> None:
    moved = (Unit(((0, 1.0),), 0.0, ((0, -1.0), (1, 1.0))), Unit(((0, -1.0),), 0.0, ((0, 1.0), (1, -1.0))))
    feed = feed_forward(layer(moved))
    assert feed is not None
    with precision(64):
        pool = Pool()
        (found,) = feed([[arb(0.25, 1), pool.number(0.0)]], pool)
        assert found[0] == 0
        assert found[1].mid() == 0.25
        assert found[1].rad() <= arb(0.25, 1).rad() * 1.0001


def test_equal_tokens_are_worked_on_once() -> None:
    feed = feed_forward(layer((Unit(((0, 1.0),), -0.5, ((1, 3.0),)),)))
    assert feed is not None
    with precision(64):
        pool = Pool()
        found = feed([[pool.number(x), pool.number(1.0)] for x in (1.0, 2.0, 1.0)], pool)
    assert found[0][1] is found[2][1]
    assert [row[1] for row in found] == [2.5, 5.5, 2.5]


def test_thousands_of_units_of_one_entry_are_one_table() -> None:
    """Of every part: the functions of x less y, and of x alone, are tables with all kinks of one function."""
    feed = feed_forward(read_formulas(every_part()).layers[0])
    assert feed is not None
    stream = every_part().stream
    (a,) = [target for target in feed.targets if target.column == stream.a.start]
    assert [len(function.knots) for _, function in a.terms] == [6, 6]
    assert a.terms[0][1] is a.terms[1][1]
    (b, *_) = [target for target in feed.targets if target.column == stream.b.start]
    assert [form for form, _ in b.terms] == [((0, (1, 1)), (2, (-1, 1)))]
