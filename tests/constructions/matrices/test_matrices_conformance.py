"""The constructions on matrices in the conformance suite: mixed sizes, padding, small ranges.

The suite follows layers one after another, so each case is written without an order: as many layers as are
applied, or one sweep as the list and its loops. A token that has nothing to do in a layer has nothing to
compare, so every task of a case has at least one that has.
"""

import dataclasses

import pytest
import torch
from conformance import Case, ConstructionConformance, compiled, sub_layers
from torch import Tensor

from constructions import Construction, Stream
from constructions.language.rounding import unit_roundoff
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.matrices.argmax import argmax_layers
from constructions.matrices.inverse import inverse_construction, residual_bound
from constructions.matrices.inverse_sqrt import inverse_sqrt_construction
from constructions.matrices.machine import MatrixAlgorithm, matrix_tokens
from constructions.matrices.newton import reciprocal_construction, scalar_root_construction
from constructions.matrices.schulz_error import root_residual_bound
from constructions.matrices.sweep import sweep_construction

LOW, HIGH = 0.5, 2.0
U64 = unit_roundoff(torch.float64)
MATRICES = [
    torch.tensor([[1.25, 0.25, 0.0], [0.25, 1.0, -0.125], [0.0, -0.125, 0.75]], dtype=torch.float64),
    torch.tensor([[0.75, -0.125], [-0.125, 1.5]], dtype=torch.float64),
    torch.tensor([[1.75]], dtype=torch.float64),
]
"""Entries with few digits: every dtype holds them. Eigenvalues from 0.68 to 1.75."""


def written_out(construction: Construction) -> Construction:
    """The same without an order: a layer stands as often as it is applied."""
    layers = tuple(dataclasses.replace(construction.layers[k]) for k in construction.sequence)
    return dataclasses.replace(construction, layers=layers, order=None)


def flat_bound(values: list[float], sizes: list[int], n: int) -> Tensor:
    """(B, n * n): one bound for the entries of each matrix; exact zeros around it are bounded by it too."""
    return torch.tensor(values, dtype=torch.float64)[:, None].expand(len(sizes), n * n)


def padded(matrices: list[Tensor], n: int) -> Tensor:
    """(B, n * n), zeros around smaller ones."""
    out = torch.zeros(len(matrices), n, n, dtype=torch.float64)
    for index, A in enumerate(matrices):
        out[index, : len(A), : len(A)] = A
    return out.flatten(1)


class LayerConformance(ConstructionConformance):
    """The suite for layers of which some have no heads; figures of many heads, seconds, are a slow test."""

    @pytest.mark.slow
    def test_plots_carry_the_names_of_the_blocks(self) -> None:
        super().test_plots_carry_the_names_of_the_blocks()

    def test_a_construction_cannot_be_changed(self) -> None:
        construction = compiled(type(self), torch.float64)[0].construction
        (head, *_) = (head for layer in construction.layers for head in layer.all_heads)
        for owner in (construction, *construction.layers, head):
            for field in dataclasses.fields(owner):
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(owner, field.name, None)

    def test_each_sub_layer_adds_the_same_from_its_formulas(self) -> None:
        """As in the suite, where a layer without heads has one part."""
        case, transformer = compiled(type(self), torch.float64)
        stream, mask = case.construction.stream, case.mask
        layers = StructuredEvaluator(case.construction, FloatArithmetic(torch.float64, "cpu")).layers
        steps = [
            part
            for layer, formula in zip(layers, case.construction.layers, strict=True)
            for part in (*[layer.attend] * bool(formula.heads), *[layer.feed] * bool(formula.mlp))
        ]
        with torch.no_grad():
            for index, sub in enumerate(sub_layers(transformer, case.tokens, mask)):
                before = Tokens.of_dense(stream, stream.blocks, sub.before, mask)
                after = steps[index % len(steps)](before).dense()
                expected = (sub.before + sub.added).masked_fill(~mask[:, :, None], 0.0)
                residual = 2.0**-53 * float(expected.norm(dim=-1).max())
                self._same(sub, after, expected, mask, sub.tolerance(mask) + residual)


class MatrixConformance(LayerConformance):
    """One construction on :data:`MATRICES`; a subclass says which, the exact answer and its bound."""

    algorithm: MatrixAlgorithm

    def answers(self) -> list[Tensor]:
        return [torch.linalg.inv(A) for A in MATRICES]

    def limits(self, dtype: torch.dtype) -> list[float]:
        raise NotImplementedError

    def given(self) -> list[Tensor]:
        return MATRICES

    def case(self, dtype: torch.dtype) -> Case:
        tokens = self.algorithm.tokens(self.given(), dtype)
        n = tokens.places.mask.shape[1]
        block = self.algorithm.results[0]
        assert block.width == n

        def read(h: Tensor) -> Tensor:
            return h[:, :, block.slice].flatten(1)

        return Case(
            written_out(self.algorithm.construction),
            tokens.dense(),
            tokens.places.mask,
            read,
            padded(self.answers(), n),
            flat_bound(self.limits(dtype), [len(A) for A in MATRICES], n),
        )


class TestInverse(MatrixConformance):
    algorithm = inverse_construction(3, LOW, HIGH, 3)

    def limits(self, dtype: torch.dtype) -> list[float]:
        own = [float(residual_bound(A[None], torch.linalg.inv(A)[None])) for A in MATRICES]
        return [self.algorithm.error(len(A), dtype).total + o for A, o in zip(MATRICES, own, strict=True)]  # pyright: ignore


class TestInverseSqrt(MatrixConformance):
    algorithm = inverse_sqrt_construction(3, LOW, HIGH, 3)

    def answers(self) -> list[Tensor]:
        return [self._root(A) for A in MATRICES]

    @staticmethod
    def _root(A: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(A)
        return vectors * values**-0.5 @ vectors.mT

    def limits(self, dtype: torch.dtype) -> list[float]:
        own = [float(root_residual_bound(A[None], self._root(A)[None], LOW)) for A in MATRICES]
        return [self.algorithm.error(len(A), dtype).inverse + o for A, o in zip(MATRICES, own, strict=True)]  # pyright: ignore


class DiagonalConformance(MatrixConformance):
    """Scalars: the diagonals of the same matrices."""

    power = -1.0

    def given(self) -> list[Tensor]:
        return [torch.diag(A.diagonal()) for A in MATRICES]

    def answers(self) -> list[Tensor]:
        return [torch.diag(A.diagonal() ** self.power) for A in MATRICES]

    def limits(self, dtype: torch.dtype) -> list[float]:
        relative = self.algorithm.error(dtype).total + 4 * U64  # pyright: ignore
        return [relative * float(A.max()) for A in self.answers()]


class TestReciprocal(DiagonalConformance):
    algorithm = reciprocal_construction(3, LOW, HIGH, 4, 1)


class TestScalarRoot(DiagonalConformance):
    algorithm = scalar_root_construction(3, LOW, HIGH, 4, 1)
    power = -0.5


class TestSweep(LayerConformance):
    """Three sweeps as loops of one list, beside a padding token; in the end A is -s^2 times the inverse."""

    algorithm = sweep_construction(3, LOW, HIGH, 4, 1, 4)
    matrices = (MATRICES[0], MATRICES[0].flip(0, 1) + torch.diag(torch.tensor([0.25, 0.0, 0.125])).double())

    def case(self, dtype: torch.dtype) -> Case:
        whole = self.algorithm.construction
        turn, pivot, shifted, newton, sweep = whole.layers[:5]
        assert turn.name == "turn"
        s = self.algorithm.stream
        tokens = self.algorithm.tokens(self.matrices, dtype).dense()
        tokens[:, :, s.E.slice] = tokens[:, :, s.turn.slice] * tokens[:, :, s.ids.slice]  # as `turn` makes it
        tokens = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], 1)
        loop = dataclasses.replace(
            whole,
            name="SWEEP",
            inputs=(s.ids, s.A, s.turn, s.pivots, s.E),
            layers=(pivot, shifted, newton, sweep),
            loops=3,
            order=None,
        )
        answers = [torch.linalg.inv(A) for A in self.matrices]
        own = [float(residual_bound(A[None], X[None])) for A, X in zip(self.matrices, answers, strict=True)]
        errors = self.algorithm.error(self.matrices, dtype)
        scale = self.algorithm.scale**2
        return Case(
            loop,
            tokens,
            torch.tensor([[True, True, True, False]] * 2),
            lambda h: -h[:, :3, s.A.slice].flatten(1) / scale,
            padded(answers, 3),
            padded([error.inverse + o for error, o in zip(errors, own, strict=True)], 3),
        )


class TestArgmax(LayerConformance):
    """Three and two candidates. The second best is behind by less than the margin, so that what is selected
    depends on the scores; every number has few digits, and nothing is rounded.
    """

    stream = Stream(member=1, theta=1, regrets=1, step=1, selected=1)

    def case(self, dtype: torch.dtype) -> Case:
        s = self.stream
        layers = argmax_layers(s.member, s.theta, s.selected, s.regrets, s.step, 0.5)
        theta = torch.tensor([[1.75, -1.0, 2.0], [1.5, 1.375, 0.0]], dtype=dtype)
        mask = torch.arange(3) < torch.tensor([3, 2])[:, None]
        blocks = {s.member: mask.to(dtype)[..., None], s.theta: theta[..., None]}
        tokens = matrix_tokens(s, blocks, mask)
        expected = torch.tensor([[0.5, 0, 1], [1, 0.75, 0]], dtype=torch.float64)
        built = Construction("argmax", "a test", s, (s.member, s.theta), tuple(layers))
        return Case(
            built, tokens.dense(), mask, lambda h: h[:, :, s.selected.start], expected, torch.zeros(2, 3)
        )


def test_what_is_written_out_is_the_same_function() -> None:
    """The order and the list: to the bit."""
    for algorithm in (TestInverse.algorithm, TestInverseSqrt.algorithm, TestReciprocal.algorithm):
        construction = algorithm.construction
        tokens = algorithm.tokens([torch.diag(A.diagonal()) for A in MATRICES])
        outs = [
            c.to_transformer()(tokens.dense(), tokens.places.mask)
            for c in (construction, written_out(construction))
        ]
        assert torch.equal(*outs)
