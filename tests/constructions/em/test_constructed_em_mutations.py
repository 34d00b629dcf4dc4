"""Wrong constructions fail the very check that the right one passes, on the same data.

Each mutant is the EM construction with one mistake, written in the language or made in its compiled weights.
"""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from constructed_em import Task, check_step, make_task

from constructions import (
    Construction,
    EMConstruction,
    Layer,
    Pieces,
    Score,
    SoftmaxHead,
    Transformer,
    apply,
    clear,
    dot,
    em_construction,
)
from constructions.em.unit import e_layer, m_layer
from constructions.language.structured.evaluation import DenseEvaluator, Evaluation

# Many pieces: bounds near 1e-5, so that a small mistake shows. N = 13, K = 4: slots of 4, 3, 3, 3 tokens.
EM = em_construction(3, 4, 1, Pieces(3000, 2000, 4000))
TASKS = [make_task(3, 4, 13, seed, start=start) for seed in range(3) for start in ("points", "truth")]
S = EM.stream
Q, K = S.query, S.key


def with_layers(e: Layer, m: Layer) -> EMConstruction:
    built = dataclasses.replace(EM.construction, layers=(e, m))
    return dataclasses.replace(EM, construction=built)


def with_weights(edit: Callable[[Transformer], None]) -> EMConstruction:
    transformer = EM.to_transformer()
    with torch.no_grad():
        edit(transformer)
    changed = dataclasses.replace(EM)
    changed._compiled["dense", torch.float64, "cpu"] = DenseEvaluator(transformer)
    return changed


def with_score(score: Score, read=S.slot) -> EMConstruction:
    e = e_layer(S, EM.log_resp)
    wrong = dataclasses.replace(e, heads=(SoftmaxHead(score, read=read, write=S.resp),))
    return with_layers(wrong, m_layer(S, EM.log_pi, EM.square))


def with_m_layer(**changes) -> EMConstruction:
    layer = dataclasses.replace(m_layer(S, EM.log_pi, EM.square), **changes)
    return with_layers(e_layer(S, EM.log_resp), layer)


def flip_hinge(layer: int, first: int, units: int, share: float) -> Callable[[Transformer], None]:
    """Change the sign of one hinge of a piecewise function whose ``units`` hinges start at unit ``first``."""

    def edit(transformer: Transformer) -> None:
        transformer.layers[layer].mlp.w2[first + int(share * units)] *= -1

    return edit


def scale_scores(transformer: Transformer) -> None:
    transformer.layers[0].attention.query[0] /= 3**0.5


SCORE = dot(Q.x, K.mu) + dot(Q.log_pi, K.slot) - K.half_norm2 - K.log_count
CLEARS = (clear(S.resp), clear(S.log_resp))
LOG_PI, HALF_SQUARE = apply(EM.log_pi, S.pi, S.log_pi), apply(EM.square, S.mu, S.half_norm2, 0.5)
MEANS_HEAD = SoftmaxHead(dot(Q.slot, K.log_resp), read=S.x, write=S.mu)

E_MUTANTS = {
    "sign of half_norm2": with_score(SCORE + 2 * (Score() + K.half_norm2)),
    "half_norm2 dropped": with_score(dot(Q.x, K.mu) + dot(Q.log_pi, K.slot) - K.log_count),
    "log_count dropped": with_score(dot(Q.x, K.mu) + dot(Q.log_pi, K.slot) - K.half_norm2),
    "sign of log_count": with_score(SCORE + 2 * (Score() + K.log_count)),
    "log_pi dropped": with_score(dot(Q.x, K.mu) - K.half_norm2 - K.log_count),
    "pi instead of log_pi": with_score(dot(Q.x, K.mu) + dot(Q.pi, K.slot) - K.half_norm2 - K.log_count),
    "scores over sqrt(d)": with_score((1 / 3**0.5) * SCORE),
    "scores over sqrt(d), in the weights": with_weights(scale_scores),
    "query and key of the score swapped": with_score(
        dot(Q.mu, K.x) + dot(Q.log_pi, K.slot) - K.half_norm2 - K.log_count
    ),
    "reads pi instead of slot": with_score(SCORE, read=S.pi),
    "means attend by slot instead of log_resp": with_m_layer(
        heads=(SoftmaxHead(dot(Q.slot, K.slot), S.x, S.mu), SoftmaxHead(Score(), S.resp, S.pi))
    ),
    "means attend by resp instead of log_resp": with_m_layer(
        heads=(SoftmaxHead(dot(Q.slot, K.resp), S.x, S.mu), SoftmaxHead(Score(), S.resp, S.pi))
    ),
    "weights read log_resp instead of resp": with_m_layer(
        heads=(MEANS_HEAD, SoftmaxHead(Score(), S.log_resp, S.pi))
    ),
    "one hinge of the log of responsibilities": with_weights(
        flip_hinge(0, 0, EM.max_components * EM.log_resp.units, 0.99)
    ),
}
REFRESH_MUTANTS = {
    "half_norm2 is the whole square": with_m_layer(
        mlp=(LOG_PI, apply(EM.square, S.mu, S.half_norm2), *CLEARS)
    ),
    "half_norm2 not refreshed": with_m_layer(
        mlp=(LOG_PI, apply(EM.square, S.mu, S.half_norm2, 0.0), *CLEARS)
    ),
    "sign of the square": with_m_layer(mlp=(LOG_PI, apply(EM.square, S.mu, S.half_norm2, -0.5), *CLEARS)),
    "log of weights by the square": with_m_layer(
        mlp=(apply(EM.square, S.pi, S.log_pi), HALF_SQUARE, *CLEARS)
    ),
    # Of the 4 * 2000 hinges for log pi, those of component 0; a knot at 10^-8(1 - 0.98) = 0.69 and below
    # are active for its weight. The hinges of the squares come next; 0.52 is a knot near 0.5.
    "one hinge of the log of weights": with_weights(flip_hinge(1, 0, EM.log_pi.units, 0.98)),
    "one hinge of the squares": with_weights(
        flip_hinge(1, EM.max_components * EM.log_pi.units, EM.square.units, 0.52)
    ),
}


def ways(mutant: EMConstruction) -> tuple[Evaluation, ...]:
    """Both, unless the mistake was made in the compiled weights."""
    return ("dense",) if mutant._compiled else ("dense", "structured")


def broken_first_step(em: EMConstruction, way: Evaluation = "dense") -> list[str]:
    """The check of test_constructed_em on the first step of every task."""
    return [line for task in TASKS for line in check_step(em, task, evaluation=way).broken()]


def broken_second_step(em: EMConstruction, way: Evaluation = "dense") -> list[str]:
    """The same on the second step of a path, the first that uses what an M layer left."""
    found = []
    for task in TASKS:
        run = em.run(task.X, task.weights, task.means, steps=2, evaluation=way)
        state = Task(task.X, run.path_weights[1], run.path_means[1])
        check = check_step(EM, state, refreshed=True)
        path = dataclasses.replace(
            check,
            weight_error=(run.path_weights[2] - check.bound.exact_weights[0]).abs(),
            mean_error=(run.path_means[2] - check.bound.exact_means[0]).norm(dim=-1),
        )
        found += path.broken()
    return found


def test_the_right_construction_passes() -> None:
    for way in ("dense", "structured"):
        assert broken_first_step(EM, way) == []
        assert broken_second_step(EM, way) == []


def test_the_right_construction_assembled_or_compiled_again_passes() -> None:
    assert isinstance(EM.construction, Construction)
    for copy in (with_score(SCORE), with_m_layer(), with_weights(lambda _: None)):
        assert broken_first_step(copy) == []
        assert broken_second_step(copy) == []


@pytest.mark.parametrize("mutant", E_MUTANTS.values(), ids=E_MUTANTS.keys())
def test_a_mistake_in_a_step_breaks_its_bound(mutant: EMConstruction) -> None:
    for way in ways(mutant):
        assert broken_first_step(mutant, way), way


@pytest.mark.parametrize("mutant", REFRESH_MUTANTS.values(), ids=REFRESH_MUTANTS.keys())
def test_a_mistake_in_the_refreshing_breaks_the_next_step(mutant: EMConstruction) -> None:
    for way in ways(mutant):
        assert broken_first_step(mutant, way) == []
        assert broken_second_step(mutant, way), way


def test_log_count_matters_only_where_components_do_not_share_the_tokens_evenly() -> None:
    mutant = E_MUTANTS["log_count dropped"]
    for seed in range(3):
        assert check_step(mutant, make_task(3, 4, 12, seed)).broken() == []
        assert check_step(mutant, make_task(3, 4, 13, seed)).broken() != []
