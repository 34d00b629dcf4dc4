"""TGMM: the transformer that estimates a Gaussian mixture from its points in one forward pass.

    TGMM(X; K) = Readout_K(Transformer(Readin([X || embed(K)])))          arXiv 2505.11918, section 3

The backbone is constructions.Transformer, the class that the hand-built weights live in. Three read-outs:
``pooling`` is the paper's (attentive pooling, one module a K); ``tokens``, the default, puts K learned tokens
into the sequence beside the points and reads each component off its own token; ``slots`` is the constructed
EM's (training.model.slots), whose weights training then starts from. The optional EM layers behind
(training.model.polish) are hand-built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.checks import check_count, check_points
from baselines.gaussian import check_covariance_type
from baselines.mixture import Mixture
from constructions.em.tasks import CovarianceType
from constructions.language.readout import AttentivePooling
from constructions.language.transformer import Transformer
from training.model.backbone import backbone_of, initialise
from training.model.estimate import Estimate, in_units, joined
from training.model.frame import Frame
from training.model.polish import PIECES, Polish
from training.model.settings import ModelConfig
from training.model.slots import slot_tokens, slots_read

NUMBERS_AT_ONCE = 2**24
"""`TGMM.estimate` takes so many tasks at a time that the residual stream has at most this many numbers."""

LARGEST_COORDINATE = 1e9
"""Of a point. The network was trained within about 10; float32 holds its squares up to 1e19."""


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
        if config.readout != "slots":
            self._add_read_in(config, dtype)
        self.backbone = backbone_of(config, dtype)
        if config.readout != "slots":
            self._add_read_out(config, dtype)
        self.polish = None
        if polish_steps:
            sizes = config.n_features, max(config.components), polish_steps, polish_pieces
            self.polish = Polish(*sizes, covariance_type=covariance_type)
        initialise(self, config)

    def _add_read_in(self, config: ModelConfig, dtype: torch.dtype) -> None:
        width, d = config.width, config.n_features
        self.readin = nn.Linear(d, width, dtype=dtype)
        if config.task_embedding:
            self.embedding = nn.Parameter(torch.empty(len(config.components), width, dtype=dtype))
        if config.max_positions:
            self.positions = nn.Parameter(torch.empty(config.max_positions, width, dtype=dtype))

    def _add_read_out(self, config: ModelConfig, dtype: torch.dtype) -> None:
        width, outputs = config.width, config.outputs
        self.norm = nn.LayerNorm(width, dtype=dtype)
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

    @property
    def dtype(self) -> torch.dtype:
        """Of every weight."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def with_polish(self, steps: int, pieces: int = PIECES, covariance_type: CovarianceType = "unit") -> TGMM:
        """A model that shares this one's weights, with ``steps`` EM layers behind it (0: none)."""
        with torch.device("meta"):  # random weights would be thrown away, and move torch's generator
            other = TGMM(self.config, steps, pieces, self.dtype, covariance_type)
        other.load_state_dict(self.state_dict(), assign=True)
        return other.train(self.training)

    def forward(self, X: Tensor, n_components: int, mask: Tensor | None = None, look: int = 0) -> Estimate:
        """The network's estimate, after the EM layers if there are any. Arguments as in :meth:`network`."""
        estimate = self.network(X, n_components, mask, look)
        if self.polish is None:
            return estimate
        found = self.polish(X, estimate.log_weights, estimate.means, mask)
        return Estimate(found[0], found[1], covariances=found[2] if len(found) == 3 else None)

    def network(self, X: Tensor, n_components: int, mask: Tensor | None = None, look: int = 0) -> Estimate:
        """The learned part alone.

        Args:
            X: (B, N, d), of the model's dtype and device.
            n_components: K, for all B tasks.
            mask: (B, N) bool, True at points; what stands at False changes nothing, not even NaN.
            look: which starting means the read-out "slots" begins from; the others have none.

        Raises:
            ValueError: another d, a K that the model was not made for, more points than it has positions, a
                task without points, or with fewer than K for the read-out "slots".
        """
        X = self._checked(X, n_components, mask)
        if not self.config.standardise:
            return self._seen(X, n_components, mask, look)
        frame = self._frame(X, mask)
        return in_units(frame, self._seen(self._inside(frame, X, mask), n_components, mask))

    def _checked(self, X: Tensor, n_components: int, mask: Tensor | None) -> Tensor:
        """X with zeros at padding; ValueError as :meth:`network`."""
        self._check(X, n_components, mask)
        if X.dtype != self.dtype:
            raise ValueError(f"X is {X.dtype}, needs {self.dtype} like the weights")
        # 0 * NaN is not 0: it would reach every gradient.
        return X if mask is None else X.masked_fill(~mask[:, :, None], 0.0)

    def _frame(self, X: Tensor, mask: Tensor | None) -> Frame:
        with torch.no_grad():
            return Frame.of(X, mask, self.config.covariance == "diagonal")

    def _inside(self, frame: Frame, X: Tensor, mask: Tensor | None) -> Tensor:
        z = frame.inside(X)
        return z if mask is None else z.masked_fill(~mask[:, :, None], 0.0)

    def layerwise(self, X: Tensor, n_components: int, mask: Tensor | None = None) -> list[Estimate]:
        """What the read-out says of the state after each layer, in turn: the last is that of :meth:`network`.

        Arguments and errors as there; ValueError too for the read-out "pooling" and the backbone "mamba2".
        """
        if self.config.readout != "tokens" or not isinstance(self.backbone, Transformer):
            raise ValueError("the estimate of every layer needs the read-out 'tokens' and a transformer")
        X = self._checked(X, n_components, mask)
        frame = self._frame(X, mask) if self.config.standardise else None
        inside = X if frame is None else self._inside(frame, X, mask)
        h, present = self._sequence(self._read_in(inside, n_components), n_components, mask)
        states: list[Tensor] = []
        for _ in range(self.backbone.shape.loops):
            states += self.backbone.block(states[-1] if states else h, present)
        found = [self._read_out(state, n_components) for state in states]
        return found if frame is None else [in_units(frame, estimate) for estimate in found]

    def _seen(self, X: Tensor, n_components: int, mask: Tensor | None, look: int = 0) -> Estimate:
        """The estimate in the units of X, zeros at padding, as the layers see them."""
        if self.config.readout == "slots":
            return self._slotted(X, n_components, mask, look)
        h = self._read_in(X, n_components)
        if self.config.readout == "pooling":
            return self._pooled(self.backbone(h, mask), n_components, mask)
        return self._read_out(self.backbone(*self._sequence(h, n_components, mask)), n_components)

    def _slotted(self, X: Tensor, n_components: int, mask: Tensor | None, look: int) -> Estimate:
        tokens, present = slot_tokens(self.config, X, n_components, mask, look)
        states = self.backbone(tokens, present)
        with _full_precision(states.device):
            logits, means = slots_read(self.config, tokens, states.to(self.dtype), n_components)
            return self._split(logits, means)

    def _read_in(self, X: Tensor, n_components: int) -> Tensor:
        config = self.config
        h = self.readin(X / config.data_scale)
        if config.task_embedding:
            h = h + self.embedding[config.components.index(n_components)]
        if config.max_positions:
            h = h + self.positions[: X.shape[1]]
        return h

    def _sequence(self, h: Tensor, n_components: int, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The points with the component tokens before or behind them, and what of it is no padding."""
        config = self.config
        tokens = self._tokens(n_components).expand(len(h), -1, -1)
        parts = (h, tokens) if config.tokens_last else (tokens, h)
        if mask is not None:
            present = mask.new_ones(len(h), tokens.shape[1])
            mask = torch.cat((mask, present) if config.tokens_last else (present, mask), dim=1)
        return torch.cat(parts, dim=1), mask

    def _tokens(self, n_components: int) -> Tensor:
        config = self.config
        return self.tokens[str(n_components if config.task_embedding else max(config.components))]

    def _read_out(self, states: Tensor, n_components: int) -> Estimate:
        """From the component tokens among the states."""
        config = self.config
        n_tokens = len(self._tokens(n_components))
        first = states.shape[1] - n_tokens if config.tokens_last else 0
        head = self.heads["all" if config.task_embedding else str(n_components)]
        with _full_precision(states.device):
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
    def estimate(self, X: Tensor, n_components: int, mask: Tensor | None = None, look: int = 0) -> Mixture:
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
        parts = [
            self._estimate(points[i], n_components, None if mask is None else mask[i], look) for i in places
        ]
        kind = "unit" if self.polish is None else self.polish.covariance_type
        return joined(parts).to_mixture(kind)

    def _estimate(self, X: Tensor, n_components: int, mask: Tensor | None, look: int) -> Estimate:
        """Units come off and on in the dtype of X: a shift by 1e4 would cost float32 four digits."""
        if not self.config.standardise:
            return self(X.to(self.device, self.dtype), n_components, mask, look)
        frame = self._frame(X, mask)
        seen = self._inside(frame, X, mask).to(self.device, self.dtype)
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
