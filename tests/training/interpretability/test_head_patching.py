"""Patching finds the heads of the construction, and a head that is wired to another block is told from it."""

from dataclasses import replace

import pytest
import torch
from circuit_instances import em_circuit, em_tokens

from training.interpretability.circuit import Circuit
from training.interpretability.head_patching import Variable, head_recoveries, recovery

VARIABLES = [
    Variable("resp", 0),
    Variable("mu", 1),
    Variable("pi", 1),
    Variable("resp", 2),
    Variable("mu", 3),
]


def carriers(circuit: Circuit, corrupt: torch.Tensor) -> dict[Variable, list[tuple[int, int]]]:
    """Heads whose patch brings back all of a variable right behind their layer; the others bring back 0."""
    rows = head_recoveries(circuit, em_tokens(0), corrupt, VARIABLES)
    found: dict[Variable, list[tuple[int, int]]] = {variable: [] for variable in VARIABLES}
    for row in rows:
        for variable, value in zip(VARIABLES, row.recoveries, strict=True):
            if variable.layer == row.layer:
                # Equal up to rounding: a state is off by some 2^-53 of a size that is near 1, squared.
                assert value == 0 or abs(value - 1) < 1e-20
                found[variable] += [(row.layer, row.head)] if value else []
    return found


EXPECTED = dict(zip(VARIABLES, [[(0, 0)], [(1, 0)], [(1, 1)], [(2, 0)], [(3, 0)]], strict=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_heads_of_the_construction_and_no_other(seed: int, padded: bool) -> None:
    """Of another start on the same points (seed 0) and of another task."""
    circuit = em_circuit()
    found = carriers(circuit.uniform() if padded else circuit, em_tokens(seed, start=1))
    assert found == EXPECTED


def test_a_head_of_zeros_brings_back_nothing() -> None:
    rows = head_recoveries(em_circuit().uniform(), em_tokens(0), em_tokens(0, start=1), VARIABLES)
    assert [(row.layer, row.head) for row in rows] == [
        (layer, head) for layer in range(4) for head in range(2)
    ]
    assert {row.recoveries for row in rows if (row.layer, row.head) in {(0, 1), (2, 1)}} == {(0.0,) * 5}


def test_wrong_heads_are_told() -> None:
    """The control: the means and the weights are written by the other head, the roles say nothing of it."""
    circuit = em_circuit()
    attention = circuit.transformer.layers[1].attention
    for name in ("query", "key", "value", "output"):
        weight = getattr(attention, name)
        weight.copy_(weight.flip(0).clone())
    found = carriers(replace(circuit, roles=()), em_tokens(0, start=1))
    assert found != EXPECTED
    assert (found[Variable("mu", 1)], found[Variable("pi", 1)]) == ([(1, 1)], [(1, 0)])


def test_recovery_is_its_formula() -> None:
    clean, corrupt = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    assert recovery(clean, corrupt, clean) == 1
    assert recovery(clean, corrupt, corrupt) == 0
    assert recovery(clean, corrupt, torch.tensor([1.0, 3.0])) == 0.75
    assert recovery(clean, corrupt, torch.tensor([1.0, 6.0])) == -3
    with pytest.raises(ValueError, match="the same in both runs"):
        recovery(clean, clean, corrupt)
