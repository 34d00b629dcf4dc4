"""A run that starts from the weights of another, and numbers of components that weigh more than others."""

from collections import Counter

import pytest
import torch
from training_runs import preset, refusal, tiny_config, train

from training.serving.loading import load_released
from training.tasks import TaskDistribution, plan_step, sample_tasks
from training.trainer.checkpoint import load_model
from training.trainer.config import ConfigError
from training.trainer.loop import Trainer, TrainingError
from training.trainer.losses import matched
from training.trainer.processes import Processes
from training.trainer.run_folder import read_metrics

EPS = torch.finfo(torch.float32).eps
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The model of a finished tiny run."""
    folder = tmp_path_factory.mktemp("first")
    assert train("--preset", preset(folder), "--out", folder / "run").code == 0
    return folder / "run" / "model.safetensors"


def test_starts_from_the_weights_given(first):
    trainer = Trainer(tiny_config(training={"init": str(first), "seed": 3}), ALONE)
    trainer.begin()
    weights, _, _ = load_model(first)
    assert all(torch.equal(trainer.model.state_dict()[name], value) for name, value in weights.items())
    assert trainer.step == 0
    fresh = Trainer(tiny_config(training={"seed": 3}), ALONE)
    assert any(not torch.equal(fresh.model.state_dict()[name], value) for name, value in weights.items())


def test_resumed_it_goes_on_from_its_own_checkpoint(first, tmp_path):
    """The same run in one go, and stopped in the middle: a checkpoint is put back, not `init`."""
    source = preset(tmp_path, training={"init": str(first), "seed": 3})
    assert train("--preset", source, "--out", tmp_path / "whole").code == 0
    assert train("--preset", source, "--out", tmp_path / "again").code == 0
    (tmp_path / "again" / "model.safetensors").unlink()
    (tmp_path / "again" / "model.json").unlink()
    for path in sorted((tmp_path / "again" / "checkpoints").glob("step-00000012*")):
        path.unlink()  # what a kill before the last checkpoint leaves
    assert train("--out", tmp_path / "again", "--resume").code == 0
    same = [load_model(tmp_path / name / "model.safetensors")[0] for name in ("whole", "again")]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])


def test_refuses_a_model_of_other_settings(first):
    trainer = Trainer(tiny_config(model={"width": 16}, training={"init": str(first)}), ALONE)
    with pytest.raises(TrainingError, match="is a model of other settings, needs those of"):
        trainer.begin()


def test_refuses_a_model_of_more_layers_or_other_loops(first, tmp_path):
    source = preset(tmp_path, model={"layers": 2})
    assert train("--preset", source, "--out", tmp_path / "two").code == 0
    two = str(tmp_path / "two" / "model.safetensors")
    for model, init in (({"layers": 1}, two), ({"layers": 2, "loops": 2}, str(first))):
        trainer = Trainer(tiny_config(model=model, training={"init": init}), ALONE)
        with pytest.raises(TrainingError, match="needs those of \\[model\\], or fewer layers"):
            trainer.begin()


def test_added_layers_change_nothing_at_first(first):
    trainer = Trainer(tiny_config(model={"layers": 3}, training={"init": str(first), "seed": 3}), ALONE)
    trainer.begin()
    X = torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([[7], [3], [5], [6]])
    with torch.no_grad():
        grown, given = (model.network(X, 2, mask) for model in (trainer.model, load_released(first).model))
    assert all(torch.equal(*pair) for pair in zip(grown[:2], given[:2], strict=True))  # x + 0 is x
    trainer.take_step()
    assert not torch.equal(trainer.model.network(X, 2, mask).means, given.means)
    moved = dict(trainer.model.backbone.layers[2].named_parameters())
    assert all(bool(moved[name].any()) for name in ("attention.output", "mlp.w2", "mlp.b2"))


def test_deep_supervision_adds_the_average_of_the_earlier_layers():
    trainer = Trainer(tiny_config(model={"layers": 3}, training={"deep_supervision": 0.25}), ALONE)
    law = trainer.config.tasks
    batch = sample_tasks(law, 3, 2, torch.tensor([8, 5, 4]), torch.Generator().manual_seed(1))
    *earlier, last = trainer.model.layerwise(batch.X, 2, batch.mask)
    assert len(earlier) == 2
    expected = matched(last, batch) + 0.25 * (matched(earlier[0], batch) + matched(earlier[1], batch)) / 2
    torch.testing.assert_close(trainer.losses(batch), expected, rtol=8 * EPS, atol=0)  # sums of three terms


def test_deep_supervision_of_one_layer_is_the_plain_loss():
    deep, plain = (Trainer(tiny_config(training={"deep_supervision": w}), ALONE) for w in (0.5, 0.0))
    assert deep.take_step().loss == plain.take_step().loss


def test_deep_supervision_needs_layers_with_tokens():
    for model in ({"readout": "pooling"}, {"backbone": "mamba2"}):
        with pytest.raises(ConfigError, match="deep_supervision needs the read-out 'tokens'"):
            tiny_config(model=model, training={"deep_supervision": 0.5})
    with pytest.raises(ConfigError, match="needs polish_steps = 0"):
        tiny_config(training={"deep_supervision": 0.5, "polish_steps": 1})


def test_a_missing_model_is_one_line(tmp_path):
    source = preset(tmp_path, training={"init": str(tmp_path / "none.safetensors")})
    line = refusal("--preset", source, "--out", tmp_path / "run")
    assert "none.json: cannot be read" in line
    assert not (tmp_path / "run").exists()  # nothing is left that a second try would stumble over


def test_a_component_named_twice_is_taken_twice_as_often(tmp_path):
    distribution = TaskDistribution(3, components=(2, 3, 3, 2, 3))
    taken = Counter(m.n_components for s in range(10) for m in plan_step(distribution, 8, 2, 0, s))
    assert taken == {2: 8, 3: 12}
    config = tiny_config(tasks={"components": [2, 1, 2]})
    assert config.model.components == (1, 2)
    source = preset(tmp_path, tasks={"components": [2, 1, 2]})
    assert train("--preset", source, "--out", tmp_path / "run").code == 0
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "evaluation" in line]
    assert list(lines[-1]["evaluation"]["network"]) == ["1", "2"]


def test_em_layers_in_training_need_as_many_points_as_components():
    changes = {"tasks": {"components": [2, 3], "samples": [2, 8]}, "training": {"polish_steps": 1}}
    with pytest.raises(ConfigError, match="samples start at 2, polish_steps needs at least as many points"):
        tiny_config(**changes)
    assert tiny_config(**changes | {"tasks": {"components": [2, 3], "samples": [3, 8]}})


def test_a_loss_that_overflows_is_one_line():
    """Means beyond 1e19 have squares beyond float32: the loss is not finite, and every process is told."""
    trainer = Trainer(tiny_config(tasks={"box": 1e20}), ALONE)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        trainer.take_step()


def test_more_processes_than_micro_batches_are_refused():
    with pytest.raises(
        TrainingError, match="3 processes share micro_batches = 2, needs at least one for each"
    ):
        Trainer(tiny_config(), Processes(0, 3, torch.device("cpu")))


def test_the_global_seed_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Trainer(tiny_config(), ALONE).take_step()
    assert torch.equal(torch.rand(3), expected)
