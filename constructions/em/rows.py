"""Tokens of EM with matrices: the points, then K d rows of matrices; and which of them hold the same."""

from __future__ import annotations

import torch
from torch import Tensor

from constructions.em.tasks import TaskBatch
from constructions.language.stream import Block, Stream
from constructions.language.structured.partitions import Places, Tokens, Value


class RowTokens:
    """The points of a batch, then the rows (k, a), k the slower.

    Attributes:
        K, d: the largest of the batch. places: the tokens.
    """

    def __init__(self, stream: Stream, tasks: TaskBatch) -> None:
        self.stream, self.tasks = stream, tasks
        self.K, self.d = (int(sizes.max()) for sizes in (tasks.n_components, tasks.n_features))
        present = tasks.component_mask[:, : self.K, None] & tasks.feature_mask[:, None, : self.d]
        self.present = present.flatten(1)
        self.places = Places(torch.cat([tasks.token_mask, self.present], 1))
        labels = torch.zeros_like(self.places.mask, dtype=torch.int64)
        rows = self.present.shape[1]
        labels[:, -rows:] = torch.arange(1, rows + 1, device=labels.device)
        self.rows = self.places.classes(labels, rows + 1)
        self.ids = self._ids()

    def tokens(self, log_weights: Tensor, covariances: Tensor) -> Tokens:
        """All blocks; log weights (B, K0), covariances (B, K0, d0, d0)."""
        s, X, ids = self.stream, self.tasks.X, self.ids
        values = {block: self.at_rows(numbers) for block, numbers in ids.items()}
        values |= {
            s.other: self.at_rows(1 - ids[s.lead], at_points=1.0),
            s.one: self.everywhere(X.new_ones(len(X), 1)),
            s.x: self.at_points(X),
            s.xx: self.at_points((X[..., :, None] * X[..., None, :]).flatten(-2)),
        }
        return Tokens(s, self.places, values | self._start(log_weights, covariances))

    def at_rows(self, numbers: Tensor, at_points: float = 0.0) -> Value:
        """(B or 1, K, d, width) -> what a block holds; one number at all points."""
        like = self.tasks.X
        numbers = numbers.to(like).expand(len(like), -1, -1, -1).flatten(1, 2) * self.present[:, :, None]
        points = like.new_full((len(like), 1, numbers.shape[2]), at_points)
        return Value(self.rows, torch.cat([points, numbers], 1).mT)

    def at_points(self, numbers: Tensor) -> Value:
        """(B, N, width), zeros at the rows."""
        padded = torch.nn.functional.pad(numbers, (0, 0, 0, self.present.shape[1]))
        return Value(self.places.each, padded.mT)

    def everywhere(self, numbers: Tensor) -> Value:
        """(B, width)."""
        return Value(self.places.same, numbers.to(self.tasks.X)[:, :, None])

    def of_rows(self, numbers: Tensor) -> Tensor:
        """(B, tokens, width) -> (B, K, d, width)."""
        return numbers[:, -self.present.shape[1] :].unflatten(1, (self.K, self.d))

    def _ids(self) -> dict[Block, Tensor]:
        """One-hot ids of rows, coordinates and components, and flags: (1, K, d, width)."""
        s, K, d = self.stream, self.K, self.d
        K0, d0 = s.slot.width, s.x.width
        on = self.tasks.X.device
        k, a = (torch.arange(n, device=on) for n in (K, d))
        k, a = k[:, None].expand(K, d), a.expand(K, d)
        eye = {n: torch.eye(n, dtype=torch.float64, device=on) for n in {K0, d0, K0 * d0}}
        lead = (a == 0)[..., None].double()
        held = {
            s.ids: eye[K0 * d0][k * d0 + a],
            s.turned: eye[K0 * d0][a * K0 + k],
            s.member: eye[K0][k],
            s.slot: lead * eye[K0][k],
            s.lead: lead,
            s.register: torch.ones_like(lead),
        }
        held |= {s.axis: eye[d0][a]}
        return {block: numbers[None] for block, numbers in held.items()}

    def _start(self, log_weights: Tensor, covariances: Tensor) -> dict[Block, Value]:
        """Weights, means and covariances; the first rows have their turn."""
        s, K, d, ids = self.stream, self.K, self.d, self.ids
        rows = covariances[:, :K, :d]  # (B, K, d, d0): row a of S_k
        member = ids[s.member][..., :, None]
        return {
            s.pi: self.everywhere(self.tasks.weights),
            s.log_pi: self.everywhere(log_weights),
            s.mu: self.at_rows(self.tasks.means[:, :K, None].expand(-1, -1, d, -1)),
            s.row: self.at_rows(rows),
            s.A: self.at_rows((member * rows[..., None, :]).flatten(-2)),
            s.turn: self.at_rows(ids[s.lead]),
            s.E: self.at_rows(ids[s.lead] * ids[s.ids]),
            s.pivots: self.at_rows(torch.zeros_like(ids[s.lead])),
        }
