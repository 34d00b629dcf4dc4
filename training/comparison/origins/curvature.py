"""Gradient and curvature of a loss at given weights.

    H v = d/de grad loss(w + e v) at e = 0,   leading eigenvalues of H by Lanczos (ARPACK) on such products

The Hessian is that of the network's coordinates as they stand: scaling a hidden unit in by s and out by 1/s
changes it, though not the function; balanced weights (training/model/balance.py) fix that scale. At a kink
of ReLU the derivative is the one-sided one that torch takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from constructions.language.transformer import Transformer

TOLERANCE = 1e-3
"""Relative accuracy of an eigenvalue that ARPACK is asked for."""


@dataclass(frozen=True)
class Curvature:
    """Of a loss at some weights.

    loss, gradient_norm   there.
    largest, smallest     leading eigenvalues of the Hessian from each end, descending and ascending.
    parameters            dimension.
    """

    loss: float
    gradient_norm: float
    largest: tuple[float, ...]
    smallest: tuple[float, ...]
    parameters: int

    @property
    def stable_rate(self) -> float:
        """2 / largest eigenvalue: beyond it gradient descent on the quadratic model diverges."""
        return 2 / self.largest[0] if self.largest[0] > 0 else float("inf")


def curvature(
    network: Transformer, loss: Callable[[Transformer], Tensor], count: int, seed: int
) -> Curvature:
    """The gradient's norm and `count` eigenvalues from each end of the Hessian of `loss` (a scalar).

    Raises ValueError where the loss is not finite, and scipy's ArpackNoConvergence where Lanczos does not
    meet TOLERANCE.
    """
    parameters = [p.requires_grad_(True) for p in network.parameters()]
    size = sum(p.numel() for p in parameters)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        value = loss(network)
        if not bool(value.isfinite()):
            raise ValueError(f"the loss is {float(value.detach())}, needs a finite one")
        gradients = torch.autograd.grad(value, parameters, create_graph=True)
        flat = _flat(gradients)

        def product(vector: np.ndarray) -> np.ndarray:
            v = torch.from_numpy(np.ascontiguousarray(vector.ravel())).to(flat.dtype)
            second = torch.autograd.grad(flat, parameters, grad_outputs=v, retain_graph=True)
            return _flat(second).numpy()

        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        start = np.random.default_rng(seed).normal(size=size)
        ends = eigsh(
            operator,
            2 * count,
            which="BE",
            v0=start,
            tol=TOLERANCE,  # pyright: ignore[reportArgumentType]
            return_eigenvectors=False,
        )
    network.requires_grad_(False)
    ends = np.sort(ends)
    return Curvature(
        loss=float(value.detach()),
        gradient_norm=float(flat.detach().norm()),
        largest=tuple(float(v) for v in ends[::-1][:count]),
        smallest=tuple(float(v) for v in ends[:count]),
        parameters=size,
    )


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
