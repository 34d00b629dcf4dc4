"""Layers, batches and training of the autoencoder that deep clusterings start from."""

import numpy as np
import torch

from baselines.deep.autoencoder import Autoencoder, Layers, batches, pretrain

U = 2.0**-53


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_layers_are_affine_maps_with_ramps_between() -> None:
    layers = Layers((3, 5, 4, 2), generator(), torch.float64)
    with torch.no_grad():
        for bias in layers.biases:
            bias.normal_(generator=generator(1))
    x = np.random.default_rng(0).normal(size=(7, 3))
    A, B, C = (part.detach().numpy() for part in layers.weights)
    a, b, c = (part.detach().numpy() for part in layers.biases)
    expected = np.maximum(np.maximum(x @ A + a, 0) @ B + b, 0) @ C + c
    # A layer of n inputs rounds n + 1 times on every path from an input: 4 + 6 + 5, and 1 for what is of
    # second order. Both sides do, relative to the same sums of absolute values.
    sizes = ((np.abs(x) @ abs(A) + abs(a)) @ abs(B) + abs(b)) @ abs(C) + abs(c)
    assert (np.abs(layers(torch.from_numpy(x)).detach().numpy() - expected) <= 2 * 16 * U * sizes).all()


def test_layers_start_within_their_reach() -> None:
    weight = Layers((30, 20), generator()).weights[0].detach()
    reach = (6 / 50) ** 0.5
    assert 0.95 * reach < float(weight.abs().max()) <= reach
    assert float(weight.min()) < 0


def test_a_pass_of_batches_has_every_point_once() -> None:
    drawn = batches(257, 128, generator())
    first, second = ([next(drawn) for _ in range(3)] for _ in range(2))
    for one in (first, second):
        assert [len(part) for part in one] == [86, 86, 85]
        assert sorted(torch.cat(one).tolist()) == list(range(257))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_a_linear_autoencoder_comes_near_the_best_plane_and_not_below_it() -> None:
    X = torch.randn(200, 5, generator=generator(), dtype=torch.float64) @ torch.diag(
        torch.tensor([2.0, 1.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    )
    X = X - X.mean(0)
    values = torch.linalg.svdvals(X)
    best = float(values[2:].square().sum() / X.numel())
    # LAPACK's singular values are off by at most about 200 u of the largest, and squares by twice their value
    # times that; the mean of 1,000 squares rounds 1,003 times.
    rounding = 2 * float(values[2:].sum() * values[0]) * 200 * U / X.numel() + 1003 * U * best
    network = Autoencoder(5, (), 2, generator(1), torch.float64)
    before = float((network(X) - X).square().mean().detach())
    after = pretrain(network, X, 150, 200, 0.05, generator(2))
    assert best - rounding <= after < 1.1 * best < before
