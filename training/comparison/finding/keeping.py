"""The finished pieces of the study on disk: weights first, so that measuring again needs no training.

``OUT/parts/train-NAME.json`` is kept with the digest of the code that trains, and names the SHA-256 of
``train-NAME.safetensors`` beside it, the weights of all networks of the cell; ``measure-NAME.json`` has the
measures, with the digest of all code. Other code that measures leaves the training where it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from console.cells import Cells
from console.output import write_whole
from console.typed_json import Kept, load_result, save_result
from constructions.language.transformer import Transformer
from training.comparison.finding.design import CELLS, FindingSettings
from training.comparison.finding.learning.cells import Cell
from training.comparison.finding.learning.stacked import StackedNetworks
from training.comparison.finding.learning.starts import shape_of
from training.comparison.finding.learning.training import Trained
from training.comparison.finding.measure import CellResult

TRAINING_ROOMS = (
    *("constructions/em", "constructions/language", "baselines", "training/tasks"),
    *("training/comparison/finding/learning", "training/comparison/origins/em_problem.py"),
    *("training/comparison/symmetry", "training/trainer/muon.py"),
)
"""Whose code trains. Not random_paths.py: the integers of a purpose stay, and others join them."""

MEASURING_ROOMS = ("constructions", "baselines", "training")


@dataclass(frozen=True)
class KeptTraining:
    """A cell that was trained: how, the digest of the file of weights, and the held-out losses on the way."""

    cell: Cell
    steps: int
    numbers: list[int]
    sha256: str
    watched: list[tuple[int, list[float]]]


@dataclass(frozen=True, eq=False)
class Keeper:
    """The pieces of one run in a folder.

    trained  the cells of trainings. measured: those of measures.
    """

    settings: FindingSettings
    trained: Cells
    measured: Cells

    def load_training(self, name: str) -> Kept[Trained] | None:
        """What was trained before; None where nothing is, another cell, or other weights."""
        kept = load_result(self.trained, f"train-{name}", KeptTraining)
        if kept is None or not self._same(name, kept.result):
            return None
        try:
            data = self._weights(name).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != kept.result.sha256:
            return None
        weights = safetensors.torch.load(data)
        networks = []
        for place in range(len(next(iter(weights.values())))):
            network = Transformer(shape_of(CELLS[name]), torch.float32, drawn=False)
            network.load_state_dict({key: weight[place] for key, weight in weights.items()})
            networks.append(network)
        return Kept(Trained(StackedNetworks(networks), kept.result.watched), kept.seconds)

    def save_training(self, name: str, found: Kept[Trained]) -> None:
        """The weights first: the file of JSON says that they are whole."""
        weights = found.result.networks.weights
        data = safetensors.torch.save({key: one.detach().contiguous() for key, one in weights.items()})
        write_whole(self._weights(name), data)
        digest = hashlib.sha256(data).hexdigest()
        settings = self.settings
        kept = KeptTraining(CELLS[name], settings.steps, settings.numbers, digest, found.result.watched)
        save_result(self.trained, f"train-{name}", Kept(kept, found.seconds))

    def load_measure(self, name: str) -> Kept[CellResult] | None:
        """What was measured before."""
        return load_result(self.measured, f"measure-{name}", CellResult)

    def save_measure(self, name: str, found: Kept[CellResult]) -> Kept[CellResult]:
        """Keep it, and give it back as it will be read."""
        return save_result(self.measured, f"measure-{name}", found)

    def _same(self, name: str, kept: KeptTraining) -> bool:
        wanted = CELLS[name], self.settings.steps, self.settings.numbers
        return (kept.cell, kept.steps, kept.numbers) == wanted

    def _weights(self, name: str) -> Path:
        return self.trained.folder / f"train-{name}.safetensors"
