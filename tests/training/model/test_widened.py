"""A constructed transformer in a larger shape: the same function, and gradients that reach what is free."""

from dataclasses import replace

import pytest
import torch

from constructions import em_construction
from constructions.language.rounding import gamma, unit_roundoff
from constructions.language.transformer import Transformer
from training.model.widened import wide_shape, widened

U = unit_roundoff(torch.float64)
EM = em_construction(2, 3, 2, 6, 1e-2, 4.0)
SIZES = (40, 3, 12, 90)


def narrow(looped=False):
    return EM.to_transformer(looped=looped)


def tokens(seed=0, tasks=5, N=12):
    generator = torch.Generator().manual_seed(seed)
    X = 2 * torch.rand(tasks, N, 2, generator=generator, dtype=torch.float64) - 1
    batch = EM.gather(X, torch.full((tasks, 3), 1 / 3, dtype=torch.float64), X[:, :3])
    return EM.embed(batch)


def difference(wide, own):
    """The largest difference in the narrow coordinates, and the largest size in the free ones."""
    h = tokens()
    D = h.shape[-1]
    with torch.no_grad():
        expected = own(h)
        found = wide(torch.nn.functional.pad(h, (0, SIZES[0] - D)))
    return float((found[..., :D] - expected).abs().max()), float(found[..., D:].abs().max())


def tolerance():
    """Both are the same sums, to which the wide one adds zeros, perhaps in another order.

    A sum of n terms errs by gamma_n times the sum of their sizes: n <= 40 + 12 + 90 over stream, points and
    units, and the sizes add up to at most 200 (log on [0.01, 1]: slopes to 100, squares on [-4, 4]: 64). So
    a layer's own error is e = 200 gamma_142. Points and means lie in [-1, 1]. Step 1: log r is off by 101 e
    (its slope), an average by twice that, log pi by 200 e, |mu|^2/2 by 400 e: the next scores by 1000 e.
    Step 2: log r by 1e5 e, means and log pi by 2e5 e, |mu|^2/2 by 4e5 e. Twice, for two evaluations.
    """
    return 8e5 * 200 * gamma(142, U)


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("size", [0.0, 0.1, 1.0])
def test_the_function_is_that_of_the_narrow_one(looped, size):
    own = narrow(looped)
    generator = torch.Generator().manual_seed(3)
    wide = widened(own, wide_shape(own.shape, *SIZES), size, generator)
    inside, free = difference(wide, own)
    assert inside <= tolerance() < 1e-5  # far below what the controls change
    assert free == 0  # every term of it is 0
    assert wide.shape.loops == own.shape.loops


@pytest.mark.parametrize("part", ["output", "w2", "key"])
def test_a_free_part_that_writes_changes_the_function(part):
    """The control: what the zeros are for."""
    own = narrow()
    wide = widened(own, wide_shape(own.shape, *SIZES), 1.0, torch.Generator().manual_seed(3))
    layer = wide.layers[0]
    with torch.no_grad():
        if part == "w2":
            layer.mlp.w2[own.layers[0].mlp.w2.shape[0] :] = 0.1
        elif part == "output":
            layer.attention.output[-1] = 0.1
        else:
            layer.attention.key[0, :, -1] = 1.0  # of the head that E has
    assert difference(wide, own)[0] > 1e-3


def test_gradients_reach_the_zeros_with_random_numbers_beside_them_and_not_without():
    own, h = narrow(), tokens()
    for size, reached in ((0.5, True), (0.0, False)):
        wide = widened(own, wide_shape(own.shape, *SIZES), size, torch.Generator().manual_seed(1))
        wide(torch.nn.functional.pad(h, (0, SIZES[0] - h.shape[-1]))).square().sum().backward()
        attention, mlp = wide.layers[0].attention, wide.layers[0].mlp
        units = own.layers[0].mlp.w2.shape[0]
        assert bool(attention.output.grad[1:].abs().sum() > 0) is reached
        assert bool(mlp.w2.grad[units:].abs().sum() > 0) is reached


def test_equal_sizes_give_the_same_weights():
    own = narrow(looped=True)
    for layer in own.shape.layers:
        assert layer.hidden <= SIZES[3]
    shape = replace(own.shape, layers=own.shape.layers)
    for p, q in zip(widened(own, shape).parameters(), own.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 4}, "width is 4, needs at least"),
        ({"norm": "layer"}, "without norms"),
        ({"loops": 5}, "needs the layers and kinds"),
        ({"score_scale": 0.5}, "needs the layers and kinds"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    own = narrow()
    with pytest.raises(ValueError, match=message):
        widened(own, replace(wide_shape(own.shape, *SIZES), **change))


def test_layers_that_are_too_small_are_refused():
    own = narrow()
    with pytest.raises(ValueError, match="hidden of layer 0 is 3, needs at least"):
        widened(own, wide_shape(own.shape, 40, 3, 12, 3))
    with pytest.raises(ValueError, match="needs a generator"):
        widened(own, wide_shape(own.shape, *SIZES), 0.1)
    relu = replace(own.shape, attention="relu")
    with pytest.raises(ValueError, match="needs softmax attention"):
        widened(Transformer(relu, drawn=False), wide_shape(relu, *SIZES))
