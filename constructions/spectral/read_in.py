"""The tokens that the first layer of the spectral construction sees, and which of them hold the same."""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.language.stream import Block, Stream
from constructions.language.structured.evaluation import State
from constructions.language.structured.partitions import Partition, Places, Tokens, Value
from constructions.spectral.tasks import SpectralBatch


class Family:
    """Tokens ``first .. first + size - 1``, among all others, which hold 0 in the family's blocks.

    Args:
        present: (B, size) True at the tokens that a task has.
        first: their place among all tokens.
    """

    def __init__(self, present: Tensor, first: int) -> None:
        self.present, self.first = present, first
        self.partition: Partition | None = None

    @property
    def size(self) -> int:
        """Number of tokens."""
        return self.present.shape[1]

    def settle(self, places: Places) -> None:
        """Tell its tokens apart, and all others together."""
        labels = torch.zeros_like(places.mask, dtype=torch.int64)
        at = torch.arange(1, self.size + 1, device=labels.device)
        labels[:, self.first : self.first + self.size] = at
        self.partition = places.classes(labels, self.size + 1)

    def value(self, numbers: Tensor) -> Value:
        """(B or 1, size, width) -> what a block holds; 0 at tokens that a task has not."""
        if self.partition is None:
            raise ValueError("a family holds values once its places are settled")
        kept = numbers * self.present[:, :, None]
        return Value(self.partition, torch.nn.functional.pad(kept, (0, 0, 1, 0)).mT)


class ReadTasks:
    """The families of tokens of one batch, registers first, and their blocks."""

    def __init__(self, stream: Stream, batch: SpectralBatch, handicap: float) -> None:
        self.stream, self.batch, self.handicap = stream, batch, handicap
        d, K = (int(sizes.max()) for sizes in (batch.n_features, batch.n_components))
        self.d, self.K, self.S = d, K, batch.directions.shape[1]
        coordinate = batch.present(batch.n_features, d)
        row = batch.present(batch.n_components, K)
        pairs, entries = ((part[:, :, None] & part[:, None]).flatten(1) for part in (coordinate, row))
        with_products = "pair" in stream
        sizes = [
            coordinate,
            pairs if with_products else coordinate.repeat(1, 3),
            row,
            entries,
            row.repeat(1, self.S),
        ]
        families = []
        first = 0
        for present in sizes:
            families.append(Family(present, first))
            first += present.shape[1]
        self.coordinates, self.second, self.rows, self.entries, self.starts = families
        self.registers = first
        points = batch.present(batch.n_samples, batch.X.shape[1])
        self.places = Places(torch.cat([*sizes, points], 1))
        for family in families:
            family.settle(self.places)

    def tokens(self) -> Tokens:
        """All blocks."""
        second = self._pairs() if "pair" in self.stream else self._noise()
        values = self._points() | second | self._rows() | self._entries() | self._starts()
        s = self.stream
        values |= {s.id: self.coordinates.value(self._one_hot(self.d, s.id.width))}
        return Tokens(s, self.places, values)

    def at_rows(self, numbers: Tensor) -> Tensor:
        """(B, tokens, w) -> (B, K, w), what the rows hold."""
        return numbers[:, self.rows.first : self.rows.first + self.K]

    def start_vectors(self, state: State) -> Tensor:
        """(B, S, K) the v of each start."""
        first, step = self.starts.first, self.K
        return state.read(self.stream.v)[:, first : first + self.S * step : step, : self.K]

    def _one_hot(self, n: int, width: int) -> Tensor:
        """(1, n, width) the first n unit vectors."""
        return torch.eye(n, width, dtype=self.batch.X.dtype, device=self.batch.X.device)[None]

    def _at_points(self, numbers: Tensor) -> Tensor:
        """(B, N, w) behind zeros at all registers: (B, w, all tokens)."""
        return torch.nn.functional.pad(numbers, (0, 0, self.registers, 0)).mT

    def _points(self) -> dict[Block, Value]:
        """x, x / N and, where they are read in, the products of the points; s, where it is given."""
        s, batch, X = self.stream, self.batch, self.batch.X
        share = X / batch.n_samples[:, None, None].to(X)
        is_point = torch.zeros_like(self.places.mask, dtype=torch.int64)
        is_point[:, self.registers :] = 1
        points = self.places.classes(is_point, 2)
        flag = torch.tensor([0.0, 1.0]).to(X).expand(len(X), 1, 2)
        x = self._at_points(X)
        values = {
            s.one: Value(self.places.same, X.new_ones(len(X), 1, 1)),
            s.data: Value(points, flag),
            s.x: Value(self.places.each, x),
            s.xn: Value(self.places.each, self._at_points(share)),
        }
        if "xx" in s:
            products = (X[..., :, None] * X[..., None, :]).flatten(-2)
            values[s.xx] = Value(self.places.each, self._at_points(products))
        else:  # e_p, -e_p and 0 at the noise tokens
            unit = self._one_hot(self.d, s.x.width) * self.coordinates.present[:, :, None]
            first = self.second.first
            x[:, :, first : first + 2 * self.d] = torch.cat([unit, -unit], 1).mT
        if batch.variance is not None:
            values[s.s] = Value(self.places.same, batch.variance[:, None, None])
        return values

    def _pairs(self) -> dict[Block, Value]:
        """The token (p, q): e_p, e_q, e_pq; for p < K0 the place of (q, p) among the halves; p = q."""
        s, d = self.stream, self.d
        d0, K0 = s.x.width, s.row.width
        p, q = (grid.flatten() for grid in torch.meshgrid(torch.arange(d), torch.arange(d), indexing="ij"))
        eye = {n: self._one_hot(n, n)[0] for n in (d0, d0 * d0, d0 * K0)}
        among_halves = eye[d0 * K0][(q * K0 + p).clamp_max(d0 * K0 - 1)]
        blocks = {
            s.first: eye[d0][p],
            s.second: eye[d0][q],
            s.pair: eye[d0 * d0][p * d0 + q],
            s.turned: torch.where((p < K0)[:, None], among_halves, 0.0),
            s.diagonal: (p == q)[:, None].to(self.batch.X),
        }
        return {block: self.second.value(numbers[None]) for block, numbers in blocks.items()}

    def _noise(self) -> dict[Block, Value]:
        """d tokens m + e_p, d tokens m - e_p, d tokens m."""
        s = self.stream
        unit = self._one_hot(self.d, s.x.width)
        nothing, ones = torch.zeros_like(unit), torch.ones_like(unit[..., :1])
        none = torch.zeros_like(ones)
        parts = {
            s.plus: (unit, nothing, nothing),
            s.minus: (nothing, unit, nothing),
            s.side: (ones, ones, none),
            s.centre: (none, none, ones),
            s.around: (ones, ones, ones),
        }
        return {block: self.second.value(torch.cat(three, 1)) for block, three in parts.items()}

    def _rows(self) -> dict[Block, Value]:
        """One-hot ids, the id of the next row, the rows to start from; nothing found yet."""
        s, K, K0 = self.stream, self.K, self.stream.row.width
        ids = self._one_hot(K, K0)
        ones, zeros = torch.ones_like(ids), torch.zeros_like(ids)
        blocks = {
            s.row: ids,
            s.next: torch.nn.functional.pad(ids, (1, 0))[..., :K0],
            s.ones: ones,
            s.is_row: ones[..., :1],
            s.Y: self.batch.basis[:, :K],
            s.found: zeros,
            s.values: zeros[..., :1],
        }
        return {block: self.rows.value(numbers) for block, numbers in blocks.items()}

    def _entries(self) -> dict[Block, Value]:
        """The ids e_bc; without products, e_b + e_c and e_b - e_c."""
        s, K, K0 = self.stream, self.K, self.stream.row.width
        at = torch.arange(K)
        b, c = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
        blocks = {s.entry: self._one_hot(K0 * K0, K0 * K0)[0][b * K0 + c]}
        if "axis_sum" in s:
            eye = self._one_hot(K0, K0)[0]
            blocks |= {s.axis_sum: eye[b] + eye[c], s.axis_difference: eye[b] - eye[c]}
        return {block: self.entries.value(numbers[None]) for block, numbers in blocks.items()}

    def _starts(self) -> dict[Block, Value]:
        """Ids of the starts, of their axes and of both; what the first token of each carries alone."""
        s, S, K, K0 = self.stream, self.S, self.K, self.stream.row.width
        start, axis = (
            grid.flatten() for grid in torch.meshgrid(torch.arange(S), torch.arange(K), indexing="ij")
        )
        eye = {n: self._one_hot(n, n)[0] for n in (K0, S, S * K0)}
        lead = (axis == 0)[:, None].to(self.batch.X)
        pivot = lead * (start == 0)[:, None]
        blocks = {
            s.start: eye[S][start],
            s.axis: eye[K0][axis],
            s.place: eye[S * K0][start * K0 + axis],
            s.lead: lead,
            s.pivot: pivot,
            s.handicap: self.handicap * start[:, None] * lead,
            s.turn: pivot * eye[K0][:1],
        }
        values = {block: self.starts.value(numbers[None]) for block, numbers in blocks.items()}
        return values | {s.direction: self.starts.value(self.batch.directions.repeat_interleave(K, 1))}
