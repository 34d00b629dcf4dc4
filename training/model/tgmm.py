"""TGMM: the transformer that estimates a Gaussian mixture from its points in one forward pass.

    TGMM(X; K) = Readout_K(Transformer(Readin([X || embed(K)])))          arXiv 2505.11918, section 3

The backbone is constructions.Transformer, the class that the hand-built weights live in. Two read-outs:
``pooling`` is the paper's (attentive pooling, one module a K); ``tokens``, the default, puts K learned tokens
into the sequence beside the points and reads each component off its own token. The optional EM layers behind
(training.model.polish) are hand-built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from baselines.checks import check_count, check_points
from baselines.gaussian import check_covariance_type
from baselines.mixture import Mixture
from constructions.em.tasks import CovarianceType
from constructions.language.readout import AttentivePooling
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.model.estimate import Estimate, in_units, joined
from training.model.frame import Frame
from training.model.polish import PIECES, Polish

Readout = Literal["tokens", "pooling"]
Backbone = Literal["transformer", "mamba2"]
Estimated = Literal["unit", "diagonal", "full"]
"""Covariances that a network says."""

NUMBERS_AT_ONCE = 2**24
"""`TGMM.estimate` takes so many tasks at a time that the residual stream has at most this many numbers."""

LARGEST_COORDINATE = 1e9
"""Of a point. The network was trained within about 10; float32 holds its squares up to 1e19."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network but its weights; checked when it is built (ValueError).

    n_features, components  d, and the numbers of components K it serves, ascending.
    layers, heads, width    of the backbone; the hidden size of the MLP is mlp_ratio * width.
    readout                 "tokens" or "pooling".
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

    def __post_init__(self) -> None:
        for name in ("n_features", "layers", "heads", "width", "mlp_ratio"):
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
        if self.backbone == "mamba2" and self.readout != "tokens":
            raise ValueError(f"readout is {self.readout!r}, needs 'tokens' with the backbone 'mamba2'")
        if not 0 < self.data_scale < math.inf:
            raise ValueError(f"data_scale is {self.data_scale!r}, needs a positive finite number")

    @property
    def outputs(self) -> int:
        """Numbers that the read-out says of a component besides its weight."""
        d = self.n_features
        return d + {"unit": 0, "diagonal": d, "full": d * (d + 1) // 2}[self.covariance]

    @property
    def tokens_last(self) -> bool:
        """Component tokens stand after the points, for a causal backbone shows them only what is before."""
        return self.causal or self.backbone == "mamba2"


class TGMM(nn.Module):
    """The learned estimator.

    Args:
        config: see :class:`ModelConfig`.
        polish_steps: L constructed EM steps behind the network, 0 for none; needs unit covariances.
        polish_pieces: linear pieces a function in them.
        dtype: of every parameter.
        covariance_type: of these steps and of the estimate behind them. The network itself is of unit
            covariances: it gives weights and means, polish_kinds the covariances that the steps start from.
    """

    def __init__(
        self,
        config: ModelConfig,
        polish_steps: int = 0,
        polish_pieces: int = PIECES,
        dtype: torch.dtype = torch.float32,
        covariance_type: CovarianceType = "unit",
    ) -> None:
        super().__init__()
        check_count("polish_steps", polish_steps, least=0)
        check_covariance_type(covariance_type)
        if polish_steps and config.covariance != "unit":
            raise ValueError(
                f"polish_steps is {polish_steps}, needs 0 for a model of {config.covariance} covariances: "
                "EM layers start from unit ones"
            )
        if covariance_type != "unit" and not polish_steps:
            raise ValueError(
                f"covariance_type is {covariance_type!r}, needs 'unit' without polish_steps: the network's"
            )
        self.config = config
        width, d = config.width, config.n_features
        self.readin = nn.Linear(d, width, dtype=dtype)
        if config.task_embedding:
            self.embedding = nn.Parameter(torch.empty(len(config.components), width, dtype=dtype))
        if config.max_positions:
            self.positions = nn.Parameter(torch.empty(config.max_positions, width, dtype=dtype))
        self.backbone = _backbone(config, dtype)
        self.norm = nn.LayerNorm(width, dtype=dtype)
        outputs = config.outputs
        if config.readout == "pooling":
            self.pooling = nn.ModuleDict(
                {str(K): AttentivePooling(width, K, outputs, dtype) for K in config.components}
            )
        else:
            sets = config.components if config.task_embedding else (max(config.components),)
            self.tokens = nn.ParameterDict(
                {str(K): nn.Parameter(torch.empty(K, width, dtype=dtype)) for K in sets}
            )
            heads = ("all",) if config.task_embedding else tuple(map(str, config.components))
            self.heads = nn.ModuleDict({name: nn.Linear(width, 1 + outputs, dtype=dtype) for name in heads})
        self.polish = None
        if polish_steps:
            sizes = d, max(config.components), polish_steps, polish_pieces
            self.polish = Polish(*sizes, covariance_type=covariance_type)
        _initialise(self)

    def with_polish(self, steps: int, pieces: int = PIECES, covariance_type: CovarianceType = "unit") -> TGMM:
        """A model that shares this one's weights, with ``steps`` EM layers behind it (0: none)."""
        with torch.device("meta"):  # random weights would be thrown away, and move torch's generator
            other = TGMM(self.config, steps, pieces, self.readin.weight.dtype, covariance_type)
        other.load_state_dict(self.state_dict(), assign=True)
        return other.train(self.training)

    def forward(self, X: Tensor, n_components: int, mask: Tensor | None = None) -> Estimate:
        """The network's estimate, after the EM layers if there are any. Arguments as in :meth:`network`."""
        estimate = self.network(X, n_components, mask)
        if self.polish is None:
            return estimate
        found = self.polish(X, estimate.log_weights, estimate.means, mask)
        return Estimate(found[0], found[1], covariances=found[2] if len(found) == 3 else None)

    def network(self, X: Tensor, n_components: int, mask: Tensor | None = None) -> Estimate:
        """The learned part alone.

        Args:
            X: (B, N, d), of the model's dtype and device.
            n_components: K, for all B tasks.
            mask: (B, N) bool, True at points; what stands at False changes nothing, not even NaN.

        Raises:
            ValueError: another d, a K that the model was not made for, more points than it has positions, a
                task without points.
        """
        self._check(X, n_components, mask)
        if X.dtype != self.readin.weight.dtype:
            raise ValueError(f"X is {X.dtype}, needs {self.readin.weight.dtype} like the weights")
        if mask is not None:
            X = X.masked_fill(~mask[:, :, None], 0.0)  # 0 * NaN is not 0: it would reach every gradient
        if not self.config.standardise:
            return self._seen(X, n_components, mask)
        frame = self._frame(X, mask)
        return in_units(frame, self._seen(self._inside(frame, X, mask), n_components, mask))

    def _frame(self, X: Tensor, mask: Tensor | None) -> Frame:
        with torch.no_grad():
            return Frame.of(X, mask, self.config.covariance == "diagonal")

    def _inside(self, frame: Frame, X: Tensor, mask: Tensor | None) -> Tensor:
        z = frame.inside(X)
        return z if mask is None else z.masked_fill(~mask[:, :, None], 0.0)

    def _seen(self, X: Tensor, n_components: int, mask: Tensor | None) -> Estimate:
        """The estimate in the units of X, zeros at padding, as the layers see them."""
        config = self.config
        h = self.readin(X / config.data_scale)
        if config.task_embedding:
            h = h + self.embedding[config.components.index(n_components)]
        if config.max_positions:
            h = h + self.positions[: X.shape[1]]
        if config.readout == "pooling":
            return self._pooled(self.backbone(h, mask), n_components, mask)
        return self._from_tokens(h, n_components, mask)

    def _from_tokens(self, h: Tensor, n_components: int, mask: Tensor | None) -> Estimate:
        config = self.config
        name = str(n_components) if config.task_embedding else str(max(config.components))
        tokens = self.tokens[name].expand(len(h), -1, -1)
        n_tokens, n_points = tokens.shape[1], h.shape[1]
        parts = (h, tokens) if config.tokens_last else (tokens, h)
        if mask is not None:
            present = mask.new_ones(len(h), n_tokens)
            mask = torch.cat((mask, present) if config.tokens_last else (present, mask), dim=1)
        states = self.backbone(torch.cat(parts, dim=1), mask)
        first = n_points if config.tokens_last else 0
        head = self.heads["all" if config.task_embedding else str(n_components)]
        with _full_precision(h.device):
            own = states[:, first : first + n_components].to(self.norm.weight.dtype)
            out = head(self.norm(own))
            return self._split(out[..., 0], out[..., 1:])

    def _pooled(self, h: Tensor, n_components: int, mask: Tensor | None) -> Estimate:
        present = torch.ones(len(h), n_components, dtype=torch.bool, device=h.device)
        pooling: AttentivePooling = self.pooling[str(n_components)]  # pyright: ignore[reportAssignmentType]
        with _full_precision(h.device):
            h = self.norm(h.to(self.norm.weight.dtype))
            if mask is not None:
                h = h.masked_fill(~mask[:, :, None], 0.0)
            return self._split(*pooling.pool(h, present, mask))

    def _split(self, logits: Tensor, out: Tensor) -> Estimate:
        d, scale = self.config.n_features, self.config.data_scale
        log_weights, means, rest = logits.log_softmax(-1), scale * out[..., :d], out[..., d:]
        if self.config.covariance == "unit":
            return Estimate(log_weights, means)
        if self.config.covariance == "diagonal":
            return Estimate(log_weights, means, rest)
        return Estimate(log_weights, means, factors=_lower_triangular(rest, d))

    @torch.no_grad()
    def estimate(self, X: Tensor, n_components: int, mask: Tensor | None = None) -> Mixture:
        """Mixtures in float64 for X (B, N, d) of any floating dtype, some tasks at a time; checks the data.

        Raises ValueError as :meth:`network` and the EM layers (Polish), and for values that are not finite or
        beyond LARGEST_COORDINATE (padded points excepted).
        """
        self._check(X, n_components, mask)
        points = X if mask is None else X.masked_fill(~mask[:, :, None], 0.0)
        check_points(points)
        largest = float(points.abs().max())
        if largest > LARGEST_COORDINATE:
            raise ValueError(
                f"X has a coordinate of size {largest:g}, the network takes at most {LARGEST_COORDINATE:g}"
            )
        at_once = max(1, NUMBERS_AT_ONCE // (self.config.width * X.shape[1]))
        places = [slice(i, i + at_once) for i in range(0, len(X), at_once)]
        parts = [self._estimate(points[i], n_components, None if mask is None else mask[i]) for i in places]
        kind = "unit" if self.polish is None else self.polish.covariance_type
        return joined(parts).to_mixture(kind)

    def _estimate(self, X: Tensor, n_components: int, mask: Tensor | None) -> Estimate:
        """Units come off and on in the dtype of X: a shift by 1e4 would cost float32 four digits."""
        if not self.config.standardise:
            return self(X.to(self.readin.weight), n_components, mask)
        frame = self._frame(X, mask)
        seen = self._inside(frame, X, mask).to(self.readin.weight)
        found = self._seen(seen, n_components, mask)
        rest = (None if part is None else part.to(X) for part in found[2:])
        return in_units(frame, Estimate(found.log_weights.to(X), found.means.to(X), *rest))

    def _check(self, X: Tensor, n_components: int, mask: Tensor | None) -> None:
        config = self.config
        if not isinstance(X, Tensor):
            raise ValueError(f"X is of type {type(X).__name__}, needs a tensor (B, N, d)")
        if X.dim() != 3 or X.shape[-1] != config.n_features or 0 in X.shape:
            raise ValueError(f"X has shape {tuple(X.shape)}, needs (B, N, d) with d = {config.n_features}")
        if type(n_components) is not int or n_components not in config.components:
            accepted = ", ".join(map(str, config.components))
            raise ValueError(f"n_components is {n_components!r}, this model serves {accepted}")
        if config.max_positions and X.shape[1] > config.max_positions:
            raise ValueError(
                f"X has N = {X.shape[1]} points, this model has positions for {config.max_positions}"
            )
        if mask is not None:
            if not isinstance(mask, Tensor):
                raise ValueError(f"mask is of type {type(mask).__name__}, needs a bool tensor (B, N)")
            if mask.shape != X.shape[:2] or mask.dtype != torch.bool:
                raise ValueError(
                    f"mask is {mask.dtype} of shape {tuple(mask.shape)}, needs bool of {tuple(X.shape[:2])}"
                )
            if not bool(mask.any(-1).all()):
                raise ValueError("a task has no points, needs at least one")


def _lower_triangular(numbers: Tensor, d: int) -> Tensor:
    """(B, K, d, d) of d (d + 1)/2 numbers: the first d are logarithms of the diagonal, then row by row."""
    factors = torch.diag_embed(numbers[..., :d].exp())
    rows, columns = torch.tril_indices(d, d, -1, device=numbers.device)
    factors[..., rows, columns] = numbers[..., d:]
    return factors


def _full_precision(device: torch.device) -> torch.autocast:
    """The read-out runs in the dtype of the weights: near 5 a mean in bfloat16 is off by up to 1/64."""
    return torch.autocast(device.type, enabled=False)


def _backbone(config: ModelConfig, dtype: torch.dtype) -> nn.Module:
    if config.backbone == "mamba2":
        from training.model.mamba import mamba2_backbone  # optional packages

        return mamba2_backbone(config.width, config.layers, config.heads, dtype)
    head_dim = config.width // config.heads
    layer = LayerShape(config.heads, head_dim, config.mlp_ratio * config.width)
    shape = TransformerShape(
        config.width,
        (layer,) * config.layers,
        activation="gelu",
        norm="layer",
        score_scale=head_dim**-0.5,
        causal=config.causal,
    )
    return Transformer(shape, dtype)


def _initialise(model: TGMM) -> None:
    """Normal weights of variance 1/fan-in; what adds to the stream is divided by sqrt(2 layers) besides.

    Biases and norms stay as their modules make them; a Mamba2 backbone initialises itself.
    """
    config = model.config
    depth = math.sqrt(2 * config.layers)
    for name, parameter in model.named_parameters():
        part = name.rsplit(".", 1)[-1]
        if name.startswith("backbone."):
            if config.backbone == "mamba2" or parameter.ndim < 2:
                continue
            # W_O (heads, head_dim, D) sums over heads as well.
            fan_in = parameter.shape[:-1].numel() if part == "output" else parameter.shape[-2]
            std = fan_in**-0.5 / (depth if part in ("output", "w2") else 1.0)
        elif name == "readin.weight":
            # A coordinate uniform in [-s, s] has variance s^2/3: the points then enter with variance about 1.
            std = math.sqrt(3 / config.n_features)
        elif name in ("embedding", "positions"):
            std = 0.02
        elif name.startswith("tokens."):
            std = 1.0
        elif name.startswith("pooling."):
            std = parameter.shape[0] ** -0.5
        elif name.startswith("heads.") and part == "weight":
            std = config.width**-0.5
        else:
            continue
        nn.init.normal_(parameter, std=std)
