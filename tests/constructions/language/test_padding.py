"""What stands in padding tokens reaches no result and no gradient; rows of padding alone read 0."""

import pytest
import torch
from torch import Tensor

from constructions import LayerShape, Transformer, TransformerShape
from constructions.language.readout import AttentivePooling

KINDS = [
    {"norm": "layer"},
    {"norm": "layer", "causal": True},
    {"norm": "rms", "attention": "relu"},
    {"attention": "relu", "divide_by_tokens": True},
    {"kinds": ("relu", "softmax"), "divide_by_tokens": True},
]


def transformer_and_tokens(options: dict, output_norm: bool) -> tuple[Transformer, Tensor, Tensor]:
    """Two layers in float64, tokens (3, 6, 8), and a mask: a whole row, one with holes, one of padding.

    ``kinds``: the layers' own kinds of attention; the other options are those of the shape. Tokens
    of size 1/4 keep every softmax off its ends, where no gradient is left.
    """
    g = torch.Generator().manual_seed(0)
    layers = tuple(LayerShape(2, 4, 16, output_norm, kind) for kind in options.get("kinds", (None, None)))
    of_shape = {name: value for name, value in options.items() if name != "kinds"}
    transformer = Transformer(TransformerShape(8, layers, **of_shape))
    for p in transformer.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, [0, 4, 5]] = False
    mask[2] = False
    return transformer, torch.randn(3, 6, 8, generator=g, dtype=torch.float64) / 4, mask


def gradients(transformer: Transformer, h: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The states, and what a loss at the real tokens sends to every parameter and to the tokens."""
    h = h.clone().requires_grad_()
    out = transformer(h, mask)
    found = torch.autograd.grad(out[mask].square().sum(), [h, *transformer.parameters()])
    return out.detach(), list(found)


@pytest.mark.parametrize("output_norm", [False, True])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_padding_reaches_no_gradient(options: dict, output_norm: bool) -> None:
    """NaN, infinity and 0 in padding: the same states and gradients to the bit, since all become 0 first."""
    transformer, h, mask = transformer_and_tokens(options, output_norm)
    hidden = ~mask[:, :, None]
    states, expected = gradients(transformer, h.masked_fill(hidden, 0.0), mask)
    assert states.isfinite().all()
    assert all(g.isfinite().all() for g in expected)
    assert all(g.any() for g in expected)
    assert not expected[0][~mask].any()
    for filling in (float("nan"), float("inf")):
        found, got = gradients(transformer, h.masked_fill(hidden, filling), mask)
        assert torch.equal(found, states)
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_a_row_of_padding_alone_reads_zero(options: dict) -> None:
    transformer, h, mask = transformer_and_tokens(options, output_norm=False)
    read = transformer.layers[0].attention(h, mask)
    assert not read[2].any()
    assert read[0].any()


@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_padding_in_front_leaves_the_tokens_what_they_are_alone(options: dict) -> None:
    """Three tokens after three of padding, and alone: the same products, of at most 8 + 6 terms each, summed
    in other orders; states below 1e5 here, so 1e-9 is 100 roundings (u = 1e-16) of each of 100 sums."""
    transformer, h, mask = transformer_and_tokens(options, output_norm=False)
    mask[:] = torch.arange(6) >= 3
    h = h / 2
    alone = transformer(h[:, 3:])
    assert alone.abs().max() < 1e5
    torch.testing.assert_close(transformer(h, mask)[:, 3:], alone, rtol=0, atol=1e-9)


def test_pooling_reads_nothing_from_padding() -> None:
    pooling = AttentivePooling(8, 2, 3, torch.float64)
    g = torch.Generator().manual_seed(0)
    for p in pooling.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    _, h, mask = transformer_and_tokens({}, output_norm=False)
    present = torch.ones(3, 2, dtype=torch.bool)
    expected = pooling(h.masked_fill(~mask[:, :, None], 0.0), present, mask)
    found = pooling(h.masked_fill(~mask[:, :, None], float("nan")), present, mask)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not found[1][2].any()
    assert found[0][2].tolist() == [0.5, 0.5]
    found[1].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pooling.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_states_keep_the_dtype_of_the_weights(options: dict, dtype: torch.dtype) -> None:
    transformer, h, mask = transformer_and_tokens(options, output_norm=True)
    transformer, h = transformer.to(dtype), (h / 8).to(dtype)
    assert transformer(h).dtype == transformer(h, mask).dtype == dtype
