"""Tensor power iteration played: its scene, and what the commands refuse of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from console.errors import BadInputError
from constructions.tensor_power.iteration import PowerIteration
from verify.player.layers import blocks_shown, layers_shown
from verify.player.page import player_page
from verify.player.recording import passes, recorded, stream_of
from verify.player.scene import Column, Recorded, Scene
from verify.tensor.data import TensorProblem
from verify.tensor.measure import Runtime
from verify.tensor.played import START, PlayedPath, path_columns, played_path
from verify.tensor.player_words import WORDS

MOST_DIM, MOST_STEPS = 8, 100


@dataclass(frozen=True)
class SpherePicture:
    """What the picture needs beside the stream.

    Attributes:
        axes: names of its two directions. layers, reference: (L + 1, 2) v over the start's length at first.
        played: as results.json has it. columns: of the table.
    """

    axes: tuple[str, str]
    layers: list[list[float]]
    reference: list[list[float]]
    played: PlayedPath
    columns: list[Column]


def problem_to_play(given: Sequence[TensorProblem], steps: int) -> TensorProblem:
    """The first with d from 2 to 8; refused, before anything runs, where there is none.

    Raises:
        BadInputError: as said, or too many steps for a page.
    """
    if steps > MOST_STEPS:
        raise BadInputError(f"--player: --steps {steps} are too many for a page; it plays up to {MOST_STEPS}")
    for problem in given:
        if 2 <= problem.dim <= MOST_DIM:
            return problem
    dims = ", ".join(str(problem.dim) for problem in given)
    raise BadInputError(f"--player: d = {dims}; a tensor with d from 2 to {MOST_DIM} is played")


def play(
    power: PowerIteration, problem: TensorProblem, form: str, on: Runtime, steps: int, command: str
) -> tuple[PlayedPath, str]:
    """The numbers of a problem's first start, for the results, and the page that ``command`` writes."""
    found = played_path(power, problem, form, on, steps)
    return found, player_page(sphere_scene(power, problem, found, on), command)


def sphere_scene(
    power: PowerIteration, problem: TensorProblem, found: PlayedPath, on: Runtime
) -> Scene[SpherePicture]:
    """The run of a problem's first start, run again layer by layer."""
    layers = torch.tensor([found.begin, *(step.layers for step in found.steps)], dtype=torch.float64)
    exact = torch.tensor([found.begin, *(step.reference for step in found.steps)], dtype=torch.float64)
    axes, directions, note = disc_of(exact)
    # A start of any length is drawn on the circle, where all later vectors are.
    sizes = exact.norm(dim=1, keepdim=True)
    picture = SpherePicture(
        axes,
        (layers / sizes @ directions).tolist(),
        (exact / sizes @ directions).tolist(),
        found,
        path_columns(found),
    )
    d, dtype = problem.dim, str(on.dtype).removeprefix("torch.")
    notes = [
        f"d = {d}, {found.form}, {len(found.steps)} steps; start {START} of {len(problem)}. Layers ran in "
        f"{dtype}, {on.evaluation} evaluation.",
        "Attention is that of the dense weights on the stream of this run, and the stream is the run's: "
        "all digits are in this page, and numbers are rounded where they are printed.",
        note,
    ]
    title = f"Tensor power iteration in attention: {found.problem}"
    blocks = blocks_shown(power.stream, WORDS)
    run = _recorded(power, problem, on, len(found.steps))
    return Scene("sphere", title, notes, blocks, layers_shown(power.construction, WORDS), run, picture)


def disc_of(path: Tensor) -> tuple[tuple[str, str], Tensor, str]:
    """Names of the axes, directions (d, 2), and a sentence: the plane in which a path (L + 1, d) is drawn.

    Of d = 2 the two coordinates; of more the plane through the start and the end, the end to the right.
    """
    d = path.shape[1]
    if d == 2:
        return ("v0", "v1"), torch.eye(2, dtype=torch.float64), "The circle is that of vectors of length 1."
    end = path[-1] / path[-1].norm()
    rest = path[0] - (path[0] @ end) * end
    across = rest / rest.norm() if bool(rest.norm() > 0) else torch.zeros_like(rest)
    note = (
        f"The sphere of vectors of length 1 in {d} coordinates is seen on the plane through the reference's "
        "last vector (to the right) and its start; a vector inside the circle stands out of that plane."
    )
    return ("along the last vector", "along the start"), torch.stack([end, across], 1), note


def _recorded(power: PowerIteration, problem: TensorProblem, on: Runtime, steps: int) -> Recorded:
    """The run once more, for its stream: all starts, so that every sum is rounded as it was there."""
    T = problem.T.expand(len(problem.v), -1, -1, -1)
    batch = power.gather(T, problem.v, on.dtype, on.device)
    layers = power.evaluator(on.evaluation, on.dtype, on.device)
    with torch.no_grad():
        start = layers.start(power.tokens(batch))
        after = (stream_of(state, START) for state in passes(layers, start, steps))
        transformer = power.to_transformer(on.dtype)
        return recorded(power.construction, transformer, stream_of(start, START), after)
