"""Released models: the weights that this package ships, or a model file of one's own.

model = load_tgmm("d8")                                  # shipped, d = 8
model = load_tgmm("runs/d8/model.safetensors", 10)       # with ten EM layers behind it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from constructions.em.tasks import CovarianceType
from constructions.language.shown import short_repr
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.shipped import SHIPPED
from training.trainer.checkpoint import CheckpointError, load_model, model_paths
from training.trainer.config import model_config
from training.trainer.tensor_files import check_fit, digest_of, encode_tensors


@dataclass(frozen=True, eq=False)
class Released:
    """A model with what is known of it.

    name      the name it was asked for by, or that of its file.
    model     the network, without EM layers, in evaluation mode on the CPU.
    sha256    of the safetensors file.
    training  how it was trained, as its JSON side tells.
    """

    name: str
    model: TGMM
    sha256: str
    training: dict[str, Any]

    __repr__ = short_repr

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def load_tgmm(
    path_or_name: str | Path, polish_steps: int = 0, covariance_type: CovarianceType = "unit"
) -> TGMM:
    """The network with ``polish_steps`` constructed EM layers behind it, on the CPU, in evaluation mode.

    Args:
        path_or_name: a name in SHIPPED, or the path of a model that checkpoint.save_model wrote.
        polish_steps: L, 0 for none.
        covariance_type: of these layers, "unit" without.

    Raises:
        ValueError: as :func:`load_released`; EM layers behind a model with scales.
    """
    model = load_released(path_or_name).model
    if not polish_steps and covariance_type == "unit":
        return model
    return model.with_polish(polish_steps, covariance_type=covariance_type)


def load_released(path_or_name: str | Path) -> Released:
    """The model and what is known of it.

    Raises:
        ValueError: one line: no such file, damaged, of another kind, a configuration that is unknown, weights
            that are not finite or do not fit the configuration.
    """
    path = _path_of(path_or_name)
    if not (path.exists() or path.with_name(path.name + ".safetensors").exists()):
        raise CheckpointError(f"{path}: no such file; needs a model, or one of {', '.join(SHIPPED)}")
    tensors, config, training = load_model(path)
    try:
        described = model_config(config)
    except ValueError as problem:
        raise CheckpointError(f"{path}: {problem}") from None
    model = _built(path, described, tensors)
    name = str(path_or_name) if str(path_or_name) in SHIPPED else path.name
    return Released(name, model, digest_of(encode_tensors(path, tensors)), training)


def fingerprint(path_or_name: str | Path) -> str | None:
    """SHA-256 of both files of a model as they are now, None where they cannot be read."""
    try:
        return digest_of(b"".join(path.read_bytes() for path in model_paths(_path_of(path_or_name))))
    except (OSError, CheckpointError):
        return None


def shipped_fingerprints() -> dict[str, str | None]:
    """Of every network that this package ships: what decides the figures of "auto"."""
    return {name: fingerprint(name) for name in SHIPPED}


def _path_of(path_or_name: str | Path) -> Path:
    return SHIPPED.get(str(path_or_name), Path(path_or_name))


def _built(path: Path, config: ModelConfig, tensors: dict[str, Tensor]) -> TGMM:
    """The network with these weights; nothing is allocated before they are known to fit."""
    numbers = sum(tensor.numel() for tensor in tensors.values())
    for name, wanted, held, what in (
        ("layers", config.layers, len(tensors), "tensors"),
        ("components", len(config.components), len(tensors), "tensors"),
        ("components", max(config.components), numbers, "numbers"),
        ("n_features", config.n_features, numbers, "numbers"),
        ("width", config.width, numbers, "numbers"),
        ("mlp_ratio", config.mlp_ratio, numbers, "numbers"),
        ("max_positions", config.max_positions, numbers, "numbers"),
    ):
        if wanted > held:
            raise CheckpointError(f"{path}: has {held} {what}, too few for {name} of its config ({wanted})")
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "none"
        raise CheckpointError(f"{path}: has tensors of dtype {found}, needs float32 or float64 for all")
    try:
        with torch.device("meta"):
            model = TGMM(config, dtype=dtypes.pop())
    except RuntimeError as problem:
        reason = str(problem).splitlines()[0]
        raise CheckpointError(
            f"{path}: its config describes no network that can be built ({reason})"
        ) from None
    check_fit(path, {name: tensor.shape for name, tensor in model.state_dict().items()}, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)
