"""TGMM: what every variant serves and refuses, valid mixtures, shared weights, the ablation, the scale."""

from typing import NamedTuple

import pytest
import torch
from model_instances import VARIANTS, points, prefix_mask, small_model, terms
from torch import Tensor

import training.model.tgmm as model_module
from training.model.estimate import Estimate
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM

VARIANT = pytest.mark.parametrize(("options", "polish_steps"), VARIANTS.values(), ids=VARIANTS.keys())
U = 2.0**-53


def estimate_errors(model: TGMM, X: Tensor, K: int) -> list[str]:
    """What is wrong with the fields of an estimate of X (B, N, 2)."""
    estimate, broken = model(X, K), []
    if estimate.log_weights.shape != (len(X), K):
        broken.append(f"log_weights {tuple(estimate.log_weights.shape)}")
    # K exponentials within 2 ulp of a log-softmax rounded at size |log pi|, and their sum.
    elif not ((estimate.log_weights.exp().sum(-1) - 1).abs() <= (K + 60) * U).all():
        broken.append("weights do not sum to 1")
    if estimate.means.shape != (len(X), K, 2):
        broken.append(f"means {tuple(estimate.means.shape)}")
    shapes = {"diagonal": (len(X), K, 2), "full": (len(X), K, 2, 2)}
    for part, kind in ((estimate.log_variances, "diagonal"), (estimate.factors, "full")):
        wanted = shapes[kind] if model.config.covariance == kind else None
        if (None if part is None else tuple(part.shape)) != wanted:
            broken.append(kind)
    return broken


@VARIANT
@torch.no_grad()
def test_every_variant_serves_its_components_and_refuses_others(options: dict, polish_steps: int) -> None:
    model, X = small_model(options, polish_steps, components=(1, 3)), points(2, 7, 2)
    for K in (1, 3):
        assert estimate_errors(model, X, K) == []
        mixture = model.estimate(X, K, prefix_mask(7, 7, 4))  # a Mixture checks itself
        assert mixture.weights.shape == (2, K)
        assert mixture.covariance_type == options["covariance"]
    for K in (0, 2, 4, -1):
        for call in (model, model.network, model.estimate):
            with pytest.raises(ValueError, match=f"n_components is {K}, this model serves 1, 3"):
                call(X, K)


class Swapped(NamedTuple):
    """Estimate with its fields in another order."""

    means: Tensor
    log_weights: Tensor
    log_variances: Tensor | None = None
    covariances: Tensor | None = None
    factors: Tensor | None = None


@torch.no_grad()
def test_another_order_of_the_fields_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = small_model(), points(2, 7, 2)
    assert estimate_errors(model, X, 3) == []
    monkeypatch.setattr(model_module, "Estimate", Swapped)
    assert estimate_errors(model, X, 3) != []
    with pytest.raises(ValueError, match="weights have shape"):
        model.estimate(X, 3)


def test_an_estimate_is_a_mixture_of_softmax_and_exp() -> None:
    log_weights = torch.tensor([[0.25, 0.75]]).log()
    means, log_variances = torch.ones(1, 2, 3), torch.full((1, 2, 3), 2.0)
    unit = Estimate(log_weights, means).to_mixture()
    assert unit.covariances is None
    assert (unit.weights - torch.tensor([[0.25, 0.75]])).abs().max() < 4 * 2.0**-24  # log in float32
    diagonal = Estimate(log_weights, means, log_variances).to_mixture()
    assert torch.equal(diagonal.covariances, log_variances.double().exp())
    assert torch.equal(diagonal.means, means.double())


# --- refusals ---------------------------------------------------------------------------------------------

X = points(2, 6, 2)
BAD_INPUT = {
    "another d": (X[..., :1], None, r"X has shape \(2, 6, 1\), needs \(B, N, d\) with d = 2"),
    "no batch": (X[0], None, r"X has shape \(6, 2\), needs"),
    "no tasks": (X[:0], None, r"X has shape \(0, 6, 2\), needs"),
    "no points": (X[:, :0], None, r"X has shape \(2, 0, 2\), needs"),
    "not a tensor": (X.numpy(), None, "X is of type ndarray, needs a tensor"),
    "mask too short": (X, torch.ones(2, 5, dtype=torch.bool), r"of shape \(2, 5\), needs bool of \(2, 6\)"),
    "mask of numbers": (X, torch.ones(2, 6), r"mask is torch.float32 of shape \(2, 6\), needs bool"),
    "mask of features": (X, torch.ones(2, 6, 2, dtype=torch.bool), r"of shape \(2, 6, 2\), needs bool"),
    "a task without points": (X, prefix_mask(6, 6, 0), "a task has no points, needs at least one"),
    "more points than positions": (points(2, 17, 2), None, "N = 17 points, .* positions for 16"),
}


@pytest.mark.parametrize("call", ["forward", "network", "estimate"])
@pytest.mark.parametrize(("points_given", "mask", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
@torch.no_grad()
def test_bad_input_is_refused_in_one_line(points_given, mask: Tensor | None, message: str, call: str) -> None:
    model = small_model({"max_positions": 16})
    with pytest.raises(ValueError, match=message) as caught:
        getattr(model, call)(points_given, 2, mask)
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_as_many_points_as_positions_are_accepted() -> None:
    assert estimate_errors(small_model({"max_positions": 16}), points(2, 16, 2), 2) == []


@torch.no_grad()
def test_estimate_refuses_values_that_are_not_finite_at_points() -> None:
    model = small_model()
    for value in (float("nan"), float("inf")):
        broken = X.clone()
        broken[1, 4, 0] = value
        with pytest.raises(ValueError, match=rf"X\[1, 4, 0\] is {value}, needs finite values"):
            model.estimate(broken, 2)
        assert model.estimate(broken, 2, prefix_mask(6, 6, 4)).means.isfinite().all()


def test_estimate_refuses_integers_and_needs_no_gradient() -> None:
    with pytest.raises(ValueError, match=r"X is of type torch\.int64, needs a floating-point tensor"):
        small_model().estimate(X.long(), 2)
    assert not small_model().estimate(X, 2).means.requires_grad


BAD_CONFIG = {
    "n_features is 0": {"n_features": 0},
    "layers is 0": {"layers": 0},
    "heads is True": {"heads": True},
    "width is 7, needs a multiple of heads = 2": {"width": 7, "heads": 2},
    "mlp_ratio is 1.5": {"mlp_ratio": 1.5},
    "max_positions is -1": {"max_positions": -1},
    r"components is \(\), needs": {"components": ()},
    r"components is \(3, 2\), needs": {"components": (3, 2)},
    r"components is \(2, 2\), needs": {"components": (2, 2)},
    "a number of components is 0": {"components": (0, 2)},
    "readout is 'mean', needs one of tokens, pooling": {"readout": "mean"},
    "backbone is 'lstm', needs one of transformer, mamba2": {"backbone": "lstm"},
    "readout is 'pooling', needs 'tokens'": {"backbone": "mamba2", "readout": "pooling"},
    "data_scale is 0": {"data_scale": 0.0},
    "data_scale is inf": {"data_scale": float("inf")},
    "data_scale is nan": {"data_scale": float("nan")},
}


@pytest.mark.parametrize(("message", "changed"), BAD_CONFIG.items(), ids=BAD_CONFIG.keys())
def test_bad_configurations_are_refused(message: str, changed: dict) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{"n_features": 2, **changed})


def test_polish_of_a_model_with_scales_and_negative_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="polish_steps is 2, needs 0 for a model of diagonal covariances"):
        small_model({"covariance": "diagonal"}, 2)
    with pytest.raises(ValueError, match="polish_steps is 1, needs 0 for a model of diagonal covariances"):
        small_model({"covariance": "diagonal"}).with_polish(1)
    with pytest.raises(ValueError, match="polish_steps is -1"):
        small_model(None, -1)


# --- weights ----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_with_polish_shares_the_weights() -> None:
    model = small_model().eval()
    polished = model.with_polish(2, pieces=8)
    assert not polished.training
    assert polished.polish is not None
    assert [p.data_ptr() for p in polished.parameters()] == [p.data_ptr() for p in model.parameters()]
    before = terms(polished(X, 2))
    assert torch.equal(terms(polished.network(X, 2)), terms(model(X, 2)))
    assert not torch.equal(before, terms(model(X, 2)))
    for parameter in model.parameters():
        parameter.mul_(1.5)
    assert not torch.equal(terms(polished(X, 2)), before)
    bare = polished.with_polish(0)
    assert bare.polish is None
    assert torch.equal(terms(bare(X, 2)), terms(model(X, 2)))


@pytest.mark.parametrize("options", [o for o, steps in VARIANTS.values() if not steps], ids=str)
def test_every_parameter_serves_some_number_of_components(options: dict) -> None:
    """With as many points as positions, each parameter has a gradient that is not zero for some K."""
    model = small_model(options, components=(2, 3))
    for K in (2, 3):
        terms(model(points(2, 16, 2), K)).sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


@torch.no_grad()
def test_initial_weights_have_variance_one_over_fan_in() -> None:
    """And what adds to the stream a 2 layers-th of it. Sample variances of n entries: six deviations."""
    torch.manual_seed(0)
    layers, heads, width = 3, 4, 64
    model = TGMM(ModelConfig(2, layers=layers, heads=heads, width=width))
    layer = model.backbone.layers[1]
    expected = {
        layer.attention.query: 1 / width,
        layer.attention.value: 1 / width,
        layer.attention.output: 1 / width / (2 * layers),  # heads and head_dim are summed over
        layer.mlp.w1: 1 / width,
        layer.mlp.w2: 1 / (4 * width) / (2 * layers),
        model.tokens["3"]: 1.0,
        model.heads["all"].weight: 1 / width,
        model.readin.weight: 3 / 2,
    }
    for parameter, variance in expected.items():
        limit = 6 * (2 / parameter.numel()) ** 0.5
        assert abs(float(parameter.square().mean()) / variance - 1) <= limit


# --- what the network sees --------------------------------------------------------------------------------


def backbone_states(model: TGMM, K: int) -> Tensor:
    states = []
    hook = model.backbone.register_forward_hook(lambda _, arguments, output: states.append(output))
    model(points(2, 9, 2), K, prefix_mask(9, 9, 5))
    hook.remove()
    return states[0]


@pytest.mark.parametrize("readout", ["tokens", "pooling"])
@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_without_the_embedding_the_backbone_does_not_know_k(readout: str, causal: bool) -> None:
    """To the bit; with it, every state of a point depends on K."""
    options = {"readout": readout, "causal": causal}
    blind = small_model({**options, "task_embedding": False})
    assert torch.equal(backbone_states(blind, 1), backbone_states(blind, 3))
    assert torch.equal(backbone_states(blind, 2), backbone_states(blind, 3))
    told = small_model(options)
    at_points = [
        states[:, :9] if causal or readout == "pooling" else states[:, -9:]
        for states in (backbone_states(told, 2), backbone_states(told, 3))
    ]
    assert (at_points[0] != at_points[1]).any(-1).all()


@torch.no_grad()
def test_without_the_embedding_the_read_outs_still_differ() -> None:
    """Of K = 2 and 3: not the first two components of one answer."""
    for readout in ("tokens", "pooling"):
        blind = small_model({"readout": readout, "task_embedding": False})
        two, three = (blind(X, K).means for K in (2, 3))
        assert ((two - three[:, :2]).abs() > 1e-3).any()


@pytest.mark.parametrize("readout", ["tokens", "pooling"])
@torch.no_grad()
def test_data_scale_is_the_unit_of_length(readout: str) -> None:
    """To the bit, for scales that are powers of two: points and scale eight times as large, means too."""
    small, large = (
        small_model({"readout": readout, "data_scale": s, "covariance": "diagonal"}) for s in (0.5, 4.0)
    )
    one, other = small(X, 3), large(8 * X, 3)
    assert torch.equal(8 * one.means, other.means)
    assert torch.equal(one.log_weights, other.log_weights)
    assert torch.equal(one.log_variances, other.log_variances)


@torch.no_grad()
def test_component_tokens_stand_where_a_causal_backbone_shows_them_the_points() -> None:
    """Every point reaches every component, whichever place it has."""
    for options in ({}, {"causal": True}, {"causal": True, "max_positions": 16}):
        model = small_model(options)
        for at in range(6):
            moved = X.clone()
            moved[:, at] += 1
            assert (model(moved, 3).means != model(X, 3).means).all()


@pytest.mark.parametrize(
    ("X", "mask", "match"),
    [
        (
            torch.full((2, 5, 2), 1e20),
            None,
            r"X has a coordinate of size 1e\+20, the network takes at most 1e\+09",
        ),
        (torch.ones(2, 5, 2), [True], "mask is of type list, needs a bool tensor"),
    ],
)
def test_estimate_names_what_it_cannot_take(X: Tensor, mask: object, match: str) -> None:
    model = TGMM(ModelConfig(n_features=2, width=8, heads=1, layers=1))
    with pytest.raises(ValueError, match=match):
        model.estimate(X, 2, mask)  # pyright: ignore[reportArgumentType]


def test_the_read_out_keeps_full_precision_under_autocast() -> None:
    """bfloat16 has 8 bits: of 2 * 40 * 2 coordinates of estimates not all would be free of the last 16."""
    model = TGMM(ModelConfig(n_features=2, width=8, heads=1, layers=1))
    with torch.autocast("cpu", torch.bfloat16):
        means = model.network(torch.randn(40, 5, 2), 2).means
    assert means.dtype == torch.float32
    assert (means != means.bfloat16().float()).any()


def test_the_network_takes_the_dtype_of_its_weights() -> None:
    model = TGMM(ModelConfig(n_features=2, width=8, heads=1, layers=1))
    with pytest.raises(ValueError, match=r"X is torch.float64, needs torch.float32 like the weights"):
        model(torch.ones(2, 5, 2, dtype=torch.float64), 2)


@torch.no_grad()
def test_scores_are_divided_by_the_root_of_the_head_dimension() -> None:
    """As torch's attention does by itself: width 8, four heads, so sqrt(2) and not sqrt(8)."""
    model = TGMM(ModelConfig(2, width=8, heads=4, layers=1), dtype=torch.float64)
    attention, h = model.backbone.layers[0].attention, points(1, 5, 8)
    q, k, v = (torch.einsum("bnd,hde->bhne", h, w) for w in (attention.query, attention.key, attention.value))
    read = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    expected = torch.einsum("bhne,hed->bnd", read, attention.output)
    torch.testing.assert_close(attention(h), expected, rtol=1e-12, atol=1e-12)
