"""``h <- h + norm(sum_heads A(h) h W_V W_O)`` in balls; tokens with equal queries read the same.

    softmax: read_i = sum_g exp(s_ig - m_i) S_g / sum_g n_g exp(s_ig - m_i),    relu: sum_g relu(s_ig) S_g / N

over groups g of n_g tokens with one key, S_g the sum of their values; m_i is the largest midpoint of a score,
and cancels. The norm divides by the Euclidean norm over sqrt(D), and multiplies by its gain; no epsilon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from constructions.language.heads import Attention
from verify.balls.flint import arb, arb_mat
from verify.certify.network.reading import Form, HeadWeights, LayerWeights
from verify.certify.network.rows import Name, Pool, Row, Rows, name

ZERO = arb(0)


@dataclass(frozen=True, eq=False)
class Read:
    """What one head adds: ``written[labels[i]]`` at token i, (column, ball) each."""

    labels: list[int]
    written: list[dict[int, arb]]


@dataclass(frozen=True, eq=False)
class Attend:
    """The attention of a layer.

    Attributes:
        weights: of the layer. scale: of scores. divide: by the number of tokens.
    """

    weights: LayerWeights
    scale: float
    divide: bool

    @property
    def targets(self) -> tuple[int, ...]:
        """Columns that are written."""
        return tuple(sorted({c for head in self.weights.heads for _, out in head.reads for c, _ in out}))

    def __call__(self, rows: Rows, pool: Pool) -> Rows:
        """The tokens after it."""
        if self.weights.gain is None:
            return self._added(rows, rows, pool)
        return self.normed(rows, self.written(rows, pool), pool)

    def written(self, rows: Rows, pool: Pool) -> Rows:
        """What the heads write together, before any norm."""
        zero = pool.number(0.0)
        return self._added(rows, [[zero] * len(row) for row in rows], pool)

    def normed(self, rows: Rows, written: Rows, pool: Pool) -> Rows:
        """``rows + gain sqrt(D) written / |written|``, not finite where ``written`` may be 0."""
        gain = dict(self.weights.gain or ())
        known: dict[Name, dict[int, arb]] = {}
        after = [list(row) for row in rows]
        for out, row in zip(after, written, strict=True):
            key = name(row, range(len(row)))
            if key not in known:
                square = sum((ball * ball for ball in row), start=ZERO)
                length = (square / len(row)).sqrt()
                parts = ((c, row[c] / length * arb(weight)) for c, weight in gain.items())
                known[key] = {c: ball for c, ball in parts if not ball.is_zero()}
            for column, ball in known[key].items():
                out[column] = pool.keep(out[column] + ball)
        return after

    def _added(self, rows: Rows, start: Rows, pool: Pool) -> Rows:
        """``start`` and what the heads read from ``rows``."""
        reads = [self._read(head, rows) for head in self.weights.heads] if rows else []
        after = [list(row) for row in start]
        for column in self.targets:
            known: dict[tuple[int, ...], arb] = {}
            heads = [read for read in reads if any(column in written for written in read.written)]
            for i, (row, out) in enumerate(zip(start, after, strict=True)):
                labels = [read.labels[i] for read in heads]
                key = (id(row[column]), *labels)
                if key not in known:
                    parts = (
                        read.written[label].get(column, ZERO)
                        for read, label in zip(heads, labels, strict=True)
                    )
                    known[key] = pool.keep(sum(parts, start=row[column]))
                out[column] = known[key]
        return after

    def _read(self, head: HeadWeights, rows: Rows) -> Read:
        labels, queries = _distinct(rows, [query for query, _ in head.scores])
        groups, keys = _distinct(rows, [key for _, key in head.scores])
        kinds, values = _distinct(rows, [value for value, _ in head.reads])
        sizes = Counter(groups)
        if self.weights.kind == "softmax" and len(values) == 1:  # the weights of an average sum to 1
            reads = [values[0]] * len(queries)
        else:
            sums = _sums(Counter(zip(groups, kinds, strict=True)), values, len(keys), len(head.reads))
            scores = self._scores(queries, keys, len(head.scores))
            reads = _averages([sizes[g] for g in range(len(keys))], scores, sums, self.weights.kind)
            if self.divide:
                reads = [[read / len(rows) for read in row] for row in reads]
        return Read(labels, [_written(row, [out for _, out in head.reads]) for row in reads])

    def _scores(self, queries: Rows, keys: Rows, rank: int) -> list[Row]:
        if rank == 0:
            return [[ZERO] * len(keys) for _ in queries]
        product = arb_mat(queries) * arb_mat(keys).transpose()
        found = product.tolist()
        return found if self.scale == 1 else [[arb(self.scale) * s for s in row] for row in found]


def _averages(sizes: list[int], scores: list[Row], sums: Rows, kind: Attention | None) -> list[Row]:
    """(queries, value columns) what is read, the ReLU's not divided."""
    if kind == "relu":
        return (arb_mat([[s.max(ZERO) for s in row] for row in scores]) * arb_mat(sums)).tolist()
    weights = []
    for row in scores:
        largest = row[0].mid()
        for score in row[1:]:
            middle = score.mid()
            if middle > largest:
                largest = middle
        weights.append([(score - largest).exp() for score in row])
    totals = [sum((n * w for n, w in zip(sizes, row, strict=True)), start=ZERO) for row in weights]
    products = (arb_mat(weights) * arb_mat(sums)).tolist()
    return [[x / total for x in row] for row, total in zip(products, totals, strict=True)]


def _sums(tokens: Counter[tuple[int, int]], values: Rows, groups: int, width: int) -> Rows:
    """(groups, width) the sum of values over the tokens of each group."""
    sums = [[ZERO] * width for _ in range(groups)]
    for (group, kind), number in tokens.items():
        own = sums[group]
        for at, ball in enumerate(values[kind]):
            own[at] += ball if number == 1 else number * ball
    return sums


def _distinct(rows: Rows, forms: Sequence[Form]) -> tuple[list[int], Rows]:
    """What the forms give at each token: a label a token, and the vectors, each once."""
    columns = sorted({column for form in forms for column, _ in form})
    known: dict[Name, int] = {}
    labels, vectors = [], []
    for row in rows:
        key = name(row, columns)
        if key not in known:
            known[key] = len(vectors)
            vectors.append([_applied(form, row) for form in forms])
        labels.append(known[key])
    return labels, vectors


def _applied(form: Form, row: Row) -> arb:
    if len(form) == 1 and form[0][1] == 1:
        return row[form[0][0]]
    return sum((arb(weight) * row[column] for column, weight in form), start=ZERO)


def _written(read: Row, forms: Sequence[Form]) -> dict[int, arb]:
    total: dict[int, arb] = {}
    for ball, form in zip(read, forms, strict=True):
        for column, weight in form:
            term = ball if weight == 1 else arb(weight) * ball
            total[column] = total[column] + term if column in total else term
    return total
