"""The forms of a layer behind a norm are its own: scores, values and hidden units on normalised tokens."""

import torch
from torch.nn.functional import layer_norm
from transformer_instances import random_transformer, tokens

from training.comparison.symmetry.invariants import forms_of


def test_forms_behind_a_norm_hold_its_gain_and_bias():
    """With z the token that the norm makes before gain and bias, (z, 1)^T A (z, 1) is the score, and so on.

    Numbers of size 10 to 100, sums of about 100 terms: relative 1e-12 is a hundred times their rounding.
    """
    transformer = random_transformer(norm="layer", activation="gelu", layers=1)
    [layer], [forms], h = transformer.layers, forms_of(transformer), tokens(9)[0]
    plain = layer_norm(h, (9,), eps=layer.norm1.eps)
    z = torch.cat([plain, torch.ones_like(h[:, :1])], dim=1)
    own, attention, mlp = layer.norm1(h), layer.attention, layer.mlp
    for head in range(2):
        q, k = own @ attention.query[head], own @ attention.key[head]
        near = {"rtol": 1e-12, "atol": 1e-10}
        torch.testing.assert_close(
            z @ forms.scores[head] @ z.T, transformer.shape.score_scale * q @ k.T, **near
        )
        written = own @ attention.value[head] @ attention.output[head]
        torch.testing.assert_close(z @ forms.values[head], written, **near)
    inner = layer.norm2(h) @ mlp.w1 + mlp.b1
    torch.testing.assert_close(
        plain @ forms.reads[:, :9].T + forms.reads[:, 9], inner, rtol=1e-12, atol=1e-10
    )
    assert torch.equal(forms.writes, mlp.w2)
