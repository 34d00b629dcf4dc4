"""Everything that fixes a TGMM but its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from baselines.checks import check_count

Readout = Literal["tokens", "pooling", "slots"]
Backbone = Literal["transformer", "mamba2"]
Estimated = Literal["unit", "diagonal", "full"]
"""Covariances that a network says."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network but its weights; checked when it is built (ValueError).

    n_features, components  d, and the numbers of components K it serves, ascending.
    layers, heads, width    of the backbone; the hidden size of the MLP is mlp_ratio * width.
    loops                   how many times the list of layers is applied, with the same weights.
    readout                 "tokens", "pooling", or "slots": tokens, read-out and layers of the constructed EM
                            (training.model.slots), from which training then starts; unit covariances in
                            their own units (data_scale 1), two layers an EM step, K points a task or more.
    task_embedding          whether the read-in of the points, and the choice of component tokens, know K. If
                            not, every K gives the backbone the same sequence, and only the read-out differs.
    causal, max_positions   as in the paper's public code: a point sees those before it, and learned position
                            embeddings for up to max_positions points (0: none). The default uses neither, so
                            that the order of the points does not matter.
    covariance              "unit": weights and means alone. "diagonal": variances too. "full": covariances
                            too, by their Cholesky factors.
    standardise             the network sees points in the data's own units (training.model.frame), so that
                            any will do; not with unit covariances, which are not of any unit. data_scale is
                            then best 1.
    backbone                "mamba2" needs the optional packages of mamba.py, and the tokens read-out.
    data_scale              coordinates are divided by it at the read-in and multiplied at the read-out.
    """

    n_features: int
    components: tuple[int, ...] = (2, 3, 4, 5)
    layers: int = 6
    heads: int = 4
    width: int = 64
    mlp_ratio: int = 4
    readout: Readout = "tokens"
    task_embedding: bool = True
    causal: bool = False
    max_positions: int = 0
    covariance: Estimated = "unit"
    standardise: bool = False
    backbone: Backbone = "transformer"
    data_scale: float = 5.0
    loops: int = 1

    def __post_init__(self) -> None:
        for name in ("n_features", "layers", "heads", "width", "mlp_ratio", "loops"):
            check_count(name, getattr(self, name))
        check_count("max_positions", self.max_positions, least=0)
        object.__setattr__(self, "components", tuple(self.components))
        if not self.components or list(self.components) != sorted(set(self.components)):
            raise ValueError(f"components is {self.components}, needs different integers in ascending order")
        for K in self.components:
            check_count("a number of components", K)
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, needs a multiple of heads = {self.heads}")
        for name, kind in (("readout", Readout), ("backbone", Backbone), ("covariance", Estimated)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, needs one of {', '.join(get_args(kind))}"
                )
        if self.standardise and self.covariance == "unit":
            raise ValueError(
                "standardise is True, needs covariance 'diagonal' or 'full': units are lost in it"
            )
        if self.readout == "slots":
            self._check_slots()
        if self.backbone == "mamba2" and self.readout != "tokens":
            raise ValueError(f"readout is {self.readout!r}, needs 'tokens' with the backbone 'mamba2'")
        if self.backbone == "mamba2" and self.loops > 1:
            raise ValueError(f"loops is {self.loops}, needs 1 with the backbone 'mamba2'")
        if not 0 < self.data_scale < math.inf:
            raise ValueError(f"data_scale is {self.data_scale!r}, needs a positive finite number")

    def _check_slots(self) -> None:
        """What the construction's tokens have no place for."""
        wanted = {
            "covariance": "unit",
            "backbone": "transformer",
            "task_embedding": True,
            "causal": False,
            "max_positions": 0,
            "data_scale": 1.0,
        }
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, needs {value!r} with the read-out 'slots'"
                )

    @property
    def outputs(self) -> int:
        """Numbers that the read-out says of a component besides its weight."""
        d = self.n_features
        return d + {"unit": 0, "diagonal": d, "full": d * (d + 1) // 2}[self.covariance]

    @property
    def tokens_last(self) -> bool:
        """Component tokens stand after the points, for a causal backbone shows them only what is before."""
        return self.causal or self.backbone == "mamba2"
