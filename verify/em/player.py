"""EM played: the scene of the player for a measurement, and what the command refuses of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.colors import to_hex

from console.errors import BadInputError
from console.output import significant
from constructions.em.tasks import CovarianceType
from constructions.language.heads import Head
from verify.em.measure import Measurement
from verify.em.options import Options
from verify.em.path_picture import View
from verify.em.played import DIGITS, TASK, Played, columns
from verify.em.player_words import DOES, HOLDS, STEPS, SYMBOLS
from verify.em.problems import Problem
from verify.em.records import pieces_mean
from verify.engine.drawing import colour
from verify.player.layers import Words, blocks_shown, layers_shown
from verify.player.plane import plane_of, spread_heights
from verify.player.recording import passes, recorded, stream_of
from verify.player.scene import Column, Recorded, Scene

PLAYED_KINDS = ("unit", "tied_spherical", "spherical", "diagonal")
MOST_NUMBERS = 3_000_000
"""In a page: about 60 MB of it."""
MOST_NAMED = 4
"""Coordinates written out in a sentence."""


@dataclass(frozen=True)
class EMPicture:
    """What the picture of EM needs beside the stream.

    Attributes:
        axes: names of the two directions. points: (N, 2). slots: of each token.
        layers, em: (L + 1, K, 2) means of the layers, and of EM from the same start. colours: of components.
        played: as results.json has it. columns: of the table.
    """

    axes: tuple[str, str]
    points: list[list[float]]
    slots: list[int]
    layers: list[list[list[float]]]
    em: list[list[list[float]]]
    colours: list[str]
    played: Played
    columns: list[Column]


def check_player(options: Options, problems: Sequence[Problem]) -> None:
    """Refuse, before anything runs, what the player cannot show.

    Raises:
        BadInputError: a kind of covariance with many layers a step, or a page that no browser likes.
    """
    if options.covariance not in PLAYED_KINDS:
        kinds = ", ".join(PLAYED_KINDS[:-1])
        raise BadInputError(
            f"--player: --covariance {options.covariance} has too many layers a step to be played; it plays "
            f"{kinds} and {PLAYED_KINDS[-1]}"
        )
    d, K, N = max((p.sizes for p in problems), key=lambda sizes: sizes[1] * sizes[2])
    numbers = options.steps * N * K * _numbers_a_step(options.covariance, d)
    if numbers > MOST_NUMBERS:
        raise BadInputError(
            f"--player: {options.steps} steps of N = {N}, K = {K} are {numbers:,} numbers in a page; at most "
            f"{MOST_NUMBERS:,} are taken: fewer --steps or points"
        )


def _numbers_a_step(kind: CovarianceType, d: int) -> int:
    """For each point and component: responsibilities and their logs, weights of both heads; squares."""
    return 4 + {"unit": 0, "diagonal": d}.get(kind, 1)


def em_scene(m: Measurement, found: Played, view: View | None) -> Scene[EMPicture]:
    """The first task of a measurement, run again layer by layer; ``view`` as of path_picture."""
    X = m.problem.X[TASK]
    d, K, N = m.problem.sizes
    names = ("first coordinate", "second coordinate", *[""] * (d - 2)) if view is None else view[0]
    plane = plane_of(X, names, torch.zeros(d) if view is None else view[1])
    points = plane.places(X)
    layers = plane.places(m.run.path_means[TASK].cpu())
    picture = EMPicture(
        plane.axes,
        (points if d > 1 else spread_heights(points)).tolist(),
        [token % K for token in range(N)],
        layers.tolist(),
        plane.places(m.em_means[TASK]).tolist(),
        [to_hex(colour(k)) for k in range(K)],
        found,
        columns(found),
    )
    steps = STEPS["unit" if m.em.covariance_type == "unit" else "other"]
    words = Words(SYMBOLS, HOLDS, DOES, steps, _ends)
    return Scene(
        "em",
        f"EM in attention: {found.problem}",
        _notes(m, plane.note, view),
        blocks_shown(m.em.stream, words),
        layers_shown(m.em.construction, words),
        _recorded(m),
        picture,
    )


def _notes(m: Measurement, plane: str, view: View | None) -> list[str]:
    d, K, N = m.problem.sizes
    dtype = str(m.run.path_means.dtype).removeprefix("torch.")
    notes = [
        f"{N} points of {d} coordinates, {K} components, {m.run.steps} steps from the start "
        f"{m.problem.start}, {pieces_mean(m.em)} pieces a function; task {TASK} of {len(m.problem)}. "
        f"Layers ran in {dtype}, {m.run.evaluation} evaluation.",
        "Attention is that of the dense weights on the stream of this run, and the stream is the run's: "
        "all digits are in this page, and numbers are rounded where they are printed.",
    ]
    if view is not None:
        centre = ", ".join(significant(value, DIGITS) for value in view[1].tolist()[:MOST_NAMED])
        more = ", ..." if len(view[1]) > MOST_NAMED else ""
        less = f"the stream holds the points less ({centre}{more})"
        notes.append(f"The picture is in the coordinates of the data; {less}.")
    return [*notes, plane] if plane else notes


def _ends(head: Head) -> str:
    """Lines end at points where the keys are what points hold; else at the means that the keys stand for."""
    keys = {term.key.name for term in head.score.terms}
    return "points" if not keys or "log_resp" in keys else "means"


def _recorded(m: Measurement) -> Recorded:
    """The run once more, for its stream: the whole batch, so that every sum is rounded as it was there."""
    em, run, p = m.em, m.run, m.problem
    dtype, device = run.path_means.dtype, run.path_means.device
    tasks = em.gather(p.X, p.weights, p.means, p.covariances, dtype, device, run.refreshed)
    layers = em.evaluator(run.evaluation, dtype, device)
    with torch.no_grad():
        start = layers.start(em.tokens(tasks, run.refreshed))
        after = passes(layers, start, run.steps)
        transformer = em.to_transformer(dtype, device)
        return recorded(
            em.construction, transformer, stream_of(start, TASK), (stream_of(s, TASK) for s in after)
        )
