"""Options of the check that takes a tensor or points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from console.errors import BadInputError
from console.folder import file_digest
from verify.em.own_data import DataOptions
from verify.tensor.options import TensorOptions


@dataclass(frozen=True)
class PointsOptions(TensorOptions, DataOptions):
    """A tensor, or points whose whitened third moment it is; a ``variance`` of None is estimated."""

    components: list[int] | None
    variance: float | None

    def run(self, **others: Any) -> dict[str, Any]:
        """What decides the figures, with the contents of files."""
        return super().run(**others) | {"data": file_digest(self.data)}

    @property
    def of_points(self) -> bool:
        """Whether the tensor is one of points."""
        return self.data is not None or self.dataset is not None

    @property
    def source(self) -> str:
        """What brought the tensors, for a message about one of them."""
        if not self.of_points:
            return super().source
        return f"--dataset {self.dataset}" if self.data is None else f"--data {self.data}"

    @property
    def own(self) -> bool:
        """Whether the tensor is a person's, or of their points."""
        return self.of_points or super().own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of_points and self.tensor is not None:
            raise BadInputError(
                f"--tensor {self.tensor}: the tensor is that of {self.source}; give one of them"
            )
        if self.of_points and self.dims is not None:
            raise BadInputError(
                f"--dims: is for random tensors; d is the number of components of {self.source}"
            )
        if not self.of_points and self.components is not None:
            raise BadInputError("--components: needs --data or --dataset; random tensors have --dims")
