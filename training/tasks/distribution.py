"""A law of mixtures and of the sizes of their data sets, checked when it is built."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from baselines import task_families as families
from baselines.checks import check_count

Covariance = Literal["unit", "spherical", "diagonal", "full", "correlated", "inverse-wishart"]
WeightLaw = Literal["paper", "dirichlet"]
DeviationLaw = Literal["uniform", "log-uniform", "spaced"]
CovarianceType = Literal["unit", "spherical", "diagonal", "full"]

MOST_SAMPLES = 100_000
"""Points a task may have: far beyond what is measured, and a mistyped N is refused before memory runs out."""
MOST_CORRELATION = 0.9999
"""The condition number is then 1.3e6 at d = 128, of which float32 still holds a digit."""


@dataclass(frozen=True)
class TaskDistribution:
    """x ~ sum_k pi_k N(mu_k, S_k) in R^d, N points a task; checked when it is built, ValueError otherwise.

    n_features       d.
    components       the numbers of components K, taken in turn by the micro-batches of training; one that
                     stands there twice is taken twice as often.
    samples          (low, high): N uniform on the integers low..high, both included; at most MOST_SAMPLES.
    weights          "paper": pi uniform in [0.2, 0.8]^K, then normalised. "dirichlet": uniform, summing to 1.
    covariance       "unit": S_k = I. "spherical": s_k^2 I. "diagonal": diag(s_k1^2, ..., s_kd^2).
                     "full": Q_k diag(s_k^2) Q_k^T with a uniformly random rotation Q_k.
                     "correlated": D_k ((1 - rho) I + rho 1 1^T) D_k, rho = `correlation`, D_k diagonal of
                     random signs: unit variances, and every two coordinates correlated by rho or -rho. The
                     eigenvalues are 1 + (d - 1) rho along the signs and 1 - rho across. Signs of their own
                     point each component elsewhere; with common ones all would have one covariance.
                     "inverse-wishart": (mu_k, S_k) is normal-inverse-Wishart: S_k of `degrees` degrees of
                     freedom and scale I, mu_k ~ N(0, S_k / kappa). S_k whose condition number a mixture of
                     the dtype cannot hold (above 1e-2 / eps) are drawn again: in float64 practically never,
                     in float32 0.7 % of them at d = degrees = 2.
    deviation_range  (low, high) of the standard deviations s, each drawn alone by the `deviation_law`:
                     "uniform" there, or "log-uniform" (log s uniform). "spaced" draws none:
                     s_j = low (high/low)^((j-1)/(d-1)) in every component, so that low and high are there.
    correlation      rho of "correlated", from 0 to MOST_CORRELATION.
    kappa, degrees   of "inverse-wishart"; degrees is an integer from d on, 0 means d.
    separation       None: mu uniform in [-box, box]^d, all K redrawn until every pairwise cosine is below
                     max_cosine (above 1: none is redrawn). A number: every two means exactly so far apart,
                     the corners of a regular simplex about 0 rotated at random; needs K <= d + 1; box and
                     max_cosine are not used. "inverse-wishart" uses none of them.
    perturbation     sigma_p: mu + sigma_p z, z ~ N(0, I), after the rejection; needs separation = None.
    min_max          every coordinate of a task goes to [0, 1] by the least and the largest of its points, and
                     means and covariances with it; needs covariances that can, so not "unit".
    sort_weights     True sorts the weights ascending.

    The defaults are the paper's test distribution (arXiv 2505.11918), weights unsorted. Lists, as TOML gives
    them, become tuples.
    """

    n_features: int
    components: tuple[int, ...] = (2, 3, 4, 5)
    samples: tuple[int, int] = (64, 128)
    covariance: Covariance = "unit"
    deviation_range: tuple[float, float] = (0.5, 1.5)
    separation: float | None = None
    perturbation: float = 0.0
    box: float = 5.0
    max_cosine: float = 0.8
    sort_weights: bool = False
    weights: WeightLaw = "paper"
    deviation_law: DeviationLaw = "uniform"
    kappa: float = 0.01
    degrees: int = 0
    min_max: bool = False
    correlation: float = 0.0

    def __post_init__(self) -> None:
        check_count("n_features", self.n_features)
        self._set_tuple("components", None)
        self._set_tuple("samples", 2)
        self._set_tuple("deviation_range", 2)
        for K in self.components:
            check_count("a number of components", K)
        if not self.components:
            raise ValueError("components is (), needs at least one number of components")
        low, high = self.samples
        check_count("samples[0]", low)
        check_count("samples[1]", high, low)
        check_samples("samples[1]", high)
        for name, kind in (
            ("weights", WeightLaw),
            ("covariance", Covariance),
            ("deviation_law", DeviationLaw),
        ):
            if getattr(self, name) not in get_args(kind):
                accepted = ", ".join(get_args(kind))
                raise ValueError(f"{name} is {getattr(self, name)!r}, needs one of {accepted}")
        for name, value in zip(("low", "high"), self.deviation_range, strict=True):
            _check_number(f"deviation_range's {name}", value)
        families.check_deviation_range(self.deviation_range)
        _check_number("box", self.box, above=0)
        _check_number("max_cosine", self.max_cosine, above=-1)
        _check_number("perturbation", self.perturbation, least=0)
        _check_number("kappa", self.kappa, above=0)
        check_count("degrees", self.degrees, 0)
        if 0 < self.degrees < self.n_features:
            raise ValueError(
                f"degrees is {self.degrees}, needs at least n_features = {self.n_features}, or 0"
            )
        self._check_correlation()
        several = self.n_features > 1 and self.covariance in ("diagonal", "full")
        if self.deviation_law == "spaced" and not several:
            raise ValueError(
                "deviation_law is 'spaced', needs n_features >= 2 and one deviation a coordinate: covariance "
                "'diagonal' or 'full'"
            )
        for name in ("min_max", "sort_weights"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}, needs True or False")
        if self.min_max and self.covariance == "unit":
            raise ValueError("min_max is True, needs another covariance than 'unit', which it would change")
        if self.covariance == "inverse-wishart":
            if self.separation is not None or self.perturbation:
                raise ValueError(
                    "covariance is 'inverse-wishart', which gives the means: no separation, no perturbation"
                )
            return
        if self.separation is None:
            self._check_rejection()
        else:
            _check_number("separation", self.separation, above=0)
            families.check_simplex(max(self.components), self.n_features)
            if self.perturbation:
                raise ValueError(
                    f"perturbation is {self.perturbation}, needs 0 with a fixed separation: it would undo it"
                )

    @property
    def covariance_type(self) -> CovarianceType:
        """Of the mixtures, as Mixture has it."""
        if self.covariance in ("correlated", "inverse-wishart"):
            return "full"
        if self.covariance == "spherical" and self.min_max:
            return "diagonal"
        return self.covariance

    def _check_correlation(self) -> None:
        _check_number("correlation", self.correlation, least=0)
        if self.correlation > MOST_CORRELATION:
            raise ValueError(f"correlation is {self.correlation}, needs at most {MOST_CORRELATION}")
        if self.correlation and self.covariance != "correlated":
            raise ValueError(
                f"correlation is {self.correlation}, needs covariance 'correlated', not {self.covariance!r}"
            )

    def _check_rejection(self) -> None:
        """Refuse what is plainly impossible: of three numbers two have the same sign, and so cosine 1."""
        if self.n_features == 1 and max(self.components) > 2 and self.max_cosine <= 1:
            raise ValueError(
                f"components is {self.components}, needs at most 2 in one dimension with max_cosine <= 1: "
                "of three means two have cosine 1"
            )

    def _set_tuple(self, name: str, length: int | None) -> None:
        value = getattr(self, name)
        if not isinstance(value, tuple | list) or length not in (None, len(value)):
            numbers = "a tuple of numbers" if length is None else f"{length} numbers"
            raise ValueError(f"{name} is {value!r}, needs {numbers}")
        object.__setattr__(self, name, tuple(value))


def check_samples(name: str, value: int) -> None:
    """Refuse more points a task than MOST_SAMPLES: ValueError."""
    if value > MOST_SAMPLES:
        raise ValueError(f"{name} is {value}, needs at most {MOST_SAMPLES} points a task")


def _check_number(name: str, value: float, *, least: float = -math.inf, above: float = -math.inf) -> None:
    """Refuse anything but a finite number, at least `least` and larger than `above`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least and value > above):
        bounds = [f">= {least}"] * math.isfinite(least) + [f"> {above}"] * math.isfinite(above)
        raise ValueError(f"{name} is {value!r}, needs a finite number {' and '.join(bounds)}".rstrip())
