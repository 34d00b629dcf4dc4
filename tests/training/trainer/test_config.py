"""Settings: every shipped preset loads; what is wrong gets one line that names it and what is accepted."""

import dataclasses
import json
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import TINY, preset, settings, tiny_config

from training.model.settings import ModelConfig
from training.tasks import TaskDistribution
from training.trainer.config import PRESETS, ConfigError, RunConfig, TrainingConfig, load_preset

SECTIONS = {"tasks": TaskDistribution, "model": ModelConfig, "training": TrainingConfig}
SHIPPED = sorted(path.stem for path in PRESETS.glob("*.toml"))

INTEGER, NUMBER, FLAG, TEXT = "an integer", "a number", "true or false", "a string"
INTEGERS, PAIR = "a list, each item an integer", "a list of 2, each item "
WRONG = {
    INTEGER: ["3", True, 3.0, [3], {}],
    NUMBER: ["3", True, [3.0], {}, 10**400],
    FLAG: [1, 0, "true", [True]],
    TEXT: [3, True, ["unit"]],
    INTEGERS: [3, "2", ["2"], [2.0], [True], [[2]]],
    PAIR + INTEGER: [64, [64], [64, 128, 256], ["64", "128"], [64.0, 128.0], [False, True]],
    PAIR + NUMBER: [0.5, [0.5], [0.5, 1.0, 1.5], ["0.5", "1.5"], [False, True]],
    "one of tokens, pooling, slots": ["token", "", 1, ["tokens"]],
    "one of transformer, mamba2": ["mamba", 2],
    "one of adamw, muon": ["sgd", "AdamW", True],
    "one of auto, float32, bfloat16": ["float16", 32],
    "one of unit, spherical, diagonal, full, correlated, inverse-wishart": ["tied", 1],
    "one of paper, dirichlet": ["flat", True],
    "one of uniform, log-uniform, spaced": ["log", 2],
    "one of unit, diagonal, full": ["spherical", True],
}
KINDS = {
    "tasks": {
        INTEGER: ["n_features", "degrees"],
        NUMBER: ["separation", "perturbation", "box", "max_cosine", "kappa", "correlation"],
        FLAG: ["sort_weights", "min_max"],
        "one of unit, spherical, diagonal, full, correlated, inverse-wishart": ["covariance"],
        "one of paper, dirichlet": ["weights"],
        "one of uniform, log-uniform, spaced": ["deviation_law"],
        INTEGERS: ["components"],
        PAIR + INTEGER: ["samples"],
        PAIR + NUMBER: ["deviation_range"],
    },
    "model": {
        INTEGER: ["n_features", "layers", "heads", "width", "mlp_ratio", "max_positions", "loops"],
        NUMBER: ["data_scale"],
        FLAG: ["task_embedding", "causal", "standardise"],
        INTEGERS: ["components"],
        "one of tokens, pooling, slots": ["readout"],
        "one of transformer, mamba2": ["backbone"],
        "one of unit, diagonal, full": ["covariance"],
    },
    "training": {
        INTEGER: [
            *("steps", "tasks_per_step", "micro_batches", "warmup", "polish_steps", "threads", "seed"),
            *("log_every", "evaluate_every", "evaluation_tasks"),
        ],
        NUMBER: [
            *("learning_rate", "final_fraction", "muon_share", "beta2", "weight_decay", "clip"),
            *("polish_from", "checkpoint_seconds", "deep_supervision"),
        ],
        FLAG: ["compile"],
        TEXT: ["loss", "init"],
        "one of adamw, muon": ["optimiser"],
        "one of auto, float32, bfloat16": ["precision"],
    },
}


def refused(data) -> str:
    """The line with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_loads_and_survives_json(name):
    config = load_preset(name)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert load_preset(str(PRESETS / f"{name}.toml")) == config


def test_the_presets_that_are_promised_are_there():
    assert {"smoke", "cpu-small", "paper"} <= set(SHIPPED)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_of_kinds_names_every_key(section):
    named = [key for keys in KINDS[section].values() for key in keys]
    assert sorted(named) == sorted(get_type_hints(SECTIONS[section]))


@pytest.mark.parametrize("section", SECTIONS)
def test_values_of_a_wrong_type(section):
    for kind, keys in KINDS[section].items():
        for key in keys:
            for value in WRONG[kind]:
                shown = tuple(value) if isinstance(value, list) else value
                message = refused(settings(**{section: {key: value}}))
                assert message == f"[{section}] {key} is {shown!r}, needs {kind}"


def test_an_integer_is_a_fine_number():
    assert tiny_config(training={"learning_rate": 1}) == tiny_config(training={"learning_rate": 1.0})


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_keys(section):
    known = ", ".join(field.name for field in dataclasses.fields(SECTIONS[section]))
    for key in ("stepz", "", "Steps", "n_features "):
        message = refused(settings(**{section: {key: 1}}))
        assert message == f"unknown key in [{section}]: {key!r}; there are {known}"


def test_sections():
    assert refused({**TINY, "trainer": {}}) == "unknown section: 'trainer'; there are tasks, model, training"
    for name in ("tasks", "training"):
        rest = {key: value for key, value in TINY.items() if key != name}
        assert refused(rest) == f"section [{name}] is missing"
    for name in SECTIONS:
        for value in (3, "x", [], None):
            message = refused({**TINY, name: value})
            assert message.startswith(f"key in [{name}]: got {type(value).__name__}, needs a table of ")
    assert refused([]).startswith("section: got list, needs a table of tasks, model, training")
    assert RunConfig.from_dict({key: TINY[key] for key in ("tasks", "training")}).model == ModelConfig(
        2, (1, 2)
    )


@pytest.mark.parametrize(("section", "key"), [("tasks", "n_features"), ("training", "steps")])
def test_missing_keys(section, key):
    data = settings()
    del data[section][key]
    assert refused(data) == f"[{section}] {key} is missing"


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("section", "values", "needs"),
    [
        ("tasks", {"n_features": 0}, "n_features is 0, needs an integer of at least 1"),
        ("tasks", {"components": []}, "components is (), needs at least one"),
        ("tasks", {"components": [0]}, "a number of components is 0, needs an integer of at least 1"),
        ("tasks", {"samples": [0, 4]}, "samples[0] is 0, needs an integer of at least 1"),
        ("tasks", {"samples": [8, 4]}, "samples[1] is 4, needs an integer of at least 8"),
        (
            "tasks",
            {"covariance": "tied"},
            "covariance is 'tied', needs one of unit, spherical, diagonal, full, correlated, inverse-wishart",
        ),
        ("tasks", {"box": 0.0}, "box is 0.0, needs a finite number > 0"),
        ("tasks", {"box": INFINITY}, "box is inf, needs a finite number > 0"),
        ("tasks", {"perturbation": -1.0}, "perturbation is -1.0, needs a finite number >= 0"),
        ("tasks", {"separation": NAN}, "separation is nan, needs a finite number > 0"),
        ("model", {"width": 9, "heads": 2}, "width is 9, needs a multiple of heads = 2"),
        ("model", {"layers": 0}, "layers is 0, needs an integer of at least 1"),
        ("model", {"data_scale": 0.0}, "data_scale is 0.0, needs a positive finite number"),
        ("model", {"max_positions": -1}, "max_positions is -1, needs an integer of at least 0"),
        (
            "model",
            {"components": [2, 1]},
            "components is (2, 1), needs different integers in ascending order",
        ),
        ("training", {"steps": 0}, "steps is 0, needs an integer of at least 1"),
        ("training", {"micro_batches": 3}, "tasks_per_step is 4, needs a multiple of micro_batches = 3"),
        ("training", {"loss": "mse"}, "loss is 'mse', needs one of ordered, matched, divergence, likelihood"),
        (
            "training",
            {"learning_rate": 0.0},
            "learning_rate is 0.0, needs a positive number of at most 1e+09",
        ),
        ("training", {"learning_rate": NAN}, "learning_rate is nan, needs a positive number"),
        ("training", {"muon_share": 2e9}, "muon_share is 2000000000.0, needs a positive number of at most"),
        ("training", {"clip": INFINITY}, "clip is inf, needs a positive finite number"),
        ("training", {"checkpoint_seconds": -1.0}, "checkpoint_seconds is -1.0, needs a positive finite"),
        ("training", {"final_fraction": 1.1}, "final_fraction is 1.1, needs a number from 0 to 1"),
        ("training", {"polish_from": NAN}, "polish_from is nan, needs a number from 0 to 1"),
        ("training", {"beta2": 1.0}, "beta2 is 1.0, needs a number from 0 on and below 1"),
        ("training", {"weight_decay": -0.1}, "weight_decay is -0.1, needs a finite number from 0 on"),
        ("training", {"seed": -1}, "seed is -1, needs an integer of at least 0"),
        ("training", {"seed": 2**64}, f"seed is {2**64}, needs an integer of at most {2**64 - 1}"),
        ("training", {"threads": 1025}, "threads is 1025, needs an integer of at most 1024"),
        ("training", {"evaluation_tasks": 1}, "evaluation_tasks is 1, needs an integer of at least 2"),
    ],
)
def test_values_out_of_range(section, values, needs):
    assert refused(settings(**{section: values})).startswith(f"[{section}] {needs}")


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"model": {"n_features": 3}}, "the model's n_features and components must be those of the tasks"),
        ({"model": {"components": [1]}}, "the model's n_features and components must be those of the tasks"),
        ({"training": {"loss": "ordered"}}, "loss 'ordered' needs tasks with sort_weights = true"),
        (
            {"model": {"covariance": "diagonal"}, "tasks": {"covariance": "full"}},
            "loss 'matched' of diagonal covariances needs tasks of unit or diagonal ones, not 'full'",
        ),
        (
            {"model": {"covariance": "full"}},
            "loss is 'matched', a full covariance needs divergence or likelihood",
        ),
        (
            {"model": {"covariance": "diagonal"}, "training": {"polish_steps": 1}},
            "polish_steps needs unit covariances",
        ),
        (
            {"tasks": {"covariance": "diagonal"}, "training": {"polish_steps": 1}},
            "polish_steps needs unit covariances",
        ),
        ({"model": {"max_positions": 7}}, "max_positions is 7, tasks have up to 8 points"),
    ],
)
def test_sections_that_do_not_fit_together(changes, needs):
    assert refused(settings(**changes)).startswith(needs)


def test_presets_that_cannot_be_read(tmp_path):
    known = f"there are {', '.join(SHIPPED)}, or give the path of a .toml file"
    (tmp_path / "folder.toml").mkdir()
    for name, reason in {
        "smokey": "No such file or directory",
        "": "No such file or directory",
        str(tmp_path / "none.toml"): "No such file or directory",
        str(tmp_path / "folder.toml"): "Is a directory",
        "a" * 300: "File name too long",
        "a" * 300 + ".toml": "File name too long",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_preset(name)
        assert str(caught.value) == f"no preset {name!r} ({reason}); {known}"


@pytest.mark.parametrize(
    "content",
    [
        b"steps = ",
        b"[tasks",
        b"\xff\xfe",
        b"a = 1\na = 2",
        b"a = " + b"[" * 100_000,
        b"\x00",
        b"a = 2026-13-01",
    ],
)
def test_presets_that_are_not_toml(content, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_preset(str(path))
    assert str(caught.value).startswith(f"{path}: not TOML: ")


def test_a_preset_names_its_file_when_a_value_is_wrong(tmp_path):
    path = preset(tmp_path, training={"steps": -1})
    with pytest.raises(ConfigError) as caught:
        load_preset(str(path))
    assert str(caught.value) == f"{path}: [training] steps is -1, needs an integer of at least 1"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([(section, key) for section in SECTIONS for key in get_type_hints(SECTIONS[section])])


@given(place=KEYS, value=VALUES)
def test_any_value_is_a_run_or_a_line(place, value):
    """Nothing but ConfigError, and what is accepted comes back from JSON as it was."""
    section, key = place
    data = settings(**{section: {key: value}})
    lines = []
    try:
        config = RunConfig.from_dict(data)
    except ConfigError as problem:
        lines = str(problem).split("\n")
    else:
        assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config
    assert len(lines) <= 1
