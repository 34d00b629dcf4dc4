"""The lists hold every weight that is not 0, once."""

import pytest
import torch
from networks import WIDTH, random_transformer

from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from verify.certify.network.reading import Form, read_weights


def dense(rows: list[Form], width: int) -> torch.Tensor:
    matrix = torch.zeros(len(rows), width, dtype=torch.float64)
    for row, form in enumerate(rows):
        for column, number in form:
            matrix[row, column] = number
    return matrix


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_lists_make_the_same_products(dtype: torch.dtype) -> None:
    transformer = random_transformer(3, ("softmax", "relu"), dtype, output_norm=True)
    weights = read_weights(transformer)
    for layer, read in zip(transformer.layers, weights.layers, strict=True):
        attention, mlp = (getattr(layer, part) for part in ("attention", "mlp"))
        assert read.kind == attention.kind
        for head, found in enumerate(read.heads):
            query, key, value, output = (
                getattr(attention, part)[head].double() for part in ("query", "key", "value", "output")
            )
            q, k = (dense([pair[side] for pair in found.scores], WIDTH) for side in (0, 1))
            assert torch.equal(q.mT @ k, query @ key.mT)
            v, o = (dense([pair[side] for pair in found.reads], WIDTH) for side in (0, 1))
            assert torch.equal(v.mT @ o, value @ output)
        w1 = dense([unit.reads for unit in read.units], WIDTH)
        assert torch.equal(w1, mlp.w1.double().mT)
        assert torch.equal(dense([unit.writes for unit in read.units], WIDTH), mlp.w2.double())
        assert [unit.bias for unit in read.units] == mlp.b1.double().tolist()
        assert torch.equal(dense([read.offsets], WIDTH)[0], mlp.b2.double())
        normed = tuple((c, 0.75) for c in range(WIDTH))
        assert read.gain == (normed if read.kind == "softmax" else None)


def test_what_is_all_zero_is_left_out() -> None:
    transformer = Transformer(TransformerShape(4, (LayerShape(1, 3, 5), LayerShape(0, 0, 2))))
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.zero_()
        transformer.layers[1].mlp.b1[1] = 2.0  # pyright: ignore
    first, second = read_weights(transformer).layers
    assert first.heads == (((), ()),)
    assert first.units == ()
    assert second.units == (((), 2.0, ()),)
    assert second.kind is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation is 'gelu'; balls interpret 'relu' alone"),
        ({"norm": "rms"}, "norm is 'rms'"),
        ({"causal": True}, "causal is True"),
    ],
)
def test_what_is_not_interpreted_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_weights(Transformer(TransformerShape(2, (LayerShape(1, 1, 1),), **options)))


def test_a_weight_that_is_no_number_is_refused() -> None:
    transformer = random_transformer(0, ("relu",))
    with torch.no_grad():
        transformer.layers[0].mlp.w1[0, 0] = torch.nan  # pyright: ignore
    with pytest.raises(ValueError, match=r"layers\.0\.mlp\.w1 holds a number that is not finite"):
        read_weights(transformer)
