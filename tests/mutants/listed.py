"""All mutants, in the order in which they are planted."""

from .in_baselines import BASELINES
from .mutant import Mutant

MUTANTS: tuple[Mutant, ...] = BASELINES
