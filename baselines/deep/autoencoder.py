"""What deep clusterings share: layers, the autoencoder they start from, its training, random batches.

    z = f(x), x' = g(z),    f: d -> hidden widths -> latent,    g: the same widths backwards

f and g are affine layers with max(., 0) between them, trained by Adam on the mean of (x - x')^2 over batches
and coordinates. Weights start uniform within sqrt(6 / (inputs + outputs)), biases at 0.

The papers train layer after layer with noise on the inputs, then all together, for 150,000 steps on images;
here all layers are trained at once, without noise, for some hundred steps.
Source: Glorot and Bengio 2010 for the start; Xie, Girshick and Farhadi 2016, section 3.3 for the use.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from baselines.checks import check_count


class Layers(nn.Module):
    """Affine layers of these widths, max(., 0) between them: (..., widths[0]) -> (..., widths[-1])."""

    def __init__(
        self, widths: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in pairwise(widths):
            reach = (6 / (inputs + outputs)) ** 0.5
            drawn = torch.rand(inputs, outputs, generator=generator, dtype=dtype)
            self.weights.append(nn.Parameter(reach * (2 * drawn - 1)))
            self.biases.append(nn.Parameter(torch.zeros(outputs, dtype=dtype)))

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.weights) - 1
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.addmm(bias, x, weight)
            x = x.relu() if place < last else x
        return x


class Autoencoder(nn.Module):
    """encoder f, decoder g; see the head of this file."""

    def __init__(
        self,
        n_features: int,
        hidden: Sequence[int],
        n_latent: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        widths = (n_features, *hidden, n_latent)
        self.encoder = Layers(widths, generator, dtype)
        self.decoder = Layers(widths[::-1], generator, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def batches(n_samples: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of random batches without end, at most batch_size each, every point once a pass.

    A pass is cut into parts that differ by one point at most: none is of one or two points, left over.
    """
    check_count("n_samples", n_samples)
    check_count("batch_size", batch_size)
    parts = -(-n_samples // batch_size)
    while True:
        yield from torch.randperm(n_samples, generator=generator).tensor_split(parts)


def pretrain(
    autoencoder: Autoencoder,
    X: Tensor,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> float:
    """Train on X (N, d) for so many steps; the mean of (x - x')^2 over all points afterwards.

    ValueError where training leaves the numbers.
    """
    optimiser = torch.optim.Adam(autoencoder.parameters(), learning_rate, fused=True)
    drawn = batches(len(X), batch_size, generator)
    for _ in range(steps):
        x = X[next(drawn)]
        optimiser.zero_grad()
        (autoencoder(x) - x).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        error = float((autoencoder(X) - X).square().mean())
    if not math.isfinite(error):
        raise ValueError(f"pretrain_rate is {learning_rate}, too large: training left the numbers")
    return error
