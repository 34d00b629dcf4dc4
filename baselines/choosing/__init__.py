"""How many components, and which covariances: criteria over all candidates, and how sure the estimate is."""

from baselines.choosing.bootstrap import Bootstrap, bootstrap
from baselines.choosing.select import select, select_many
from baselines.choosing.selection import Candidate, Selection, Selections

__all__ = ["Bootstrap", "Candidate", "Selection", "Selections", "bootstrap", "select", "select_many"]
