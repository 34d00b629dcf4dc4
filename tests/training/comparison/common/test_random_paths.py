"""No two purposes share random numbers, and each has those that the first results were computed with."""

from itertools import product

import pytest
import torch
from model_instances import small_model

from training.comparison.common.parts import Effort, subject_of
from training.comparison.common.random_paths import (
    REGIME,
    OriginPurpose,
    Purpose,
    RegimePurpose,
    StartsPurpose,
    TaskSet,
    beside_construction,
    generator_of,
    seed_of,
)
from training.comparison.common.regimes import RANDOM_STARTS, STARTS, Regime, regime_tasks
from training.serving.loading import Released

RANGES = {
    "K": range(2, 11),
    "copy": range(10),
    "shuffle": range(6),
    "start": range(len(STARTS)),
    "method": range(30),
}
"""Of the numbers that follow a path; a new kind of number has to be named here."""
SEEDS = (0, 1, 5, 1000)


def paths_of(purpose):
    ranges = [RANGES[name] for name in purpose.value.follows]
    return [purpose.value.integers(numbers) for numbers in product(*ranges)]


def all_paths():
    """Every path below a seed, and whose it is."""
    found = [(purpose, path) for purpose in Purpose for path in paths_of(purpose)]
    for regime in (Regime(2, 3), Regime(2, 5), Regime(2, 3, 32), Regime(2, 3, separation=2.0)):
        for n_tasks, task_set in product((64, 192, 256), TaskSet):
            own = (*regime.path, n_tasks, task_set.value)
            found += [(p, (*own, *path)) for p in RegimePurpose for path in paths_of(p)]
    return found


def test_no_two_purposes_share_a_path():
    paths = [path for _, path in all_paths()]
    assert len(set(paths)) == len(paths) > 600
    assert {path[0] for purpose, path in all_paths() if isinstance(purpose, RegimePurpose)} == {REGIME}
    assert all(path[0] != REGIME for purpose, path in all_paths() if isinstance(purpose, Purpose))


def test_no_two_paths_share_what_the_generator_reads_of_their_seed():
    """torch's CPU generator reads 32 bits."""
    seeds = [seed_of(seed, *path) % 2**32 for seed in SEEDS for _, path in all_paths()]
    assert len(set(seeds)) == len(seeds)


def test_the_networks_of_their_own_have_paths_of_their_own():
    purposes = (*OriginPurpose, *StartsPurpose)
    paths = [(purpose, seed, chunk) for purpose in purposes for seed in SEEDS for chunk in range(3)]
    drawn = [generator_of(*path).initial_seed() for path in paths]
    drawn += [beside_construction(seed).initial_seed() for seed in SEEDS]
    drawn += [seed_of(seed, *path) % 2**32 for seed in SEEDS for _, path in all_paths()]
    assert len(set(drawn)) == len(drawn)


def test_names_stand_for_the_integers_of_the_first_results():
    """Written out: a change of one of them would change published figures."""
    assert Purpose.PROBES_TASKS.value.integers((3,)) == (3200, 3)
    assert Purpose.PROBES_HAND_BUILT.value.integers(()) == (3200, 0)
    assert Purpose.WEIGHTS_SHUFFLED.value.integers((2,)) == (6, 4, 2)
    assert Purpose.FAILURES_RESAMPLED.value.integers(()) == (4, 1)
    assert RegimePurpose.METHOD.value.integers((1,)) == (2, 101)
    assert [purpose.value for purpose in OriginPurpose][:4] == [0, 1, 2, 3]
    assert [purpose.value for purpose in StartsPurpose] == [60, 61, 62, 63]
    subject = subject_of(Released("tiny", small_model(), "", {}), Effort(True, 5, 8))
    tasks = regime_tasks(subject, Regime(2, 3, 128, 2.0), 8, TaskSet.FAILURES)
    start = tasks.generator(RegimePurpose.START, STARTS.index(RANDOM_STARTS[1]))
    assert start.initial_seed() == seed_of(5, 3, 3, 128, 2000, 8, 1, 2, 1)
    drawn = subject.generator(Purpose.CAUSAL_PATCHES, 3).initial_seed()
    assert drawn == seed_of(5, 405, 3) == ((((5 + 1) * 1_000_003 + 406) * 1_000_003) + 4) % (2**63 - 1)


def test_numbers_that_do_not_fit_are_refused():
    subject = subject_of(Released("tiny", small_model(), "", {}), Effort(True, 5, 8))
    for numbers in ((), (3, 4)):
        with pytest.raises(ValueError, match="needs one for each of"):
            subject.generator(Purpose.ATTENTION_TASKS, *numbers)
    again = (subject.generator(Purpose.ATTENTION_TASKS, 3) for _ in range(2))
    assert torch.equal(*(torch.rand(4, generator=generator) for generator in again))
