"""Causal attention of the plain transformer: nothing later is seen, masks or not; and pooling by hand."""

import pytest
import torch
from sublayer_rounding import attention_tolerance
from torch import Tensor

from constructions import LayerShape, Transformer, TransformerShape
from constructions.language.readout import AttentivePooling
from constructions.language.rounding import gamma

WIDTH, TOKENS, U = 6, 11, 2.0**-53
LAYER = LayerShape(heads=2, head_dim=3, hidden=5)


def causal_transformer(causal: bool = True, seed: int = 0) -> tuple[Transformer, Tensor]:
    """Two layers with weights of size 1, and states (3, 11, 6)."""
    g = torch.Generator().manual_seed(seed)
    shape = TransformerShape(WIDTH, (LAYER, LAYER), activation="gelu", norm="layer", causal=causal)
    transformer = Transformer(shape)
    for p in transformer.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    return transformer, torch.randn(3, TOKENS, WIDTH, generator=g, dtype=torch.float64)


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(TOKENS) < torch.tensor(lengths)[:, None]


MASKS = {"none": None, "full": mask_of(11, 11, 11), "padded": mask_of(11, 7, 1)}


def states_before_that_change(transformer: Transformer, h: Tensor, mask: Tensor | None, at: int) -> bool:
    """Whether another token at ``at`` moves a bit of a state before it, in any layer."""
    other = h.clone()
    other[:, at] = 100.0
    pairs = zip(transformer.block(h, mask), transformer.block(other, mask), strict=True)
    return any(not torch.equal(one[:, :at], two[:, :at]) for one, two in pairs)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("at", [1, 4, TOKENS - 1])
@torch.no_grad()
def test_a_token_leaves_the_states_before_it_unchanged_to_the_bit(at: int, mask: Tensor | None) -> None:
    transformer, h = causal_transformer()
    assert not states_before_that_change(transformer, h, mask, at)


@torch.no_grad()
def test_a_token_is_seen_by_those_after_it_and_by_all_without_causal() -> None:
    transformer, h = causal_transformer()
    other = h.clone()
    other[:, 4] = 100.0
    changed = (transformer(h) != transformer(other)).any(-1)
    assert changed[:, 4:].all()
    assert states_before_that_change(causal_transformer(causal=False)[0], h, None, 4)


@torch.no_grad()
def test_a_causal_layer_is_attention_over_the_tokens_so_far() -> None:
    """Token i of the causal layer against the last token of the bidirectional layer on tokens 0..i."""
    transformer, h = causal_transformer()
    bidirectional, _ = causal_transformer(causal=False)
    for mask in MASKS.values():
        seen = transformer.layers[0].attention(h, mask)
        for i in range(TOKENS):
            part = None if mask is None else mask[:, : i + 1]
            alone = bidirectional.layers[0].attention(h[:, : i + 1], part)[:, i]
            limit = attention_tolerance(transformer.layers[0].attention, h)
            assert (seen[:, i] - alone).norm(dim=-1).max() <= limit
            if i:
                assert (seen[:, i] - seen[:, 0]).norm(dim=-1).max() > 1e6 * limit


@torch.no_grad()
def test_with_and_without_a_mask_causal_attention_agrees() -> None:
    """Without one the kernel is told `is_causal`, with one it gets the lower triangle."""
    transformer, h = causal_transformer()
    attention = transformer.layers[0].attention
    limit = attention_tolerance(attention, h)
    unmasked, masked = attention(h), attention(h, MASKS["full"])
    assert (unmasked - masked).norm(dim=-1).max() <= limit
    padded = attention(h, MASKS["padded"])
    # Padding stands last: the real tokens, all before it, see what they see without a mask.
    assert (unmasked - padded).norm(dim=-1)[MASKS["padded"]].max() <= limit
    assert (unmasked - padded).norm(dim=-1)[~MASKS["padded"]].max() > limit


@pytest.mark.parametrize("filling", [1e300, float("inf"), float("nan")])
@torch.no_grad()
def test_what_stands_in_hidden_tokens_changes_no_real_state(filling: float) -> None:
    """Also where the first tokens are hidden, so that they are queries without a key."""
    transformer, h = causal_transformer()
    mask = mask_of(11, 7, 1)
    mask[0, :3] = False
    other = h.masked_fill(~mask[:, :, None], filling)
    assert torch.equal(transformer(h, mask)[mask], transformer(other, mask)[mask])
    assert transformer(h, mask)[mask].isfinite().all()


def test_causal_relu_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="causal attention is softmax attention here, got 'relu'"):
        TransformerShape(WIDTH, (LAYER,), attention="relu", causal=True)


# --- pooling ----------------------------------------------------------------------------------------------


def random_pooling(K: int, d: int) -> tuple[AttentivePooling, Tensor]:
    g = torch.Generator().manual_seed(K)
    pooling = AttentivePooling(WIDTH, K, d, torch.float64)
    for p in pooling.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
    return pooling, torch.randn(3, TOKENS, WIDTH, generator=g, dtype=torch.float64)


def pooled_by_hand(pooling: AttentivePooling, H: Tensor, K: int) -> tuple[Tensor, Tensor]:
    """O = (V_o H) softmax((K_o H)^T Q_o) of one task, H (D, N) with tokens as columns; logits and means."""
    V_o, K_o, Q_o = pooling.value.T, pooling.key.T, pooling.query.T
    scores = (K_o @ H).T @ Q_o  # (N, K)
    share = scores.exp() / scores.exp().sum(0)
    O = (V_o @ H) @ share  # noqa: E741  (d + K, K)
    logits = sum(O[:K, k] for k in range(K)) / K
    return logits, O[K:].T


def pooling_limit(pooling: AttentivePooling, H: Tensor) -> float:
    """Largest difference of an entry of the pooled rows, or of their average, between two evaluations.

    Scores (products over D, then K) err by gamma_{D+K} |h| |K_o| |Q_o|; their exponents, N sums and the
    quotient by twice that, 4 u |score| and gamma_{4N+10}; values gamma_D, their sum gamma_N, the average over
    K columns gamma_{K+1}. Either evaluation, hence twice.
    """
    K, eta = pooling.max_components, float(H.norm(dim=0).max())
    size = eta * float(pooling.key.norm() * pooling.query.norm())
    relative = 2 * gamma(WIDTH + K, U) * size + 4 * U * size + gamma(4 * TOKENS + 10, U)
    return 2 * (relative + gamma(WIDTH + TOKENS + K + 2, U)) * eta * float(pooling.value.norm())


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize(("K", "d"), [(1, 1), (2, 3), (4, 2)])
@torch.no_grad()
def test_pooling_is_the_formula_of_the_paper(K: int, d: int, mask: Tensor | None) -> None:
    pooling, h = random_pooling(K, d)
    present = torch.ones(3, K, dtype=torch.bool)
    logits, means = pooling.pool(h, present, mask)
    weights, same_means = pooling(h, present, mask)
    assert torch.equal(same_means, means)
    for task in range(3):
        H = h[task].T if mask is None else h[task, mask[task]].T
        expected_logits, expected_means = pooled_by_hand(pooling, H, K)
        limit = pooling_limit(pooling, H)
        assert limit < 1e-10
        assert (logits[task] - expected_logits).abs().max() <= limit
        assert (means[task] - expected_means).abs().max() <= limit
        # Softmax moves by at most half of twice the logits' largest change, and rounds by gamma_{K+6}.
        expected_weights = expected_logits.softmax(0)
        assert (weights[task] - expected_weights).abs().max() <= limit + 2 * gamma(K + 6, U)


@torch.no_grad()
def test_absent_components_leave_the_average_over_the_columns() -> None:
    """Logits average over the components that are there; the others get weight 0 and mean 0."""
    pooling, h = random_pooling(3, 2)
    present = torch.tensor([[True, True, False]]).expand(3, -1)
    logits, means = pooling.pool(h, present)
    for task in range(3):
        H = h[task].T
        share = (pooling.query @ pooling.key.T @ H).softmax(-1)  # row k: the weights of component k
        rows = share @ H.T @ pooling.value
        limit = pooling_limit(pooling, H)
        assert limit < 1e-10
        assert (logits[task, :2] - (rows[0] + rows[1])[:2] / 2).abs().max() <= limit
        assert (means[task, :2] - rows[:2, 3:]).abs().max() <= limit
    assert (logits[:, 2] == -float("inf")).all()
    assert not means[:, 2].any()
    assert not pooling(h, present)[0][:, 2].any()
