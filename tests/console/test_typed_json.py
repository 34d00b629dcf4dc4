"""Dataclasses as JSON and back: nothing is lost, and nothing that does not fit gets in."""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.cells import Cells
from console.errors import BadInputError
from console.typed_json import (
    FORMAT,
    Absent,
    Beside,
    IllTypedError,
    Kept,
    Key,
    from_plain,
    load_result,
    save_result,
    to_plain,
)


class Span(NamedTuple):
    value: float
    low: float


@dataclass(frozen=True)
class Plan:
    kind: Literal["a", "b"]
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Why:
    reason: str


@dataclass(frozen=True)
class Inner:
    span: Span
    pair: tuple[int, str]
    odd: Annotated[float, Key("an odd key")]
    left: Annotated[list[float] | None, Absent()] = None
    empty: Annotated[Plan | None, Absent({})] = None


@dataclass(frozen=True)
class Outer:
    plan: Annotated[Plan, Beside()]
    inner: dict[str, list[Inner]]
    answer: Inner | Why
    flag: bool
    maybe: int | None


@dataclass(frozen=True)
class Open:
    size: float
    others: Annotated[dict[str, Span], Beside()]


numbers = st.floats(allow_nan=False)
plans = st.builds(Plan, st.sampled_from(["a", "b"]), st.lists(st.integers(), max_size=3).map(tuple))
inners = st.builds(
    Inner,
    st.builds(Span, numbers, numbers),
    st.tuples(st.integers(), st.text()),
    numbers,
    st.none() | st.lists(numbers, max_size=2),
    st.none() | plans,
)
outers = st.builds(
    Outer,
    plans,
    st.dictionaries(st.text(), st.lists(inners, max_size=2), max_size=2),
    inners | st.builds(Why, st.text()),
    st.booleans(),
    st.none() | st.integers(),
)


@given(outers)
def test_there_and_back_by_way_of_text(value):
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


def test_the_shape_by_hand():
    inner = Inner(Span(1.5, math.inf), (1, "x"), 2.0)
    value = Outer(Plan("a", (3,)), {"k": [inner]}, Why("no"), flag=True, maybe=None)
    own = {"span": [1.5, math.inf], "pair": [1, "x"], "an odd key": 2.0, "empty": {}}
    shape = {"kind": "a", "steps": [3], "inner": {"k": [own]}, "answer": {"reason": "no"}}
    assert to_plain(value) == shape | {"flag": True, "maybe": None}
    opened = Open(1.0, {"x y": Span(1.0, 0.0)})
    assert to_plain(opened) == {"size": 1.0, "x y": [1.0, 0.0]}
    assert from_plain(Open, to_plain(opened)) == opened
    assert math.isnan(from_plain(Span, json.loads("[NaN, 1]")).value)


GOOD: dict[str, Any] = {
    "kind": "a",
    "steps": [1],
    "inner": {"k": [{"span": [1, 2.0], "pair": [1, "x"], "an odd key": 1, "empty": {}}]},
    "answer": {"reason": "no"},
    "flag": False,
    "maybe": 2,
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "c"}, "it.kind is 'c', needs one of 'a', 'b'"),
        ({"kind": True}, "it.kind is True, needs one of"),
        ({"steps": [1, 2.0]}, r"it.steps\[1\] is 2.0, needs an integer"),
        ({"steps": 3}, "it.steps is 3, needs an array"),
        ({"steps": [True]}, r"it.steps\[0\] is True, needs an integer"),
        ({"inner": []}, r"it.inner is \[\], needs an object"),
        ({"inner": {"k": [{}]}}, r"it.inner.k\[0\] has no 'span'"),
        ({"answer": {"reason": 1}}, "it.answer has no 'span' or it.answer.reason is 1, needs text"),
        ({"answer": None}, "it.answer is None, needs an object"),
        ({"flag": 0}, "it.flag is 0, needs true or false"),
        ({"maybe": "2"}, "it.maybe is '2', needs an integer"),
        ({"maybe": 2.0}, "it.maybe is 2.0, needs an integer"),
        ({"more": 1}, "it has an unknown 'more'"),
        ({"flag": "a" * 80}, r"it.flag is 'a{36}\.\.\., needs true or false"),
    ],
)
def test_what_does_not_fit_is_named(change, problem):
    assert from_plain(Outer, GOOD).plan == Plan("a", (1,))
    with pytest.raises(IllTypedError, match=problem):
        from_plain(Outer, GOOD | change)


@pytest.mark.parametrize("name", GOOD)
def test_every_field_is_needed(name):
    with pytest.raises(IllTypedError, match=f"it has no '{name}'"):
        from_plain(Outer, {key: value for key, value in GOOD.items() if key != name})


def test_pairs_have_their_lengths():
    for span in ([1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(IllTypedError, match=f"it has {len(span)} values, needs 2"):
            from_plain(Span, span)
    with pytest.raises(IllTypedError, match=r"it\[0\] is None, needs a number"):
        from_plain(Span, [None, 1.0])


def test_numbers_of_numpy_are_numbers():
    assert json.loads(json.dumps(to_plain([np.float64(0.1), np.float64(math.inf)]))) == [0.1, math.inf]


def test_what_json_cannot_say_is_refused():
    with pytest.raises(TypeError, match="a complex has no place in JSON"):
        to_plain([1j])
    with pytest.raises(TypeError, match="is not text"):
        to_plain({1: 2})
    with pytest.raises(TypeError, match="has no place in JSON"):
        from_plain(complex, 1)


def test_results_are_kept_and_read_back(tmp_path):
    cells = Cells(tmp_path, "test", {"seed": 1}, ("console",))
    assert load_result(cells, "a part", Span) is None
    saved = save_result(cells, "a part", Kept(Span(1.0, -math.inf), 0.5))
    assert saved == load_result(cells, "a part", Span) == Kept(Span(1.0, -math.inf), 0.5)
    with pytest.raises(BadInputError, match=r"a-part.json: result is \[1.0, -inf\], needs an object; remove"):
        load_result(cells, "a part", Why)
    cells.save("a part", {"format": FORMAT, "seconds": 1.0, "result": [1.0, 2.0], "more": 0})
    with pytest.raises(BadInputError, match="it has an unknown 'more'"):
        load_result(cells, "a part", Span)
    for older in ({"format": FORMAT - 1, "seconds": 1.0, "result": 3}, {"odd": 1}, [1], 3):
        cells.save("a part", older)
        assert load_result(cells, "a part", Span) is None
        assert "a part" not in cells.done
