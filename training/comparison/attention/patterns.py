"""What the heads of a network, learned or constructed, may attend to, as matrices to correlate.

points   point i -> point j       c_ij = sum_k w_ik w_jk      also at like distance |x_i - x_j|
E        point i -> token k       w_ik                        what the E layer reads
M        token k -> point i       w_ik / sum_i w_ik           what the M layer's first head reads
                                                              also at like distance |x_i - mu_k|

w are the responsibilities of converged EM (training.comparison.common.em_answers). Where a network has no
component tokens (pooling read-out) there is `points` alone; where it is causal the points do not see
the tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from constructions.em.tasks import gather_tasks
from constructions.em.unit import EMConstruction
from constructions.em.weights import em_construction
from constructions.language.shown import short_repr
from training.comparison.attention.row_correlation import Moves, among_like, centred, correlation, residual
from training.comparison.common.em_answers import AnsweredTasks, responsibilities
from training.interpretability.recording import Recording, attention_of, head_scores, layers_of
from training.model.tgmm import TGMM

MEANING = {
    "points": "points to points ~ c_ij",
    "points, distance out": "points to points ~ c_ij, -|x_i - x_j|^2 taken out",
    "points, like distance": "points to points ~ c_ij, at like distance",
    "E": "points to tokens ~ w_ik (E layer)",
    "M": "tokens to points ~ w_ik / sum_i w_ik (M layer)",
    "M, like distance": "tokens to points ~ w_ik / sum_i w_ik, at like distance |x_i - mu_k|",
}
"""Every pattern as reports call it."""
CONSTRUCTED_PIECES = 256
"""Linear pieces a function of the constructed EM step: attention within 1e-3 of the exact one."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a head may attend to, as matrices: its rows, its target, and how a permutation acts on both.

    heads    (B, H, rows, columns) centred or residual scores.
    target   (B, rows, columns) likewise.
    mask     (rows, columns): True where attention is possible and asked for.
    """

    heads: Tensor
    target: Tensor
    mask: Tensor
    moves: Moves

    __repr__ = short_repr

    @property
    def correlation(self) -> Tensor:
        """rho (B, H) of each task and head."""
        return correlation(self.heads, self.target[:, None])


def all_scores(model: TGMM, recording: Recording) -> Tensor:
    """(B, L H, T, T): the scores of every head, layer by layer."""
    found = [
        head_scores(attention_of(layer), layer.norm1(state))
        for layer, state in zip(layers_of(model), recording.states, strict=False)
    ]
    return torch.cat(found, dim=1)


def co_responsibility(w: Tensor) -> Tensor:
    """c_ij = sum_k w_ik w_jk: (B, N, K) -> (B, N, N)."""
    return w @ w.mT


def point_patterns(scores: Tensor, X: Tensor, w: Tensor, causal: bool = False) -> dict[str, Pattern]:
    """From scores (B, H, N, N) of points to points: as they are, distance taken out, at like distance.

    In causal attention point i has the points before it alone.
    """
    N = X.shape[1]
    everywhere = ~torch.eye(N, dtype=torch.bool)
    mask = everywhere.tril() if causal else everywhere
    distance = torch.cdist(X, X).square().to(scores.dtype)
    c = co_responsibility(w).to(scores.dtype)
    near = distance[:, None]
    return {
        "points": Pattern(centred(scores, mask), centred(c, everywhere), mask, "both"),
        "points, distance out": Pattern(
            residual(scores, mask, -near), residual(c, everywhere, -distance), mask, "both"
        ),
        "points, like distance": Pattern(
            among_like(scores, mask, near), among_like(c, everywhere, distance), mask, "both"
        ),
    }


def token_patterns(
    to_tokens: Tensor, to_points: Tensor, X: Tensor, w: Tensor, means: Tensor, causal: bool = False
) -> dict[str, Pattern]:
    """E from scores (B, H, N, K) of points to tokens; M from (B, H, K, N) of tokens to points.

    M is also asked at like distance |x_i - mu_k|, mu the means (B, K, d): log w_ik is log pi_k less half
    its square, less a number of the point, and this number alone is more than distance.

    In causal attention points do not see the tokens, which stand behind them: then there is no E.
    """
    w = w.to(to_points.dtype)
    distance = torch.cdist(means, X).square().to(to_points.dtype)
    M = torch.ones(to_points.shape[-2:], dtype=torch.bool)
    found = {} if causal else {"E": Pattern(centred(to_tokens, M.mT), centred(w, M.mT), M.mT, "rows")}
    return found | {
        "M": Pattern(centred(to_points, M), centred(w.mT, M), M, "columns"),
        "M, like distance": Pattern(
            among_like(to_points, M, distance[:, None]), among_like(w.mT, M, distance), M, "columns"
        ),
    }


def patterns_of(model: TGMM, recording: Recording, tasks: AnsweredTasks) -> dict[str, Pattern]:
    """Every pattern that this network has, over all its heads (B, L H, ...)."""
    scores = all_scores(model, recording)
    points = recording.point_places
    reference = tasks.in_order_of(recording.estimate)
    w, causal = responsibilities(tasks.X, reference), model.config.causal
    found = point_patterns(scores[:, :, points, points], tasks.X, w, causal)
    if recording.n_tokens:
        first = recording.read_places
        to_tokens, to_points = scores[:, :, points, first], scores[:, :, first, points]
        found |= token_patterns(to_tokens, to_points, tasks.X, w, reference.means, causal)
    return found


def uniformity(scores: Tensor) -> Tensor:
    """Entropy / log N of the softmax of scores (..., rows, N), mean over rows; 1 where it is uniform."""
    entropy = torch.special.entr(scores.double().softmax(-1)).sum(-1)
    return entropy.mean(-1) / math.log(scores.shape[-1])


@torch.no_grad()
def constructed_patterns(tasks: AnsweredTasks) -> tuple[dict[str, Pattern], Tensor]:
    """The heads E, M (first), M (second) of one constructed EM step from the reference; evenness (B, 3).

    The construction has no component tokens: token k < K holds slot k, so that tokens 0..K-1 stand for
    them, and every point holds the slot i mod K.
    """
    em, h = _constructed(tasks)
    transformer, s, K = em.to_transformer(), em.stream, tasks.reference.n_components
    e, m = (attention_of(layer) for layer in transformer.layers)  # pyright: ignore[reportArgumentType]
    after_e = transformer.block(h)[0]
    scores = torch.cat([head_scores(e, h), head_scores(m, after_e)], dim=1).float()
    to_tokens = scores[..., :K].clone()
    to_tokens[:, 0] += h[:, None, :K, s.log_count.start]  # all holders of slot k together
    w = responsibilities(tasks.X, tasks.reference)
    found = point_patterns(scores, tasks.X, w)
    found |= token_patterns(to_tokens, scores[:, :, :K], tasks.X, w, tasks.reference.means)
    return found, uniformity(scores[:, :, :K])


def _constructed(tasks: AnsweredTasks) -> tuple[EMConstruction, Tensor]:
    mixture, X = tasks.reference, tasks.X
    radius = 2 * float(torch.maximum(X.abs().max(), mixture.means.abs().max()))
    floor = min(1e-8, 0.5 * float(mixture.weights.min()))
    em = em_construction(
        mixture.n_features, mixture.n_components, 1, CONSTRUCTED_PIECES, floor=floor, radius=radius
    )
    args = (X, mixture.weights, mixture.means, em.max_dim, em.max_components, torch.float64, "cpu")
    return em, em.embed(gather_tasks(*args))
