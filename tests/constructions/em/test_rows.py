"""Tokens of full and tied covariances: what each row holds, and that both evaluations see the same."""

import pytest
import torch
from em_covariances import F64, MATRICES, construction, make_task
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions.em.matrices import MatrixEM
from constructions.em.rows import RowTokens
from constructions.em.tasks import CovarianceType
from constructions.language.stream import Block

D0, K0 = 3, 4


def em_of(kind: CovarianceType) -> MatrixEM:
    em = construction(kind, D0, K0, 8)
    assert isinstance(em, MatrixEM)
    return em


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("sizes", [(3, 4, 9), (2, 3, 7), (1, 1, 2)])
def test_every_token_holds_what_the_table_says(kind: CovarianceType, sizes: tuple[int, int, int]) -> None:
    d, K, N = sizes
    em, task = em_of(kind), make_task(kind, d, K, N, 0)
    s, h = em.stream, em.embed(em.gather(*task.parts))[0]
    assert h.shape == (N + K * d, s.width)

    def held(block: Block, token: int) -> torch.Tensor:
        return h[token, block.slice]

    def hot(width: int, *at: int) -> torch.Tensor:
        found = torch.zeros(width, dtype=F64)
        found[list(at)] = 1.0
        return found

    zeros = {name: torch.zeros(block.width, dtype=F64) for name, block in ((b.name, b) for b in s.blocks)}
    weights = task.weights / task.weights.sum()
    everywhere = {"one": hot(1, 0), "pi": torch.zeros(K0, dtype=F64), "log_pi": torch.zeros(K0, dtype=F64)}
    everywhere["pi"][:K] = weights
    everywhere["log_pi"][:K] = weights.log()
    everywhere["log_pi"][K:] = h[0, s.log_pi.slice][K:]  # of components that are not there: anything
    for i in range(N):
        x = torch.zeros(D0, dtype=F64)
        x[:d] = task.X[i]
        wanted = zeros | everywhere | {"x": x, "xx": torch.outer(x, x).flatten(), "other": hot(1, 0)}
        for block in s.blocks:
            assert torch.equal(held(block, i), wanted[block.name]), (i, block)
    for k in range(K):
        for a in range(d):
            token, lead = N + k * d + a, a == 0
            mu, row = torch.zeros(D0, dtype=F64), torch.zeros(D0, dtype=F64)
            mu[:d], row[:d] = task.means[k], task.matrices[k, a]
            ids = hot(K0 * D0, k * D0 + a)
            flag, off = hot(1, 0), torch.zeros(1, dtype=F64)
            wanted = zeros | everywhere
            wanted |= {"ids": ids, "turned": hot(K0 * D0, a * K0 + k), "axis": hot(D0, a)}
            wanted |= {"member": hot(K0, k), "slot": hot(K0, k) if lead else torch.zeros(K0, dtype=F64)}
            wanted |= {"lead": flag if lead else off, "register": flag, "other": off if lead else flag}
            wanted |= {"mu": mu, "row": row, "A": torch.outer(hot(K0, k), row).flatten()}
            wanted |= {"turn": flag if lead else off, "E": ids if lead else 0 * ids}
            for block in s.blocks:
                assert torch.equal(held(block, token), wanted[block.name]), (k, a, block)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(MATRICES),
    sizes=st.lists(
        st.tuples(st.integers(1, D0), st.integers(1, K0), st.integers(0, 5)), min_size=1, max_size=4
    ),
)
def test_the_tokens_of_a_batch_are_those_of_its_tasks(
    kind: CovarianceType, sizes: list[tuple[int, int, int]]
) -> None:
    """Real tokens, in the same order; the others hold nothing."""
    em = em_of(kind)
    problems = [make_task(kind, d, K, max(K, d + 1) + more, i) for i, (d, K, more) in enumerate(sizes)]
    batch = em.gather(*[[task.parts[i] for task in problems] for i in range(4)])
    tokens, h = em.tokens(batch), em.embed(batch)
    mask = tokens.places.mask
    assert h.shape[:2] == mask.shape
    assert h[~mask].count_nonzero() == 0
    for i, task in enumerate(problems):
        alone = em.embed(em.gather(*task.parts))[0]
        log_pi = em.stream.log_pi.slice
        held = h[i, mask[i]]
        assert torch.equal(held, alone) or torch.equal(held[:, log_pi], alone[:, log_pi])
        assert torch.equal(held, alone)


@pytest.mark.parametrize("kind", MATRICES)
def test_the_start_is_read_back(kind: CovarianceType) -> None:
    """decode finds in the tokens the state that made them."""
    em = em_of(kind)
    problems = [make_task(kind, *size, 0) for size in [(3, 4, 9), (2, 3, 7), (1, 1, 2)]]
    batch = em.gather(*[[task.parts[i] for task in problems] for i in range(4)])
    state = em.decode(em.tokens(batch), batch)
    assert torch.equal(state.weights, batch.weights)
    assert torch.equal(state.means, batch.means)
    assert state.covariances is not None
    assert batch.covariances is not None
    assert torch.equal(state.covariances, batch.covariances)


def test_rows_are_as_many_as_the_batch_needs() -> None:
    em = em_of("full")
    problems = [make_task("full", *size, 0) for size in [(1, 3, 9), (2, 1, 7)]]
    rows = RowTokens(em.stream, em.gather(*[[task.parts[i] for task in problems] for i in range(4)]))
    assert (rows.K, rows.d) == (3, 2)
    assert rows.present.sum(1).tolist() == [3, 2]
    assert rows.places.mask.shape == (2, 9 + 6)
    numbers = torch.arange(2 * 15 * 4).reshape(2, 15, 4)
    assert torch.equal(rows.of_rows(numbers)[1, 2, 1], numbers[1, 14])
