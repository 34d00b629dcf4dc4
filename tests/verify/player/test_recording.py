"""What the player keeps of a run: the attention that the runtime used, the stream that it held, exactly."""

import pytest
import torch

from constructions.em.weights import em_construction
from constructions.language.rounding import unit_roundoff
from constructions.tensor_power.relu import tensor_power_construction
from verify.player.recording import attention_of_heads, classes_of, live_after, passes, recorded, stream_of

N, K, STEPS = 11, 3, 2


def a_run(evaluation):
    """The construction, its dense weights, and the start and states of one task of two."""
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(2, N, 2, generator=generator, dtype=torch.float64)
    em = em_construction(2, K, STEPS, 16, radius=5.0)
    tasks = em.gather(X, torch.full((2, K), 1 / K, dtype=torch.float64), X[:, :K])
    layers = em.evaluator(evaluation, torch.float64, "cpu")
    start = layers.start(em.tokens(tasks))
    with torch.no_grad():
        states = list(passes(layers, start, STEPS))
    return em, em.to_transformer(), stream_of(start, 1), [stream_of(state, 1) for state in states]


def held(run, state, name):
    """(N, width) of a block, as the page reads it."""
    values = run.values[state.blocks[name]]
    return torch.tensor([values.rows[c] for c in run.classes[values.of]], dtype=torch.float64)


def weights(run, place):
    """(N, N) of a head, as the page reads it."""
    kept = run.weights[place]
    rows = [kept.rows[q] for q in run.classes[kept.queries]]
    return torch.tensor([[row[k] for k in run.classes[kept.keys]] for row in rows], dtype=torch.float64)


@pytest.mark.parametrize("evaluation", ["dense", "structured"])
def test_stream_and_attention_are_the_runs_to_the_last_bit(evaluation):
    em, transformer, start, states = a_run(evaluation)
    run = recorded(em.construction, transformer, start, states)
    assert (run.tokens, len(run.states)) == (N, 1 + 2 * STEPS)
    assert [(s.step, s.layer) for s in run.states] == [(0, None), (0, 0), (1, 1), (1, 0), (2, 1)]
    for state, before, h in zip(run.states, [None, start, *states], [start, *states], strict=False):
        for block in em.stream.blocks:
            if block.name in state.blocks:
                assert torch.equal(held(run, state, block.name), h[:, block.slice]), block
            else:
                assert not h[:, block.slice].any(), block
        if before is not None:
            found = attention_of_heads(transformer.layers[state.layer].attention, before)
            assert len(state.heads) == len(found) == (1, 2)[state.layer]
            for place, A in zip(state.heads, found, strict=True):
                assert torch.equal(weights(run, place), A)


def test_what_tokens_share_is_stored_once():
    """Keys of the E head differ by slot alone, queries of the first M head too; the second is uniform."""
    em, transformer, start, states = a_run("dense")
    run = recorded(em.construction, transformer, start, states)
    shapes = [[(len(w.rows), len(w.rows[0])) for w in (run.weights[p] for p in s.heads)] for s in run.states]
    assert shapes == [[], [(N, K)], [(K, N), (1, 1)], [(N, K)], [(K, N), (1, 1)]]
    assert len({state.blocks["x"] for state in run.states}) == 1  # points never change
    assert len(run.classes) <= 4  # one of all, each by itself, by slot, by the size of the slot


@torch.no_grad()
def test_attention_times_values_is_what_the_runtime_adds():
    """sum_h A_h H W_V W_O against SelfAttention, which never makes A (it is fused, in blocks of keys).

    Each of the two evaluations: a score, a sum of up to D products whose sizes add up to at most S, is off by
    ``D u S``, so a weight, a quotient of exps, by a factor ``1 +- (2 D S + N + 4) u``; the weighted sum of N
    values by ``N u`` of their largest, the output of one entry a column by ``D u``. Twice all that.
    """
    _, transformer, start, states = a_run("dense")
    u = unit_roundoff(torch.float64)
    for h, number in ((start, 0), (states[0], 1)):
        attention = transformer.layers[number].attention
        A = attention_of_heads(attention, h)
        q, k, v = (
            torch.einsum("nd,hde->hne", h, w) for w in (attention.query, attention.key, attention.value)
        )
        wanted = torch.einsum("hne,hed->nd", A @ v, attention.output)
        S, D = float((q.abs() @ k.abs().mT).max()), h.shape[1]
        bound = 2 * (2 * D * S + 2 * N + D + 4) * u * float(v.abs().max())
        assert float((attention(h[None])[0] - wanted).abs().max()) <= bound < 1e-9
        assert float((A.sum(-1) - 1).abs().max()) <= (N + 2) * u


@pytest.mark.parametrize("mean", [False, True])
def test_relu_attention_is_not_normalised(mean):
    built = tensor_power_construction(3, 1, divide_by_tokens=mean)
    generator = torch.Generator().manual_seed(1)
    T, v = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 3, 3), (3,)))
    h = built.embed(built.gather([T], [v]))[0][0]
    attention = built.to_transformer().layers[0].attention
    A = attention_of_heads(attention, h)
    q, k = (torch.einsum("nd,hde->hne", h, w) for w in (attention.query, attention.key))
    assert torch.equal(A, (q @ k.mT).relu() / (3 if mean else 1))
    assert float(A.sum(-1).max()) != 1


def test_classes_are_numbered_as_they_come():
    rows = torch.tensor([[2.0, 1.0], [0.0, 0.0], [2.0, 1.0], [1.0, 5.0]])
    first, labels = classes_of(rows)
    assert first.tolist() == [0, 1, 3]
    assert labels.tolist() == [0, 1, 0, 2]


def test_blocks_that_hold_a_value_are_followed():
    em = em_construction(2, K, STEPS, 16, radius=5.0)
    e, m = em.construction.layers
    s, start = em.stream, frozenset(em.construction.inputs)
    between = live_after(e, start)
    assert between == start - {s.mu, s.pi, s.log_pi, s.half_norm2} | {s.resp, s.log_resp}
    assert live_after(m, between) == start
