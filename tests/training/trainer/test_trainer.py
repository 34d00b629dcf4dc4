"""The training step: which gradient it takes, at which learning rate, in which precision."""

import copy
import itertools
import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_runs import tiny_config

from training.tasks import TaskBatch, draw, plan_step
from training.trainer import loop as trainer_module
from training.trainer.loop import Trainer, TrainingError, learning_rate
from training.trainer.losses import LOSSES
from training.trainer.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
UNCLIPPED = 1e30


def trainer_of(**changes) -> Trainer:
    return Trainer(tiny_config(**changes), ALONE)


def plan_of(trainer: Trainer):
    tasks, training = trainer.config.tasks, trainer.config.training
    return plan_step(tasks, training.tasks_per_step, training.micro_batches, training.seed, trainer.step)


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    """As the last step left them, clipped."""
    return {name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_the_gradient_is_the_sum_over_micro_batches_to_the_bit(micro_batches):
    """Of sum(losses) / tasks_per_step, each taken by autograd alone and added in the order of the plan."""
    changes = {"tasks_per_step": 8, "micro_batches": micro_batches, "clip": UNCLIPPED}
    trainer = trainer_of(training=changes)
    for _ in range(3):
        before = copy.deepcopy(trainer)
        expected = {name: torch.zeros_like(p) for name, p in before.parameters.items()}
        total = torch.zeros(())
        for micro in plan_of(before):
            loss = before.losses(draw(before.config.tasks, micro)).sum() / 8
            found = torch.autograd.grad(loss, list(before.parameters.values()), allow_unused=True)
            for name, gradient in zip(expected, found, strict=True):
                expected[name] += 0.0 if gradient is None else gradient
            total += loss.detach()
        result = trainer.take_step()
        found = gradients(trainer)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert result.loss == float(total)
        norms = torch.stack([gradient.norm() for gradient in expected.values()])
        assert result.gradient_norm == float(norms.norm())


def one_task(batch: TaskBatch, t: int) -> TaskBatch:
    """Task t alone, without padding."""
    n = int(batch.n_samples[t])
    truth = type(batch.truth)(batch.truth.weights[t : t + 1], batch.truth.means[t : t + 1])
    return TaskBatch(batch.X[t : t + 1, :n], batch.n_samples[t : t + 1], batch.labels[t : t + 1, :n], truth)


@pytest.mark.parametrize("loss", ["ordered", "matched", "likelihood"])
def test_every_task_of_the_plan_counts_once_and_equally(loss, monkeypatch):
    """The gradient is the average of those of the single tasks, each taken alone and without padding.

    Both sides do the same sums in another order. Their distance is rounding, which shrinks with the unit
    roundoff, from float32 to float64 by 2^29; a task that is left out, counted twice or weighted by its
    length would make a distance that does not shrink at all. 2^-20 is between the two by a wide margin on
    both sides: a factor 2^9 for luck in how errors cancel, 2^20 for a difference to be seen.
    """
    distances = {}
    changes = {"tasks_per_step": 12, "micro_batches": 3, "clip": UNCLIPPED, "loss": loss}
    for dtype in (torch.float32, torch.float64):

        def drawn(tasks, micro, *, device, dtype=dtype):
            return draw(tasks, micro, dtype=dtype, device=device)

        monkeypatch.setattr(trainer_module, "draw", drawn)
        trainer = trainer_of(training=changes, tasks={"sort_weights": True})
        trainer.model.to(dtype)
        before = copy.deepcopy(trainer)
        average = {name: torch.zeros_like(p) for name, p in before.parameters.items()}
        for micro in plan_of(before):
            batch = drawn(before.config.tasks, micro, device="cpu")
            for t in range(len(batch.X)):
                alone = one_task(batch, t)
                value = LOSSES[loss](before.model(alone.X, alone.truth.n_components), alone)
                found = torch.autograd.grad(value.sum(), list(before.parameters.values()), allow_unused=True)
                for name, gradient in zip(average, found, strict=True):
                    average[name] += 0.0 if gradient is None else gradient / 12
        trainer.take_step()
        found = gradients(trainer)
        size = sum(float(value.square().sum()) for value in average.values())
        apart = sum(float((found[name] - average[name]).square().sum()) for name in average)
        distances[dtype] = math.sqrt(apart / size)
    assert 0 < distances[torch.float32] < 1
    assert distances[torch.float64] <= 2.0**-20 * distances[torch.float32]


def test_the_gradient_is_clipped_to_the_norm():
    """The direction stays. clip_grad_norm_ divides by norm + 1e-6, and float32 rounds norm, quotient and
    product, relative errors of 2^-24 each; a sum of squares of n entries adds n 2^-24 at most.
    """
    free, clipped = trainer_of(training={"clip": UNCLIPPED}), trainer_of(training={"clip": 0.25})
    assert free.take_step().gradient_norm == clipped.take_step().gradient_norm > 0.25
    before, after = (torch.cat([g.flatten() for g in gradients(t).values()]) for t in (free, clipped))
    bound = 1e-6 / float(before.norm()) + (len(before) + 4) * 2.0**-24
    assert abs(float(after.double().norm()) - 0.25) <= 0.25 * bound
    cosine = torch.dot(before.double(), after.double()) / (before.double().norm() * after.double().norm())
    assert float(cosine) >= 1 - bound


def test_a_step_is_a_function_of_the_configuration_alone():
    """Neither the global generator nor what ran before matters."""
    first = trainer_of()
    results = [first.take_step() for _ in range(3)]
    torch.manual_seed(12345)
    other = trainer_of(training={"seed": 1})
    assert other.take_step() != results[0]
    torch.rand(3)
    second = trainer_of()
    torch.rand(3)
    assert [second.take_step() for _ in range(3)] == results
    assert all(torch.equal(second.state()[name], value) for name, value in first.state().items())


@given(
    steps=st.integers(2, 10**6),
    share=st.floats(0, 1),
    peak=st.floats(1e-12, 1e9),
    final_fraction=st.floats(0, 1),
)
def test_the_schedule(steps, share, peak, final_fraction):
    """Peak and end are exact: 0.5 (1 + cos 0) = 1 and f + (1 - f) rounds to 1; 0.5 (1 + cos pi) = 0.

    After the warm-up it falls, up to rounding: pi step / (steps - 1) is off by 2 pi u, cos by u more, 1 + cos
    by u, half of which is 4.2 u; three more roundings make 7.2 u of the peak, u = 2^-53, less than 16 u for
    two rates.
    """
    warmup = int(share * steps)
    training = tiny_config(
        training={
            "steps": steps,
            "warmup": warmup,
            "learning_rate": peak,
            "final_fraction": final_fraction,
        }
    ).training
    assert learning_rate(0, training) == peak * min(1.0, 1 / max(1, warmup))
    assert learning_rate(steps - 1, training) == peak * final_fraction
    some = sorted({round(warmup + i * (steps - 1 - warmup) / 50) for i in range(51)} - {steps})
    rates = [learning_rate(step, training) for step in some]
    assert all(later <= rate + peak * 16 * 2.0**-53 for rate, later in itertools.pairwise(rates))
    assert all(rate <= peak for rate in rates)


def test_the_warm_up_is_linear():
    """Times the cosine, which in 10 of 10^6 steps falls by less than (pi 10^-5)^2 / 4 of itself."""
    training = tiny_config(training={"steps": 10**6, "warmup": 10, "learning_rate": 1.0}).training
    for step in range(10):
        assert abs(learning_rate(step, training) / ((step + 1) / 10) - 1) <= (math.pi * 1e-5) ** 2 / 4


def test_the_learning_rate_reaches_the_optimisers():
    trainer = trainer_of(training={"optimiser": "muon", "muon_share": 3.0})
    for step in range(4):
        result = trainer.take_step()
        assert result.learning_rate == learning_rate(step, trainer.config.training)
        rates = {
            kind: {group["lr"] for group in optimiser.param_groups}
            for kind, optimiser in trainer.optimisers.items()
        }
        assert rates == {"adamw": {result.learning_rate}, "muon": {3.0 * result.learning_rate}}


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_every_parameter_has_one_optimiser_and_moves(optimiser):
    """K alternates between 1 and 2, so that two steps reach the read-outs of both."""
    trainer = trainer_of(training={"optimiser": optimiser})
    owned = [p for o in trainer.optimisers.values() for group in o.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, trainer.model.parameters()))
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    for _ in range(2):
        trainer.take_step()
    unmoved = [name for name, p in trainer.parameters.items() if torch.equal(p, before[name])]
    # No softmax changes when all its scores get the same addend, as biases of keys do; there are none here.
    assert unmoved == []


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_weight_decay_is_of_matrices(optimiser):
    """One step with and without decay from the same gradients: matrices shrink by 1 - rate * decay,
    the rate that of their own optimiser, norms and biases are the same to the bit.

    The factor and the product round once each and the step is added: 4 u of the weights' size.
    """
    decay, share = 0.5, 3.0
    plain, decayed = (
        trainer_of(training={"optimiser": optimiser, "weight_decay": value, "muon_share": share})
        for value in (0.0, decay)
    )
    before = {name: p.detach().clone() for name, p in plain.parameters.items()}
    rate = plain.take_step().learning_rate
    decayed.take_step()
    names = {id(p): name for name, p in decayed.parameters.items()}
    by_muon = {
        names[id(p)]
        for kind, found in decayed.optimisers.items()
        if kind == "muon"
        for group in found.param_groups
        for p in group["params"]
    }
    assert bool(by_muon) == (optimiser == "muon")
    for name, p in decayed.parameters.items():
        there, expected = plain.parameters[name].detach(), p.detach()
        if p.ndim < 2:
            assert torch.equal(there, expected), name
            continue
        shrunk = there - rate * (share if name in by_muon else 1.0) * decay * before[name]
        size = float(before[name].abs().max())
        assert float((shrunk - expected).abs().max()) <= 4 * 2.0**-24 * (size + rate * share), name
        assert not torch.equal(there, expected), name


@pytest.mark.parametrize("loss", ["ordered", "matched", "likelihood"])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(loss):
    trainer = trainer_of(training={"loss": loss}, tasks={"sort_weights": True})
    trainer.take_step()
    with torch.no_grad():
        trainer.model.readin.weight[0, 0] = torch.nan
    before = {name: value.clone() for name, value in trainer.state().items()}
    with pytest.raises(
        TrainingError, match=r"^step 1: the loss is nan and its gradient's norm nan; a new run with a smaller"
    ):
        trainer.take_step()
    assert trainer.step == 1
    assert all(
        torch.equal(value, before[name]) or "readin" in name for name, value in trainer.state().items()
    )


def test_a_state_of_another_configuration_is_refused():
    trainer, state = trainer_of(), trainer_of(training={"optimiser": "muon"})
    state.take_step()
    with pytest.raises(TrainingError, match=r"^the checkpoint has no fitting adamw state of backbone"):
        trainer.restore(1, state.state())
    wider = trainer_of(model={"width": 16})
    wider.take_step()
    with pytest.raises(TrainingError, match=r"^the checkpoint is of another model: "):
        trainer.restore(1, wider.state())
    with pytest.raises(TrainingError, match=r"^the checkpoint has no fitting adamw state of "):
        trainer.restore(1, {name: v for name, v in trainer.state().items() if name.startswith("model.")})


def test_polishing_starts_where_the_configuration_says():
    """From step polish_from * steps on, the loss is that of the EM layers' estimate."""
    changes = {"steps": 4, "polish_steps": 1, "polish_from": 0.5, "tasks_per_step": 2, "micro_batches": 1}
    trainer, plain = trainer_of(training=changes), trainer_of(training={**changes, "polish_steps": 0})
    for step in range(4):
        for other in (trainer, plain):
            other.step = step
        batch = draw(trainer.config.tasks, plan_of(trainer)[0])
        same = torch.equal(trainer.losses(batch), plain.losses(batch))
        assert same == (step < 2)


def test_bfloat16_runs_and_rounds():
    """The network in bfloat16, losses and weights in float32: near the float32 loss, and not equal to it.

    A bfloat16 has 8 bits: every one of a dozen roundings moves an activation by up to 2^-8 of itself, so that
    a loss made of squares moves by a few times 12 x 2^-8, well below half of itself.
    """
    changes = {"tasks_per_step": 16, "micro_batches": 2}
    exact = trainer_of(training={**changes, "precision": "float32"})
    rounded = trainer_of(training={**changes, "precision": "bfloat16"})
    assert not trainer_of(training={**changes, "precision": "auto"}).autocast  # on a CPU
    first, second = exact.take_step(), rounded.take_step()
    assert first.loss != second.loss
    assert abs(first.loss - second.loss) < 0.5 * first.loss
    for _ in range(3):
        assert math.isfinite(rounded.take_step().loss)
    assert all(value.dtype == torch.float32 for value in rounded.state().values())


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++")), reason="torch.compile on a CPU needs a C++ compiler"
)
@pytest.mark.filterwarnings("default")  # of the compiler: deprecations inside torch
def test_compiled_steps():
    """The first loss differs from the plain one by rounding: kernels that are fused add in another order.

    float32 losses of about 40 made by a network of one layer: some hundred roundings of 2^-24, each amplified
    at most by the condition of the loss, which is a sum of squares; 2^-24 x 10^4 is far above and far below
    any difference that a wrong kernel makes.
    """
    compiled, plain = trainer_of(training={"compile": True}), trainer_of(training={"compile": False})
    for step in range(4):
        found, expected = compiled.take_step(), plain.take_step()
        assert math.isfinite(found.loss)
        if step == 0:
            assert abs(found.loss - expected.loss) <= 1e4 * 2.0**-24 * expected.loss
    assert compiled.state().keys() == plain.state().keys()
