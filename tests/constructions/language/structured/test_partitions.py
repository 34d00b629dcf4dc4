"""Tokens that hold equal values: kept once, and read back as the dense stream has them."""

import pytest
import torch

from constructions import Stream
from constructions.language.structured.partitions import Places, Tokens, Value

S = Stream(a=2, b=3, c=1, d=1)
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def tokens() -> Tokens:
    """a by tokens, b by the label, c at all alike; d holds nothing."""
    places = Places(MASK)
    labels = torch.tensor([[0, 1, 0, 0], [1, 1, 1, 0]])
    g = torch.Generator().manual_seed(0)

    def drawn(width: int, classes: int) -> torch.Tensor:
        return torch.randn(2, width, classes, generator=g, dtype=torch.float64)

    return Tokens(
        S,
        places,
        {
            S.a: Value(places.each, drawn(2, 4)),
            S.b: Value(places.classes(labels, 3), drawn(3, 3)),
            S.c: Value(places.same, drawn(1, 1)),
        },
    )


def test_dense_tokens_hold_what_their_classes_hold() -> None:
    t = tokens()
    h = t.dense()
    a, b, c = (t.values[block] for block in (S.a, S.b, S.c))
    for task in range(2):
        for token in range(4):
            if not MASK[task, token]:
                assert not h[task, token].any()
                continue
            label = b.partition.labels[task, token]
            assert torch.equal(h[task, token, S.a.slice], a.numbers[task, :, token])
            assert torch.equal(h[task, token, S.b.slice], b.numbers[task, :, label])
            assert torch.equal(h[task, token, S.c.slice], c.numbers[task, :, 0])
            assert h[task, token, S.d.start] == 0


def test_counts_are_those_of_real_tokens() -> None:
    t = tokens()
    b = t.values[S.b].partition
    assert b.counts.tolist() == [[2, 1, 0], [1, 3, 0]]
    assert b.has_empty
    assert t.places.same.counts.tolist() == t.places.real.tolist() == [[3], [4]]
    assert t.places.each.counts.tolist() == MASK.int().tolist()
    assert Places(MASK[1:]).each.counts is None
    assert t.places.first_and_rest().counts.tolist() == [[1, 2], [1, 3]]


def test_the_finest_partition_of_several() -> None:
    places = tokens().places
    slots, others = (places.classes(torch.zeros(2, 4, dtype=torch.int64), n) for n in (1, 2))
    assert places.join() is places.same
    assert places.join(places.same, slots, places.same) is slots
    assert places.join(slots, slots) is slots
    assert places.join(slots, others) is places.each
    assert places.join(places.same, places.each, slots) is places.each


def test_a_dense_stream_read_back_is_the_same_stream() -> None:
    t = tokens()
    again = Tokens.of_dense(S, S.blocks, t.dense(), MASK)
    assert torch.equal(again.dense(), t.dense())
    assert again.values[S.c].partition.kind == "same"
    assert again.values[S.d].partition.kind == "same"
    assert again.values[S.a].partition.kind == again.values[S.b].partition.kind == "each"


def test_padding_may_hold_anything() -> None:
    h = tokens().dense()
    h[0, 3] = torch.nan
    again = Tokens.of_dense(S, S.blocks, h, MASK)
    assert torch.equal(again.dense(), tokens().dense())
    assert again.values[S.c].partition.kind == "same", "padding does not make equal tokens differ"


@pytest.mark.parametrize("first", [1, 3, 9])
def test_the_first_tokens_alone(first: int) -> None:
    t = tokens()
    for block in (S.a, S.b, S.c):
        assert torch.equal(t.read(block, first), t.read(block)[:, :first])


def test_rows_for_a_read_out_stand_for_their_tokens() -> None:
    t = tokens()
    few = t.pooled((S.b, S.c))
    assert few.rows.shape == (2, 3, S.width)
    assert few.counts.tolist() == [[2, 1, 0], [1, 3, 0]]
    assert few.mask.tolist() == [[True, True, False], [True, True, False]]
    assert torch.equal(few.rows[..., S.b.slice], t.values[S.b].numbers.mT)
    every = t.pooled((S.a, S.b))
    assert torch.equal(every.rows, t.dense())
    assert every.counts is None
    assert torch.equal(every.mask, MASK)
