"""What `select` found: every candidate with its criteria, the best one fitted, as a table and as a figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.choosing.candidates import CandidateFits
from baselines.em import Status
from baselines.em_estimator import EMMixture
from baselines.estimator_sets import BatchFit, estimates
from baselines.families.names import family_of
from baselines.fitted_mixtures import joined_groups

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CRITERIA = ("bic", "icl", "aic", "cv")
COLUMNS_AT_ONCE = 6  # of the table, so that it fits 80 columns


@dataclass(frozen=True)
class Candidate:
    """One family and K on one data set; a criterion is better where it is lower.

    covariance_type, mclust   the name of the family, ours and mclust's (None for "unit").
    log_likelihood            L = sum_n log p(x_n), natural log.
    n_parameters              p = K - 1 + K d + the free numbers of the covariances.
    bic                       -2 L + p log N; mclust prints its negative.
    icl                       bic - 2 sum_n log max_k w_kn: unsure labels cost (Biernacki et al. 2000).
    aic                       -2 L + 2 p.
    cv                        -2 times the log-likelihood of points held out, all folds together; None unless
                              it was asked for.
    converged, problem        whether EM did; one line where a component became empty or singular. Such a
                              candidate is chosen only if all have a problem.
    """

    covariance_type: str
    mclust: str | None
    n_components: int
    log_likelihood: float
    n_parameters: int
    bic: float
    icl: float
    aic: float
    cv: float | None
    converged: bool
    problem: str

    def value(self, criterion: str) -> float:
        """The criterion of this name; NaN where it was not computed."""
        found = {"bic": self.bic, "icl": self.icl, "aic": self.aic, "cv": self.cv}[criterion]
        return float("nan") if found is None else found


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """The candidates of one data set X (N, d), best first in `ranked`.

    criterion     the name of what decided.
    candidates    all, by covariance type and then n_components, as asked for.
    estimator     the best one, a fitted EMMixture.
    """

    criterion: str
    candidates: tuple[Candidate, ...]
    estimator: EMMixture
    shape: tuple[int, int]
    _fits: dict[tuple[str, int], CandidateFits]
    _place: int
    _settings: dict[str, Any]

    @property
    def best(self) -> Candidate:
        """The candidate chosen."""
        return self.ranked[0]

    @property
    def ranked(self) -> list[Candidate]:
        """All, those without a problem first, the least criterion first among them."""
        return ranked(self.candidates, self.criterion)

    @property
    def n_components(self) -> int:
        """K of the best."""
        return self.best.n_components

    @property
    def covariance_type(self) -> str:
        """The family of the best."""
        return self.best.covariance_type

    def fitted(self, n_components: int, covariance_type: str) -> EMMixture:
        """The fitted estimator of any candidate. ValueError for one that was not asked for."""
        name = family_of(covariance_type).name
        if (name, n_components) not in self._fits:
            raise ValueError(
                f"covariance_type {covariance_type!r} with n_components {n_components!r} is no candidate"
            )
        return as_estimator(self._fits[name, n_components], self._place, self._settings)

    def rows(self) -> list[dict[str, Any]]:
        """The candidates as dictionaries: `pandas.DataFrame(selection.rows())`."""
        return [asdict(candidate) for candidate in self.candidates]

    def plot(self, criterion: str | None = None) -> "Figure":
        """The criterion (this one's unless named) against K, a curve a family; the best one is ringed."""
        from baselines.choosing.figures import picture  # matplotlib takes a while to load

        return picture(self, self.criterion if criterion is None else check_criterion(criterion))

    def __repr__(self) -> str:
        best = self.best
        return (
            f"Selection({self.criterion}: {family_of(best.covariance_type).label}, K = {best.n_components}, "
            f"best of {len(self.candidates)})"
        )

    def __str__(self) -> str:
        N, d = self.shape
        lines = [
            f"{self.criterion.upper()} of {len(self.candidates)} candidates, N = {N}, d = {d}; "
            "lower is better"
        ]
        types = list(dict.fromkeys(candidate.covariance_type for candidate in self.candidates))
        for first in range(0, len(types), COLUMNS_AT_ONCE):
            lines += ["", *self._part(types[first : first + COLUMNS_AT_ONCE])]
        marks = {"*": "did not converge", "!": "empty or singular component"}
        used = [f"{mark} {text}" for mark, text in marks.items() if any(mark in line for line in lines)]
        lines += ["", *used] if used else [""]
        for rank, candidate in enumerate(self.ranked[:3], 1):
            lines.append(
                f"{rank}. {family_of(candidate.covariance_type).label}, K = {candidate.n_components}: "
                f"{candidate.value(self.criterion):.2f}, log L {candidate.log_likelihood:.2f}, "
                f"{candidate.n_parameters} parameters"
            )
        return "\n".join(lines)

    def _part(self, types: Sequence[str]) -> list[str]:
        cells = {(c.covariance_type, c.n_components): c for c in self.candidates}
        titles = "".join(f"{family_of(name).mclust or name:>11} " for name in types)
        lines = [f"{'K':>4}{titles}".rstrip()]
        for K in sorted({candidate.n_components for candidate in self.candidates}):
            row = "".join(self._cell(cells.get((name, K))) for name in types)
            lines.append(f"{K:>4}{row}".rstrip())
        return lines

    def _cell(self, candidate: Candidate | None) -> str:
        if candidate is None:
            return f"{'-':>11} "
        mark = "!" if candidate.problem else " " if candidate.converged else "*"
        return f"{candidate.value(self.criterion):11.2f}{mark}"


class Selections(Sequence[Selection]):
    """The selections of B data sets, in their order; `n_components` and `covariance_types` list the best."""

    def __init__(self, selections: Sequence[Selection]) -> None:
        self._selections = list(selections)

    def __len__(self) -> int:
        return len(self._selections)

    def __getitem__(self, index: Any) -> Any:
        found = self._selections[index]
        return Selections(found) if isinstance(index, slice) else found

    @property
    def n_components(self) -> list[int]:
        """K of the best, for every data set."""
        return [selection.n_components for selection in self._selections]

    @property
    def covariance_types(self) -> list[str]:
        """The family of the best, for every data set."""
        return [selection.covariance_type for selection in self._selections]

    def __repr__(self) -> str:
        return f"Selections({len(self)} data sets)"

    def __str__(self) -> str:
        lines = [f"{len(self)} data sets, chosen by {self._selections[0].criterion.upper()}", ""]
        lines.append(f"{'K':>4}{'data sets':>11}  covariances")
        for K, number in sorted(Counter(self.n_components).items()):
            types = Counter(s.covariance_type for s in self._selections if s.n_components == K)
            text = ", ".join(f"{family_of(name).mclust or name} {n}" for name, n in types.most_common())
            lines.append(f"{K:>4}{number:>11}  {text}"[:80])
        return "\n".join(lines)


def check_criterion(criterion: str) -> str:
    """The name, or ValueError for an unknown one."""
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}, needs one of {', '.join(CRITERIA)}")
    return criterion


def ranked(candidates: Sequence[Candidate], criterion: str) -> list[Candidate]:
    """Those without a problem first, the least criterion first among them."""
    return sorted(candidates, key=lambda c: (bool(c.problem), c.value(criterion)))


def as_estimator(fits: CandidateFits, place: int, settings: dict[str, Any]) -> EMMixture:
    """One data set's fit as the estimator that would have found it."""
    mixture = fits.mixture[place : place + 1]
    K = mixture.n_components
    model = EMMixture(K, covariance_type=fits.family.name, init="ward", **settings)
    status = Status(int(fits.status[place]))
    problems = {} if status == Status.CONVERGED else {0: model._problem(status, int(fits.component[place]))}
    level = fits.log_likelihood[place : place + 1]
    batch = BatchFit(mixture, level.isfinite(), problems, fits.n_iter[place : place + 1], level)
    return model._take(
        joined_groups(model, [K], [([0], estimates(batch, mixture, level))], np.dtype(np.float64)), 0
    )
