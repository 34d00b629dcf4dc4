"""The table of methods that a learned model is compared with: one name, one call, the same form of answer.

    from baselines.methods import METHODS
    result = METHODS["em-restarts"].fit(X, n_components, generator)

EM here stops when the log-likelihood per point changes by less than 1e-6, after at most 1,000 steps: at 1e-3
it stops too early at d = 2 (verify.reference_levels says by how much).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.checks import check_count, check_points
from baselines.em import em
from baselines.gaussian import COVARIANCE_TYPES
from baselines.kmeans import kmeans, with_pooled_covariances
from baselines.likelihood_descent import likelihood_descent
from baselines.map_em import map_em
from baselines.mixture import Mixture
from baselines.points import squares_fit
from baselines.posterior_mean import posterior_mean
from baselines.shown import short_repr
from baselines.spectral import spectral
from baselines.two_round_em import two_round_em

TOL = 1e-6
MAX_ITER = 1000
RESTARTS = 10
MAP_RESTARTS = 20
MOMENTUM = 0.9
GRADIENT_TOL = 1e-4  # of the length of the gradient per point

SKLEARN_TYPES = {
    "unit": "spherical",
    "spherical": "spherical",
    "diagonal": "diag",
    "tied": "tied",
    "full": "full",
}


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method says about T tasks.

    mixture    the estimates of the tasks that have one, in their order: batch shape (number not failed,).
               None when every task failed.
    failed     (T,) booleans: the task has no estimate.
    converged  (T,) booleans: the method met its own stopping rule there. False for a failed task, for EM that
               ran out of steps or lost a component (its estimate is that of the last defined step); True for
               a method that does not iterate.
    """

    mixture: Mixture | None
    failed: Tensor
    converged: Tensor

    __repr__ = short_repr


@dataclass(frozen=True)
class Problem:
    """What a method is given: X (T, N, d), K, where to draw from, the type to fit, the truth if it asks."""

    X: Tensor
    n_components: int
    generator: torch.Generator
    covariance_type: str
    truth: Mixture | None

    __repr__ = short_repr


@dataclass(frozen=True)
class Method:
    """One entry of METHODS.

    covariance_types  what it can be asked to fit; ("unit",) for a method that knows unit covariance only.
    knows_truth       it is given the parameters the data came from: an oracle, not a competitor.
    knows_prior       it knows the distribution of the paper's tasks (baselines.tasks.paper_tasks).
    linear_means      it needs linearly independent means: at most d components.
    slow              a Python loop over tasks, or thousands of sweeps: evaluate it on a part of them.
    """

    name: str
    description: str
    source: str
    function: Callable[[Problem], MethodResult]
    covariance_types: tuple[str, ...] = COVARIANCE_TYPES
    knows_truth: bool = False
    knows_prior: bool = False
    linear_means: bool = False
    slow: bool = False

    @property
    def unit_only(self) -> bool:
        """It fits unit covariances and nothing else."""
        return self.covariance_types == ("unit",)

    def most_components(self, n_features: int) -> int | None:
        """The largest K it can fit in R^d, None for no limit of its own."""
        return n_features if self.linear_means else None

    def fit(
        self,
        X: Tensor,
        n_components: int,
        generator: torch.Generator,
        *,
        truth: Mixture | None = None,
        covariance_type: str = "unit",
    ) -> MethodResult:
        """Estimate a mixture of K components for every task of X (T, N, d), on the device and dtype of X.

        A task whose squared distances overflow has failed, whatever the method; the others are as without.
        truth is read by methods with `knows_truth` and by no other. Raises ValueError for bad input, a
        covariance type or a K that the method cannot fit, and a missing truth.
        """
        check_points(X)
        check_count("n_components", n_components)
        if X.dim() != 3:
            raise ValueError(f"X has shape {tuple(X.shape)}, needs (T, N, d)")
        if covariance_type not in self.covariance_types:
            raise ValueError(
                f"covariance_type is {covariance_type!r}, needs one of {', '.join(self.covariance_types)} "
                f"for {self.name}"
            )
        most = self.most_components(X.shape[-1])
        if most is not None and n_components > most:
            raise ValueError(f"n_components is {n_components}, needs <= n_features = {most} for {self.name}")
        if self.knows_truth:
            self._check_truth(truth, X, n_components, covariance_type)
        known = truth if self.knows_truth else None
        usable = squares_fit(X)
        if usable.all():
            return self.function(Problem(X, n_components, generator, covariance_type, known))
        if not usable.any():
            return MethodResult(None, ~usable, usable)
        known = None if known is None else known[usable]
        part = self.function(Problem(X[usable], n_components, generator, covariance_type, known))
        failed, converged = ~usable, usable.clone()
        failed[usable], converged[usable] = part.failed, part.converged
        return MethodResult(part.mixture, failed, converged)

    def _check_truth(self, truth: Mixture | None, X: Tensor, n_components: int, covariance_type: str) -> None:
        if truth is None:
            raise ValueError(f"truth is None, needs the Mixture of the tasks for {self.name}")
        given = (tuple(truth.batch_shape), truth.n_components, truth.covariance_type)
        wanted = ((len(X),), n_components, covariance_type)
        if given != wanted:
            raise ValueError(f"truth has (batch shape, K, covariance type) {given}, needs {wanted}")


def _complete(mixture: Mixture, converged: Tensor) -> MethodResult:
    """The result of a method that has an estimate for every task."""
    return MethodResult(mixture, torch.zeros_like(converged), converged)


def _em(start: str, n_init: int) -> Callable[[Problem], MethodResult]:
    def function(problem: Problem) -> MethodResult:
        result = em(
            problem.X,
            problem.n_components,
            covariance_type=problem.covariance_type,
            init=start,
            n_init=n_init,
            max_iter=MAX_ITER,
            tol=TOL,
            generator=problem.generator,
        )
        return _complete(result.mixture, result.converged)

    return function


def _em_from(X: Tensor, start: Mixture) -> MethodResult:
    result = em(X, init=start, max_iter=MAX_ITER, tol=TOL)
    return _complete(result.mixture, result.converged)


def _em_truth(problem: Problem) -> MethodResult:
    if problem.truth is None:
        raise ValueError("truth is None, needs the Mixture of the tasks")
    return _em_from(problem.X, problem.truth)


def _spectral(problem: Problem) -> MethodResult:
    result = spectral(problem.X, problem.n_components, generator=problem.generator, on_failure="mark")
    found = ~result.failed
    mixture = result.select(found) if found.any() else None
    return MethodResult(mixture, result.failed, found)


def _spectral_em(problem: Problem) -> MethodResult:
    """A task without a spectral estimate stays failed: another start in its place would be another method."""
    return _em_after(problem, _spectral(problem))


def _kmeans(problem: Problem) -> MethodResult:
    """A task with fewer different points than components has failed."""
    result = kmeans(problem.X, problem.n_components, n_init=RESTARTS, generator=problem.generator)
    found = ~result.empty
    return MethodResult(result.select(found) if found.any() else None, ~found, result.converged & found)


def _kmeans_em(problem: Problem) -> MethodResult:
    return _em_after(problem, _kmeans(problem))


def _em_after(problem: Problem, first: MethodResult) -> MethodResult:
    """EM from the estimates of another method; a task that failed there has failed."""
    if first.mixture is None:
        return first
    found = ~first.failed
    X = problem.X[found]
    second = _em_from(X, with_pooled_covariances(first.mixture, X, problem.covariance_type))
    converged = torch.zeros_like(found)
    converged[found] = second.converged
    return MethodResult(second.mixture, first.failed, converged)


def _two_round_em(problem: Problem) -> MethodResult:
    settings = {"max_iter": MAX_ITER, "tol": TOL, "generator": problem.generator}
    result = two_round_em(problem.X, problem.n_components, **settings)
    return _complete(result.mixture, result.converged)


def _map_em(problem: Problem) -> MethodResult:
    settings = {"n_init": MAP_RESTARTS, "max_iter": MAX_ITER, "tol": TOL, "generator": problem.generator}
    result = map_em(problem.X, problem.n_components, **settings)
    return _complete(result.mixture, result.converged)


def _posterior_mean(problem: Problem) -> MethodResult:
    result = posterior_mean(problem.X, problem.n_components, generator=problem.generator)
    return _complete(result.mixture, result.converged)


def _gradient(problem: Problem) -> MethodResult:
    result = likelihood_descent(
        problem.X,
        problem.n_components,
        momentum=MOMENTUM,
        max_iter=MAX_ITER,
        tol=GRADIENT_TOL,
        generator=problem.generator,
    )
    return _complete(result.mixture, result.converged)


def _bayesian(problem: Problem) -> MethodResult:
    """Variances are estimated: scikit-learn has no unit covariance. Stops when the bound moves by < TOL N.

    A task has failed where scikit-learn refuses its covariances, or they are none in the dtype of X.
    """
    from sklearn.exceptions import ConvergenceWarning  # costs as much to load as torch does
    from sklearn.mixture import BayesianGaussianMixture

    X, K = problem.X, problem.n_components
    kind = SKLEARN_TYPES[problem.covariance_type]
    seed = torch.randint(2**31, (1,), generator=problem.generator, device=problem.generator.device)
    fitted_type = "spherical" if problem.covariance_type == "unit" else problem.covariance_type
    failed = torch.ones(len(X), dtype=torch.bool, device=X.device)
    found, converged = [], torch.zeros_like(failed)
    for i, points in enumerate(X.double().cpu().numpy()):
        model = BayesianGaussianMixture(
            n_components=K,
            covariance_type=kind,
            weight_concentration_prior_type="dirichlet_distribution",
            max_iter=MAX_ITER,
            tol=TOL * len(points),
            random_state=(int(seed) + i) % 2**32,
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # told by `converged`
                model.fit(points)
            weights, means, covariances = (
                torch.from_numpy(values).to(X)
                for values in (model.weights_, model.means_, model.covariances_)
            )
            one = Mixture(weights, means, covariances, fitted_type)
        except ValueError:  # it, or Mixture, refuses a covariance that is not positive definite
            continue
        found.append(one)
        failed[i], converged[i] = False, model.converged_
    return MethodResult(_stacked(found), failed, converged)


def _stacked(mixtures: list[Mixture]) -> Mixture | None:
    """One mixture each as a batch; None for none."""
    if not mixtures:
        return None
    weights, means = (torch.stack([getattr(one, name) for one in mixtures]) for name in ("weights", "means"))
    covariances = [one.covariances for one in mixtures if one.covariances is not None]
    return Mixture(weights, means, torch.stack(covariances), mixtures[0].covariance_type)


_DEMPSTER = "Dempster, Laird and Rubin 1977"
_PAPER = "arXiv 2505.11918"
_HSU = "Hsu and Kakade 2013"

_ENTRIES = [
    Method("em", "EM, greedy k-means++ once", _DEMPSTER, _em("k-means++", 1)),
    Method("em-plain", "EM, plain k-means++ once", _DEMPSTER, _em("plain-k-means++", 1)),
    Method("em-normal", "EM, means from N(0, I) once, as the paper starts it", _PAPER, _em("normal", 1)),
    Method(
        "em-restarts",
        f"EM, greedy k-means++ {RESTARTS} times, the likeliest",
        _DEMPSTER,
        _em("k-means++", RESTARTS),
    ),
    Method("em-truth", "EM from the truth, an oracle", _DEMPSTER, _em_truth, knows_truth=True),
    Method(
        "spectral",
        "whitened moments and tensor power iteration, variance known",
        _HSU,
        _spectral,
        covariance_types=("unit",),
        linear_means=True,
    ),
    Method(
        "spectral-em",
        "EM from the spectral estimate; a task without one has failed",
        _HSU,
        _spectral_em,
        covariance_types=("unit",),
        linear_means=True,
    ),
    Method(
        "k-means",
        f"Lloyd's algorithm, {RESTARTS} starts, shares of points as weights",
        "Lloyd 1982",
        _kmeans,
        covariance_types=("unit",),
    ),
    Method("k-means-em", "EM from the k-means clusters", "Lloyd 1982", _kmeans_em),
    Method(
        "two-round-em",
        "many random starts, one EM step, pruned and thinned to K far-apart means, EM",
        "Dasgupta and Schulman 2007",
        _two_round_em,
        covariance_types=("unit",),
    ),
    Method(
        "map-em",
        f"EM for the posterior mode under the prior of the tasks, {MAP_RESTARTS} starts, the most probable",
        _DEMPSTER,
        _map_em,
        covariance_types=("unit",),
        knows_prior=True,
    ),
    Method(
        "posterior-mean",
        "Bayes estimate under the prior of the tasks, by tempered particles and their aligned average",
        "Del Moral, Doucet and Jasra 2006",
        _posterior_mean,
        covariance_types=("unit",),
        knows_prior=True,
        slow=True,
    ),
    Method(
        "gradient",
        f"gradient ascent on the log-likelihood, momentum {MOMENTUM}, greedy k-means++ once",
        "Polyak 1964",
        _gradient,
        covariance_types=("unit",),
    ),
    Method(
        "bayesian",
        "variational Bayes of scikit-learn, variances estimated",
        "Bishop 2006, section 10.2",
        _bayesian,
        covariance_types=tuple(SKLEARN_TYPES),
        slow=True,
    ),
]

METHODS: dict[str, Method] = {method.name: method for method in _ENTRIES}
"""Every method by its name."""
