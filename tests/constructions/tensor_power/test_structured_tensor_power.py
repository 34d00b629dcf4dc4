"""Tensor power from the formulas: every form against its bounds, in both dtypes, and at d = 128."""

import pytest
import torch
from tensor_power_instances import FORMS, check_path, form, instances

from constructions import softmax_tensor_power_construction, tensor_power_construction

DTYPES = [torch.float64, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_within_its_bounds(name: str, dtype: torch.dtype) -> None:
    for d in (1, 3):
        T, v = instances("orthogonal", 6, d, seed=d)
        assert check_path(form(name), T, v, dtype, evaluation="structured").broken() == []


@pytest.mark.parametrize("name", FORMS)
def test_a_run_says_which_evaluation_it_was(name: str) -> None:
    T, v = instances("orthogonal", 2, 3, seed=0)
    for evaluation in ("structured", "dense"):
        assert form(name).run(T, v, evaluation=evaluation).evaluation == evaluation
        assert form(name).run(T[0], v[0], evaluation=evaluation).evaluation == evaluation
    with pytest.raises(ValueError, match="evaluation is None; it is structured or dense"):
        form(name).run(T, v, evaluation=None)  # type: ignore[arg-type]


def test_d_128_takes_no_d_to_the_fourth() -> None:
    """Dense weights would take 18 GB; the tensor itself takes 17 MB."""
    T, v = instances("gaussian", 1, 128, seed=0)
    for power in (
        tensor_power_construction(128, 1),
        tensor_power_construction(128, 1, offset=1.0),
        softmax_tensor_power_construction(128, 1, 5e-3, 2),
    ):
        assert check_path(power, T, v, evaluation="structured").broken() == []
