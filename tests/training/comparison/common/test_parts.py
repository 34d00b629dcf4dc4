"""The control network of a comparison, and random numbers by their paths."""

import torch
from model_instances import small_model

from training.comparison.common.parts import Effort, subject_of
from training.comparison.common.random_paths import Purpose
from training.model.settings import ModelConfig
from training.model.tgmm import TGMM
from training.serving.loading import Released


def test_the_control_is_the_same_shape_with_other_weights_and_global_randomness_is_left_alone() -> None:
    released = Released("tiny", small_model(), "", {})
    state = torch.get_rng_state()
    first, again = (subject_of(released, Effort(True, 3, 8)) for _ in range(2))
    other = subject_of(released, Effort(True, 4, 8))
    assert torch.equal(torch.get_rng_state(), state)
    weights = first.untrained.state_dict()
    assert first.untrained.config == first.model.config
    assert not first.untrained.training
    assert not any(p.requires_grad for p in first.untrained.parameters())
    assert all(torch.equal(weights[k], v) for k, v in again.untrained.state_dict().items())
    name = "backbone.layers.0.attention.query"
    assert not torch.equal(weights[name], other.untrained.state_dict()[name])
    assert not torch.equal(weights[name], first.model.state_dict()[name])
    assert list(first.networks()) == ["learned", "untrained"]


def test_the_control_of_a_network_that_starts_at_em_is_random() -> None:
    config = ModelConfig(2, (2, 3), layers=2, heads=2, width=32, readout="slots", data_scale=1.0)
    subject = subject_of(Released("tiny", TGMM(config), "", {}), Effort(True, 0, 8))
    learned, control = (network.state_dict() for network in (subject.model, subject.untrained))
    for name, weight in control.items():
        assert not torch.equal(weight, learned[name]) or weight.ndim == 1
        assert weight.any() == (weight.ndim > 1)  # biases are 0
    assert learned["backbone.layers.0.mlp.b1"].any()  # EM's are not


def test_generators_repeat_by_path_and_differ_between_paths() -> None:
    subject = subject_of(Released("tiny", small_model(), "", {}), Effort(True, 0, 8))
    paths = [(), (0,), (1,), (0, 0), (1, 0), (0, 1), (301, 3), (301, 5), (302, 3)]
    drawn = [torch.rand(4, generator=subject.generator_at(*path)) for path in paths]
    assert torch.equal(drawn[6], torch.rand(4, generator=subject.generator(Purpose.ATTENTION_TASKS, 3)))
    for i, one in enumerate(drawn):
        assert not any(torch.equal(one, two) for two in drawn[:i])
