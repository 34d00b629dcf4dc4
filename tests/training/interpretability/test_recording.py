"""Looking into a network and changing it: recordings, heads, patches, ablations."""

from collections.abc import Callable

import pytest
import torch
from model_instances import fields, module_error, points, small_model
from torch import Tensor, nn

from constructions.language.transformer import LayerShape, SelfAttention, TransformerShape
from training.interpretability.recording import (
    ablated,
    attention_maps,
    attention_of,
    check_varied,
    head_outputs,
    head_weights,
    layers_of,
    patched,
    record,
)
from training.model.tgmm import TGMM

VARIANTS = {
    "tokens": {},
    "causal": {"causal": True},
    "positions": {"max_positions": 9},
    "no embedding": {"task_embedding": False},
    "pooling": {"readout": "pooling"},
    "pooling causal": {"readout": "pooling", "causal": True},
}
VARIANT = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
K = 2


def same(one: object, other: object) -> bool:
    """Estimates equal bit for bit."""
    return all(map(torch.equal, fields(one), fields(other)))  # type: ignore[arg-type]


def hooks(model: TGMM) -> int:
    """Forward hooks of either kind on any module."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_network_without_a_finite_estimate_is_not_recorded() -> None:
    model, X = small_model(), points(3, 7, 2)
    with torch.no_grad():
        next(iter(model.backbone.parameters())).mul_(1e300)
        model.readin.weight.mul_(1e300)
    with pytest.raises(ValueError, match="estimate of a task is not finite"):
        record(model, X, K)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_a_network_that_says_the_same_of_every_task_is_told(dtype: torch.dtype) -> None:
    model, X = small_model().to(dtype), points(16, 7, 2)
    check_varied(record(model, X, K))
    for weights in model.backbone.parameters():
        weights.zero_()
    with pytest.raises(ValueError, match="the same for every task"):
        check_varied(record(model, X, K))


@VARIANT
@torch.no_grad()
def test_recording_holds_the_stream_of_every_variant(options: dict) -> None:
    model, X = small_model(options), points(3, 7, 2)
    recording = record(model, X, K)
    config = model.config
    tokens = 0 if config.readout == "pooling" else (K if config.task_embedding else 3)
    assert recording.states.shape == (3, 3, 7 + tokens, 8)
    assert recording.points.shape == (3, 3, 7, 8)
    assert recording.tokens.shape == (3, 3, tokens, 8)
    entered = model.readin(X / config.data_scale)
    if config.task_embedding:
        entered = entered + model.embedding[config.components.index(K)]
    if config.max_positions:
        entered = entered + model.positions[:7]
    assert torch.equal(recording.points[0], entered)
    if tokens:
        own = model.tokens[str(K if config.task_embedding else 3)]
        assert torch.equal(recording.tokens[0], own.expand(3, -1, -1))
    h = recording.states[0]
    for layer, after in zip(layers_of(model), recording.states[1:], strict=True):
        h = layer(h)
        assert torch.equal(h, after)
    assert same(recording.estimate, model.network(X, K))
    assert hooks(model) == 0


@VARIANT
@torch.no_grad()
def test_heads_sum_to_the_attention_and_rows_to_one(options: dict) -> None:
    model, X = small_model(options), points(3, 7, 2)
    recording = record(model, X, K)
    for index, layer in enumerate(layers_of(model)):
        attention, h = attention_of(layer), layer.norm1(recording.states[index])
        parts, whole = head_outputs(attention, h), attention(h)
        # Either is off by module_error at most, a token.
        assert (parts.sum(1) - whole).norm(dim=-1).max() <= 2 * module_error(attention, h)
        assert parts.norm(dim=-1).amin((0, 2)).min() > 0  # no head is left out
        A = attention_maps(model, recording, index)
        assert torch.equal(A, head_weights(attention, h))
        # T quotients and their sum.
        T = A.shape[-1]
        assert (A.sum(-1) - 1).abs().max() <= 4 * T * 2.0**-53
        assert bool((A.triu(1) == 0).all()) == model.config.causal


@VARIANT
@torch.no_grad()
def test_patch_replaces_the_stream_where_it_says(options: dict) -> None:
    model, X, other = small_model(options), points(3, 7, 2), points(3, 7, 2, seed=5)
    mine, theirs = record(model, X, K), record(model, other, K)
    for layer in range(3):
        seen: list[Tensor] = []

        def exchange(state: Tensor, layer: int = layer, seen: list[Tensor] = seen) -> Tensor:
            seen.append(state)
            return theirs.states[layer]

        with patched(model, layer, exchange):
            found = model.network(X, K)
        assert len(seen) == 1
        assert torch.equal(seen[0], mine.states[layer])
        assert same(found, theirs.estimate)  # everything behind the patch follows from it
    assert same(model.network(X, K), mine.estimate)


def average_by_hand(own: Tensor, of_points: slice) -> Tensor:
    """(T, D) of own (B, T, D): over tasks and points at a point, over tasks at a component token."""
    rows = []
    for t in range(own.shape[1]):
        if of_points.start <= t < of_points.stop:
            rows.append(own[:, of_points].flatten(0, 1).mean(0))
        else:
            rows.append(own[:, t].mean(0))
    return torch.stack(rows)


@VARIANT
@torch.no_grad()
def test_ablation_leaves_the_average_of_each_kind_of_token(options: dict) -> None:
    model, X = small_model(options), points(3, 7, 2)
    recording = record(model, X, K)
    layer = layers_of(model)[1]
    attention, h = attention_of(layer), layer.norm1(recording.states[1])
    whole, own = attention(h), head_outputs(attention, h)[:, 1]
    average = average_by_hand(own, recording.point_places)
    # The sum of heads is off by module_error, and so is each mean; three are added.
    tolerance = 4 * module_error(attention, h)
    with ablated(model, 1, 1, recording.n_tokens):
        assert (attention(h) - (whole - own + average)).abs().max() <= tolerance
        moved = model.network(X, K)
    with ablated(model, 1, 1, recording.n_tokens, "zero"):
        assert (attention(h) - (whole - own)).abs().max() <= tolerance
    assert not same(moved, recording.estimate)
    assert same(model.network(X, K), recording.estimate)
    if recording.n_tokens:  # tokens have averages of their own
        spread = average[recording.token_places] - average[recording.point_places][:1]
        assert spread.norm(dim=-1).min() > 100 * tolerance


def interrupted(run: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        run()


@torch.no_grad()
def test_nothing_stays_behind_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X = small_model(), points(3, 7, 2)
    before = record(model, X, K).estimate

    def stop(*_: object) -> Tensor:
        raise RuntimeError("stop here")

    def inside(context: object) -> None:
        with context:  # type: ignore[attr-defined]
            raise RuntimeError("stop here")

    interrupted(lambda: inside(patched(model, 0, lambda state: state)))
    interrupted(lambda: inside(ablated(model, 0, 0, K)))
    with patched(model, 1, stop):
        interrupted(lambda: model.network(X, K))
        interrupted(lambda: record(model, X, K))
    assert hooks(model) == 0
    assert same(model.network(X, K), before)


def test_wrong_arguments_are_refused_in_one_line() -> None:
    model, X = small_model(), points(3, 7, 2)
    for layer in (-1, 3):
        with pytest.raises(ValueError, match=f"layer is {layer}, needs 0 to 2"), patched(model, layer, abs):
            pass
    for layer in (-1, 2):
        with pytest.raises(ValueError, match=f"layer is {layer}, needs 0 to 1"), ablated(model, layer, 0, K):
            pass
    for head in (-1, 2):
        with pytest.raises(ValueError, match=f"head is {head}, needs 0 to 1"), ablated(model, 0, head, K):
            pass
    with pytest.raises(ValueError, match="this model serves 1, 2, 3"):
        record(model, X, 4)
    plain, own = LayerShape(2, 4, 0), LayerShape(2, 4, 0, attention="relu")
    for layer, kind in ((plain, "relu"), (own, "softmax")):
        relu = SelfAttention(TransformerShape(8, (layer,), attention=kind), layer, torch.float64)
        with pytest.raises(ValueError, match="attention is 'relu', needs 'softmax'"):
            head_weights(relu, points(1, 3, 8))
    layers_of(model)[0].attention = None
    with pytest.raises(ValueError, match="the layer has no attention"):
        attention_of(layers_of(model)[0])
    model.backbone = nn.Identity()
    with pytest.raises(ValueError, match="the backbone is 'transformer', needs 'transformer'"):
        record(model, X, K)
