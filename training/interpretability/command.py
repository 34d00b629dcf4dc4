"""What ``python -m training.export`` does once its options are read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from console.errors import checking_input
from console.options import dtype_named
from constructions.em.tasks import HYPOTHESES
from constructions.em.weights import em_construction
from training.interpretability.circuit import Circuit, circuit_of, learned_circuit
from training.interpretability.circuit_files import export_circuit
from training.serving.loading import load_released

CONSTRUCTED = "em"


class Sizes(NamedTuple):
    """Of the EM construction: d0, K0, L, and pieces a function."""

    dims: int
    components: int
    steps: int
    pieces: int


def export(network: str, out: Path, sizes: Sizes, dtype: str) -> int:
    """Write both files and say what they hold; the exit code."""
    with checking_input():
        if network == CONSTRUCTED:
            name, circuit = CONSTRUCTED, em_circuit(sizes, dtype_named(dtype))
        else:
            released = load_released(network)
            name = Path(released.name).stem
            source = f"learned, SHA-256 {released.sha256}"
            circuit = learned_circuit(released.model, released.name, source)
        path = _written(circuit, out / name)
    heads, units = (sum(len(getattr(layer, part)) for layer in circuit.roles) for part in ("heads", "units"))
    roles = f"the roles of {heads} heads and {units} groups of hidden units" if heads else "no roles"
    print(f"wrote {path} and its .json: {circuit.name}, {roles}")
    return 0


def em_circuit(sizes: Sizes, dtype: torch.dtype) -> Circuit:
    """The EM construction of unit covariances; ValueError for sizes that are none."""
    made = em_construction(*sizes)
    numbers = f"the radius is {made.radius:g}, the floor {made.floor:g}"
    return circuit_of(made, dtype, (*HYPOTHESES, numbers))


def _written(circuit: Circuit, path: Path) -> Path:
    """ValueError where one of the files is there, or the folder cannot be made."""
    for file in (path.with_name(f"{path.name}.safetensors"), path.with_name(f"{path.name}.json")):
        if file.exists():
            raise ValueError(f"--out {path.parent}: has {file.name} already, needs a folder without")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ValueError(f"--out {path.parent}: cannot be made ({problem.strerror})") from None
    return export_circuit(circuit, path.with_name(f"{path.name}.safetensors"))
