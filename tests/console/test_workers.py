"""Pieces of work in this process, in several, and on a Dask cluster: the same results."""

import os
import sys

import pytest

from console.errors import BadInputError
from console.workers import run_pieces


def squared(piece: int) -> tuple[int, int]:
    """With the process that computed it."""
    return piece * piece, os.getpid()


def refused(piece: int) -> int:
    raise ValueError(f"piece {piece}")


def test_one_job_is_this_process_in_the_given_order():
    found = list(run_pieces(squared, [3, 1, 2]))
    assert found == [(3, (9, os.getpid())), (1, (1, os.getpid())), (2, (4, os.getpid()))]


def test_results_come_one_by_one():
    """A stopped command keeps what was ready: nothing is computed before it is asked for."""
    done: list[int] = []
    pieces = run_pieces(done.append, [1, 2, 3])
    next(pieces)
    assert done == [1]


def test_without_dask_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInputError, match=r"^--dask tcp://x:1 needs distributed, .*\[distributed\]'$"):
        list(run_pieces(squared, [1, 2], dask="tcp://x:1"))


@pytest.mark.slow
def test_two_jobs_are_other_processes():
    found = dict(run_pieces(squared, [1, 2, 3, 4], jobs=2))
    assert {piece: result for piece, (result, _) in found.items()} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert os.getpid() not in {process for _, process in found.values()}


@pytest.mark.slow
def test_what_a_piece_raises_arrives():
    with pytest.raises(ValueError, match="piece"):
        list(run_pieces(refused, [1, 2], jobs=2))


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = dict(run_pieces(squared, [1, 2, 3, 4], dask=cluster.scheduler_address))
    assert {piece: result for piece, (result, _) in found.items()} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert os.getpid() not in {process for _, process in found.values()}


@pytest.mark.slow
def test_nobody_at_the_address_is_one_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("console.workers.WAIT", "1s")
    with pytest.raises(BadInputError, match=r"--dask tcp://127\.0\.0\.1:9: no scheduler answers"):
        list(run_pieces(squared, [1, 2], dask="tcp://127.0.0.1:9"))
