"""Settings of a training run: three sections of a TOML file, each checked when it is read.

[tasks]     training.tasks.TaskDistribution
[model]     training.model.tgmm.ModelConfig (n_features and components are those of the tasks)
[training]  TrainingConfig
"""

from __future__ import annotations

import dataclasses
import math
import sys
import tomllib
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from baselines.checks import check_count
from training.model.settings import ModelConfig
from training.model.slots import check_slots_fit
from training.tasks import TaskDistribution
from training.trainer.losses import LossName
from training.trainer.preset_files import PRESETS, preset_names

MOST_SEED, MOST_THREADS, MOST_RATE = 2**64 - 1, 1024, 1e9
KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}

Precision = Literal["auto", "float32", "bfloat16"]


class ConfigError(ValueError):
    """A setting that is unknown or out of range; one line names it and what is accepted."""


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast, and on what loss.

    steps, tasks_per_step   optimiser steps, and tasks whose average gradient each takes.
    micro_batches           parts of a step, each of one K and similar lengths, worked through one by one.
    loss                    "ordered", "matched", "divergence" or "likelihood" (training.trainer.losses).
    deep_supervision        w: the loss is that of the estimate and w times the average loss of what the
                            read-out would say after each earlier layer (TGMM.layerwise); 0 for none.
    learning_rate           peak; linear warm-up over `warmup` steps, then half a cosine down to
                            `final_fraction` of the peak at the last step.
    optimiser               "adamw", or "muon": Muon (see muon.py) for the matrices of the backbone, at
                            `muon_share` times the learning rate, and AdamW for the rest.
    beta2                   of AdamW (beta1 is 0.9).
    weight_decay            decoupled, of matrices (by Muon too); norms and biases have none.
    clip                    largest Euclidean norm of the gradient.
    polish_steps            constructed EM steps behind the network while training, from step
                            `polish_from * steps` on; 0 for none.
    precision               of the forward pass; "auto": bfloat16 autocast on a GPU that has it, else float32.
    compile                 torch.compile; None means on a GPU only.
    threads                 CPU threads a process; 0 leaves torch's choice.
    seed                    of weights and tasks.
    init                    path of a model to start from, of the same [model] section or of one with fewer
                            layers: those it lacks come behind its own and change nothing at first. "" starts
                            from random weights.
    log_every               steps between two lines of metrics.jsonl.
    evaluate_every          steps between two evaluations on `evaluation_tasks` tasks of each K, N = 128
                            or, if that is less, max_positions.
    checkpoint_seconds      wall-clock seconds between two checkpoints.
    """

    steps: int
    tasks_per_step: int = 64
    micro_batches: int = 4
    loss: str = "matched"
    deep_supervision: float = 0.0
    learning_rate: float = 1e-3
    warmup: int = 200
    final_fraction: float = 0.02
    optimiser: Literal["adamw", "muon"] = "adamw"
    muon_share: float = 2.0
    beta2: float = 0.99
    weight_decay: float = 0.0
    clip: float = 1.0
    polish_steps: int = 0
    polish_from: float = 0.5
    precision: Precision = "auto"
    compile: bool | None = None
    threads: int = 0
    seed: int = 0
    init: str = ""
    log_every: int = 20
    evaluate_every: int = 500
    evaluation_tasks: int = 256
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("steps", "tasks_per_step", "micro_batches", "log_every", "evaluate_every"):
            check_count(name, getattr(self, name))
        check_count("evaluation_tasks", self.evaluation_tasks, least=2)
        for name in ("warmup", "polish_steps", "threads", "seed"):
            check_count(name, getattr(self, name), least=0)
        for name, most in (("seed", MOST_SEED), ("threads", MOST_THREADS)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}, needs an integer of at most {most}")
        if self.tasks_per_step % self.micro_batches:
            raise ValueError(
                f"tasks_per_step is {self.tasks_per_step}, "
                f"needs a multiple of micro_batches = {self.micro_batches}"
            )
        if self.loss not in get_args(LossName):
            raise ValueError(f"loss is {self.loss!r}, needs one of {', '.join(get_args(LossName))}")
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision is {self.precision!r}, needs one of {', '.join(get_args(Precision))}"
            )
        if self.optimiser not in ("adamw", "muon"):
            raise ValueError(f"optimiser is {self.optimiser!r}, needs adamw or muon")
        for name in ("learning_rate", "muon_share"):
            if not 0 < getattr(self, name) <= MOST_RATE:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, needs a positive number of at most {MOST_RATE:g}"
                )
        for name in ("clip", "checkpoint_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}, needs a positive finite number")
        for name in ("final_fraction", "polish_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}, needs a number from 0 to 1")
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"beta2 is {self.beta2!r}, needs a number from 0 on and below 1")
        if not 0 <= self.deep_supervision < math.inf:
            raise ValueError(
                f"deep_supervision is {self.deep_supervision!r}, needs a finite number of at least 0"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay!r}, needs a finite number from 0 on")


SECTIONS = {"tasks": TaskDistribution, "model": ModelConfig, "training": TrainingConfig}
"""Of a preset."""


@dataclass(frozen=True)
class RunConfig:
    """A whole run; raises ConfigError where the sections do not fit together."""

    tasks: TaskDistribution
    model: ModelConfig
    training: TrainingConfig

    def __post_init__(self) -> None:
        served = tuple(sorted(set(self.tasks.components)))
        if (self.model.n_features, self.model.components) != (self.tasks.n_features, served):
            raise ConfigError("the model's n_features and components must be those of the tasks")
        if self.training.loss == "ordered" and not self.tasks.sort_weights:
            raise ConfigError("loss 'ordered' needs tasks with sort_weights = true, an order to learn")
        if self.model.covariance == "full" and self.training.loss in ("ordered", "matched"):
            raise ConfigError(
                f"loss is {self.training.loss!r}, a full covariance needs divergence or likelihood"
            )
        pairs = self.training.loss in ("ordered", "matched")
        if (
            pairs
            and self.model.covariance == "diagonal"
            and self.tasks.covariance not in ("unit", "diagonal")
        ):
            raise ConfigError(
                f"loss {self.training.loss!r} of diagonal covariances needs tasks of unit or diagonal ones, "
                f"not {self.tasks.covariance!r}"
            )
        units = self.model.covariance == "unit" and self.tasks.covariance == "unit"
        if self.training.polish_steps and not units:
            raise ConfigError("polish_steps needs unit covariances, of the tasks and of the model")
        if self.training.polish_steps and self.tasks.samples[0] < max(self.tasks.components):
            raise ConfigError(
                f"samples start at {self.tasks.samples[0]}, polish_steps needs at least as many points as "
                f"the largest number of components, {max(self.tasks.components)}"
            )
        if self.training.deep_supervision and self.training.compile:
            raise ConfigError("compile is of the whole network: needs deep_supervision = 0")
        if self.training.deep_supervision and self.training.polish_steps:
            raise ConfigError("deep_supervision is of the layers of the network: needs polish_steps = 0")
        if self.training.deep_supervision and (self.model.readout, self.model.backbone) != (
            "tokens",
            "transformer",
        ):
            raise ConfigError("deep_supervision needs the read-out 'tokens' and the backbone 'transformer'")
        if self.model.readout == "slots":
            try:
                check_slots_fit(self.model)
            except ValueError as problem:
                raise ConfigError(f"[model] {problem}") from None
            if self.tasks.covariance != "unit":
                raise ConfigError("the read-out 'slots' needs tasks of unit covariances")
            if self.tasks.samples[0] < max(self.tasks.components):
                raise ConfigError(
                    f"samples start at {self.tasks.samples[0]}, the read-out 'slots' needs at least as many "
                    f"points as the largest number of components, {max(self.tasks.components)}"
                )
        longest = self.tasks.samples[1]
        if self.model.max_positions and self.model.max_positions < longest:
            raise ConfigError(
                f"max_positions is {self.model.max_positions}, tasks have up to {longest} points"
            )

    def to_dict(self) -> dict[str, Any]:
        """The three sections as JSON values."""
        return {name: _jsonable(asdict(getattr(self, name))) for name in ("tasks", "model", "training")}

    @classmethod
    def from_dict(cls, data: Any) -> RunConfig:
        """The inverse of :meth:`to_dict`, also of a parsed preset; raises ConfigError."""
        _refuse_unknown("section", data, tuple(SECTIONS))
        missing = [name for name in ("tasks", "training") if name not in data]
        if missing:
            raise ConfigError(f"section [{missing[0]}] is missing")
        tasks = _section("tasks", TaskDistribution, data["tasks"])
        shared = {"n_features": tasks.n_features, "components": tuple(sorted(set(tasks.components)))}
        given = _renamed(data.get("model", {}))
        model = _section("model", ModelConfig, {**shared, **given} if isinstance(given, dict) else given)
        return cls(tasks, model, _section("training", TrainingConfig, data["training"]))


def load_preset(name: str) -> RunConfig:
    """A preset by its name, or the path of a TOML file of one's own; raises ConfigError."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    try:
        return RunConfig.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        known = ", ".join(preset_names())
        raise ConfigError(
            f"no preset {name!r} ({problem.strerror}); there are {known}, or give the path of a .toml file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def model_config(data: Any) -> ModelConfig:
    """The section [model] as JSON values; raises ConfigError."""
    return _section("model", ModelConfig, _renamed(data))


def _renamed(model: Any) -> Any:
    """Models of 0.1 say ``scales`` where diagonal variances are estimated."""
    if not isinstance(model, dict) or "scales" not in model or "covariance" in model:
        return model
    given = {key: value for key, value in model.items() if key != "scales"}
    return given | {"covariance": {True: "diagonal", False: "unit"}.get(model["scales"], model["scales"])}


def check_setting(section: str, key: str, value: Any) -> None:
    """ConfigError unless the section has the key, and a value of this type may stand there."""
    kind = SECTIONS[section]
    _refuse_unknown(
        f"key in [{section}]", {key: value}, tuple(field.name for field in dataclasses.fields(kind))
    )
    hint = get_type_hints(kind)[key]
    if not _fits(tuple(value) if isinstance(value, list) else value, hint):
        raise ConfigError(f"[{section}] {key} is {value!r}, needs {_wanted(hint)}")


def _section(name: str, kind: type, data: Any) -> Any:
    """`kind(**data)`, its keys and types checked; TOML and JSON lists become tuples."""
    hints = get_type_hints(kind)
    _refuse_unknown(f"key in [{name}]", data, tuple(field.name for field in dataclasses.fields(kind)))
    values = {}
    for key, value in data.items():
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            raise ConfigError(f"[{name}] {key} is {value!r}, needs {_wanted(hints[key])}")
        values[key] = value
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for key in required:
        if key not in values:
            raise ConfigError(f"[{name}] {key} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"[{name}] {error}") from None


def _refuse_unknown(what: str, data: Any, known: tuple[str, ...]) -> None:
    if not isinstance(data, dict):
        raise ConfigError(f"{what}: got {type(data).__name__}, needs a table of {', '.join(known)}")
    for key in data:
        if key not in known:
            raise ConfigError(f"unknown {what}: {key!r}; there are {', '.join(known)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value is of the annotated type; an integer is a fine float, a boolean is no number."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin is types.UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, tuple):
            return False
        inner = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(inner) == len(value) and all(map(_fits, value, inner))
    if hint is float:
        fitting = isinstance(value, int) and abs(value) <= sys.float_info.max
        return (isinstance(value, float) or fitting) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _wanted(hint: Any) -> str:
    """The type in words; None is what a key that is left out means."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(parts)}"
    if origin is types.UnionType:
        return " or ".join(_wanted(part) for part in parts if part is not types.NoneType)
    if origin is tuple:
        length = "" if parts[-1] is Ellipsis else f" of {len(parts)}"
        return f"a list{length}, each item {_wanted(parts[0])}"
    return KINDS[hint]


def _jsonable(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
