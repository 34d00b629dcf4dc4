"""The training loop: a pure function of the configuration, so that a killed run goes on unharmed.

Step s draws its global batch from (seed, s) alone (training.tasks.plan_step), the learning rate is a function
of s, and nothing else is random: a checkpoint needs weights, optimiser states and the step. Several processes
share the micro-batches of a step and add their gradients, so they take the steps that one process would take,
up to the order of a floating-point sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from constructions.language.shown import short_repr
from training.model.backbone import add_nothing
from training.model.estimate import Estimate
from training.model.tgmm import TGMM
from training.tasks import TaskBatch, draw, plan_step
from training.trainer.checkpoint import load_model
from training.trainer.config import RunConfig, TrainingConfig, model_config
from training.trainer.losses import LOSSES
from training.trainer.muon import Muon
from training.trainer.processes import Processes


class TrainingError(ValueError):
    """Training cannot go on; one line says why."""


@dataclass(frozen=True)
class StepResult:
    """Of one optimiser step: average loss a task, norm of the gradient before clipping, learning rate, and
    whether any process was asked to stop.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    stop: bool

    __repr__ = short_repr


class StepGivenUp(Exception):  # noqa: N818  nothing went wrong
    """A step was stopped before it changed weights, optimisers or the number of steps."""


class Trainer:
    """Model, optimisers and the number of steps taken.

    Args:
        config: the run.
        processes: this process and the others.
    """

    def __init__(self, config: RunConfig, processes: Processes) -> None:
        self.config, self.processes = config, processes
        training = config.training
        if processes.count > training.micro_batches:
            raise TrainingError(
                f"{processes.count} processes share micro_batches = {training.micro_batches}, "
                "needs at least one for each"
            )
        with torch.random.fork_rng(devices=[]):
            # Weights are drawn on the CPU, the same for every device; torch.manual_seed would seed GPUs too.
            torch.default_generator.manual_seed(training.seed)
            self.model = TGMM(config.model, training.polish_steps).to(processes.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimisers = _optimisers(self.model, training)
        self.step = 0
        self.autocast = _autocast(training, processes.device)
        if training.compile or (training.compile is None and processes.device.type == "cuda"):
            self.model.backbone.compile(dynamic=True)

    def begin(self) -> None:
        """A new run: weights that `init` names take the place of random ones; raises as initial_weights.

        Layers that the model there lacks change nothing at first, so the run starts from its function.
        """
        if self.config.training.init:
            given = initial_weights(self.config)
            lacking, unknown = self.model.load_state_dict(given, strict=False)
            strange = [*unknown, *(name for name in lacking if not name.startswith("backbone.layers."))]
            if strange:
                raise TrainingError(
                    f"init = {self.config.training.init}: its tensor {strange[0]!r} does not fit its config"
                )
            for number in {int(name.split(".")[2]) for name in lacking}:  # backbone.layers.NUMBER. ...
                add_nothing(self.model.backbone.get_submodule(f"layers.{number}"))

    def take_step(self, stop: Callable[[], bool] = lambda: False) -> StepResult:
        """One optimiser step on the next global batch; whether `stop()` is told to all processes at its end.

        Raises StepGivenUp when `stop()` before a micro-batch of a process that is alone: nothing has changed.
        Raises TrainingError when the loss or its gradient is not finite.
        """
        training = self.config.training
        plan = plan_step(
            self.config.tasks, training.tasks_per_step, training.micro_batches, training.seed, self.step
        )
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        total = torch.zeros((), device=self.processes.device)
        for micro in plan[self.processes.rank :: self.processes.count]:
            if self.processes.count == 1 and stop():
                raise StepGivenUp
            batch = draw(self.config.tasks, micro, device=self.processes.device)
            loss = self.losses(batch).sum() / training.tasks_per_step
            loss.backward()
            total += loss.detach()
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        stopping = torch.full_like(total, float(stop()))
        self.processes.sum([*gradients, total, stopping])
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), training.clip))
        if not (math.isfinite(norm) and math.isfinite(float(total))):
            raise TrainingError(
                f"step {self.step}: the loss is {float(total):g} and its gradient's norm {norm:g}; "
                "a new run with a smaller learning_rate or clip may help"
            )
        rate = learning_rate(self.step, training)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            optimiser.step()
        self.step += 1
        return StepResult(float(total), norm, rate, bool(stopping))

    def losses(self, batch: TaskBatch) -> Tensor:
        """The loss of every task, with the EM layers in place where the configuration says so.

        NaN after an estimate that is not finite: then every process of a step sees it in the sum.
        """
        training = self.config.training
        K = batch.truth.n_components
        mask = batch.mask
        padding = None if bool(mask.all()) else mask
        weight = training.deep_supervision
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.autocast):
            if weight:
                *earlier, estimate = self.model.layerwise(batch.X, K, padding)
            else:
                earlier, estimate = [], self.model.network(batch.X, K, padding)
        if not all(_is_finite(one) for one in (*earlier, estimate)):
            return torch.nan * estimate.means.sum((1, 2))
        if self.model.polish is not None and self.step >= training.polish_from * training.steps:
            polished = self.model.polish(batch.X, estimate.log_weights, estimate.means, padding)
            estimate = Estimate(polished[0], polished[1])
        loss = LOSSES[training.loss](estimate, batch)
        for one in earlier:
            loss = loss + weight / len(earlier) * LOSSES[training.loss](one, batch)
        return loss

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs besides the step: weights and optimiser states, by name."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for kind, optimiser in self.optimisers.items():
            for name, parameter in self.parameters.items():
                for key, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"{kind}.{name}.{key}"] = value
        return tensors

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Go on from a state; raises TrainingError for one of another configuration."""
        weights = {
            name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")
        }
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as problem:
            raise TrainingError(f"the checkpoint is of another model: {problem}") from None
        for kind, optimiser in self.optimisers.items():
            mine = {p for group in optimiser.param_groups for p in group["params"]}
            for name, parameter in self.parameters.items():
                start = f"{kind}.{name}."
                state = {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}
                if parameter in mine and (state or step):
                    self._check_state(kind, name, parameter, state)
                    optimiser.state[parameter] = {key: _placed(v, parameter) for key, v in state.items()}
        self.step = step

    @staticmethod
    def _check_state(kind: str, name: str, parameter: Tensor, state: dict[str, Tensor]) -> None:
        wanted = {"muon": {"momentum"}, "adamw": {"step", "exp_avg", "exp_avg_sq"}}[kind]
        shapes = {value.shape for key, value in state.items() if key != "step"}
        if set(state) != wanted or shapes != {parameter.shape}:
            raise TrainingError(f"the checkpoint has no fitting {kind} state of {name}")


def learning_rate(step: int, training: TrainingConfig) -> float:
    """Linear warm-up, then half a cosine from the peak to `final_fraction` of it at the last step."""
    warm = min(1.0, (step + 1) / max(1, training.warmup))
    progress = min(1.0, step / max(1, training.steps - 1))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    floor = training.final_fraction
    return training.learning_rate * warm * (floor + (1 - floor) * cosine)


def _optimisers(model: TGMM, training: TrainingConfig) -> dict[str, torch.optim.Optimizer]:
    """AdamW for all, or, with "muon", Muon for the matrices of the backbone and AdamW for the rest.

    Weight decay is of matrices, whichever optimiser has them; norms and biases, one-dimensional, have none.
    """
    matrices: list[Any] = []
    if training.optimiser == "muon":
        matrices = [p for p in model.backbone.parameters() if p.ndim >= 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=training.learning_rate,
        betas=(0.9, training.beta2),
        fused=True,
    )
    found: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
    if matrices:
        found["muon"] = Muon(matrices, lr=training.learning_rate, weight_decay=training.weight_decay)
    for kind, optimiser in found.items():
        for group in optimiser.param_groups:
            group["share"] = training.muon_share if kind == "muon" else 1.0
    return found


def _autocast(training: TrainingConfig, device: torch.device) -> bool:
    if training.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return training.precision == "bfloat16"


def _is_finite(estimate: Estimate) -> bool:
    return all(bool(part.isfinite().all()) for part in estimate if part is not None)


def initial_weights(config: RunConfig) -> dict[str, Tensor]:
    """Of the model that the run starts from, which may have the first layers alone.

    CheckpointError or TrainingError where there is none, or none that fits.
    """
    path = Path(config.training.init)
    tensors, described, _ = load_model(path)
    found = model_config(described)
    grown = replace(found, layers=max(found.layers, config.model.layers))
    if grown != config.model or (found != grown and grown.backbone != "transformer"):
        raise TrainingError(
            f"init = {path}: is a model of other settings, needs those of [model], or fewer layers"
        )
    return tensors


def _placed(value: Tensor, parameter: Tensor) -> Tensor:
    return value.to(parameter.device, copy=True)
