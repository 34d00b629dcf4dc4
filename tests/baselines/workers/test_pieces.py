"""Pieces of work in this process, in several, and on a Dask cluster: the same results, whoever dies."""

import os
import signal
import time
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.workers.choosing import using
from baselines.workers.computing import PieceLostError
from baselines.workers.pieces import run_in_order, run_pieces, run_told
from baselines.workers.threads import Threads, running_on, threads_here


def squared(piece: int) -> tuple[int, int]:
    """With the process that computed it."""
    return piece * piece, os.getpid()


def refused(piece: int) -> int:
    raise ValueError(f"piece {piece}")


def slower_first(piece: int) -> int:
    """The sooner given, the later ready."""
    time.sleep(0.3 / (1 + piece))
    return piece


def told(piece: int, tell) -> int:
    tell(f"{piece} begins")
    tell(f"{piece} goes on")
    return -piece


def names_of(piece: int) -> list[str]:
    return [f"{piece} begins", f"{piece} goes on"]


def dies(folder: Path, deaths: int, piece: int) -> int:
    """The process that computes piece 2 is killed, so many times; what each piece was begun is kept."""
    place = folder / f"{piece}-{time.monotonic_ns()}"
    place.touch()
    if piece == 2 and len(list(folder.glob("2-*"))) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece * piece


def threads_of(piece: int) -> Threads:
    return threads_here()


def times_begun(folder: Path) -> dict[int, int]:
    begun = [int(path.name.split("-")[0]) for path in folder.iterdir()]
    return {piece: begun.count(piece) for piece in begun}


def test_one_job_is_this_process_in_the_given_order():
    found = list(run_pieces(squared, [3, 1, 2]))
    assert found == [(3, (9, os.getpid())), (1, (1, os.getpid())), (2, (4, os.getpid()))]


def test_results_come_one_by_one():
    """A stopped command keeps what was ready: nothing is computed before it is asked for."""
    done: list[int] = []
    pieces = run_pieces(done.append, count(1))
    next(pieces)
    assert done == [1]


def test_a_single_piece_needs_no_process():
    assert list(run_pieces(squared, [3], n_jobs=2)) == [(3, (9, os.getpid()))]


@pytest.mark.parametrize("n_jobs", [0, 1.5, True])
def test_a_number_of_processes_that_is_none(n_jobs):
    with pytest.raises(ValueError, match=r"n_jobs is .*, needs None or a whole number other than 0"):
        list(run_pieces(squared, [1, 2], n_jobs=n_jobs))


def test_names_are_told_as_they_start_in_this_process():
    said: list[str] = []
    results = run_told(told, [1, 2], said.append, names_of)
    assert next(results) == (1, -1)
    assert said == names_of(1)
    assert list(results) == [(2, -2)]
    assert said == names_of(1) + names_of(2)


def test_threads_are_set_and_put_back():
    before = threads_here()
    other = Threads(before.torch + 1, before.blas)
    with running_on(other):
        assert threads_here() == other
    assert threads_here() == before


def test_two_processes_one_killed_and_all_results_in_order(tmp_path):
    """The piece of the dead process is computed again, and no other piece is."""
    with using(2):
        found = list(run_in_order(partial(dies, tmp_path, 1), range(6)))
    assert found == [(piece, piece * piece) for piece in range(6)]
    assert times_begun(tmp_path) == {piece: 2 if piece == 2 else 1 for piece in range(6)}


@pytest.mark.slow
def test_two_jobs_are_other_processes_that_the_next_call_has_again():
    found = dict(run_pieces(squared, range(1, 9), n_jobs=2))
    assert {piece: result for piece, (result, _) in found.items()} == {n: n * n for n in range(1, 9)}
    processes = {process for _, process in found.values()}
    assert os.getpid() not in processes
    assert {process for _, (_, process) in run_pieces(squared, range(8), n_jobs=2)} <= processes


@pytest.mark.slow
def test_a_process_that_died_while_it_was_idle_is_replaced():
    idle = {process for _, (_, process) in run_pieces(squared, range(8), n_jobs=2)}
    for process in idle:
        os.kill(process, signal.SIGKILL)
    again = {piece: result for piece, (result, _) in run_pieces(squared, range(8), n_jobs=2)}
    assert again == {n: n * n for n in range(8)}


@pytest.mark.slow
def test_results_in_order_whatever_is_ready_first():
    assert [result for _, result in run_in_order(slower_first, range(5), n_jobs=3)] == list(range(5))


@pytest.mark.slow
def test_pieces_without_end_are_taken_as_they_are_needed():
    taken = []
    pieces = (taken.append(n) or n for n in count())
    with using(2):
        assert [piece for piece, _ in islice(run_in_order(squared, pieces), 5)] == list(range(5))
    assert len(taken) < 12


@pytest.mark.slow
def test_names_of_a_piece_elsewhere_are_told_once_it_is_done():
    said: list[str] = []
    assert dict(run_told(told, [1, 2], said.append, names_of, n_jobs=2)) == {1: -1, 2: -2}
    assert sorted(said) == names_of(1) + names_of(2)


@pytest.mark.slow
def test_what_a_piece_raises_arrives():
    with pytest.raises(ValueError, match="piece"):
        list(run_pieces(refused, [1, 2], n_jobs=2))


@pytest.mark.slow
def test_a_piece_that_kills_three_processes_is_given_up_by_name(tmp_path):
    with pytest.raises(PieceLostError, match=r"piece 2 \(2\): the workers that computed it died 3 times"):
        list(run_pieces(partial(dies, tmp_path, 9), range(4), n_jobs=2))
    assert times_begun(tmp_path)[2] == 3


@pytest.mark.slow
def test_workers_have_the_threads_of_this_process():
    here = threads_here()
    for number in (1, 2):
        with running_on(Threads(number, here.blas)):
            found = dict(run_pieces(threads_of, range(4), n_jobs=2))
        assert set(found.values()) == {Threads(number, here.blas)}


@pytest.mark.slow
def test_sums_are_the_same_bits():
    data = torch.randn(8, 1000, 7, generator=torch.Generator().manual_seed(0)).numpy()
    here = [np.asarray(total).tobytes() for _, total in run_in_order(np.sum, data)]
    assert [np.asarray(total).tobytes() for _, total in run_in_order(np.sum, data, n_jobs=2)] == here
