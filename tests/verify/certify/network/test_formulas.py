"""The formulas, read twice: the second reading is that of the dense weights, in every dtype."""

from collections import Counter

import pytest
import torch
from every_part import every_part

from verify.certify.network.formulas import read_formulas
from verify.certify.network.reading import read_weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_formulas_and_dense_weights_are_read_the_same(dtype: torch.dtype) -> None:
    construction = every_part()
    formulas, weights = read_formulas(construction, dtype), read_weights(construction.to_transformer(dtype))
    for name in ("width", "sequence", "loops", "divide_by_tokens", "score_scale"):
        assert getattr(formulas, name) == getattr(weights, name)
    for one, other in zip(formulas.layers, weights.layers, strict=True):
        assert (one.kind, one.heads, one.gain) == (other.kind, other.heads, other.gain)
        assert one.offsets == other.offsets
        assert Counter(one.units) == Counter(other.units)


def test_numbers_are_rounded_to_the_dtype_once() -> None:
    """0.3, the coefficient of the first score, as the nearest float32."""
    (_, key), *_ = read_formulas(every_part(), torch.float32).layers[0].heads[0].scores
    assert key[0][1] == torch.tensor(0.3, dtype=torch.float32).item() != 0.3
