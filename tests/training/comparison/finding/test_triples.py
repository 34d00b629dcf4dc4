"""Threes of tasks that share their start."""

import torch

from training.comparison.finding.counterfactuals import Place, exact_answer, run
from training.comparison.finding.triples import triples
from training.comparison.origins.em_problem import EMProblem

PROBLEM = EMProblem(n_samples=9)
G = 4


def drawn(seed: int = 0):
    return triples(PROBLEM, G, torch.Generator().manual_seed(seed))


def test_a_group_shares_its_start_and_nothing_else():
    tasks, s = drawn(), PROBLEM.construction.stream
    X = tasks.X.unflatten(0, (3, G))
    same = (X[0] == X[1]).all(-1) & (X[0] == X[2]).all(-1)
    assert same.sum(1).tolist() == [PROBLEM.n_components] * G
    for group in range(G):
        points = X[0, group, same[group]]
        means = tasks.start.means[group]
        assert torch.cdist(points, means).amin(0).max() == 0  # the start is those points
    held = tasks.tokens.unflatten(0, (3, G))
    for block in (s.mu, s.half_norm2, s.pi, s.log_pi, s.slot, s.log_count):
        assert torch.equal(held[0][..., block.slice], held[1][..., block.slice])
        assert torch.equal(held[0][..., block.slice], held[2][..., block.slice])
    assert not torch.equal(held[0][..., s.x.slice], held[1][..., s.x.slice])


def test_pairs_are_all_ordered_pairs_within_groups():
    tasks = drawn()
    pairs = set(zip(tasks.base.tolist(), tasks.source.tolist(), strict=True))
    assert len(pairs) == 6 * G
    assert all(base % G == source % G and base != source for base, source in pairs)
    assert torch.equal(tasks.with_other(tasks.base), tasks.base)
    other = tasks.with_other(tasks.source)
    assert bool(((other != tasks.source) & (other != tasks.base) & (other % G == tasks.base % G)).all())


def test_rows_of_a_group_are_its_tasks():
    tasks = drawn()
    numbers = torch.arange(3 * G)[:, None].expand(-1, 9)
    assert tasks.by_group(numbers)[1].unique().tolist() == [1, 1 + G, 1 + 2 * G]


def test_counterfactuals_are_those_of_the_pair():
    tasks, place = drawn(), Place("means", 1)
    found = tasks.counterfactuals(place)
    base, source = int(tasks.base[7]), int(tasks.source[7])
    start = type(tasks.start)(*(part[[base]] for part in tasks.start))
    states = [type(state)(*(part[[source]] for part in state)) for state in tasks.states]
    expected = exact_answer(run(tasks.X[[base]], start, PROBLEM.steps, PROBLEM.floor, place, states))
    assert torch.allclose(found[[7]], expected, rtol=1e-12, atol=1e-12)  # the same sums, other batch sizes
    assert (found - tasks.answers()).norm(dim=1).max() > 0.1
    assert torch.equal(tasks.answers()[7], exact_answer(tasks.states)[base])


def test_the_generator_decides():
    assert torch.equal(drawn(1).X, drawn(1).X)
    assert not torch.equal(drawn(1).X, drawn(2).X)
