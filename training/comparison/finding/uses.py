"""Which of EM's variables the networks of a cell hold and use, each by itself (interchange.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from constructions.language.shown import short_repr
from constructions.language.transformer import Transformer
from training.comparison.finding.design import FindingSettings
from training.comparison.finding.interchange import VariableUse, measure_interchange
from training.comparison.finding.learning.cells import Cell


@dataclass(frozen=True)
class Uses:
    """Of some networks that share a problem: a list each, in the order of the run."""

    networks: list[list[VariableUse]]

    __repr__ = short_repr

    @property
    def names(self) -> list[str]:
        """The variables and after which loop, as columns call them."""
        return [f"{use.variable.replace('_', ' ')}, {use.loop}" for use in self.networks[0]]

    def of(self, place: int) -> list[VariableUse]:
        """One variable in every network."""
        return [uses[place] for uses in self.networks]


def measure_uses(cell: Cell, settings: FindingSettings, networks: Sequence[Transformer]) -> Uses:
    """Of the first networks, as many as the settings say, on tasks that all networks of one problem share."""
    chosen = networks[: settings.used]
    found = [measure_interchange(cell.problem, one, settings.seed, settings.quick) for one in chosen]
    return Uses([list(uses) for uses in found])
