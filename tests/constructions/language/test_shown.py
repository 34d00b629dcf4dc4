"""What holds tensors or layers prints on one short line, in every room."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest
import torch

from baselines.shown import LONGEST as LONGEST_OF_BASELINES
from baselines.shown import short_repr as repr_of_baselines
from constructions import em_construction, softmax_tensor_power_construction, spectral_construction
from constructions.algorithm import ConstructedAlgorithm
from constructions.language.shown import LONGEST, short_repr
from verify.engine.theorem import Bound

ROOT = Path(__file__).parents[3]
TENSORS = re.compile(r"\b(Tensor|NDArray|ndarray|Arrays?)\b")


def dataclasses_of_tensors() -> list[tuple[str, bool]]:
    """Every public dataclass with a field of tensors or arrays, and whether it takes the short repr."""
    found = []
    for folder in ("constructions", "baselines", "training", "verify/engine"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                    continue
                fields = [ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
                decorated = any("dataclass" in ast.unparse(one) for one in node.decorator_list)
                if decorated and any(TENSORS.search(field) for field in fields):
                    short = any(
                        ast.unparse(line) == "__repr__ = short_repr"
                        or getattr(line, "name", "") == "__repr__"
                        for line in node.body
                    )
                    found.append((f"{path.relative_to(ROOT)}: {node.name}", short))
    return found


def test_every_public_dataclass_of_tensors_prints_short() -> None:
    found = dataclasses_of_tensors()
    assert ("constructions/em/run.py: EMRun", True) in found
    assert ("baselines/mixture.py: Mixture", True) in found
    assert [name for name, short in found if not short] == []


def test_every_construction_prints_short() -> None:
    pending, wrong = [ConstructedAlgorithm], []
    while pending:
        one = pending.pop()
        pending += one.__subclasses__()
        ours = one.__module__.split(".")[0] == "constructions"
        wrong += [one] if ours and one.__repr__ is not short_repr else []
    assert wrong == []


def test_constructions_and_runs() -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    em = em_construction(max_dim=8, max_components=5, steps=2, pieces=128)
    run = em.run(X, torch.full((4,), 0.25, dtype=torch.float64), X[:4])
    spectral = spectral_construction(max_dim=4, max_components=2)
    softmax = softmax_tensor_power_construction(max_dim=4, steps=2, epsilon=5e-3)
    assert repr(em).startswith("EMConstruction(construction=Construction(...), floor=")
    assert repr(run).startswith("EMRun(weights=float64[4], means=float64[4, 3], ")
    layers = em.construction.layers
    parts = (em.construction, *layers, *layers[0].all_heads, *layers[0].mlp, em.log_resp)
    others = (spectral, softmax, em.resources(), em.stream, spectral.plan, Bound(X, X))
    for value in (em, run, *parts, *others):
        assert len(repr(value)) <= LONGEST
        assert "\n" not in repr(value)


@dataclasses.dataclass
class Held:
    """Of every kind of field."""

    tensor: torch.Tensor
    number: float
    empty: None
    rows: list[int]
    text: str
    hidden: int = dataclasses.field(default=1, repr=False)


@pytest.mark.parametrize("text_of", [short_repr, repr_of_baselines])
def test_fields(text_of) -> None:
    held = Held(torch.zeros(2, 3), 0.5, None, [1, 2, 3, 4, 5, 6], "a")
    rest = "number=0.5, empty=None, rows=[1, 2, 3, 4, ...], text='a'"
    assert text_of(held) == f"Held(tensor=float32[2, 3], {rest})"
    many = dataclasses.make_dataclass("Many", [f"field_{i}" for i in range(100)])(*range(100))
    assert len(text_of(many)) == LONGEST == LONGEST_OF_BASELINES
    assert text_of(many).endswith(" ...)")
