"""What ``python -m training.count`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from baselines.checks import check_count
from console.cells import Cells
from console.errors import checking_input
from console.memory import check_fits
from console.output import check_out, write_json
from console.terminal import print_table, progress
from training.counting.head import CountHead, HeadConfig
from training.counting.learning import (
    EPOCHS,
    Examples,
    examples_from,
    examples_of,
    joined,
    quality,
    record_of,
    train,
)
from training.tasks.priors import Prior, held_out, named_prior
from training.trainer.checkpoint import save_model

COMMAND = "training.count"
ROOMS = ("baselines", "training")
NAME = "criterion.safetensors"
AT_ONCE = 500
"""Data sets of a part: some ten seconds of fits."""
TRAINED, MEASURED, WEIGHTS, STEPS = 1, 2, 3, 4
"""What a draw is for: data sets, the first weights, the order of training. Each has numbers of its own."""


def count(name: str, n_sets: int, n_held_out: int, width: int, seed: int, out: Path) -> int:
    """Fit, train, measure, print and write; the exit code."""
    with checking_input():
        prior = named_prior(name)
        check_count("--sets", n_sets, least=2)
        check_count("--held-out", n_held_out, least=2)
        check_count("--width", width)
        counts = prior.law.components
        if len(counts) < 2:
            raise ValueError(f"{name}: has K = {max(counts)} alone, needs a law of several")
        if prior.law.samples[0] < max(counts):
            raise ValueError(f"{name}: has data sets of fewer points than K = {max(counts)}")
        for option, size in (("sets", n_sets), ("held-out", n_held_out)):
            check_fits(option, size, 6 * max(counts) + 3)
        check_fits("width", width, width)
    run = {"prior": name, "sets": n_sets, "held_out": n_held_out, "width": width, "seed": seed}
    check_out(out, COMMAND, (NAME, "criterion.json"), run)
    parts = {"training": n_sets, "held out": n_held_out}
    keys = [f"{which} {first}" for which, size in parts.items() for first in range(0, size, AT_ONCE)]
    cells = Cells(out, COMMAND, run, ROOMS)
    with cells.stopping(keys):
        missing = cells.missing(keys)
        with progress(len(missing)) as start:

            def compute(key: str) -> dict[str, Any]:
                start(key)
                which, _, first = key.rpartition(" ")
                size = min(AT_ONCE, parts[which] - int(first))
                purpose = TRAINED if which == "training" else MEASURED
                return record_of(_examples(prior, purpose, int(first) // AT_ONCE, size, seed))

            found = {key: examples_from(record) for key, record in cells.all_of(keys, compute)}
        known, fresh = (
            joined([found[key] for key in keys if key.startswith(which)])
            for which in ("training", "held out")
        )
        low, high = prior.law.samples
        config = HeadConfig(prior.law.n_features, prior.covariance_type, max(counts), width, low, high)
        head = CountHead(config, torch.Generator().manual_seed(_seed(seed, WEIGHTS)))
        loss = train(head, known, torch.Generator().manual_seed(_seed(seed, STEPS)))
        measured = quality(head.eval(), fresh)
        facts = _plain(run | {"epochs": EPOCHS, "loss": loss, "law": asdict(prior.law)})
        facts["quality"] = asdict(measured)
        save_model(out / NAME, head.state_dict(), asdict(config), facts)
        write_json(out, COMMAND, run, facts)
    header = ("sets", "K found", "BIC", "ICL", "at most one off", "cross-entropy", "claimed")
    row = [str(measured.n_sets), *(f"{value:.3f}" for value in list(asdict(measured).values())[1:])]
    print_table(Console(), f"{name}, K = 1 to {max(counts)}, on sets that were not trained on", header, [row])
    print(f"wrote {out / NAME}, its .json and results.json")
    return 0


def _examples(prior: Prior, purpose: int, place: int, size: int, seed: int) -> Examples:
    """Of the data sets of one part, drawn from a seed of their own."""
    sets = list(held_out(prior, size, _seed(seed, purpose, place)))
    return examples_of(sets, prior.covariance_type, max(prior.law.components))


def _seed(seed: int, *purpose: int) -> int:
    """63 bits of the seed for one purpose."""
    path = np.random.SeedSequence(seed, spawn_key=purpose)
    return int(path.generate_state(1, np.uint64)[0]) >> 1


def _plain(value: Any) -> Any:
    """Tuples as lists, so that JSON gives it back."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
