"""Circuits on disk: weights in safetensors, what they are there for in JSON.

    NAME.safetensors   the parameters by their names in the Transformer: layers.0.attention.query, ...
    NAME.json          name, source, hypotheses
                       shape     everything of the transformer but the weights; loops: how often the list of
                                 layers is applied; order: of one pass, or null
                       blocks    of the stream: name, start, stop; columns start .. stop - 1
                       roles     a layer each: heads (role in words, attention, score, what query, key and
                                 value read, what is written, scale) and hidden units (formula, reads, writes,
                                 clears, first, stop)
                       tensors_sha256, sha256   of the weights' file, and of this content

The query of a head is H W with W = layers.I.attention.query[head], (D, head_dim), and so on; see
constructions.language.transformer. Names are those of Columns, HeadRole, UnitsRole and LayerRoles (roles.py).
Of a learned transformer blocks and roles are empty. Layers, heads, units and columns count from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from console.typed_json import IllTypedError, from_plain, to_plain
from constructions.language.transformer import Transformer, TransformerShape
from training.interpretability.circuit import Circuit
from training.interpretability.roles import Columns, LayerRoles
from training.trainer.tensor_files import (
    CheckpointError,
    check_finite,
    check_fit,
    encode_side,
    encode_tensors,
    read_pair,
    write_pair,
)

KIND = "circuit"

DTYPES = {torch.float32, torch.float64}


@dataclass(frozen=True)
class Side:
    """What the JSON says, beside the digests."""

    name: str
    source: str
    hypotheses: tuple[str, ...]
    shape: TransformerShape
    blocks: tuple[Columns, ...]
    roles: tuple[LayerRoles, ...]


ENTRIES = {"name": str, "source": str, "hypotheses": list, "shape": dict, "blocks": list, "roles": list}


def export_circuit(circuit: Circuit, path: str | Path) -> Path:
    """Write PATH.safetensors and PATH.json, each whole or not at all; the folder must be there.

    Returns the path of the safetensors file. Raises CheckpointError (a ValueError) for weights that are not
    finite, or files that cannot be written.
    """
    file = _file_of(path)
    tensors = circuit.transformer.state_dict()
    check_finite(file, tensors)
    shape = circuit.transformer.shape
    side = Side(circuit.name, circuit.source, circuit.hypotheses, shape, circuit.blocks, circuit.roles)
    data = encode_tensors(file, tensors)
    try:
        write_pair(file, data, encode_side(file, KIND, data, to_plain(side)))
    except OSError as problem:
        raise CheckpointError(f"{file}: not saved ({problem.strerror}), needs a writable folder") from problem
    return file


def load_circuit(path: str | Path) -> Circuit:
    """The circuit that :func:`export_circuit` wrote, its roles compared with the weights.

    Raises:
        ValueError: one line: no such file, damaged, of another kind, weights that do not fit the shape or are
            not finite, roles that are not those of the weights.
    """
    file = _file_of(path)
    tensors, content = read_pair(file, file.with_suffix(".json"), KIND, ENTRIES)
    side = _side(file, {name: content[name] for name in ENTRIES})
    check_finite(file, tensors)
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not dtypes <= DTYPES:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "none"
        raise CheckpointError(f"{file}: has tensors of dtype {found}, needs float32 or float64 for all")
    try:
        with torch.device("meta"):  # nothing is allocated before the weights are known to fit
            transformer = Transformer(side.shape, dtypes.pop(), drawn=False)
    except (RuntimeError, TypeError) as problem:
        reason = str(problem).splitlines()[0]
        raise CheckpointError(f"{file}: its shape describes no transformer ({reason})") from None
    check_fit(
        file, {name: tensor.shape for name, tensor in transformer.state_dict().items()}, tensors, "shape"
    )
    transformer.load_state_dict(tensors, assign=True)
    try:
        return Circuit(
            side.name,
            side.source,
            side.hypotheses,
            transformer.requires_grad_(False),
            side.blocks,
            side.roles,
        )
    except ValueError as problem:
        raise CheckpointError(f"{file}: {problem}") from None


def _file_of(path: str | Path) -> Path:
    """PATH.safetensors of PATH, or of either file."""
    path = Path(path)
    if path.suffix not in (".safetensors", ".json"):
        return path.with_name(path.name + ".safetensors")
    return path.with_suffix(".safetensors")


def _side(file: Path, content: dict[str, Any]) -> Side:
    try:
        return from_plain(Side, content, "the circuit")
    except (IllTypedError, ValueError) as problem:
        raise CheckpointError(f"{file.with_suffix('.json')}: {problem}") from None
