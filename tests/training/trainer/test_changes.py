"""--set: a setting of every kind is changed; what is wrong names the change and what is accepted."""

import pytest
from training_runs import tiny_config

from training.trainer.changes import with_changes
from training.trainer.config import ConfigError

CONFIG = tiny_config()


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ("training.steps=500", "training", "steps", 500),
        ("training.learning_rate=2e-3", "training", "learning_rate", 2e-3),
        ("training.clip=2", "training", "clip", 2),
        ("training.loss=likelihood", "training", "loss", "likelihood"),
        ('training.loss="likelihood"', "training", "loss", "likelihood"),
        ("training.init=runs/a b/model.safetensors", "training", "init", "runs/a b/model.safetensors"),
        ("training.compile=false", "training", "compile", False),
        ("tasks.separation=3.5", "tasks", "separation", 3.5),
        ("tasks.samples=[8, 16]", "tasks", "samples", (8, 16)),
        ("tasks.components=[2]", "model", "components", (2,)),
        ("tasks.n_features=3", "model", "n_features", 3),
        ("model.width=4", "model", "width", 4),
    ],
)
def test_a_setting_is_changed_and_nothing_else(change, section, key, value):
    found = with_changes(CONFIG, [change])
    assert getattr(getattr(found, section), key) == value
    before, after = CONFIG.to_dict(), found.to_dict()
    differ = {
        (name, word) for name in after for word in after[name] if before[name][word] != after[name][word]
    }
    shared = {("tasks", key), ("model", key)} if key in ("n_features", "components") else {(section, key)}
    assert differ == shared


def test_changes_are_judged_together_and_the_last_one_counts():
    changes = [
        "training.tasks_per_step=9",
        "training.micro_batches=3",
        "training.steps=1",
        "training.steps=2",
    ]
    found = with_changes(CONFIG, changes).training
    assert (found.tasks_per_step, found.micro_batches, found.steps) == (9, 3, 2)
    assert with_changes(CONFIG, []) is CONFIG


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.step=5"], "--set training.step=5: unknown key in [training]: 'step'; there are steps, "),
        (["training.steps=many"], "--set training.steps=many: [training] steps is 'many', needs an integer"),
        (
            ["training.steps=0"],
            "--set training.steps=0: [training] steps is 0, needs an integer of at least 1",
        ),
        (
            ["training.steps"],
            "--set training.steps: SECTION.KEY=VALUE is needed, SECTION one of tasks, model, training",
        ),
        (["steps=5"], "--set steps=5: SECTION.KEY=VALUE is needed"),
        (["trainer.steps=5"], "--set trainer.steps=5: SECTION.KEY=VALUE is needed"),
        (["training.steps="], "--set training.steps=: [training] steps is '', needs an integer"),
        (
            ["training.steps=5", "training.micro_batches=3"],
            "--set training.steps=5 --set training.micro_batches=3: [training] tasks_per_step is 4, needs a ",
        ),
        (
            ["model.n_features=3"],
            "--set model.n_features=3: the model's n_features and components must be those",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        with_changes(CONFIG, changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
