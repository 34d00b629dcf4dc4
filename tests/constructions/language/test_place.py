"""place and copy: a vector put where a one-hot block points, dense and from the formulas."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from constructions import Construction, Layer, Score, SoftmaxHead, Stream
from constructions.language.counts import count
from constructions.language.gates import place
from constructions.language.mlp import clear, copy
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value

DTYPES = [torch.float64, torch.float32]
S = Stream(x=3, by=2, out=6, twin=3, junk=1, one=1)
HEAD = SoftmaxHead(Score(), S.one, S.junk)


def built(bound: float) -> Construction:
    parts = (place(S.x, by=S.by, write=S.out, bound=bound), copy(S.x, S.twin, scale=2.0), clear(S.junk))
    return Construction("trial", "a test", S, (S.x, S.by, S.one), (Layer("trial", (HEAD,), parts),))


def placed(x: Tensor, by: Tensor, bound: float) -> list[tuple[Tensor, Tensor]]:
    """x (n, 3), by (n, 2) -> what both evaluations write: (n, 2, 3), and the copy (n, 3)."""
    dtype, places = x.dtype, Places(torch.ones(1, len(x), dtype=torch.bool))
    values = {S.x: x, S.by: by.to(dtype), S.one: torch.ones_like(x[:, :1])}
    tokens = Tokens(S, places, {b: Value(places.each, v[None].mT) for b, v in values.items()})
    layers = StructuredEvaluator(built(bound), FloatArithmetic(dtype, "cpu"))
    formulas = layers.block(layers.start(tokens))[-1].dense()
    with torch.no_grad():
        dense = built(bound).to_transformer(dtype)(tokens.dense())
    return [(h[0, :, S.out.slice].reshape(-1, 2, 3), h[0, :, S.twin.slice]) for h in (dense, formulas)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [0.5, 1.0, 8.0])
def test_place_is_the_outer_product_with_a_one_hot_also_at_the_bound(
    dtype: torch.dtype, bound: float
) -> None:
    values = bound * torch.tensor([-1, -0.75, -0.125, 0, 0.125, 1], dtype=dtype)
    x = torch.cartesian_prod(values, values, values)
    for by in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        one_hot = torch.tensor(by, dtype=dtype).expand(len(x), 2)
        for out, twin in placed(x, one_hot, bound):
            assert torch.equal(out, one_hot[:, :, None] * x[:, None])  # multiples of B/8: sums are exact
            assert torch.equal(twin, 2 * x)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    values=st.lists(st.floats(-1, 1, allow_subnormal=True), min_size=3, max_size=3),
    bound=st.floats(1e-3, 1e3),
    at=st.integers(0, 1),
)
def test_place_rounds_by_an_ulp_of_the_bound_and_is_zero_elsewhere(
    dtype: torch.dtype, values: list[float], bound: float, at: int
) -> None:
    bound = float(torch.tensor(bound, dtype=dtype))
    x = (bound * torch.tensor([values], dtype=torch.float64)).to(dtype)
    by = torch.nn.functional.one_hot(torch.tensor([at]), 2)
    # relu(x + B - B) - relu(-x + B - B): two sums of terms of at most 2 B + |x| each, a difference.
    slack = 2 * gamma(3, unit_roundoff(dtype)) * (2 * bound + x[0].abs().double())
    for out, _ in placed(x, by, bound):
        assert bool(((out[0, at] - x[0]).abs() <= slack).all())
        assert out[0, 1 - at].count_nonzero() == 0


def test_beyond_its_bound_place_is_wrong() -> None:
    x = torch.tensor([[5.0, 1.0, 0.0]], dtype=torch.float64)
    for out, _ in placed(x, torch.tensor([[1.0, 0.0]]), 4.0):
        assert out[0].tolist() == [
            [5.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
        ]  # relu(5 - 4): why a run checks the bound


def test_they_print_and_say_what_they_touch_and_are_counted() -> None:
    part, twin = place(S.x, by=S.by, write=S.out, bound=2), copy(S.x, S.twin)
    assert (str(part), str(twin)) == ("by (x) x for |x| <= 2", "x")
    assert (part.reads, part.writes, part.clears) == ((S.x, S.by), (S.out,), ())
    assert (twin.reads, twin.writes, twin.clears) == ((S.x,), (S.twin,), ())
    assert part.approximation_error == twin.approximation_error == 0
    construction = built(2.0)
    found, weights = count(construction), construction.resources()
    assert (found.hidden, found.nonzeros) == (weights.hidden, weights.nonzeros)
    assert found.hidden == 2 * 6 + 2 * 3 + 2
    norms = [norm for _, norm in weights.norms.values()]
    # The Gram matrix in float64: a relative error of (hidden units) u, halved by the root.
    assert found.spectral_norm == pytest.approx(max(norms), rel=found.hidden * unit_roundoff(torch.float64))


@pytest.mark.parametrize(("by", "write"), [(S.by, S.twin), (S.x.part(0), S.out)])
def test_place_writes_the_product_of_the_widths(by: Block, write: Block) -> None:
    width = by.width * 3
    with pytest.raises(ValueError, match=re.escape(f"its width must be {by.width} * 3 = {width}")):
        place(S.x, by=by, write=write, bound=1.0)


def test_place_reads_two_different_columns() -> None:
    with pytest.raises(ValueError, match="which have columns in common; a unit reads two"):
        place(S.x, by=S.x.part(0), write=S.twin, bound=1.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_places_bound_is_positive_and_finite(bound: float) -> None:
    with pytest.raises(ValueError, match=rf"place's bound is {bound}; it must be positive and finite"):
        place(S.x, S.by, S.out, bound)


def test_copy_needs_two_blocks_of_one_width() -> None:
    for other in (S.by, S.x):
        with pytest.raises(ValueError, match="copy needs two blocks of one width"):
            copy(S.x, other)
