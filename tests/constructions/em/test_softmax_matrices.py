"""EM for full and tied covariances in softmax attention alone: a step as near to the pairs as is proved."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constructions import HypothesisError, em_construction
from constructions.em import softmax_matrices
from constructions.em.softmax_matrices import SoftmaxMatrixEM, softmax_heads
from constructions.em.softmax_matrix_bounds import StepGap, step_gap
from constructions.em.tasks import CovarianceType
from constructions.language.structured.arithmetic import FloatArithmetic
from constructions.language.structured.evaluation import Evaluation, StructuredEvaluator
from constructions.matrices.softmax_form import linear_pairs
from constructions.tensor_power.softmax_bounds import Heads

RANGE = (0.2, 5.0)
RADIUS = 8.0
KINDS = ("full", "tied")


def built(kind: CovarianceType, d: int = 2, K: int = 2, pairs: int = 4, low_high=RANGE) -> SoftmaxMatrixEM:
    found = em_construction(
        d,
        K,
        1,
        64,
        radius=RADIUS,
        covariance_type=kind,
        eigenvalues=low_high,
        attention="softmax",
        pairs=pairs,
    )
    assert isinstance(found, SoftmaxMatrixEM)
    return found


def spd(d: int, low: float, high: float, g: torch.Generator, count: int) -> Tensor:
    """(count, d, d), eigenvalues 1e-6 of themselves inside, both ends taken."""
    Q = torch.linalg.qr(torch.randn(count, d, d, generator=g, dtype=torch.float64)).Q
    low, high = low * (1 + 1e-6), high * (1 - 1e-6)
    values = low * (high / low) ** torch.rand(count, d, generator=g, dtype=torch.float64)
    values[:, 0] = low
    values[:, -1] = high
    S = (Q * values[:, None]) @ Q.mT
    return (S + S.mT) / 2


def tasks(kind: CovarianceType, sizes: list[tuple[int, int, int]], seed: int, low_high=RANGE) -> tuple:
    """Lists of X, weights, means and covariances, a task each: N points, K components, d coordinates."""
    g = torch.Generator().manual_seed(seed)
    found: list[list[Tensor]] = [[], [], [], []]
    for N, K, d in sizes:
        X, means = (2 * torch.randn(n, d, generator=g, dtype=torch.float64) for n in (N, K))
        weights = torch.rand(K, generator=g, dtype=torch.float64) + 0.2
        S = spd(d, *low_high, g, K)
        each = (X.clamp(-RADIUS, RADIUS), weights / weights.sum(), means.clamp(-RADIUS, RADIUS))
        for place, part in enumerate((*each, S if kind == "full" else S[0])):
            found[place].append(part)
    return tuple(found)


SIZES = [(30, 2, 2), (12, 1, 2), (25, 2, 1)]


def distances(em: SoftmaxMatrixEM, data: tuple, evaluation: Evaluation) -> tuple[Tensor, Tensor, Tensor]:
    """Of weights, means and covariances after one step from those of the linear pairs."""
    own, plain = em.run(*data, evaluation=evaluation), em.plain.run(*data)
    assert own.covariances is not None
    assert plain.covariances is not None
    pairs = (
        (own.path_weights[:, 1], plain.path_weights[:, 1]),
        (own.path_means[:, 1], plain.path_means[:, 1]),
        (own.covariances, plain.covariances),
    )
    first, second, third = ((a - b).abs() for a, b in pairs)
    return first, second, third


def bounds(gap: StepGap, tied: bool) -> tuple[Tensor, Tensor, Tensor]:
    return gap.weights, gap.means, gap.covariances[:, 0] if tied else gap.covariances


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evaluation", ["structured", "dense"])
def test_a_step_is_within_the_proved_distance_of_the_pairs(kind, evaluation: Evaluation) -> None:
    em, data = built(kind), tasks(kind, SIZES, seed=1)
    gap = step_gap(em, em.gather(*data))
    for off, bound in zip(distances(em, data, evaluation), bounds(gap, kind == "tied"), strict=True):
        assert bool((off <= bound).all())
    # It says something: of sizes of 1 and more.
    assert float(gap.logits.max()) < 1e-6
    assert max(float(bound.max()) for bound in bounds(gap, kind == "tied")) < 1e-4


def test_four_coordinates_and_a_wide_range() -> None:
    wide = (0.05, 20.0)
    em, data = built("full", 4, 3, 8, wide), tasks("full", [(60, 3, 4)], 2, wide)
    gap = step_gap(em, em.gather(*data))
    for off, bound in zip(distances(em, data, "structured"), bounds(gap, False), strict=True):
        assert bool((off <= bound).all())
    assert float(gap.logits.max()) < 1e-3


def test_a_larger_step_size_breaks_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """``C eps^8`` of eps = 1 / A instead of 1/25 of it: 25^8 = 1.5e11 times the approximation."""
    em, data = built("full"), tasks("full", SIZES[:1], seed=1)
    gap = step_gap(em, em.gather(*data))
    monkeypatch.setattr(softmax_matrices, "softmax_heads", lambda pairs: Heads(1.0, pairs, 48.0))
    coarse = built("full")
    assert coarse.heads.epsilon / softmax_heads(4).epsilon > 24
    off = distances(coarse, data, "structured")
    assert any(bool((a > b).any()) for a, b in zip(off, bounds(gap, False), strict=True))
    own = step_gap(coarse, coarse.gather(*data))
    assert all(bool((a <= b).all()) for a, b in zip(off, bounds(own, False), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_softmax_attention_alone_and_how_much_it_takes(kind) -> None:
    for pairs in (1, 4):
        em = built(kind, 3, 2, pairs)
        kinds = {layer.attention for layer in em.construction.shape().layers}
        assert (em.construction.kind, kinds) == ("softmax", {None})
        heads = {layer.name: len(layer.all_heads) for layer in em.construction.layers}
        plain = {layer.name: len(layer.all_heads) for layer in em.plain.construction.layers}
        assert heads == {name: n if name in "EM" else pairs * n for name, n in plain.items()}
        assert max(heads.values()) == max(12 * pairs, 3)
        t, rest = em.newton_steps, 7 if kind == "tied" else 6
        assert len(em.construction.sequence) == (t + 3) * 3 + rest
        assert em.resources().layers == len(em.construction.sequence)
        assert f"2 p a product, p = {pairs}" in em.resource_table()


def test_the_sink_holds_exact_zeros_in_the_dense_weights() -> None:
    """Where MLPs leave f(0) it holds that: the logarithms, which softmax layers alone read."""
    em, data = built("full"), tasks("full", SIZES[:1], seed=3)
    batch = em.gather(*data)
    s, sink, transformer = em.stream, batch.X.shape[1], em.to_transformer()
    with torch.no_grad():
        h = em.embed(batch)
        assert h[0, sink, s.sink.slice] == 1
        for number in em.construction.sequence:
            h = transformer.layers[number](h)
            name = em.construction.layers[number].name
            held = {b.name for b in s.blocks if bool(h[0, sink, b.slice].any())}
            assert held <= {"sink", "log_pi", "log_resp", "value"}, name


def test_equal_tokens_stay_one_class() -> None:
    em, data = built("full"), tasks("full", SIZES, seed=4)
    batch = em.gather(*data)
    tokens, plain = em.tokens(batch), em.plain.tokens(batch)
    own = {value.partition for value in tokens.values.values()}
    assert {p.kind for p in own} == {"classes", "each"}
    assert len(own) == 2
    rows = tokens.values[em.stream.ids].partition
    assert tokens.places.size_of(rows) == 2 * 2 + 2  # K d rows, the points, the sink
    h, before = tokens.dense(), plain.dense()
    N, width = batch.X.shape[1], em.plain.stream.width
    assert torch.equal(torch.cat([h[:, :N], h[:, N + 1 :]], 1)[..., :width], before)
    assert not h[:, N, :width].any()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), d=st.integers(1, 4), spread=st.floats(1.01, 100.0))
def test_scores_stay_below_their_bounds(seed: int, d: int, spread: float) -> None:
    """The heads' step sizes rest on it; a sixteenth is left, and rounding takes less than 1e-9."""
    low_high = (1 / spread, spread)
    em = built("full", d, 2, 1, low_high)
    data = tasks("full", [(d + 4, 2, d)], seed, low_high)
    runs = StructuredEvaluator(em.plain.construction, FloatArithmetic(torch.float64, "cpu"))
    state = runs.start(em.plain.tokens(em.gather(*data)))
    names = [em.plain.construction.layers[number].name for number in em.plain.construction.sequence]
    for number in em.plain.construction.sequence[: names.index("E")]:
        for part in em.plain.construction.layers[number].heads:
            for head in linear_pairs(part):
                first = head.score.terms[0]
                if len(head.score.terms) > 1:  # ids alone
                    assert em.reach(head.score) == 1
                    continue
                assert first.query is not None
                score = first.coefficient * state.read(first.query) @ state.read(first.key).mT
                assert float(score.abs().max()) <= em.reach(head.score), (number, head)
        state = runs.layers[number].feed(runs.layers[number].attend(state))


def test_the_bound_of_crossed_entries_is_reached() -> None:
    """``|A_21| / A_11 = (kappa - 1) / (2 sqrt kappa)`` where kappa weighs ``1 / (1 + kappa)`` in A_11."""
    kappa = 100.0
    c, s = (1 / (1 + kappa)) ** 0.5, (kappa / (1 + kappa)) ** 0.5
    Q = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    A = Q @ torch.diag(torch.tensor([kappa, 1.0], dtype=torch.float64)) @ Q.mT
    ratio = float((A[1, 0] / A[0, 0]).abs())
    wanted = (kappa - 1) / (2 * math.sqrt(kappa))
    assert abs(ratio - wanted) <= 1e-12 * wanted


def test_what_it_refuses() -> None:
    em, data = built("full"), tasks("full", SIZES[:1], seed=1)
    with pytest.raises(
        HypothesisError, match=r"dtype is torch.float32; softmax attention alone takes float64"
    ):
        em.run(*data, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"pairs is 9; it is a whole number from 1 to 8"):
        built("full", pairs=9)
    with pytest.raises(
        ValueError, match=r"^attention is 'relu'; of full covariances it is mixed or softmax$"
    ):
        em_construction(2, 2, 1, 8, covariance_type="full", attention="relu")  # pyright: ignore
    with pytest.raises(ValueError, match=r"^attention is 'mixed'; of unit covariances it is softmax$"):
        em_construction(2, 2, 1, 8, attention="mixed")  # pyright: ignore
    assert em_construction(2, 2, 1, 8, attention="softmax").construction.kind == "softmax"  # pyright: ignore
    mixed = em_construction(2, 2, 1, 8, covariance_type="full", attention="mixed")
    assert mixed.construction.kind == "mixed"


def test_no_claim_where_logits_drown() -> None:
    """With a step size 1e-7 of what it should be, rounding is above 1: one claim is inf, none is NaN."""
    em, data = built("full"), tasks("full", SIZES[:1], seed=1)
    tiny = dataclasses.replace(em, heads=Heads(1e-12, 1, 48.0))
    gap = step_gap(tiny, tiny.gather(*data))
    for bound in (gap.logits, gap.weights, gap.means, gap.covariances):
        assert not bool(bound.isnan().any())
        assert bool(bound.isinf().any())


def test_runs_to_convergence_and_reads_out() -> None:
    em, data = built("full"), tasks("full", SIZES, seed=5)
    run = em.run(*data, tol=1e-6, steps=10)
    assert run.converged is not None
    assert torch.equal(run.path_weights[:, -1].argmax(-1), run.weights.argmax(-1))
    plain = em.plain.run(*data, steps=run.steps)
    assert run.path_means.shape == plain.path_means.shape
