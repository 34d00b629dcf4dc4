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
        steps, device: of evidence "learned": training steps behind the network, and where it was trained.
        interval: of evidence "learned": 95 % confidence interval of what was observed.
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
    steps: int | None = None
    device: str = ""
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.evidence == "learned" and (self.steps is None or not self.device or self.interval is None):
            raise ValueError(
                f"{self.claim}: evidence 'learned' needs steps, device and a confidence interval, got "
                f"{self.steps}, {self.device!r}, {self.interval}"
            )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
