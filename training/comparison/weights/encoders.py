"""The theorem's score blocks in a network without named blocks: named variables through linear encoders.

    h ~ sum_a z_a E_a                                           least squares on some tasks
    score block (a, b) at (i, j) = c (z_a(i) E_a)^T W_Q W_K^T (z_b(j) E_b)    on the others

h is what the heads read (behind the norm), z_a the named variables: one, x, |x|^2/2, log r of points; e_k,
mu_k, |mu_k|^2/2, log pi_k of component tokens. Blocks are compared with the terms of EM, both without what
softmax cannot see, the mean over the keys of a query:

    E, a point attends to tokens       <x_i, mu_k>, -|mu_k|^2/2, log pi_k
    M, token k attends to points       log r_ik from e_k and log r_i; beyond the theorem <mu_k, x_i> directly
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from console.typed_json import Beside, Key
from constructions.language.shown import short_repr

Variables = Mapping[str, Tensor]
"""Name -> (B, T, w) values at the T tokens of a kind."""


class BlockName(NamedTuple):
    """A score block: who attends ("E": points, "M": component tokens), and the two variables."""

    step: str
    query: str
    key: str


THEOREM = (
    BlockName("E", "one", "log_pi"),
    BlockName("E", "one", "half_norm2"),
    BlockName("E", "x", "mu"),
    BlockName("M", "e", "log_resp"),
)
"""Blocks of Theorem 1."""

BEYOND = (BlockName("M", "mu", "x"),)
"""Not in the theorem: the M step's scores without responsibilities in the stream."""

BLOCKS = (*THEOREM, *BEYOND)
SIDES = {"E": (0, 1), "M": (1, 0)}
"""Who attends to whom in a step: 0 points, 1 component tokens."""


@dataclass(frozen=True, eq=False)
class Named:
    """The variables of T tasks: at points (T, N, .) and at component tokens (T, K, .)."""

    points: dict[str, Tensor]
    tokens: dict[str, Tensor]

    __repr__ = short_repr

    def rows(self, index: Tensor | slice) -> Named:
        """Some of the tasks."""
        return Named(
            {n: v[index] for n, v in self.points.items()}, {n: v[index] for n, v in self.tokens.items()}
        )

    def shuffled(self, generator: torch.Generator) -> Named:
        """The control: every task gets the variables of another one, in a random cycle of the tasks."""
        first = next(iter(self.points.values()))
        order = torch.randperm(len(first), generator=generator)
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        return self.rows(other)


def named_variables(X: Tensor, log_weights: Tensor, means: Tensor) -> Named:
    """From X (T, N, d) and a mixture log pi (T, K), mu (T, K, d) in the order of the component tokens."""
    half_norm2 = means.square().sum(-1, keepdim=True) / 2
    scores = X @ means.mT - half_norm2.mT + log_weights[:, None]
    K = means.shape[1]
    return Named(
        {
            "one": torch.ones_like(X[..., :1]),
            "x": X,
            "half_square": X.square().sum(-1, keepdim=True) / 2,
            "log_resp": scores.log_softmax(-1),
        },
        {
            "e": torch.eye(K, dtype=X.dtype).expand(len(X), K, K),
            "mu": means,
            "half_norm2": half_norm2,
            "log_pi": log_weights[..., None],
        },
    )


def theorem_terms(named: Named) -> dict[BlockName, Tensor]:
    """(T, queries, keys): what each block is in EM."""
    x, mu = named.points["x"], named.tokens["mu"]
    n_points = x.shape[1]
    products = x @ mu.mT
    return {
        BlockName("E", "one", "log_pi"): named.tokens["log_pi"].mT.expand(-1, n_points, -1),
        BlockName("E", "one", "half_norm2"): -named.tokens["half_norm2"].mT.expand(-1, n_points, -1),
        BlockName("E", "x", "mu"): products,
        BlockName("M", "e", "log_resp"): named.points["log_resp"].mT,
        BlockName("M", "mu", "x"): products.mT,
    }


def fit_encoders(variables: Variables, h: Tensor) -> list[dict[str, Tensor]]:
    """Per layer: name -> E_a (w, D), least squares of h (L, T, n, D) on all variables; the shortest."""
    z = torch.cat(list(variables.values()), dim=-1).flatten(0, 1)
    sizes = [value.shape[-1] for value in variables.values()]
    inverse = torch.linalg.pinv(z)
    return [dict(zip(variables, (inverse @ layer.flatten(0, 1)).split(sizes), strict=True)) for layer in h]


def explained(variables: Variables, encoders: Mapping[str, Tensor], h: Tensor) -> float:
    """R^2 on the given tasks: share of the variance of h (T, n, D) that the encoded variables explain."""
    encoded = sum((variables[name] @ encoders[name] for name in encoders), start=torch.zeros_like(h))
    return float(1 - (h - encoded).square().sum() / (h - h.mean((0, 1))).square().sum())


@dataclass(frozen=True)
class PairSize:
    """A score block between two variables.

    size  standard deviation over keys, nats. half_width: of its 95 % interval over tasks.
    """

    size: float
    half_width: float


@dataclass(frozen=True)
class Sizes(PairSize):
    """Against its term of EM, both with their mean over keys removed.

    cosine  with the term of EM. coefficient: of the block regressed on that term; the theorem has 1.
    """

    cosine: float
    coefficient: float


@dataclass(frozen=True)
class ReadOfX:
    """Of what a head writes at component tokens from the points, the part that comes from x.

    share  of the variance over tasks of what is written, explained by this part; cosine of the two.
    """

    share: float
    cosine: float


@dataclass(frozen=True)
class ScoreBlocks:
    """Of one head: every block of BLOCKS, as "E x mu", and the deviation over keys of whole scores."""

    blocks: Annotated[dict[str, Sizes], Beside()]
    score_e: Annotated[float, Key("E")]
    score_m: Annotated[float, Key("M")]

    def score(self, step: str) -> float:
        """Of a whole score of the step."""
        return self.score_e if step == "E" else self.score_m


@dataclass(frozen=True)
class Reading:
    """Of one head: where attention goes, as a mean by step, and what of x is read."""

    mass: dict[str, float]
    read_x: ReadOfX


@dataclass(frozen=True)
class HeadBlocks(ScoreBlocks, Reading):
    """Of one head; pairs: every two variables, as "M mu x"."""

    pairs: dict[str, PairSize]


@dataclass(frozen=True)
class LayerBlocks:
    """R^2 of the encoders at points and tokens on tasks not fitted, and the heads."""

    r2_points: float
    r2_tokens: float
    heads: list[HeadBlocks]

    __repr__ = short_repr


@dataclass(frozen=True)
class LayerReading:
    """Of the heads of one layer."""

    heads: list[Reading]


@dataclass(frozen=True)
class EncoderTasks:
    """The tasks, of which `fit` are for fitting, and how often the variables were shuffled."""

    K: int
    d: int
    N: int
    tasks: int
    fit: int
    shuffles: int


@dataclass(frozen=True)
class EncodedBlocks:
    """Of several networks, layer by layer.

    floors, pair_floors  the largest size that any head has with shuffled variables.
    """

    about: EncoderTasks
    floors: dict[str, float]
    pair_floors: dict[str, float]
    networks: dict[str, list[LayerBlocks]]
    reads: dict[str, list[LayerReading]]

    __repr__ = short_repr


def block_sizes(block: Tensor, term: Tensor) -> Sizes:
    """Both (T, queries, keys)."""
    block, term = (s - s.mean(-1, keepdim=True) for s in (block, term))
    size, half_width = root_mean(block.square().mean((1, 2)))
    product, norm = float((block * term).sum()), float(term.square().sum())
    cosine = product / math.sqrt(float(block.square().sum()) * norm) if size and norm else math.nan
    return Sizes(size, half_width, cosine, product / norm if norm else math.nan)


def root_mean(per_task: Tensor) -> tuple[float, float]:
    """Root of the mean of (T,) values, and the half width of its 95 % interval (by the root's slope)."""
    mean = float(per_task.mean())
    if mean <= 0:  # a covariance that rounding has left below 0
        return 0.0, 0.0
    spread = 1.96 * float(per_task.std()) / math.sqrt(len(per_task))
    return math.sqrt(mean), spread / (2 * math.sqrt(mean))


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the heads of one layer read at points h_p (T, N, D) and tokens h_t (T, K, D), with variables.

    encoders  of points, and of component tokens.
    """

    points: Tensor
    tokens: Tensor
    named: Named
    encoders: tuple[dict[str, Tensor], dict[str, Tensor]]

    __repr__ = short_repr

    @property
    def explained(self) -> tuple[float, float]:
        """R^2 at points and at component tokens."""
        of_points, of_tokens = self.encoders
        return (
            explained(self.named.points, of_points, self.points),
            explained(self.named.tokens, of_tokens, self.tokens),
        )


def encode(points: Tensor, tokens: Tensor, named: Named, n_fit: int) -> list[Encoded]:
    """Points (L, T, N, D), tokens (L, T, K, D) of L layers: fit on the first n_fit tasks, keep the rest."""
    first, rest = slice(0, n_fit), slice(n_fit, None)
    fitted, kept = named.rows(first), named.rows(rest)
    point_encoders = fit_encoders(fitted.points, points[:, first])
    token_encoders = fit_encoders(fitted.tokens, tokens[:, first])
    return [
        Encoded(points[place, rest], tokens[place, rest], kept, encoders)
        for place, encoders in enumerate(zip(point_encoders, token_encoders, strict=True))
    ]


def head_blocks(encoded: Encoded, form: Tensor, terms: Mapping[BlockName, Tensor]) -> ScoreBlocks:
    """Sizes of every block of BLOCKS for one head's A (D, D), and those of its whole scores."""
    variables, whole = (encoded.named.points, encoded.named.tokens), (encoded.points, encoded.tokens)
    blocks = {}
    for name, term in terms.items():
        query, key = (
            variables[side][variable] @ encoded.encoders[side][variable]
            for side, variable in zip(SIDES[name.step], name[1:], strict=True)
        )
        blocks[" ".join(name)] = block_sizes(query @ form @ key.mT, term)
    scores = []
    for query, key in SIDES.values():
        score = whole[query] @ form @ whole[key].mT
        scores.append(float((score - score.mean(-1, keepdim=True)).square().mean().sqrt()))
    return ScoreBlocks(blocks, *scores)


def read_of_x(encoded: Encoded, attention: Tensor, form: Tensor) -> ReadOfX:
    """Of attention (T, K, N), the weights of tokens on points, and form V (D, D)."""
    whole = attention @ encoded.points @ form
    part = attention @ (encoded.named.points["x"] @ encoded.encoders[0]["x"]) @ form
    whole, part = whole - whole.mean(0), part - part.mean(0)
    total, own = float(whole.square().sum()), float(part.square().sum())
    share = 1 - float((whole - part).square().sum()) / total if total else math.nan
    product = float((whole * part).sum())
    return ReadOfX(share, product / math.sqrt(total * own) if total and own else math.nan)
