"""Shared by the tests of circuits: a construction with its tokens, and a transformer whose layers differ."""

import functools

import torch
from torch import Tensor

from constructions import em_construction
from constructions.em.unit import EMConstruction
from constructions.language.transformer import LayerShape, Transformer, TransformerShape
from training.interpretability.circuit import Circuit, circuit_of

D, K, N = 2, 3, 12


@functools.cache
def em(steps: int = 2) -> EMConstruction:
    """EM for d = 2, K = 3 with few pieces; its loop is applied `steps` times."""
    return em_construction(D, K, steps, 16)


def em_circuit(dtype: torch.dtype = torch.float64, steps: int = 2) -> Circuit:
    """Its circuit, with weights of its own: a test may change them."""
    return circuit_of(em(steps), dtype, ("the points lie within the radius",))


def em_tokens(seed: int, dtype: torch.dtype = torch.float64, tasks: int = 2, start: int = 0) -> Tensor:
    """(B, N, D) tokens of tasks with normal points, and of a start that has a seed of its own."""
    points, begins = (torch.Generator().manual_seed(number) for number in (seed, 1000 + start))
    X = 2 * torch.randn(tasks, N, D, generator=points, dtype=torch.float64)
    weights = torch.randn(tasks, K, generator=begins, dtype=torch.float64).softmax(-1)
    means = 2 * torch.randn(tasks, K, D, generator=begins, dtype=torch.float64)
    return em().embed(em().gather(X, weights, means, dtype=dtype))


def uneven(seed: int = 0, dtype: torch.dtype = torch.float64, **options: object) -> Transformer:
    """Three layers of other sizes each, one without heads and one without MLP, in an order, looped twice.

    Weights of deviation 0.3, gains and biases of norms included.
    """
    layers = (LayerShape(2, 3, 5), LayerShape(0, 0, 7), LayerShape(1, 4, 0))
    given = {"score_scale": 0.7, "order": (2, 0, 1, 0), "loops": 2} | options
    transformer = Transformer(TransformerShape(6, layers, **given), dtype)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return transformer.requires_grad_(False)


def normal_tokens(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """(2, 5, 6) for :func:`uneven`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 6, generator=generator, dtype=torch.float64).to(dtype)


def states_by_hand(transformer: Transformer, tokens: Tensor) -> Tensor:
    """(L + 1, B, T, D) by the runtime's own list of states, pass after pass."""
    states = [tokens]
    for _ in range(transformer.shape.loops):
        states += transformer.block(states[-1])
    return torch.stack(states)
