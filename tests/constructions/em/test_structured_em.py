"""EM from the formulas: which evaluation ran, the read-out by slots, sizes beyond dense weights."""

import pytest
import torch
from constructed_em import check_step, make_task

from constructions import em_construction
from constructions.language.readout import AttentivePooling

F64 = torch.float64


def test_a_run_says_which_evaluation_it_was() -> None:
    task, em = make_task(2, 3, 11, 0), em_construction(2, 3, 2, 64)
    parts = task.X, task.weights, task.means
    assert em.run(*parts).evaluation == "structured"
    assert em.run(*parts, evaluation="dense").evaluation == "dense"
    assert {key[0] for key in em._compiled} == {"structured", "dense"}
    with pytest.raises(ValueError, match="evaluation is 'sparse'; it is structured or dense"):
        em.run(*parts, evaluation="sparse")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
@pytest.mark.parametrize(("d", "K", "N"), [(1, 1, 1), (2, 3, 3), (3, 4, 13), (5, 2, 60)])
def test_a_step_is_within_its_bounds(d: int, K: int, N: int, dtype: torch.dtype) -> None:
    em = em_construction(d + 1, K + 2, 1, 256)
    for refreshed in (False, True):
        task = make_task(d, K, N, seed=d)
        assert check_step(em, task, dtype, refreshed, "structured").broken() == []


def test_rows_with_counts_are_read_out_as_the_tokens_they_stand_for() -> None:
    """Slots held by 4, 3 and 3 tokens: one row a slot with its count, and ten rows, pool alike.

    Sums of at most 10 terms of size 1 in either form, a softmax and a product: gamma_40 covers both.
    """
    pooling = AttentivePooling(4, 3, 2, F64)
    g = torch.Generator().manual_seed(0)
    for weight in (pooling.query, pooling.key, pooling.value):
        weight.data = torch.rand(weight.shape, generator=g, dtype=F64)
    rows = torch.rand(1, 3, 4, generator=g, dtype=F64)
    labels = torch.arange(10) % 3
    present = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        few = pooling(rows, present, counts=torch.bincount(labels)[None])
        many = pooling(rows[:, labels], present)
    for one, other in zip(few, many, strict=True):
        assert (one - other).abs().max() <= 40 * 2.0**-53 * (1 + other.abs().max())


def test_many_points_are_within_the_bounds() -> None:
    """N = 200,000 points: a dense head would take 4e10 scores, minutes of them."""
    task, em = make_task(2, 3, 200_000, 0), em_construction(2, 3, 1, 512)
    run = em.run(task.X, task.weights, task.means)
    assert check_step(em, task, evaluation="structured").broken() == []
    assert run.path_responsibilities.shape == (1, 3, 200_000)


def test_d_64_with_thousands_of_pieces_is_within_the_bounds() -> None:
    """The dense weights would be 267 million."""
    em = em_construction(64, 17, 1, 4096)
    task = make_task(64, 17, 100, 0)
    assert em.run(task.X, task.weights, task.means).means.shape == (17, 64)
    assert check_step(em, task, evaluation="structured").broken() == []
