"""What the command line may ask of an evaluation. Imports neither torch nor numpy: ``--help`` shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from console.options import usable_seed, whole_numbers

TASKS, QUICK_TASKS = 2048, 128
POLISH, VIEWS = 10, 1
METHOD_NAMES = (
    *("em", "em-plain", "em-normal", "em-restarts", "em-truth", "spectral", "spectral-em", "k-means"),
    *("k-means-em", "two-round-em", "map-em", "posterior-mean", "gradient", "bayesian"),
)
"""Of baselines.methods.METHODS; the tests compare them."""
ONLY_WHEN_ASKED = ("posterior-mean",)
"""Methods that are left out by default: they take most of the time."""


@dataclass(frozen=True)
class Axis:
    """What a grid varies.

    key    of the value in a record.
    label  of the axis of a figure. log: that axis is.
    place  value -> where it stands on the axis; None: at itself.
    """

    key: str
    label: str
    log: bool = False
    place: Callable[[float], float] | None = None

    @property
    def over_components(self) -> bool:
        """It varies K."""
        return self.key == "K"


COMPONENTS = Axis("K", "number of components K")
AXES = {
    "main": COMPONENTS,
    "samples": Axis("N", "points a task, N", log=True),
    "perturbation": Axis("perturbation", "perturbation of the means, sigma_p"),
    "separation": Axis("separation", "distance between means, in standard deviations"),
    "diagonal": COMPONENTS,
    "components": COMPONENTS,
    "embedding": COMPONENTS,
    "dxk": COMPONENTS,
    "full": COMPONENTS,
    "anisotropic": Axis("elongation", "largest over smallest deviation of a component", log=True),
    "correlation": Axis(
        "correlation",
        "correlation of two coordinates, rho (log axis in 1 - rho)",
        log=True,
        place=lambda rho: 1 / (1 - rho),
    ),
    "large": Axis("K", "number of components K", log=True),
    "initialisation": Axis("start", "noise on the means that EM starts from, sigma"),
}
"""Every grid by its name, with what it varies."""

TITLES = {
    "main": "the paper's tasks",
    "samples": "sample size",
    "perturbation": "means outside the box of the training tasks",
    "separation": "components at one distance",
    "diagonal": "diagonal covariances",
    "components": "more components than dimensions",
    "embedding": "with and without task embedding",
    "dxk": "dimension and number of components",
    "full": "full covariances",
    "anisotropic": "elongated components",
    "correlation": "correlated coordinates",
    "large": "many components, many dimensions",
    "initialisation": "where EM starts",
}

REMARKS = {
    "full": "Covariances Q diag(s^2) Q^T, every s uniform in [0.5, 1.5], Q a random rotation.",
    "anisotropic": (
        "Covariances Q diag(s^2) Q^T, Q a random rotation. Elongation r: the deviations s of a component go "
        "in equal ratios from r^(-1/2) to r^(1/2), and their geometric mean is 1."
    ),
    "correlation": (
        "Unit variances, every two coordinates of a component correlated by rho or -rho, by signs of the "
        "coordinates that are drawn for each component."
    ),
    "initialisation": (
        "em-off-truth starts from the true weights and the true means + sigma N(0, I); sigma changes nothing "
        "for all others, which are measured once."
    ),
}
"""What a page says of the tasks of a grid."""

OWN_DIMS = {"large": (8, 32, 128)}
OWN_COMPONENTS = {"large": (2, 4, 8, 16)}
"""Of a grid that does not take d and K from the networks."""


@dataclass(frozen=True)
class Asked:
    """The options of training.evaluate as typed; ``tasks`` is the number, ``models`` those of --model."""

    what: str
    grid: str
    tasks: int
    polish: int
    views: int
    seed: int
    methods: str | None
    models: list[str]
    ablation: str | None
    dims: str | None
    components: str | None
    samples: str | None
    quick: bool

    def __post_init__(self) -> None:
        usable_seed(self.seed)
        for name in ("dims", "components", "samples"):
            self.numbers(name)

    def numbers(self, name: str) -> list[int] | None:
        """Those of --dims, --components or --samples.

        Raises:
            BadInputError: something else.
        """
        return whole_numbers(name, getattr(self, name))
