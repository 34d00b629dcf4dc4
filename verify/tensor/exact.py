"""Theorem 2 in fractions: the layers against the iteration, ``==`` in every entry of every real token.

The float64 weights are fractions and nothing is rounded, so there is no tolerance. One step must turn the
tokens of (T, v) into the tokens of (T, T(I, v, v)), all that are real, not only the vector that is read out.
Every layer empties padding, which no token reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import torch

from constructions.language.rational import ExactTransformer
from constructions.tensor_power.relu import TensorPowerConstruction, tensor_power_construction
from constructions.tensor_power.tensors import TensorBatch
from verify.tensor.layout import FORMS, Form, contracted, layout

MAX_DIM, MAX_STEPS = 6, 4
ALL_CASES = len(FORMS) * MAX_DIM * MAX_STEPS
GROUPED = 20 * ALL_CASES
"""Instances drawn before weights are built; those of one form, d0 and L share them."""

DENOMINATORS = {"dyadic": (1, 2, 4), "rational": (1, 2, 3, 5)}

Vector = list[Fraction]
Cube = list[list[Vector]]


@dataclass(frozen=True, eq=False)
class Task:
    """One instance. ``path`` is the start and the exact v of each step; ``tokens`` is d and the padding."""

    index: int
    form: Form
    max_dim: int
    tokens: int
    T: Cube
    path: list[Vector]
    dyadic: bool

    @property
    def dim(self) -> int:
        """d."""
        return len(self.path[0])

    @property
    def steps(self) -> int:
        """L."""
        return len(self.path) - 1

    @property
    def required_offset(self) -> Fraction:
        """``max |v_m s_j|`` over all entries and the L steps: the least offset that is right."""
        largest = max(abs(x) for v in self.path[:-1] for x in v)
        return largest**2 * (self.dim if self.form.mean else 1)

    def __str__(self) -> str:
        return f"instance {self.index}: {self.form}, d = {self.dim} of {self.max_dim}, L = {self.steps}"


def exact_path(T: Cube, v: Vector, steps: int) -> list[Vector]:
    """v and the vectors of L steps."""
    path = [v]
    for _ in range(steps):
        path.append(contracted(T, path[-1]))
    return path


def draw_task(index: int, rng: np.random.Generator) -> Task:
    """Instance number ``index``: form, d and L go through all cases in turn, the rest is random.

    Entries are at most 4 in size, of either sign, many of them 0; a third of the tensors is symmetric, half
    of the instances dyadic. A start is never 0.
    """
    form = FORMS[index % len(FORMS)]
    d = 1 + index // len(FORMS) % MAX_DIM
    steps = 1 + index // (len(FORMS) * MAX_DIM) % MAX_STEPS
    max_dim = int(rng.integers(d, MAX_DIM + 1))
    dyadic = bool(rng.integers(2))
    values = [Fraction(p, q) for q in DENOMINATORS["dyadic" if dyadic else "rational"] for p in range(-4, 5)]
    kept = rng.choice([0.3, 0.7, 1.0])
    zero = Fraction(0)

    def entry() -> Fraction:
        return values[rng.integers(len(values))] if rng.random() < kept else zero

    T = [[[entry() for _ in range(d)] for _ in range(d)] for _ in range(d)]
    if rng.random() < 1 / 3:
        T = [[[_at_sorted(T, i, j, m) for m in range(d)] for j in range(d)] for i in range(d)]
    v = [entry() for _ in range(d)]
    if not any(v):
        v[rng.integers(d)] = Fraction(1)
    tokens = int(rng.integers(d, max_dim + 1))
    return Task(index, form, max_dim, tokens, T, exact_path(T, v, steps), dyadic)


def _at_sorted(T: Cube, *place: int) -> Fraction:
    i, j, m = sorted(place)
    return T[i][j][m]


def float_integer(least: Fraction) -> int:
    """The smallest positive whole number, at least ``least``, that a float holds exactly."""
    whole = max(1, -(-least.numerator // least.denominator))
    shift = max(0, whole.bit_length() - 53)
    return -(-whole >> shift) << shift


def first_difference(exact: ExactTransformer, built: TensorPowerConstruction, task: Task) -> str | None:
    """Where the layers leave the iteration first, or None if real tokens agree after each of L steps."""
    s = built.construction.stream
    states = [layout(s, task.form, task.T, v, task.tokens) for v in task.path]
    real = None if task.tokens == task.dim else [j < task.dim for j in range(task.tokens)]
    if exact.loops != task.steps:
        return f"{task}: the transformer makes {exact.loops} steps"
    for step, (got, wanted) in enumerate(zip(exact.passes(states[0], real), states[1:], strict=True), 1):
        for j, (row, right) in enumerate(zip(got[: task.dim], wanted[: task.dim], strict=True)):
            for column, (a, b) in enumerate(zip(row, right, strict=True)):
                if a != b:
                    block = next(b for b in s.blocks if column in b.columns)
                    where = f"token {j}, {block.name}[{column - block.start}]"
                    return f"{task}: after step {step}, {where} is {a} instead of {b}"
    return None


def embedded(built: TensorPowerConstruction, task: Task) -> TensorBatch:
    """The task, for dyadic T and v, as a batch; with a larger tensor beside it where it has padding."""
    d, n = task.dim, task.tokens
    T, v = torch.zeros(n, n, n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    tensors, starts = [torch.tensor(_floats(task.T), dtype=torch.float64)], [_floats(task.path[0])]
    if n > d:  # a second tensor of size n, so that the first is padded
        tensors, starts = [*tensors, T], [*starts, v.tolist()]
    return built.gather(tensors, [torch.tensor(start, dtype=torch.float64) for start in starts])


def embedding_difference(built: TensorPowerConstruction, task: Task) -> str | None:
    """Where ``built.embed`` differs from the tokens in fractions, for dyadic T and v, or None."""
    d, n = task.dim, task.tokens
    h, mask = built.embed(embedded(built, task))
    wanted = layout(built.construction.stream, task.form, task.T, task.path[0], n)
    same = [[Fraction(x) for x in row] for row in h[0].tolist()] == wanted
    if same and mask[0].tolist() == [j < d for j in range(n)]:
        return None
    return f"{task}: embed differs from the layout in fractions"


def _floats(values: object) -> object:
    return [_floats(value) for value in values] if isinstance(values, list) else float(values)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class RationalOutcome:
    """Instances and steps compared, by form; embeddings compared; the first counterexample, or None."""

    instances: int
    steps: int
    embeddings: int
    by_form: dict[str, int]
    counterexample: str | None


def rational_equality(instances: int, seed: int) -> RationalOutcome:
    """Whether the layers equal the iteration exactly in random rational instances: d 1 to 6, L 1 to 4.

    Weights are built for ``d0 >= d`` up to 6, in all four forms. The offset of a set of weights is the least
    whole number that the instances it serves allow. Where T and v are dyadic, the tokens are also compared
    with those that the construction itself embeds.

    Args:
        instances: at least 1; 96 cover every form, d and L.
        seed: of all draws.

    Raises:
        ValueError: no instance.
    """
    _need_instances(instances)
    rng = np.random.default_rng(seed)
    found: list[tuple[int, str]] = []
    by_form: Counter[str] = Counter({str(form): 0 for form in FORMS})
    steps = embeddings = 0
    for start in range(0, instances, GROUPED):
        tasks = [draw_task(i, rng) for i in range(start, min(start + GROUPED, instances))]
        groups: dict[tuple[Form, int, int], list[Task]] = {}
        for task in tasks:
            groups.setdefault((task.form, task.max_dim, task.steps), []).append(task)
        for (form, max_dim, length), served in groups.items():
            built = form.build(max_dim, length, float_integer(max(t.required_offset for t in served)))
            exact = ExactTransformer(built.to_transformer())
            for task in served:
                differences = [first_difference(exact, built, task)]
                if task.dyadic:
                    differences.append(embedding_difference(built, task))
                    embeddings += 1
                found += [(task.index, line) for line in differences if line is not None]
                by_form[str(task.form)] += 1
                steps += task.steps
    first = min(found)[1] if found else None
    return RationalOutcome(instances, steps, embeddings, dict(by_form), first)


def _need_instances(instances: int) -> None:
    if instances < 1:
        raise ValueError(f"instances is {instances}; at least 1 is needed")


def growth_holds(scale: Fraction, steps: int, form: Form) -> bool:
    """Whether the layers give exactly ``lambda^(2^L - 1) e_1`` for ``T = lambda e1 x e1 x e1`` and v = e1."""
    zero, one = Fraction(0), Fraction(1)
    T = [[[scale if i == j == m == 0 else zero for m in range(2)] for j in range(2)] for i in range(2)]
    path = [[scale ** (2**t - 1), zero] for t in range(steps + 1)]
    task = Task(0, form, 2, 2, T, [[one, zero], *path[1:]], dyadic=False)
    built = form.build(2, steps, float_integer(task.required_offset))
    return first_difference(ExactTransformer(built.to_transformer()), built, task) is None


def piecewise_direction(instances: int, seed: int, pieces: int = 16) -> str | None:
    """Where the piecewise norm first gives no exact positive multiple of ``T(I, v, v)``, or None.

    v is what the step before left. The multiple alone depends on the chords; every other entry of every real
    token must be that of the layout for the new v. Forms with pairs of heads, d 1 to 6, L 1 to 4.

    Raises:
        ValueError: no instance.
    """
    _need_instances(instances)
    rng = np.random.default_rng(seed)
    indices = [i for i in range(2 * instances + 2) if not FORMS[i % len(FORMS)].offset][:instances]

    @cache
    def weights(form: Form, max_dim: int, steps: int) -> tuple[TensorPowerConstruction, ExactTransformer]:
        built = tensor_power_construction(
            max_dim, steps, normalise="piecewise", pieces=pieces, divide_by_tokens=form.mean
        )
        return built, ExactTransformer(built.to_transformer())

    tasks = (draw_task(index, rng) for index in indices)
    differences = (_direction_difference(*weights(t.form, t.max_dim, t.steps), t) for t in tasks)
    return next((found for found in differences if found is not None), None)


def _direction_difference(built: TensorPowerConstruction, exact: ExactTransformer, task: Task) -> str | None:
    s, v = built.construction.stream, task.path[0]
    real = [j < task.dim for j in range(task.tokens)]
    tokens = layout(s, task.form, task.T, v, task.tokens, piecewise=True)
    for step, state in enumerate(exact.passes(tokens, real), 1):
        w = contracted(task.T, v)
        v = [Fraction(x) for x in state[0][s.v.start : s.v.start + task.dim]]
        r = next((a / b for a, b in zip(v, w, strict=True) if b), Fraction(1))
        if r <= 0 or v != [r * x for x in w]:
            return f"{task}: step {step} is not a positive multiple of T(I, v, v)"
        wanted = layout(s, task.form, task.T, v, task.tokens, piecewise=True)
        if state[: task.dim] != wanted[: task.dim]:
            return f"{task}: after step {step} the tokens are not those of v"
    return None
