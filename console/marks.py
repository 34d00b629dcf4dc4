"""One colour, marker and line for each meaning and each method, the same in every figure of every report.

A figure of one quantity draws a meaning in its own colour. A figure of several gives each quantity a colour,
and the meaning keeps its marker and line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GREY = "0.35"
"""Of a marker and line in a legend, where colours stand for something else."""


@dataclass(frozen=True)
class Mark:
    """How something is drawn, in the words of matplotlib, and what a legend calls it."""

    name: str
    colour: str
    marker: str
    line: str

    def style(self, colour: str | None = None) -> dict[str, Any]:
        """Keywords for plot and errorbar; ``colour`` in place of the mark's own."""
        return {"color": colour or self.colour, "marker": self.marker, "linestyle": self.line}


MEASURED = Mark("measured", "#2ca02c", "o", "-")
INSTANCE = Mark("instance bound", "#ff7f0e", "s", "--")
APRIORI = Mark("a-priori bound", "#1f77b4", "^", ":")
APPROXIMATION = Mark("bound, approximation alone", "#9467bd", "v", "-.")
ROUNDING = Mark("bound, rounding alone", "#8c564b", "d", ":")
PREDICTED = Mark("predicted", "#7f7f7f", "x", "-")
ONE_STEP = Mark("measured, that step alone", "#17becf", ".", "-")
COVARIANCE = Mark("measured, of a covariance", "#e377c2", "P", "-")

EM = Mark("EM", "#1f77b4", "", "-")
CONSTRUCTION = Mark("layers", "#222222", "o", "--")
NETWORK = Mark("the network", "#d62728", "o", "-")
TRUTH = Mark("EM from the truth", "#17becf", "*", "-")
UNTRAINED = Mark("control: untrained network", "0.6", "+", ":")
SHUFFLED = Mark("control: another task's output", "0.35", "x", "--")
SPECTRAL = Mark("spectral", "#2ca02c", "D", "-")
TENSOR_POWER = Mark("tensor power", "#17becf", "<", "-")
KMEANS = Mark("k-means", "#8c564b", "P", "-")
SCIKIT_LEARN = Mark("scikit-learn", "#e377c2", "*", "-.")
RANDOM_POINTS = Mark("EM from random points", "#9467bd", "v", "-")
KMEANS_PLUS_PLUS = Mark("EM from k-means++", "#1f77b4", "s", "-")
NORMAL = Mark("EM from N(0, I)", "#ff7f0e", "^", "-")
POINTS = Mark("points", "0.7", ".", "")
_EM_BEST = "#0b3d91"

METHODS = {
    "em": Mark("em", KMEANS_PLUS_PLUS.colour, "s", "-"),
    "em-plain": Mark("em-plain", "#6baed6", "d", "-"),
    "em-normal": Mark("em-normal", NORMAL.colour, NORMAL.marker, "-"),
    "em-restarts": Mark("em-restarts", _EM_BEST, "h", "-"),
    "em-truth": Mark("em-truth", "0.6", "_", "--"),
    "spectral": Mark("spectral", SPECTRAL.colour, SPECTRAL.marker, "-"),
    "spectral-em": Mark("spectral-em", SPECTRAL.colour, "D", "--"),
    "k-means": Mark("k-means", KMEANS.colour, KMEANS.marker, "-"),
    "k-means-em": Mark("k-means-em", KMEANS.colour, "P", "--"),
    "two-round-em": Mark("two-round-em", RANDOM_POINTS.colour, ">", "-"),
    "map-em": Mark("map-em", "#bcbd22", "X", "-"),
    "posterior-mean": Mark("posterior-mean", "#e7969c", "p", "-"),
    "gradient": Mark("gradient", "#17becf", "<", "-"),
    "bayesian": Mark("bayesian", SCIKIT_LEARN.colour, SCIKIT_LEARN.marker, SCIKIT_LEARN.line),
}
"""Of the entries of baselines.methods; a variant of one has the same colour and another line."""
