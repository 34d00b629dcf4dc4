"""The parameters that the loops of EM carry from step to step: plain tensors of a block of tasks."""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.gaussian import inverse_of_root


class Parameters(NamedTuple):
    """Weights (B, K), means (B, K, d) measured from the centre, covariances as in Mixture or None.

    roots and inverse_roots are L and L^-1, S = L L^T, of the shape of the covariances of tied and full ones,
    where they are known; None for the other types.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor | None
    roots: Tensor | None = None
    inverse_roots: Tensor | None = None

    def rows(self, kept: Tensor | slice) -> "Parameters":
        """The parameters of some of the tasks."""
        return Parameters(
            self.weights[kept],
            self.means[kept],
            *(None if values is None else values[kept] for values in self[2:]),
        )

    def replaced(self, where: Tensor, other: "Parameters") -> "Parameters":
        """`other` for the tasks where `where` (B,) is True, these for the rest."""
        if not where.any():
            return self
        if where.all():
            return other
        return Parameters(
            choose(where, other.weights, self.weights),
            choose(where, other.means, self.means),
            *(
                no if yes is None or no is None else choose(where, yes, no)
                for yes, no in zip(other[2:], self[2:], strict=True)
            ),
        )

    def store(self, tasks: Tensor, parameters: "Parameters") -> None:
        """Write the parameters of the tasks (n,) over these."""
        for mine, theirs in zip(self, parameters, strict=True):
            if mine is not None and theirs is not None:
                mine[tasks] = theirs

    def with_roots(self, covariance_type: str) -> "Parameters":
        """The same, roots and inverse roots computed where the type has them and they are not known."""
        if covariance_type not in ("tied", "full") or self.roots is not None or self.covariances is None:
            return self
        roots = torch.linalg.cholesky(self.covariances)
        return self._replace(roots=roots, inverse_roots=inverse_of_root(roots))


def choose(where: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` (B, ...) for the tasks where `where` (B,) is True, `no` for the rest."""
    return torch.where(where.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)
