"""A constructed step against the algorithm that it runs: a batched EM step, or a contraction by einsum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.em_steps import em_step
from baselines.mixture import Mixture
from baselines.tasks import paper_tasks
from constructions import em_construction, softmax_tensor_power_construction, tensor_power_construction
from constructions.em.tasks import gather_tasks
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import DenseEvaluator, Evaluator, StructuredEvaluator
from constructions.tensor_power.iteration import PowerIteration

from .measure import ROUNDS, Row, added_memory, cpu_seconds, in_turns

Run = Callable[[], object]

STEPS = 4
"""Steps of a run, so that the read-in counts for a quarter as much; times are divided by it."""


def em_steps(
    evaluation: str, d: int, K: int, N: int, batch: int, pieces: int, dtype: torch.dtype, steps: int = STEPS
) -> Run:
    """``steps`` steps on tasks of arXiv 2505.11918: "structured", "dense", or "em", plain batched steps."""
    tasks = paper_tasks(batch, d, K, N, torch.Generator().manual_seed(0))
    X, weights, means = (v.to(dtype) for v in (tasks.X, tasks.truth.weights, tasks.truth.means))
    if evaluation == "em":

        def algorithm() -> None:
            mixture = Mixture(weights, means)
            for _ in range(steps):
                mixture, _, _ = em_step(X, mixture)

        return algorithm
    radius = max(12.0, 1.01 * float(X.abs().max()))
    em = em_construction(d, K, steps, pieces, radius=radius)
    layers: Evaluator = (
        DenseEvaluator(em.to_transformer(dtype))
        if evaluation == "dense"
        else StructuredEvaluator(em.construction, FloatArithmetic(dtype, "cpu"))
    )
    gathered = gather_tasks(X, weights, means, d, K, dtype, "cpu")
    return _passes(layers, lambda: em.tokens(gathered), steps)


def _passes(layers: Evaluator, tokens: Callable, steps: int) -> Run:
    def run() -> None:
        with torch.no_grad():
            state = layers.start(tokens())
            for _ in range(steps):
                state = layers.block(state)[-1]

    return run


def em_rows() -> list[Row]:
    """d = 8, K = 5, N = 128, 64 tasks at once; then a million points, and EM at d = 64 with 4,096 pieces."""
    rows = []
    for pieces in (128, 2048):
        for dtype in (torch.float64, torch.float32):
            size = (8, 5, 128, 64, pieces, dtype)
            sides = {name: em_steps(name, *size) for name in ("structured", "dense", "em")}
            found = {name: seconds / STEPS for name, seconds in in_turns(sides).items()}
            work = f"EM step, d=8 K=5 N=128, 64 tasks, {pieces:,} pieces, {str(dtype)[6:]}"
            note = f"dense: {found['dense'] / found['em']:.0f} times"
            rows.append(
                Row(
                    "constructions",
                    work,
                    "batched EM step",
                    found["structured"],
                    found["em"],
                    ROUNDS,
                    note=note,
                )
            )
    for d, K, N, pieces in ((8, 5, 1_000_000, 128), (64, 17, 2048, 4096)):
        size = (d, K, N, 1, pieces, torch.float64, 1)
        found = in_turns({name: em_steps(name, *size) for name in ("structured", "em")})
        memory = [added_memory(em_steps, name, *size) for name in ("structured", "em")]
        work = f"EM step, d={d} K={K} N={N:,}, one task, {pieces:,} pieces, float64"
        rows.append(Row("constructions", work, "EM step", *found.values(), ROUNDS, *memory))
    return rows


FORMS: dict[str, Callable[[int], PowerIteration]] = {
    "pairs of heads": lambda d: tensor_power_construction(d, STEPS, normalise="rms"),
    "offset heads": lambda d: tensor_power_construction(d, STEPS, offset=4.0, normalise="rms"),
    "softmax, p = 2": lambda d: softmax_tensor_power_construction(d, STEPS, 5e-3, 2),
}
BATCHES = {8: 64, 32: 16, 64: 4, 128: 1}


def tensors(d: int, batch: int) -> tuple[Tensor, Tensor]:
    """Gaussian tensors and starts of length 1."""
    g = torch.Generator().manual_seed(0)
    T = torch.randn(batch, d, d, d, generator=g, dtype=torch.float64)
    v = torch.randn(batch, d, generator=g, dtype=torch.float64)
    return T, v / v.norm(dim=-1, keepdim=True)


def power_steps(form: str, d: int, batch: int) -> Run:
    """``STEPS`` steps of the structured evaluation, or of einsum and a division for "einsum"."""
    T, v = tensors(d, batch)
    if form == "einsum":

        def contraction() -> None:
            w = v
            for _ in range(STEPS):
                w = torch.einsum("bijm,bj,bm->bi", T, w, w)
                w = w / w.norm(dim=-1, keepdim=True)

        return contraction
    power = FORMS[form](d)
    start = power.tokens(power.gather(T, v))
    layers = StructuredEvaluator(power.construction, FloatArithmetic(torch.float64, "cpu"))
    return _passes(layers, lambda: start, STEPS)


def built_and_compiled(form: str, d: int) -> Run:
    """From the call of the construction to layers ready to run."""
    return lambda: StructuredEvaluator(FORMS[form](d).construction, FloatArithmetic(torch.float64, "cpu"))


def tensor_rows() -> list[Row]:
    """Normalised steps at d = 8 to 128, in batches and one by one."""
    rows = []
    for d, batch in [*BATCHES.items(), (8, 1), (32, 1), (64, 1)]:
        sides = {form: power_steps(form, d, batch) for form in (*FORMS, "einsum")}
        found = {name: seconds / STEPS for name, seconds in in_turns(sides).items()}
        for form in FORMS:
            memory = (
                [added_memory(power_steps, name, d, batch) for name in (form, "einsum")] if d >= 64 else []
            )
            compiled = cpu_seconds(built_and_compiled(form, d))
            work = f"tensor power step, {form}, d={d}, {batch} at once, float64"
            note = f"built and compiled in {1e3 * compiled:.0f} ms"
            rows.append(
                Row("constructions", work, "einsum", found[form], found["einsum"], ROUNDS, *memory, note=note)
            )
    return rows


def curves() -> dict[str, list[dict[str, float]]]:
    """Milliseconds of a step as one size grows, by what grows; dense up to a second or so.

    The other sizes are d = 8, K = 5, N = 128, 64 tasks, 128 pieces; one task where N grows.
    """
    base = {"d": 8, "K": 5, "N": 128, "batch": 64, "pieces": 128}
    grown = {
        "N": [2**k for k in range(7, 20)],
        "pieces": [2**k for k in range(5, 14)],
        "d": [2**k for k in range(2, 8)],
        "batch": [2**k for k in range(0, 11, 2)],
    }
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in grown.items():
        points = []
        for value in values:
            size = base | {name: value} | ({"batch": 1} if name == "N" else {})
            given = (size["d"], size["K"], size["N"], size["batch"], size["pieces"], torch.float64)
            small = size["pieces"] * size["batch"] <= 2**15 and size["d"] <= 32
            dense = small and size["N"] ** 2 * size["batch"] <= 2**22
            names = ["structured", "em", *(["dense"] if dense else [])]
            took = in_turns({side: em_steps(side, *given) for side in names}, 3)
            points.append({name: value} | {side: 1e3 * seconds / STEPS for side, seconds in took.items()})
        found[name] = points
    return found
