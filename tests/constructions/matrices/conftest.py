"""What the tests of the matrix machine share: random matrices, and runs in fractions and in floats."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from constructions import Construction
from constructions.language.rational import ExactTransformer
from constructions.language.stream import Block
from constructions.language.structured.arithmetic import ExactArithmetic, FloatArithmetic, rows_of
from constructions.language.structured.evaluation import DenseEvaluator, StructuredEvaluator
from constructions.language.structured.partitions import Places, Tokens, Value
from constructions.matrices.machine import last_state, matrix_tokens

Fractions = NDArray[np.object_]


@pytest.fixture(scope="session")
def spd() -> Callable[..., Tensor]:
    """(B, n, n) symmetric positive definite, numbers of float32; both ends of [low, high] nearly reached.

    Eigenvalues stay 1e-4 of themselves inside: float32 moves them by at most n u high.
    """

    def draw(batch: int, n: int, low: float, high: float, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        options = {"dtype": torch.float64, "generator": generator}
        Q = torch.linalg.qr(torch.randn(batch, n, n, **options)).Q
        inner, outer = low * (1 + 1e-4), high * (1 - 1e-4)
        values = inner * (outer / inner) ** torch.rand(batch, n, **options)
        values[:, 0], values[:, -1] = inner, outer
        A = (Q * values[:, None] @ Q.mT).float().double()
        return torch.tril(A) + torch.tril(A, -1).mT

    return draw


@pytest.fixture(scope="session")
def fractions() -> Callable[..., Fractions]:
    """Random fractions with small numerators and denominators, a share of them 0."""

    def draw(*shape: int, seed: int, dyadic: bool = False) -> Fractions:
        rng = np.random.default_rng(seed)
        top = rng.integers(-9, 10, shape)
        bottom = 2 ** rng.integers(0, 4, shape) if dyadic else rng.integers(1, 12, shape)
        return np.vectorize(lambda a, b: Fraction(int(a), int(b)), otypes=[object])(top, bottom)

    return draw


@pytest.fixture(scope="session")
def exactly() -> Callable[..., Fractions]:
    """(B, N, D) after all layers, in fractions: from the formulas, or from the dense weights."""

    def run(construction: Construction, blocks: Mapping[Block, Fractions], dense: bool = False) -> Fractions:
        shape = next(iter(blocks.values())).shape[:2]
        places = Places(torch.ones(shape, dtype=torch.bool))
        values = {block: Value(places.each, np.swapaxes(m, 1, 2)) for block, m in blocks.items()}
        tokens = Tokens(construction.stream, places, values)
        if dense:
            transformer = ExactTransformer(construction.to_transformer())
            return np.array([transformer([list(row) for row in task]) for task in rows_of(tokens)])
        return rows_of(last_state(StructuredEvaluator(construction, ExactArithmetic()), construction, tokens))

    return run


@pytest.fixture(scope="session")
def in_floats() -> Callable[..., Tensor]:
    """(B, N, D) after all layers, in a dtype: from the formulas, or from the dense weights."""

    def run(
        construction: Construction, blocks: Mapping[Block, Tensor], dtype: torch.dtype, dense: bool = False
    ) -> Tensor:
        tokens = matrix_tokens(construction.stream, {b: m.to(dtype) for b, m in blocks.items()})
        evaluator = (
            DenseEvaluator(construction.to_transformer(dtype))
            if dense
            else StructuredEvaluator(construction, FloatArithmetic(dtype, "cpu"))
        )
        with torch.no_grad():
            state = last_state(evaluator, construction, tokens)
        return state.h if dense else state.dense()

    return run
