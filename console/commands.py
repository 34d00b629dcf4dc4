"""The names of all commands: ``gmm-theory em-construction`` is ``python -m verify.em_construction``.

Names alone: nothing of the rooms is imported until somebody asks for a command (console.program).
"""

from __future__ import annotations

PROGRAM = "gmm-theory"

COMMANDS = {
    "verify": "verify.__main__",
    "em-construction": "verify.em_construction",
    "tensor-power": "verify.tensor_power",
    "softmax-tensor-power": "verify.softmax_tensor_power",
    "spectral-construction": "verify.spectral_construction",
    "theorem": "verify.theorem",
    "resources": "verify.resources",
    "certified-regions": "verify.certified_regions",
    "precision": "verify.precision",
    "reference-levels": "verify.reference_levels",
    "train": "training.train",
    "evaluate": "training.evaluate",
    "compare": "training.compare",
    "benchmark": "training.benchmark",
    "count": "training.count",
    "clustering": "training.clustering",
    "real-data": "training.real_data",
    "curves": "training.curves",
    "throughput": "training.throughput",
    "export": "training.export",
    "release": "training.release",
}
"""Subcommand -> the module that ``python -m`` runs, whose ``app`` it is."""
