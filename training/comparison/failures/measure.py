"""Where a network fails, and whether that is where EM or the moment method fails.

A task is failed when its total error is above ten times that of EM from the truth on the same points. Tasks
of one K are a stratum: association is measured within strata, so that "more components, more failures" is not
one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from baselines.em import em
from baselines.methods import MAX_ITER, TOL
from baselines.metrics import errors
from baselines.mixture import Mixture
from baselines.spectral import second_moment
from training.comparison.common.parts import Part, Start, Subject
from training.comparison.common.regimes import (
    BAD,
    RANDOM_STARTS,
    SHUFFLED,
    RegimeTasks,
    component_regimes,
    random_means,
    refusal,
    regime_tasks,
)
from training.comparison.common.task_statistics import (
    four_fold,
    mean_interval,
    permutation_p,
    pooled_odds,
    share_interval,
)
from training.comparison.failures.areas import areas
from training.comparison.failures.kinds import KINDS, kinds_of
from training.comparison.failures.report import render

MORE_TASKS = 3
"""Failures are rare: so many times the tasks of a regime."""
CONTROL_TASKS = 128
"""Tasks of a stratum that the untrained network is given: it needs no more to fail them."""
RESTARTS = 4
"""EM starts from random points a task; the share of them that fail says how hard the task is for EM."""
BINS = 4
STREAM = 1


def compute(subject: Subject, start: Start) -> dict[str, Any]:
    """Strata, tables, areas and kinds as JSON values; failures_section says what is made of them."""
    strata = []
    for regime in _regimes(subject):
        start(f"{regime.title}: failures")
        strata.append(stratum(regime_tasks(subject, regime, MORE_TASKS * subject.effort.tasks, STREAM)))
    generator = subject.generator(4, 1)
    start("failures against each other")
    return {
        "name": subject.released.name,
        "d": subject.model.config.n_features,
        "seed": subject.effort.seed,
        "bad": BAD,
        "restarts": RESTARTS,
        "control_tasks": CONTROL_TASKS,
        "strata": [_described(one) for one in strata],
        "pairs": pairs(strata, generator),
        "areas": areas(strata, generator),
        "bins": bins(strata, generator),
        "kinds": _kind_table(strata),
    }


def _regimes(subject: Subject) -> list[Any]:
    """The component regimes; with --quick the largest K alone, where failures are most frequent."""
    regimes = component_regimes(subject)
    return regimes[-1:] if subject.effort.quick else regimes


def stratum(tasks: RegimeTasks) -> dict[str, Any]:
    """Of one K: who fails where, what may explain it, and of what kind the failures are. Tensors (T,)."""
    X, truth, n = tasks.batch.X, tasks.truth, tasks.n_tasks
    learned = tasks.network("learned")
    some = slice(0, min(n, CONTROL_TASKS))
    untrained = _few(tasks, some)
    answers: dict[str, Mixture] = {"network": learned}
    fails = {"network": tasks.failed(learned)}
    for name in RANDOM_STARTS:
        answers[f"em {name}"] = tasks.converged(name).mixture
        fails[f"em {name}"] = tasks.failed(answers[f"em {name}"])
    answers["k-means"] = tasks.method("k-means").mixture
    fails["k-means"] = tasks.failed(answers["k-means"])
    if not tasks.regime.spectral_refusal:
        found = tasks.method("spectral")
        answers["spectral"] = found.mixture
        fails["spectral"] = tasks.failed(found.mixture) | found.missing
    untrained_fails = errors(untrained, truth[some]).total > BAD * tasks.floor[some]
    kinds = {
        name: kinds_of(X, answer, truth, tasks.floor, fails[name] & ~_absent(tasks, name))
        for name, answer in answers.items()
    }
    kinds["untrained"] = kinds_of(X[some], untrained, truth[some], tasks.floor[some], untrained_fails)
    return {
        "tasks": tasks,
        "fails": fails,
        "untrained": untrained_fails,
        "scores": scores(tasks),
        "kinds": kinds,
        "repaired": {
            "network": _repaired(tasks, learned, fails["network"]),
            "untrained": _repaired(tasks, untrained, untrained_fails),
            "em normal": _repaired(tasks, answers["em normal"], fails["em normal"]),
        },
    }


def _few(tasks: RegimeTasks, some: slice) -> Mixture:
    """The untrained network on the first tasks alone."""
    found = tasks.subject.untrained.estimate(tasks.batch.X[some], tasks.regime.n_components)
    return Mixture(found.weights, found.means)


def _absent(tasks: RegimeTasks, name: str) -> Tensor:
    """Tasks in which a method has no estimate: failed, but of no kind."""
    if name == "spectral":
        return tasks.method("spectral").missing
    return torch.zeros(tasks.n_tasks, dtype=torch.bool)


def _repaired(tasks: RegimeTasks, answer: Mixture, failed: Tensor) -> tuple[int, int]:
    """Of the failed tasks, how many are no longer failed after EM has run from the answer; and how many."""
    if not bool(failed.any()):
        return 0, 0
    chosen = failed.nonzero().squeeze(-1)  # of the first tasks, where the answers are fewer
    after = em(tasks.batch.X[chosen], init=answer[chosen], max_iter=MAX_ITER, tol=TOL).mixture
    still = errors(after, tasks.truth[chosen]).total > BAD * tasks.floor[chosen]
    return int((~still).sum()), len(chosen)


def scores(tasks: RegimeTasks) -> dict[str, Tensor]:
    """What may make a task hard, each (T,), larger for harder.

    closest    - the smallest distance of two true means.
    least      - N times the smallest weight.
    moment     - the K-th eigenvalue of sum_k pi_k mu_k mu_k^T, K <= d only (for K > d it is 0).
    sample     - the same of the points, (1/N) sum x x^T - I.
    floor      the total error of EM from the truth: how far the points are from telling the truth.
    em         share of RESTARTS starts of EM from random points that fail.
    """
    truth, X = tasks.truth, tasks.batch.X
    K, N = tasks.regime.n_components, tasks.regime.n_samples
    gaps = torch.cdist(truth.means, truth.means)
    apart = gaps.masked_fill(torch.eye(K, dtype=torch.bool), math.inf).flatten(1).amin(1)
    found = {"closest": -apart, "least": -N * truth.weights.amin(-1), "floor": tasks.floor}
    if not tasks.regime.spectral_refusal:
        scaled = truth.weights.sqrt().unsqueeze(-1) * truth.means
        found["moment"] = -torch.linalg.svdvals(scaled)[:, K - 1].square()
        sample, _ = second_moment(X, X.new_ones(len(X)))
        found["sample"] = -torch.linalg.eigvalsh(sample)[:, -K]
    generator = tasks.generator(9)
    total = torch.zeros(len(X), dtype=torch.float64)
    for _ in range(RESTARTS):
        means = random_means(X, tasks.regime, "random-points", generator)
        start = Mixture(torch.full_like(means[..., 0], 1 / K), means)
        total += tasks.failed(em(X, init=start, max_iter=MAX_ITER, tol=TOL).mixture).double()
    found["em"] = total / RESTARTS
    return found


def pairs(strata: list[dict[str, Any]], generator: torch.Generator) -> dict[str, Any]:
    """Does the network fail where another fails? 2x2 tables by K, odds ratio common to all K, permutation p.

    Controls: the network's failures on the next task, and two unrelated runs of EM from random starts, which
    shows how large the association of two methods is that share nothing but the tasks.
    """
    names = [name for name in strata[-1]["fails"] if name != "network"]
    found = {}
    for name in names:
        used = [one for one in strata if name in one["fails"]]
        found[name] = _pair([(s["fails"]["network"], s["fails"][name]) for s in used], used, generator)
    both = [(s["fails"]["em normal"], s["fails"]["em random-points"]) for s in strata]
    found["reference"] = _pair(both, strata, generator)
    return found


def _pair(
    columns: list[tuple[Tensor, Tensor]], strata: list[dict[str, Any]], generator: torch.Generator
) -> dict[str, Any]:
    tables = [four_fold(one, other) for one, other in columns]
    turned = [four_fold(one.roll(-1), other) for one, other in columns]
    return {
        "tables": [
            {
                "K": s["tasks"].regime.n_components,
                "counts": table.counts,
                "phi": table.phi,
                "odds": table.odds,
                "p": table.fisher_p,
                SHUFFLED: {"counts": other.counts, "phi": other.phi, "odds": other.odds},
            }
            for s, table, other in zip(strata, tables, turned, strict=True)
        ],
        "odds": pooled_odds(tables),
        "p": permutation_p([a for a, _ in columns], [b for _, b in columns], generator),
        SHUFFLED: {
            "odds": pooled_odds(turned),
            "p": permutation_p([a.roll(-1) for a, _ in columns], [b for _, b in columns], generator),
        },
    }


def bins(strata: list[dict[str, Any]], generator: torch.Generator) -> dict[str, Any]:
    """Share of failures against two scores, tasks of all K in BINS groups of equal size within each K."""
    found: dict[str, Any] = {}
    for score, sign in (("closest", -1.0), ("least", -1.0), ("floor", 1.0)):
        members = [_binned(s["scores"][score]) for s in strata]
        centres, shares = [], {}
        for k in range(BINS):
            inside = torch.cat([m == k for m in members])
            values = torch.cat([sign * s["scores"][score] for s in strata])[inside]
            centres.append(mean_interval(values, generator)[0])
        for name in strata[-1]["fails"]:
            used = [i for i, s in enumerate(strata) if name in s["fails"]]
            shares[name] = []
            for k in range(BINS):
                hits = torch.cat([strata[i]["fails"][name][members[i] == k] for i in used])
                shares[name].append(share_interval(int(hits.sum()), len(hits)))
        shares["untrained"] = []
        for k in range(BINS):
            hits = torch.cat(
                [s["untrained"][m[: len(s["untrained"])] == k] for s, m in zip(strata, members, strict=True)]
            )
            shares["untrained"].append(share_interval(int(hits.sum()), len(hits)))
        shares[SHUFFLED] = []
        for k in range(BINS):
            hits = torch.cat(
                [s["fails"]["network"].roll(-1)[m == k] for s, m in zip(strata, members, strict=True)]
            )
            shares[SHUFFLED].append(share_interval(int(hits.sum()), len(hits)))
        found[score] = {"centres": centres, "shares": shares}
    return found


def _binned(values: Tensor) -> Tensor:
    """(T,) which of BINS equal groups, 0 for the hardest (the largest score)."""
    ranks = values.argsort(descending=True).argsort()
    return ranks * BINS // len(values)


def _kind_table(strata: list[dict[str, Any]]) -> dict[str, Any]:
    """Failures of each kind over all K, and how many EM repairs."""
    names = list(dict.fromkeys(name for s in strata for name in s["kinds"]))
    counts = {
        name: {
            kind: sum(int((s["kinds"][name] == i).sum()) for s in strata if name in s["kinds"])
            for i, kind in enumerate(KINDS)
        }
        for name in names
    }
    repaired = {
        name: [sum(s["repaired"][name][i] for s in strata) for i in (0, 1)] for name in strata[0]["repaired"]
    }
    return {
        "counts": counts,
        "repaired": {name: [*share_interval(*pair), pair[1]] for name, pair in repaired.items()},
    }


def _described(one: dict[str, Any]) -> dict[str, Any]:
    tasks: RegimeTasks = one["tasks"]
    shares = {name: share_interval(int(f.sum()), len(f)) for name, f in one["fails"].items()}
    shares["untrained"] = share_interval(int(one["untrained"].sum()), len(one["untrained"]))
    return {
        "title": tasks.regime.title,
        "K": tasks.regime.n_components,
        "beyond": tasks.regime.n_components > tasks.regime.n_features,
        "spectral_refusal": tasks.regime.spectral_refusal,
        "tasks": tasks.n_tasks,
        "shares": shares,
    }


PART = Part(
    key="failures",
    title="Where does it fail?",
    compute=compute,
    render=render,
    pieces=lambda subject: len(_regimes(subject)) + 1,
    pictures=("failures-where", "failures-together", "failures-kinds"),
    refusal=refusal,
)
