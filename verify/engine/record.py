"""One line of the ledger: a claim, the evidence for it, and how it came out."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from console.output import significant

Evidence = Literal["proved", "certified", "sampled", "learned"]
Limit = Literal["at most", "at least"]
NEAR = 1.005
"""A margin below it is shown as what it exceeds 1 by."""
MOST_DIGITS = 17
"""Of a double."""


def quotient(top: float, bottom: float) -> float:
    """``top / bottom``, as IEEE arithmetic has it: inf where only ``bottom`` is 0, NaN where both are."""
    if bottom == 0:
        return math.nan if top == 0 or math.isnan(top) else math.copysign(math.inf, top)
    return top / bottom


def margin_of(bound: float, observed: float, limit: Limit = "at most") -> float:
    """How many times further the limit could be: bound / observed, of "at least" observed / bound.

    Larger is safer and below 1 is broken, on either side. For "at most" inf where nothing was observed,
    whatever the bound.
    """
    if limit == "at least":
        return quotient(observed, bound)
    return math.inf if observed == 0 else bound / observed


@dataclass(frozen=True)
class Record:
    """The outcome of one check.

    Attributes:
        claim, source: what is claimed, and the theorem or lemma it rests on.
        evidence: how strong the check is; random search is "sampled", whatever its size.
        bound, observed: the claimed limit and the value found nearest to it.
        instances: how many were examined. dtype, seed: with what. seconds: how long it took.
        passed: whether the claim held in every instance.
        note: one line more, where a number needs it.
        steps, device: of evidence "learned": training steps behind the network, and where it was trained.
        interval: of evidence "learned": 95 % confidence interval of the very number that `observed` gives.
        limit: on which side of `bound` the claim has the value.
        margin: of the two (margin_of); where `observed` is NaN, nothing was compared: inf if passed, or 0.
    """

    claim: str
    source: str
    evidence: Evidence
    bound: float
    observed: float
    instances: int
    dtype: str
    seed: int
    seconds: float
    passed: bool
    note: str = ""
    steps: int | None = None
    device: str = ""
    interval: tuple[float, float] | None = None
    limit: Limit = "at most"
    margin: float = field(init=False)

    def __post_init__(self) -> None:
        margin = math.inf if self.passed else 0.0
        if not math.isnan(self.observed):
            margin = margin_of(self.bound, self.observed, self.limit)
        object.__setattr__(self, "margin", margin)
        if self.evidence == "learned" and (self.steps is None or not self.device or self.interval is None):
            raise ValueError(
                f"{self.claim}: evidence 'learned' needs steps, device and a confidence interval, got "
                f"{self.steps}, {self.device!r}, {self.interval}"
            )
        if self.interval is not None and all(map(math.isfinite, self.interval)):
            low, high = self.interval
            if not low <= self.observed <= high:
                raise ValueError(
                    f"{self.claim}: observed is {self.observed}, needs to lie in its interval [{low}, {high}]"
                )

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Record:
        """What :meth:`as_dict` gave, after a way through JSON."""
        found = {name: value for name, value in content.items() if name != "margin"}
        if found["interval"] is not None:
            found["interval"] = tuple(found["interval"])
        return cls(**found)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Learned(NamedTuple):
    """What evidence "learned" says more, as in :class:`Record`."""

    steps: int | None = None
    device: str = ""
    interval: tuple[float, float] | None = None


UNLEARNED = Learned()


@dataclass(frozen=True)
class Check:
    """What the records of one check have in common. Its clock starts when it is made.

    Attributes:
        source, seed, dtype, evidence: as in :class:`Record`. began: by ``time.perf_counter``.
    """

    source: str
    seed: int
    dtype: str | torch.dtype = "float64"
    evidence: Evidence = "sampled"
    began: float = field(default_factory=time.perf_counter)

    def record(
        self,
        claim: str,
        bound: float,
        observed: float,
        instances: int,
        passed: bool,
        note: str = "",
        limit: Limit = "at most",
        source: str = "",
        learned: Learned = UNLEARNED,
    ) -> Record:
        """A line of the ledger, with the time until now; ``source`` is put behind the common one."""
        dtype, seconds = str(self.dtype).removeprefix("torch."), time.perf_counter() - self.began
        told = self.evidence, bound, observed, instances, dtype, self.seed, seconds, passed, note
        return Record(claim, f"{self.source}{source}", *told, *learned, limit=limit)


def proof(source: str, seed: int) -> Check:
    """A check in exact arithmetic."""
    return Check(source, seed, "exact", "proved")


def shown(record: Record) -> tuple[str, str, str]:
    """Observed, limit with bound, and margin as text, with as many digits as tell the first two apart."""
    digits = 2
    while digits < MOST_DIGITS and significant(record.observed, digits) == significant(record.bound, digits):
        digits += 1
    if record.observed == record.bound:
        digits = 2
    texts = significant(record.observed, digits), f"{record.limit} {significant(record.bound, digits)}"
    return *texts, margin_text(record.margin)


def margin_text(margin: float) -> str:
    """As in 2.4, 1 + 3.1e-07, "1, attained", or "exact" where nothing was off."""
    if margin == math.inf:
        return "exact"
    if margin == 1:
        return "1, attained"
    return f"1 + {margin - 1:.1e}" if 1 < margin < NEAR else significant(margin, 3)
