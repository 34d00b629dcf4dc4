"""What every construction must pass. A subclass says what the construction is and brings one case of it.

    class TestMine(ConstructionConformance):
        def case(self, dtype): return Case(construction, tokens, mask, read, reference, bound)

Evaluations that are equal in real numbers are compared one sub-layer at a time, from the same state, so that
the tolerance is the rounding of one sub-layer (derived in sublayer_rounding.py) and not a guess about how
errors grow through the layers; in float64, where that rounding is far below what is compared. The whole
transformer is compared with the exact reference, within the construction's own bound.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator

import pytest
import torch
from safetensors.torch import load_file, save_file
from sublayer_rounding import (
    attention_tolerance,
    basis_defect,
    mlp_tolerance,
    saturated_gradient_tolerance,
)
from torch import Tensor

from constructions import Construction, Transformer
from constructions.language.heads import HeadSum
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import StructuredEvaluator
from constructions.language.structured.partitions import Tokens
from constructions.language.transformer import MLP, SelfAttention

DTYPES = [torch.float32, torch.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One batch for a construction.

    Attributes:
        construction: what is tested; more than one loop where it has loops.
        tokens: (B, N, D) the stream before the first layer, in the dtype asked for; B >= 2 tasks, some of
            them shorter than N.
        mask: (B, N) True at real tokens, which come first.
        read: final stream (B, N, D) -> (B, n), the numbers that the construction computes.
        reference: (B, n) float64, the exact algorithm.
        bound: (B, n) largest error of each number in this dtype.
        without_gradient: names of parameters, of queries and keys, whose gradient is 0 up to rounding, since
            they set scores so far apart that every weight but one is 0 in floats.
    """

    construction: Construction
    tokens: Tensor
    mask: Tensor
    read: Callable[[Tensor], Tensor]
    reference: Tensor
    bound: Tensor
    without_gradient: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class SubLayer:
    """One sub-layer met on the way, with the state (B, N, D) that it saw and what it added."""

    where: str
    module: SelfAttention | MLP
    before: Tensor
    added: Tensor

    def tolerance(self, mask: Tensor, defect: float = 0.0) -> float:
        real = torch.where(mask[:, :, None], self.before, 0.0)
        if isinstance(self.module, SelfAttention):
            return attention_tolerance(self.module, real, defect, mask)
        return mlp_tolerance(self.module, real, defect)


def apply_module(module: SelfAttention | MLP, h: Tensor, mask: Tensor | None) -> Tensor:
    """The module on (B, N, D), with the mask where it takes one."""
    return module(h, mask) if isinstance(module, SelfAttention) else module(h)


def sub_layers(transformer: Transformer, tokens: Tensor, mask: Tensor | None) -> Iterator[SubLayer]:
    """Every sub-layer in the order of the forward pass, loops and layers that are applied again included."""
    h = tokens
    for loop in range(transformer.shape.loops):
        for number in transformer.shape.sequence:
            for name in ("attention", "mlp"):
                module = getattr(transformer.layers[number], name)
                if module is None:
                    continue
                added = apply_module(module, h, mask)
                yield SubLayer(f"loop {loop + 1}, layer {number + 1}, {name}", module, h, added)
                h = h + added


def random_rotation(width: int, seed: int = 0) -> Tensor:
    """(D, D) orthogonal up to rounding, float64."""
    normal = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(normal).Q


def conjugated(module: SelfAttention | MLP, Q: Tensor) -> SelfAttention | MLP:
    """The module on the stream H Q: what reads the stream becomes Q^T W, what writes it W Q.

    An RMS norm keeps lengths, so with one gain for all columns it commutes with Q.
    """
    twin = copy.deepcopy(module)
    for name, weight in twin.named_parameters():
        if name in ("query", "key", "value", "w1"):
            weight.copy_(Q.mT @ weight)
        elif name == "norm.weight":
            assert (weight == weight[0]).all()
        elif name != "b1":
            weight.copy_(weight @ Q)
    return twin


def attentions_met(transformer: Transformer) -> list[tuple[str, SelfAttention, Tensor, Tensor]]:
    """Filled by the next forward pass, once a call: name, module, its input, and the sum of its heads."""
    met: list[tuple[str, SelfAttention, Tensor, Tensor]] = []
    entered: list[Tensor] = []
    for name, module in transformer.named_modules():
        if isinstance(module, SelfAttention):

            def leaves(_: object, given: tuple, name: str = name, module: SelfAttention = module) -> None:
                given[0].retain_grad()
                met.append((name, module, entered.pop(), given[0]))

            module.register_forward_pre_hook(lambda _, given: entered.append(given[0].detach()))
            module.norm.register_forward_pre_hook(leaves)
    return met


def with_few_heads(construction: Construction) -> Construction:
    """The construction with at most two heads of every sum: each further one is drawn as these are."""
    layers = (
        dataclasses.replace(
            layer, heads=tuple(HeadSum(p.heads[:2]) if isinstance(p, HeadSum) else p for p in layer.heads)
        )
        for layer in construction.layers
    )
    return dataclasses.replace(construction, layers=tuple(layers))


@functools.cache
def compiled(suite: type["ConstructionConformance"], dtype: torch.dtype) -> tuple[Case, Transformer]:
    """The case of a suite and its transformer, made once."""
    case = suite().case(dtype)
    return case, case.construction.to_transformer(dtype)


class ConstructionConformance:
    """Inherit, name the class Test..., and define :meth:`case`.

    Attributes:
        sharp: a tolerance is below this share of what is compared, so that a wrong token shows.
    """

    sharp = 1e-4

    def case(self, dtype: torch.dtype) -> Case:
        raise NotImplementedError

    @pytest.fixture(params=DTYPES, ids=str)
    def dtype(self, request: pytest.FixtureRequest) -> torch.dtype:
        return request.param

    # --- the case itself ------------------------------------------------------------------------------

    def test_the_case_covers_loops_padding_and_a_batch(self) -> None:
        case, _ = compiled(type(self), torch.float64)
        assert len(case.tokens) >= 2
        assert not case.mask.all()
        assert (case.mask.sum(1) > 0).all()
        assert (case.mask.int().diff(dim=1) <= 0).all()
        assert case.construction.loops >= 2 or len(case.construction.layers) >= 2

    # --- weights --------------------------------------------------------------------------------------

    def test_parameters_have_the_shapes_and_the_dtype_promised(self, dtype: torch.dtype) -> None:
        case, transformer = compiled(type(self), dtype)
        shape = case.construction.shape()
        expected = {}
        for i, layer in enumerate(shape.layers):
            into = (layer.heads, shape.width, layer.head_dim)
            if layer.heads:
                expected |= {f"layers.{i}.attention.{n}": into for n in ("query", "key", "value")}
                expected[f"layers.{i}.attention.output"] = (layer.heads, layer.head_dim, shape.width)
            if layer.output_norm:
                expected[f"layers.{i}.attention.norm.weight"] = (shape.width,)
            if layer.hidden:
                expected |= {
                    f"layers.{i}.mlp.w1": (shape.width, layer.hidden),
                    f"layers.{i}.mlp.b1": (layer.hidden,),
                    f"layers.{i}.mlp.w2": (layer.hidden, shape.width),
                    f"layers.{i}.mlp.b2": (shape.width,),
                }
        assert shape.width == case.construction.stream.width
        assert {n: tuple(p.shape) for n, p in transformer.named_parameters()} == expected
        assert {p.dtype for p in transformer.parameters()} == {dtype}
        assert all(p.isfinite().all() for p in transformer.parameters())

    def test_float32_weights_are_the_float64_weights_rounded(self) -> None:
        wide, narrow = (compiled(type(self), t)[1].state_dict() for t in (torch.float64, torch.float32))
        for name, weight in wide.items():
            if name.endswith("b2"):
                # Offsets of several parts add up in the parameter itself, one rounding each: gamma_n |sum|
                # of at most `width` offsets of one sign or not, so compare to the largest entry.
                error = (narrow[name].double() - weight).abs().max()
                assert error <= len(weight) * 2.0**-24 * weight.abs().max(), name
            else:
                assert torch.equal(narrow[name], weight.float()), name

    def test_each_head_is_its_formula_and_nothing_else(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        D = case.construction.stream.width
        for layer, module in zip(case.construction.layers, transformer.layers, strict=True):
            for index, head in enumerate(layer.all_heads):
                bilinear = torch.zeros(D, D, dtype=torch.float64)
                for term in head.score.terms:
                    source = case.construction.stream.one if term.query is None else term.query
                    for q, k in zip(source.columns, term.key.columns, strict=True):
                        bilinear[q, k] += term.coefficient
                carried = torch.zeros(D, D, dtype=torch.float64)
                for r, w in zip(head.read.columns, head.write.columns, strict=True):
                    carried[r, w] = head.scale
                attention = module.attention
                # One product 1 * c an entry (terms of one pair of blocks would need a sum): exact.
                assert torch.equal(attention.query[index] @ attention.key[index].mT, bilinear)
                assert torch.equal(attention.value[index] @ attention.output[index], carried)

    def test_a_norm_of_the_output_divides_by_the_length(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        D = case.construction.stream.width
        for layer, module in zip(case.construction.layers, transformer.layers, strict=True):
            norm = None if module.attention is None else module.attention.norm
            assert isinstance(norm, torch.nn.RMSNorm) == layer.unit_output
            if layer.unit_output:  # g sqrt(D) w / |w| with g = 1/sqrt(D), to an ulp, and nothing added
                assert norm.eps == 0
                assert torch.equal(norm.weight, torch.full((D,), D**-0.5, dtype=torch.float64))

    def test_the_number_of_nonzeros_is_that_of_the_formulas(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        D = case.construction.stream.width
        for layer, module in zip(case.construction.layers, transformer.layers, strict=True):
            expected = {}
            if layer.all_heads:
                ranks = sum(head.score.rank for head in layer.all_heads)
                widths = sum(head.read.width for head in layer.all_heads)
                expected |= {"query": ranks, "key": ranks, "value": widths, "output": widths}
            if layer.unit_output:
                expected["norm"] = D
            if layer.mlp:
                units = [u for part in layer.mlp for u in part.units()]
                offsets: dict[int, float] = {}
                for u in units:
                    for column, amount in u.offsets.items():
                        offsets[column] = offsets.get(column, 0.0) + amount
                expected |= {
                    "w1": sum(len(u.reads) + len(u.second_reads) for u in units),
                    "b1": sum(int((u.biases != 0).sum()) for u in units),
                    "w2": sum(len(u.reads) for u in units),
                    "b2": sum(amount != 0 for amount in offsets.values()),
                }
            counted = {n.split(".")[1]: int(p.count_nonzero()) for n, p in module.named_parameters()}
            assert counted == expected, layer.name

    def test_hidden_units_read_and_write_only_the_blocks_of_their_layer(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        for layer, module in zip(case.construction.layers, transformer.layers, strict=True):
            if module.mlp is None:
                assert not layer.mlp
                continue
            reads = {c for part in layer.mlp for b in (*part.reads, *part.clears) for c in b.columns}
            writes = {c for part in layer.mlp for b in (*part.writes, *part.clears) for c in b.columns}
            assert set(module.mlp.w1.nonzero()[:, 0].tolist()) == reads
            assert set(module.mlp.w2.nonzero()[:, 1].tolist()) == writes
            assert set(module.mlp.b2.nonzero()[:, 0].tolist()) <= writes
            # Unit by unit: one column read, or the two that its formula multiplies, and one written.
            units = [u for part in layer.mlp for u in part.units()]
            seconds = [u.second_reads if len(u.second_reads) else [None] * len(u.reads) for u in units]
            columns = [
                {int(c) for c in pair if c is not None}
                for u, second in zip(units, seconds, strict=True)
                for pair in zip(u.reads, second, strict=True)
            ]
            written = [int(c) for u in units for c in u.writes]
            assert [set(c.nonzero()[:, 0].tolist()) for c in module.mlp.w1.mT] == columns
            assert [c.nonzero()[:, 0].tolist() for c in module.mlp.w2] == [[c] for c in written]

    def test_resources_count_the_real_parameters(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        resources, shape = case.construction.resources(), case.construction.shape()
        state = transformer.state_dict()
        assert resources.parameters == sum(p.numel() for p in state.values())
        assert resources.nonzeros == sum(int(p.count_nonzero()) for p in state.values())
        assert resources.layers == len(shape.sequence) * case.construction.loops
        assert resources.heads == max(len(layer.all_heads) for layer in case.construction.layers)
        assert resources.width == case.construction.stream.width
        assert (
            resources.hidden
            == max(p.shape[1] if name.endswith("w1") else 0 for name, p in state.items())
            == max(layer.hidden for layer in shape.layers)
        )
        assert resources.head_dim == max(
            p.shape[2] if name.endswith("key") else 0 for name, p in state.items()
        )
        assert len(resources.norms) == sum(p.ndim >= 2 for p in state.values())
        for name, (entry, norm) in resources.norms.items():
            number, rest = name.removeprefix("layer ").split(" ")
            weight = state[f"layers.{int(number) - 1}.{rest}"]
            assert entry == weight.abs().max()
            # |A|_max <= |A|_2 <= |A|_F; the norm comes from the Gram matrix G = A^T A, whose entries are
            # off by gamma_n |A|_F^2 and whose eigenvalues by n^2 u |A|_F^2 (backward stable), n its size.
            size = float(torch.linalg.matrix_norm(weight.reshape(-1, weight.shape[-1])))
            n = max(weight.shape[-2:])
            slack = 2 * n**2 * 2.0**-53 * size**2
            assert float(entry) ** 2 - slack <= norm**2 <= size**2 + slack
        assert f"{resources.parameters:,}" in resources.table()

    def test_compiling_twice_gives_separate_equal_weights(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        first = case.construction.to_transformer()
        for p in first.parameters():
            p.data.fill_(7.0)
        for name, p in case.construction.to_transformer().state_dict().items():
            assert torch.equal(p, transformer.state_dict()[name])

    def test_a_construction_cannot_be_changed(self) -> None:
        construction = compiled(type(self), torch.float64)[0].construction
        for owner in (construction, construction.layers[0], construction.layers[0].all_heads[0]):
            for field in dataclasses.fields(owner):
                with pytest.raises(dataclasses.FrozenInstanceError):
                    setattr(owner, field.name, None)

    # --- what people read -----------------------------------------------------------------------------

    def test_explain_names_every_block_and_every_head(self) -> None:
        construction = compiled(type(self), torch.float64)[0].construction
        text = construction.explain()
        lines = text.splitlines()
        assert construction.name in text
        assert construction.source in text
        for number, layer in enumerate(construction.layers, 1):
            assert any(line.startswith(f"{number} {layer.name}") for line in lines)
            for index, head in enumerate(layer.all_heads, 1):
                row = [line for line in lines if f"head {index}" in line and f"{head.write.name} +=" in line]
                assert any(str(head) in line and repr(head.write) in line for line in row), str(head)
            for part in layer.mlp:
                assert str(part) in text
                assert all(repr(b) in text for b in (*part.writes, *([] if part.writes else part.clears)))
        used = {b for layer in construction.layers for h in layer.all_heads for b in (*h.score.reads, h.read)}
        used |= {b for layer in construction.layers for part in layer.mlp for b in part.reads}
        words = set(text.replace("[", " ").replace(",", " ").split())
        assert {b.name for b in used} <= words

    def test_plots_carry_the_names_of_the_blocks(self) -> None:
        construction = with_few_heads(compiled(type(self), torch.float64)[0].construction)
        figures = construction.plot_weights()
        names = [block.name for block in construction.stream.blocks]
        assert len(figures) == len(construction.layers)
        for layer, figure in zip(construction.layers, figures, strict=True):
            drawn = [axes for axes in figure.axes if axes.images and axes.get_title()]
            assert len(drawn) == 4 * len(layer.all_heads) + 2 * bool(layer.mlp)
            assert layer.name in figure.get_suptitle()
            for axes in drawn:
                bias = ["b_1"] if "b_1" in axes.get_title() else []
                assert [label.get_text() for label in axes.get_yticklabels()] == names + bias
                across = "head dimension" if "head" in axes.get_title() else "hidden unit"
                assert across in axes.get_xlabel()

    # --- what runs ------------------------------------------------------------------------------------

    def test_output_is_within_the_bound_of_the_exact_reference(self, dtype: torch.dtype) -> None:
        case, transformer = compiled(type(self), dtype)
        with torch.no_grad():
            error = (case.read(transformer(case.tokens, case.mask)).double() - case.reference).abs()
        assert case.bound.isfinite().all()
        assert (error <= case.bound).all(), (error - case.bound).max()

    def test_shuffled_padded_and_single_runs_are_within_the_bound_too(self, dtype: torch.dtype) -> None:
        case, transformer = compiled(type(self), dtype)
        for index in range(len(case.tokens)):
            N = int(case.mask[index].sum())
            alone = case.tokens[index : index + 1, :N]
            order = torch.randperm(N, generator=torch.Generator().manual_seed(index))
            with torch.no_grad():
                out = torch.empty_like(alone)
                out[:, order] = transformer(alone[:, order])
            filled = case.tokens.new_zeros(1, *case.tokens.shape[1:])
            filled[:, :N] = out
            error = (case.read(filled.expand_as(case.tokens))[index].double() - case.reference[index]).abs()
            assert (error <= case.bound[index]).all(), index

    def test_the_transformer_is_its_sub_layers_in_order(self, dtype: torch.dtype) -> None:
        case, transformer = compiled(type(self), dtype)
        with torch.no_grad():
            *_, last = sub_layers(transformer, case.tokens, case.mask)
            out = transformer(case.tokens, case.mask)  # which empties padding tokens on the way
            assert torch.equal(out[case.mask], (last.before + last.added)[case.mask])

    def test_looped_equals_unrolled_to_the_bit(self, dtype: torch.dtype) -> None:
        case, looped = compiled(type(self), dtype)
        unrolled = case.construction.to_transformer(dtype, looped=False)
        assert unrolled.shape.loops == 1
        assert len(unrolled.layers) == len(looped.shape.sequence) * looped.shape.loops
        with torch.no_grad():  # the same operations in the same order on the same numbers: no rounding
            assert torch.equal(unrolled(case.tokens, case.mask), looped(case.tokens, case.mask))

    def test_the_order_of_the_tokens_does_not_matter(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        order = torch.randperm(case.tokens.shape[1], generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            for sub in sub_layers(transformer, case.tokens, case.mask):
                shuffled = apply_module(sub.module, sub.before[:, order], case.mask[:, order])
                self._same(sub, shuffled, sub.added[:, order], case.mask[:, order], sub.tolerance(case.mask))

    def test_padding_tokens_change_nothing(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        B, N, D = case.tokens.shape
        junk = 3 * torch.randn(B, 5, D, generator=torch.Generator().manual_seed(2)).double()
        longer = torch.cat([case.mask, case.mask.new_zeros(B, 5)], 1)
        with torch.no_grad():
            for sub in sub_layers(transformer, case.tokens, case.mask):
                padded = apply_module(sub.module, torch.cat([sub.before, junk], 1), longer)[:, :N]
                self._same(sub, padded, sub.added, case.mask, sub.tolerance(case.mask))

    def test_a_batch_equals_its_tasks_one_by_one(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        with torch.no_grad():
            for sub in sub_layers(transformer, case.tokens, case.mask):
                for index, mask in enumerate(case.mask):
                    N = int(mask.sum())
                    alone = apply_module(sub.module, sub.before[index : index + 1, :N], None)
                    expected, real = sub.added[index : index + 1, :N], mask[None, :N]
                    self._same(sub, alone, expected, real, sub.tolerance(case.mask))

    def test_an_orthogonal_change_of_the_stream_changes_nothing(self) -> None:
        case, transformer = compiled(type(self), torch.float64)
        Q = random_rotation(case.construction.stream.width)
        defect = basis_defect(Q)
        with torch.no_grad():
            for sub in sub_layers(transformer, case.tokens, case.mask):
                turned = apply_module(conjugated(sub.module, Q), sub.before @ Q, case.mask)
                # One more product with Q, on what is expected: its error, relative to the output's norm, is
                # below the eps that the tolerance counts once for W_O Q or W_2 Q in each evaluation.
                self._same(sub, turned, sub.added @ Q, case.mask, sub.tolerance(case.mask, defect))

    def test_gradients_reach_every_parameter(self, dtype: torch.dtype) -> None:
        case, _ = compiled(type(self), dtype)
        transformer = case.construction.to_transformer(dtype)
        met = attentions_met(transformer)
        out = transformer(case.tokens, case.mask)
        target = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
        (out * target)[case.mask].sum().backward()
        rounding = {name: torch.zeros_like(p) for name, p in transformer.named_parameters()}
        for name, module, h, read in met:  # the looped layers are met more than once
            if module.kind == "softmax":
                assert read.grad is not None
                real = torch.where(case.mask[:, :, None], h, 0.0)
                limits = saturated_gradient_tolerance(module, real, read.grad)
                for weight, limit in zip(("query", "key"), limits, strict=True):
                    rounding[f"{name}.{weight}"] += limit
        for name, p in transformer.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            reached = (p.grad.abs() > rounding[name]).any()
            assert reached == (name not in case.without_gradient), name
        assert case.without_gradient <= rounding.keys()

    def test_weights_survive_safetensors(self, dtype: torch.dtype, tmp_path) -> None:
        case, transformer = compiled(type(self), dtype)
        save_file(transformer.state_dict(), tmp_path / "weights.safetensors")
        loaded = Transformer(case.construction.shape(), dtype)
        loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
        assert loaded.shape == transformer.shape
        for name, weight in transformer.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], weight), name
        with torch.no_grad():  # outputs within the bound: weights at other addresses may be summed otherwise
            error = (case.read(loaded(case.tokens, case.mask)).double() - case.reference).abs()
        assert (error <= case.bound).all()

    # --- from the formulas -----------------------------------------------------------------------------

    def test_the_structured_evaluation_is_within_the_bound_too(self, dtype: torch.dtype) -> None:
        case, _ = compiled(type(self), dtype)
        layers = StructuredEvaluator(case.construction, FloatArithmetic(dtype, "cpu"))
        start = Tokens.of_dense(case.construction.stream, case.construction.inputs, case.tokens, case.mask)
        state = layers.start(start)
        for _ in range(case.construction.loops):
            state = layers.block(state)[-1]
        error = (case.read(state.dense()).double() - case.reference).abs()
        assert (error <= case.bound).all(), (error - case.bound).max()

    def test_each_sub_layer_adds_the_same_from_its_formulas(self) -> None:
        """Equal in real numbers. The functions of the MLP are stored as values and slopes instead of hinges:

        4 M u max|f| apart, lemma 2 of structured_evaluation.md, below what H >= M hinges may be off.
        """
        case, transformer = compiled(type(self), torch.float64)
        stream, mask = case.construction.stream, case.mask
        layers = StructuredEvaluator(case.construction, FloatArithmetic(torch.float64, "cpu")).layers
        formulas = case.construction.layers
        steps = [
            part
            for number in case.construction.sequence
            for layer in [layers[number]]
            for part in ((layer.attend, layer.feed) if formulas[number].mlp else (layer.attend,))
        ]
        with torch.no_grad():
            for index, sub in enumerate(sub_layers(transformer, case.tokens, mask)):
                before = Tokens.of_dense(stream, stream.blocks, sub.before, mask)
                after = steps[index % len(steps)](before).dense()
                expected = (sub.before + sub.added).masked_fill(~mask[:, :, None], 0.0)
                residual = 2.0**-53 * float(expected.norm(dim=-1).max())
                self._same(sub, after, expected, mask, sub.tolerance(mask) + residual)

    def _same(self, sub: SubLayer, got: Tensor, expected: Tensor, mask: Tensor, tolerance: float) -> None:
        distance = float((got - expected).norm(dim=-1)[mask].max())
        assert distance <= tolerance, f"{sub.where}: {distance:.2e} apart, tolerance {tolerance:.2e}"
        # A tolerance near what is compared would let everything pass: a wrong token is off by all of it.
        size = float(expected.norm(dim=-1)[mask].max())
        assert tolerance < self.sharp * size, f"{sub.where}: {tolerance:.2e}"
