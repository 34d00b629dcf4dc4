"""One line of the ledger: a claim, the evidence for it, and how it came out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Evidence = Literal["proved", "certified", "sampled", "learned"]


def quotient(top: float, bottom: float) -> float:
    """``top / bottom``, as IEEE arithmetic has it: inf where only ``bottom`` is 0, NaN where both are."""
    if bottom == 0:
        return math.nan if top == 0 or math.isnan(top) else math.copysign(math.inf, top)
    return top / bottom


def margin_of(bound: float, observed: float) -> float:
    """``bound / observed``; inf where nothing was observed, whatever the bound."""
    return math.inf if observed == 0 else bound / observed


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

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Record:
        """What :meth:`as_dict` gave, after a way through JSON."""
        found = dict(content)
        if found["interval"] is not None:
            found["interval"] = tuple(found["interval"])
        return cls(**found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
