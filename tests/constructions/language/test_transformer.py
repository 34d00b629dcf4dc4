"""The plain transformer against its formula written out with loops, and its options."""

import copy
import pickle
from dataclasses import asdict, replace

import pytest
import torch
from sublayer_rounding import attention_tolerance, mlp_tolerance
from torch import Tensor

import constructions.language.transformer as runtime
from constructions import LayerShape, Transformer, TransformerShape
from constructions.language.heads import Attention
from constructions.language.rounding import gamma

WIDTH, TOKENS, U = 7, 11, 2.0**-53
LAYER = LayerShape(heads=3, head_dim=4, hidden=9)


def random_transformer(own: Attention | None = None, **options) -> tuple[Transformer, Tensor, Tensor]:
    """Weights of size 1, states (2, 11, 7) and a mask that hides the end of the second task."""
    g = torch.Generator().manual_seed(0)
    transformer = Transformer(TransformerShape(WIDTH, (replace(LAYER, attention=own),), **options))
    for p in transformer.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    mask = torch.ones(2, TOKENS, dtype=torch.bool)
    mask[1, 6:] = False
    return transformer, torch.randn(2, TOKENS, WIDTH, generator=g, dtype=torch.float64), mask


def naive_attention(transformer: Transformer, h: Tensor, mask: Tensor) -> Tensor:
    shape, weights = transformer.shape, transformer.layers[0].attention
    """At real tokens; what a padding token reads means nothing."""
    out = torch.zeros_like(h)
    for b in range(len(h)):
        real = h[b, mask[b]]
        for head in range(LAYER.heads):
            for i in mask[b].nonzero()[:, 0].tolist():
                query = h[b, i] @ weights.query[head]
                scores = torch.stack([query @ (row @ weights.key[head]) for row in real])
                scores = scores * shape.score_scale
                if (shape.layers[0].attention or shape.attention) == "softmax":
                    share = (scores - scores.max()).exp()
                    share = share / share.sum()
                else:
                    share = scores.clamp_min(0) / (len(real) if shape.divide_by_tokens else 1)
                read = sum(s * (row @ weights.value[head]) for s, row in zip(share, real, strict=True))
                out[b, i] += read @ weights.output[head]
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score_scale": 0.5},
        {"attention": "relu"},
        {"attention": "relu", "score_scale": 0.5},
        {"attention": "relu", "divide_by_tokens": True},
        {"own": "relu", "divide_by_tokens": True},
        {"own": "softmax", "attention": "relu", "divide_by_tokens": True},
    ],
    ids=str,
)
@torch.no_grad()
def test_attention_is_its_formula(options: dict, masked: bool) -> None:
    transformer, h, mask = random_transformer(**options)
    mask = mask if masked else torch.ones_like(mask)
    attention = transformer.layers[0].attention
    got = attention(h, mask if masked else None)
    distance = (got - naive_attention(transformer, h, mask))[mask].norm(dim=-1).max()
    # Scaling the scores (once each) and dividing by the tokens are one more rounding on either side: the
    # 2 u on scores of at most eta^2 a b is below the expm1(2 eps) there, eps > gamma_{D + 2} (2 sqrt(D) + 1).
    assert distance <= attention_tolerance(attention, h)
    assert attention_tolerance(attention, h) < 1e-6 * got.norm(dim=-1).max()


@torch.no_grad()
def test_relu_attention_with_every_token_hidden_but_one_reads_that_one() -> None:
    transformer, h, mask = random_transformer(attention="relu", divide_by_tokens=True)
    mask[:] = False
    mask[:, 3] = True
    attention = transformer.layers[0].attention
    distance = (attention(h, mask) - naive_attention(transformer, h, mask))[mask].norm(dim=-1).max()
    assert distance <= attention_tolerance(attention, h)


@torch.no_grad()
def test_the_mlp_is_its_formula() -> None:
    transformer, h, _ = random_transformer()
    mlp = transformer.layers[0].mlp
    expected = (h @ mlp.w1 + mlp.b1).clamp_min(0) @ mlp.w2 + mlp.b2
    assert (mlp(h) - expected).norm(dim=-1).max() <= mlp_tolerance(mlp, h)
    assert mlp_tolerance(mlp, h) < 1e-6 * expected.norm(dim=-1).max()


@torch.no_grad()
def test_gelu_is_an_option() -> None:
    transformer, h, _ = random_transformer(activation="gelu")
    mlp = transformer.layers[0].mlp
    z = h @ mlp.w1 + mlp.b1
    expected = (z * (1 + torch.erf(z / 2**0.5)) / 2) @ mlp.w2 + mlp.b2
    # |gelu'| <= 1.13 instead of 1, and either erf formula is itself off by at most 8 u |z| (z/sqrt 2, erf
    # within 2 ulp = 4u, the sum, two products): together 1.13 tolerances and 16 u mass. A tolerance is at
    # least 4 eps mass > 4 gamma_9 mass > 36 u mass, so twice a tolerance covers both.
    assert (mlp(h) - expected).norm(dim=-1).max() <= 2 * mlp_tolerance(mlp, h)


@torch.no_grad()
def test_slices_of_tokens_do_not_change_relu_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, h, mask = random_transformer(attention="relu")
    whole = transformer.layers[0].attention(h, mask)
    monkeypatch.setattr(runtime, "MAX_HIDDEN_VALUES", 2 * 3 * TOKENS * 4)  # four query tokens at a time
    sliced = transformer.layers[0].attention(h, mask)
    assert (whole - sliced).norm(dim=-1).max() <= attention_tolerance(transformer.layers[0].attention, h)


@pytest.mark.parametrize("values", [1, 9, 40])
@torch.no_grad()
def test_slices_of_tokens_do_not_change_the_mlp(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    transformer, h, _ = random_transformer()
    mlp = transformer.layers[0].mlp
    whole, widest = mlp(h), []
    monkeypatch.setattr(runtime, "MAX_HIDDEN_VALUES", values)
    activation = mlp.activation
    monkeypatch.setattr(mlp, "activation", lambda z: widest.append(len(z)) or activation(z))
    assert (whole - mlp(h)).norm(dim=-1).max() <= mlp_tolerance(mlp, h)
    assert max(widest) == max(1, values // LAYER.hidden)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@torch.no_grad()
def test_a_norm_is_applied_to_the_input_of_each_sub_layer(norm: str) -> None:
    transformer, h, mask = random_transformer(norm=norm)
    layer = transformer.layers[0]

    def normed(x: Tensor, module: torch.nn.Module) -> Tensor:
        if norm == "rms":
            eps = torch.finfo(x.dtype).eps
            return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * module.weight
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * module.weight + module.bias

    before = normed(h, layer.norm1)
    # D + 8 roundings an entry on either side (mean, difference, mean of squares, root, quotient, gain, bias)
    # against sizes of at most sqrt(D) |gain| + |bias| since the normed row has norm sqrt(D); centring can
    # cancel, which the ratio of |x| to |x - mean| counts.
    loss = (h.norm(dim=-1) / (h - h.mean(-1, keepdim=True)).norm(dim=-1)).max()
    size = (
        WIDTH**0.5 * layer.norm1.weight.abs().max() + getattr(layer.norm1, "bias", torch.zeros(1)).abs().max()
    )
    assert ((before - layer.norm1(h)).abs() <= 2 * gamma(WIDTH + 8, U) * (1 + loss) * size).all()
    h = h.masked_fill(~mask[:, :, None], 0.0)  # padding is emptied before the norm
    after = h + layer.attention(layer.norm1(h), mask)
    assert torch.equal(layer(h, mask), after + layer.mlp(layer.norm2(after)))


@torch.no_grad()
def test_without_a_norm_the_layer_has_no_norm_parameters() -> None:
    transformer, h, mask = random_transformer()
    layer = transformer.layers[0]
    assert {name.split(".")[0] for name, _ in layer.named_parameters()} == {"attention", "mlp"}
    real = h.masked_fill(~mask[:, :, None], 0.0)  # padding is emptied
    after = real + layer.attention(real, mask)
    assert torch.equal(transformer(h, mask), after + layer.mlp(after))


@torch.no_grad()
def test_block_gives_the_state_after_every_layer() -> None:
    g = torch.Generator().manual_seed(1)
    shape = TransformerShape(WIDTH, (LAYER, LayerShape(0, 0, 5), LayerShape(2, 3, 0)), loops=2)
    transformer = Transformer(shape, torch.float64)
    h = torch.randn(2, TOKENS, WIDTH, generator=g, dtype=torch.float64)
    states = transformer.block(h)
    assert len(states) == 3
    assert transformer.layers[1].attention is None
    assert transformer.layers[2].mlp is None
    assert torch.equal(transformer(h), transformer.block(states[-1])[-1])


# --- the kind of a layer ----------------------------------------------------------------------------------


def test_a_layer_without_a_kind_of_its_own_has_that_of_the_transformer() -> None:
    own = (replace(LAYER, attention="relu"), LAYER, replace(LAYER, attention="softmax"))
    for kind in ("softmax", "relu"):
        transformer = Transformer(TransformerShape(WIDTH, own, attention=kind))
        assert [layer.attention.kind for layer in transformer.layers] == ["relu", kind, "softmax"]


def test_the_kind_is_no_weight() -> None:
    """The same names and shapes of weights, whatever the kinds."""
    plain, mixed = (
        Transformer(TransformerShape(WIDTH, layers))
        for layers in ((LAYER, LAYER), (LAYER, replace(LAYER, attention="relu")))
    )
    mixed.load_state_dict(plain.state_dict(), strict=True)


def test_shapes_from_before_layers_had_kinds_are_what_they_were() -> None:
    """Made from their fields, and unpickled without the new one."""
    before = {name: value for name, value in asdict(LAYER).items() if name != "attention"}
    assert LayerShape(**before) == LAYER
    old = copy.copy(LAYER)
    del vars(old)["attention"]
    again = pickle.loads(pickle.dumps(old))  # noqa: S301
    assert "attention" not in vars(again)
    assert again == LAYER
    assert TransformerShape(WIDTH, (again,)).kind_of(again) == "softmax"


def test_kinds_that_are_none_and_causal_relu_layers_are_refused() -> None:
    for layer, kind in ((LAYER, "mixed"), (replace(LAYER, attention="mixed"), "softmax")):
        with pytest.raises(ValueError, match="attention is 'mixed', needs 'softmax' or 'relu'"):
            TransformerShape(WIDTH, (layer,), attention=kind)
    relu = replace(LAYER, attention="relu")
    with pytest.raises(ValueError, match="causal attention is softmax attention here, got 'relu'"):
        TransformerShape(WIDTH, (LAYER, relu), causal=True)
