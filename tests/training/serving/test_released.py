"""Released models: a round trip, and every way in which a file is not one."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from model_instances import mixture_terms, rounding_tolerance

from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving import loading as released
from training.serving.loading import load_released, load_tgmm
from training.serving.shipped import SHIPPED
from training.trainer.checkpoint import save_checkpoint, save_model

CONFIG = ModelConfig(2, (2, 3), layers=1, heads=2, width=8)


def written(
    path: Path, config: ModelConfig = CONFIG, changes=None, tensors=None, dtype=torch.float32
) -> TGMM:
    """A random model, saved with `changes` to its configuration or with other tensors."""
    torch.manual_seed(0)
    model = TGMM(config, dtype=dtype)
    stated = json.loads(json.dumps(asdict(config))) | (changes or {})
    save_model(path, model.state_dict() if tensors is None else tensors, stated, {"steps": 7})
    return model


def assert_same_weights(one: TGMM, other: TGMM) -> None:
    """To the bit: they are copied, not computed."""
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        ModelConfig(3, (2,), layers=1, heads=1, width=4, readout="pooling", causal=True, max_positions=9),
        ModelConfig(2, (1, 4), layers=1, heads=1, width=4, task_embedding=False, covariance="diagonal"),
    ],
)
def test_comes_back_as_it_was(tmp_path, config):
    model = written(tmp_path / "m", config, dtype=torch.float64)
    found = load_released(tmp_path / "m.safetensors")
    assert found.model.config == config
    assert found.training == {"steps": 7}
    assert found.n_parameters == sum(p.numel() for p in model.parameters())
    assert found.sha256 == json.loads((tmp_path / "m.json").read_text())["tensors_sha256"]
    assert not found.model.training
    assert not any(p.requires_grad for p in found.model.parameters())
    X = torch.randn(2, 9, config.n_features, generator=torch.Generator().manual_seed(1))
    K = config.components[-1]
    assert_same_weights(found.model, model)
    # The weights lie at other addresses, so sums over them may be rounded otherwise.
    tolerance = rounding_tolerance(model, lambda: mixture_terms(model(X.double(), K).to_mixture()))
    one, other = (mixture_terms(m.estimate(X, K)) for m in (found.model, model))
    assert (one - other).sum().abs() <= tolerance


def test_name_and_em_layers(tmp_path, monkeypatch):
    model = written(tmp_path / "shipped.safetensors")
    monkeypatch.setitem(released.SHIPPED, "d2", tmp_path / "shipped.safetensors")
    assert load_released("d2").name == "d2"
    X = torch.randn(1, 20, 2, generator=torch.Generator().manual_seed(1))
    polished = load_tgmm("d2", polish_steps=1)
    assert polished.polish is not None
    assert polished.polish.steps == 1
    assert_same_weights(polished, model)
    assert (polished.estimate(X, 3).means - model.estimate(X, 3).means).abs().max() > 0.01
    assert load_tgmm("d2").polish is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, "unknown key in [model]: 'depth'"),
        ({"width": "wide"}, "[model] width is 'wide'"),
        ({"width": 7}, "width is 7, needs a multiple of heads = 2"),
        ({"layers": 10**9}, "too few for layers of its config (1000000000)"),
        ({"components": [2, 10**9]}, "too few for components of its config (1000000000)"),
        ({"mlp_ratio": 10**30}, "too few for mlp_ratio"),
        ({"width": 2**62}, "too few for width"),
        ({"layers": 2}, "has no tensor 'backbone.layers.1."),
        ({"width": 16}, "has shape (2, 8), its config needs (2, 16)"),
        ({"components": [3]}, "its config needs (1, 8)"),
        ({"task_embedding": False}, "has no tensor 'heads.2.weight'"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path, changes, message):
    written(tmp_path / "m", changes=changes)
    with pytest.raises(ValueError, match="m: ") as caught:
        load_tgmm(tmp_path / "m")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(torch.float16, "dtype float16, needs float32 or float64"), (torch.int64, "dtype int64, needs")],
)
def test_weights_of_another_dtype(tmp_path, dtype, message):
    written(tmp_path / "m", tensors={n: t.to(dtype) for n, t in TGMM(CONFIG).state_dict().items()})
    with pytest.raises(ValueError, match=message):
        load_tgmm(tmp_path / "m")


def test_a_tensor_too_many(tmp_path):
    written(tmp_path / "m", tensors=TGMM(CONFIG).state_dict() | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match="has a tensor 'more', which its config knows nothing of"):
        load_tgmm(tmp_path / "m")


def test_a_file_that_is_no_model(tmp_path):
    names = ", ".join(SHIPPED)
    with pytest.raises(ValueError, match=f"no such file; needs a model, or one of {names}"):
        load_tgmm(tmp_path / "none")
    with pytest.raises(ValueError, match="is a folder"):
        load_tgmm(tmp_path)
    checkpoint = save_checkpoint(tmp_path / "run", 3, TGMM(CONFIG).state_dict(), {})
    with pytest.raises(ValueError, match=r"step-00000003\.json"):
        load_tgmm(checkpoint)
    written(tmp_path / "cut")
    content = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        load_tgmm(tmp_path / "cut")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ValueError, match="cannot be read"):
        load_tgmm(tmp_path / "notes.txt")
