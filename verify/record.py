"""One line of the ledger: a claim, the evidence for it, and how it came out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Evidence = Literal["proved", "certified", "sampled", "learned"]


@dataclass(frozen=True)
class Record:
    """The outcome of one check.

    Attributes:
        claim, source: what is claimed, and the theorem or lemma it rests on.
        evidence: how strong the check is; random search is "sampled", whatever its size.
        bound, observed: the claimed limit and the value found nearest to it (largest observed/bound).
        margin: bound / observed at that place; at least 1 when the claim holds.
        instances: how many were examined. dtype, seed: with what. seconds: how long it took.
        passed: whether the claim held in every instance.
        note: one line more, where a number needs it.
    """

    claim: str
    source: str
    evidence: Evidence
    bound: float
    observed: float
    margin: float
    instances: int
    dtype: str
    seed: int
    seconds: float
    passed: bool
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
