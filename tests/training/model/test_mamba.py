"""The Mamba2 backbone: padding, parameters, training, and what it says where the package is missing."""

import sys

import pytest
import torch

from training.model.mamba import CHUNK_SIZE, STATE_SIZE, mamba2_backbone
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.tasks import TaskDistribution, sample_tasks
from training.trainer.losses import matched

WIDTH, LAYERS, HEADS, STEPS = 16, 2, 2, 20


def small_backbone(dtype=torch.float64):
    torch.manual_seed(0)
    return mamba2_backbone(WIDTH, LAYERS, HEADS, dtype)


def padded_rows(dtype=torch.float64, steps=STEPS):
    """Four rows, padded in the middle, in front, everywhere here and there, and nowhere."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(4, steps, WIDTH, dtype=dtype, generator=generator)
    mask = torch.ones(4, steps, dtype=torch.bool)
    mask[0, steps // 2 : -3] = False
    mask[1, :5] = False
    mask[2] = torch.rand(steps, generator=generator) < 0.6
    return h, mask


@pytest.mark.parametrize("filling", [0.0, 1e300, float("inf"), float("nan")])
@pytest.mark.parametrize("steps", [STEPS, 3 * CHUNK_SIZE + 5], ids=["one-chunk", "four-chunks"])
def test_what_stands_at_padding_changes_no_bit(filling, steps):
    """Neither of the output at real steps nor of the gradient, which stays finite."""
    backbone = small_backbone()
    h, mask = padded_rows(steps=steps)
    weights = torch.randn(4, steps, WIDTH, dtype=h.dtype, generator=torch.Generator().manual_seed(2))
    found = []
    for tokens in (h, h.masked_fill(~mask[:, :, None], filling)):
        tokens.requires_grad_()
        out = backbone(tokens, mask)[mask]
        gradient = torch.autograd.grad((out * weights[mask]).sum(), [tokens, *backbone.parameters()])
        found.append((out, *gradient))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()
    assert not found[0][1][~mask].any()


def test_where_padding_stands_changes_no_bit():
    """The same real tokens, padded in the middle and at the end."""
    backbone = small_backbone()
    h, mask = padded_rows()
    moved, at_end = torch.full_like(h, 7.0), mask.sort(dim=1, descending=True).values
    moved[at_end] = h[mask]
    assert not torch.equal(mask, at_end)
    assert torch.equal(backbone(h, mask)[mask], backbone(moved, at_end)[at_end])


def test_a_padded_row_gives_what_the_row_alone_gives():
    """Up to rounding: a matrix product of another number of rows may sum in another order."""
    backbone = small_backbone()
    h, mask = padded_rows()
    out, unmasked = backbone(h, mask), backbone(h)
    generator = torch.Generator().manual_seed(3)
    for row in range(3):
        alone = h[row, mask[row]].expand(4, -1, -1).contiguous().requires_grad_()
        weights = torch.randn(alone.shape[1:], dtype=h.dtype, generator=generator)
        expected = (backbone(alone)[row] * weights).sum()
        # Backward analysis, to first order. Of each layer's stages only three see the number of steps (in,
        # convolution, out; float64). The scan works on chunks padded to CHUNK_SIZE > STEPS, in float32 but of
        # one shape in both runs, and the norms work step by step. A sum of n terms rounds like a relative
        # change of its operands by n 2^-53, n <= 2 WIDTH here; the result's change is that times the sum of
        # |operand| |derivative by it|, over weights and tokens. Both results are rounded, hence the 2.
        # (Were a number so close to the middle of two float32 numbers that it then rounds to the other, the
        # difference would be about 2^-24: chance 2^-53 n / 2^-24 a number, below 1e-3 for all of them.)
        operands = [alone, *backbone.parameters()]
        gradient = torch.autograd.grad(expected, operands)
        condition = sum((a * g).abs().sum() for a, g in zip(operands, gradient, strict=True))
        tolerance = 2 * LAYERS * 3 * 2 * WIDTH * 2.0**-53 * condition
        assert ((out[row, mask[row]] * weights).sum() - expected).abs() <= tolerance
        assert ((unmasked[row, mask[row]] * weights).sum() - expected).abs() > tolerance  # it can tell


def test_nothing_later_is_seen():
    """Causal to the bit: component tokens must stand last, and padding that stands last changes nothing."""
    backbone = small_backbone()
    h, _ = padded_rows()
    later = h.clone()
    later[:, 12:] = 100.0
    assert torch.equal(backbone(h)[:, :12], backbone(later)[:, :12])
    assert not torch.equal(backbone(h)[:, 12:], backbone(later)[:, 12:])


def test_every_parameter_is_used():
    """No token embedding and no final norm is left: each parameter has a gradient that is not zero."""
    backbone = small_backbone(torch.float32)
    h, mask = padded_rows(torch.float32)
    backbone(h, mask)[mask].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    inner, conv = 2 * WIDTH, 2 * WIDTH + 2 * STATE_SIZE
    a_layer = WIDTH + WIDTH * (inner + conv + HEADS) + conv * (4 + 1) + 3 * HEADS + inner + inner * WIDTH
    assert sum(p.numel() for p in backbone.parameters()) == LAYERS * a_layer


def small_model(dtype=torch.float32):
    torch.manual_seed(0)
    return TGMM(ModelConfig(2, (2, 3), layers=2, heads=2, width=16, backbone="mamba2"), dtype=dtype)


def test_model_ignores_padded_points():
    model = small_model(torch.float64)
    X = torch.randn(3, 12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    mask = torch.arange(12) < torch.tensor([[12], [7], [1]])
    estimate = model(X, 3, mask)
    filled = model(X.masked_fill(~mask[:, :, None], float("nan")), 3, mask)
    assert torch.equal(estimate.means, filled.means)
    assert torch.equal(estimate.log_weights, filled.log_weights)


def test_model_learns():
    """Forty steps on 32 fixed tasks halve the loss."""
    model = small_model()
    batch = sample_tasks(
        TaskDistribution(2, (2,)), 32, 2, torch.arange(9, 41), torch.Generator().manual_seed(5)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = matched(model(batch.X, 2, batch.mask), batch).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"^backbone 'mamba2' needs transformers, .*toolkit\[mamba\]'$"):
        mamba2_backbone(WIDTH, LAYERS, HEADS, torch.float32)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"heads is 5, needs a divisor of 2 \* width = 32"):
        mamba2_backbone(WIDTH, LAYERS, 5, torch.float32)
