"""What the command line may ask of an evaluation. Imports neither torch nor numpy: ``--help`` shows it."""

from __future__ import annotations

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
    """What a grid varies: the key of the value in a record, how a figure labels it, whether that is log."""

    key: str
    label: str
    log: bool = False


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
}


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
