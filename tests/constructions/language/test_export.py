"""Recorded transformers at other sizes, and constructions that are copied and pickled."""

import copy
import dataclasses
import pickle
import warnings

import pytest
import torch
from torch import Tensor

from constructions import (
    LayerShape,
    Transformer,
    TransformerShape,
    em_construction,
    softmax_tensor_power_construction,
    tensor_power_construction,
)

KINDS = [
    {"norm": "layer", "causal": True},
    {"attention": "relu", "divide_by_tokens": True},
    {"kinds": ("relu", "softmax")},
]


def small(options: dict) -> tuple[Transformer, Tensor, Tensor, Tensor, Tensor]:
    """One layer in float64, or one of each of ``kinds``; tokens and masks of two sizes."""
    g = torch.Generator().manual_seed(0)
    layers = tuple(LayerShape(2, 4, 16, attention=kind) for kind in options.get("kinds", (None,)))
    of_shape = {name: value for name, value in options.items() if name != "kinds"}
    transformer = Transformer(TransformerShape(8, layers, **of_shape))
    h, other = (torch.randn(*size, 8, generator=g, dtype=torch.float64) for size in ((3, 6), (5, 9)))
    return transformer, h, h[..., 0] > -1, other, other[..., 0] > -1


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Recorded graphs may use other kernels: at most 100 sums of terms below 1e2 in other orders."""
    assert expected.abs().max() < 1e2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_a_traced_transformer_serves_other_sizes(options: dict, masked: bool) -> None:
    transformer, h, mask, other, other_mask = small(options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        traced = torch.jit.trace(transformer, (h, mask) if masked else (h,), check_trace=False)
    given = (other, other_mask) if masked else (other,)
    assert_same(traced(*given), transformer(*given))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", KINDS, ids=str)
@torch.no_grad()
def test_an_exported_transformer_serves_other_sizes(options: dict, masked: bool) -> None:
    """By the decompositions that exporters to other formats start from, too; no `split` is in the graph."""
    transformer, h, mask, other, other_mask = small(options)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    given, shapes = ((h, mask), (free, free)) if masked else ((h,), (free,))
    exported = torch.export.export(transformer, given, dynamic_shapes=shapes).run_decompositions()
    operators = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not [name for name in operators if "split" in name]
    given = (other, other_mask) if masked else (other,)
    assert_same(exported.module()(*given), transformer(*given))


CONSTRUCTIONS = {
    "EM": lambda: em_construction(2, 3, 2, 8),
    "tensor power": lambda: tensor_power_construction(2, 2, normalise="piecewise", pieces=8),
    "softmax tensor power": lambda: softmax_tensor_power_construction(2, 2, 0.1),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_constructions_are_copied_and_pickled(name: str) -> None:
    """To the same weights; what was compiled stays behind."""
    made = CONSTRUCTIONS[name]()
    made._compiled["something"] = torch.nn.Linear(2, 2)
    weights = made.to_transformer().state_dict()
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301
        assert not copied._compiled
        assert copied.explain() == made.explain()
        found = copied.to_transformer().state_dict()
        assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_a_changed_construction_compiles_anew() -> None:
    """dataclasses.replace once handed on the compiled weights of the old layers."""
    made = em_construction(1, 1, 1, 4)
    X, start = torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    made.run(X, torch.ones(1, dtype=torch.float64), start)
    changed = dataclasses.replace(made, construction=em_construction(2, 1, 1, 4).construction)
    assert made._compiled
    assert not changed._compiled


def test_a_stream_seen_from_one_side_is_copied() -> None:
    view = em_construction(1, 2, 1, 4).stream.query
    assert repr(copy.deepcopy(view).x) == repr(pickle.loads(pickle.dumps(view)).x) == "q.x"  # noqa: S301
