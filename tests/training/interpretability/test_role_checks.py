"""Roles that are not those of the weights are refused, each kind of mistake by its own line."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from circuit_instances import em_circuit

from constructions import em_construction
from constructions.gallery import (
    least_squares_construction,
    mirror_descent_construction,
    pca_construction,
    ridge_construction,
)
from constructions.language.transformer import Transformer
from training.interpretability.circuit import circuit_of
from training.interpretability.role_checks import check_blocks, check_roles
from training.interpretability.roles import Columns, LayerRoles

CONSTRUCTIONS = {
    "unit": lambda: em_construction(2, 3, 2, 16),
    "diagonal": lambda: em_construction(2, 3, 1, 16, covariance_type="diagonal"),
    "tied spherical": lambda: em_construction(2, 3, 1, 16, covariance_type="tied_spherical"),
    "full, ReLU pairs": lambda: em_construction(2, 2, 1, 16, covariance_type="full"),
    "full, softmax": lambda: em_construction(2, 2, 1, 16, covariance_type="full", attention="softmax"),
    "least squares": lambda: least_squares_construction(2, 3),
    "ridge": lambda: ridge_construction(2, 3),
    "PCA": lambda: pca_construction(3, 1, 2),
    "mirror descent": lambda: mirror_descent_construction(2, 3, 16),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_roles_of_a_construction_are_those_of_its_weights(name: str) -> None:
    """Of every kind of head and part of an MLP; circuit_of checks."""
    made = CONSTRUCTIONS[name]()
    circuit = circuit_of(made)
    assert len(circuit.roles) == len(made.construction.layers)


def refused(roles: tuple[LayerRoles, ...], transformer: Transformer, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_roles(roles, list(transformer.layers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("query", "the query reads column 0, the role names the blocks slot"),
        ("key", "the key reads column 0, the role names the blocks log_resp"),
        ("value", "the value reads column 2, the role names the blocks x"),
        ("output", "the output writes column 0, the role names the blocks mu"),
    ],
)
def test_a_head_that_reads_or_writes_elsewhere(name: str, message: str) -> None:
    circuit = em_circuit()
    weight = getattr(circuit.transformer.layers[1].attention, name)[0]
    column = 2 if name == "value" else 0
    (weight[:, column] if name == "output" else weight[column])[0] = 1e-3
    refused(circuit.roles, circuit.transformer, rf"layer 1 \(M\) head 0: {message}")


def test_a_head_that_leaves_a_block_of_its_role_alone() -> None:
    circuit = em_circuit()
    circuit.transformer.layers[0].attention.key[0, circuit.columns("half_norm2")] = 0.0  # type: ignore[index]
    message = r"layer 0 \(E\) head 0: the key reads no column of 'half_norm2', which the role names"
    refused(circuit.roles, circuit.transformer, message)


def test_heads_that_are_exchanged() -> None:
    circuit = em_circuit()
    first, second = circuit.roles[1].heads
    roles = (circuit.roles[0], replace(circuit.roles[1], heads=(second, first)))
    refused(roles, circuit.transformer, r"layer 1 \(M\) head 0: the query reads column 2, .* blocks none")


CHANGES: dict[str, tuple[Callable[[Transformer], object], str]] = {
    "reads": (
        lambda t: t.layers[1].mlp.w1[0, 0].fill_(1.0),
        "hidden units 0 to [0-9]+ read column 0, the role names the blocks pi",
    ),
    "writes": (
        lambda t: t.layers[1].mlp.w2[0, 0].fill_(1.0),
        "hidden units 0 to [0-9]+ write column 0, the role names the blocks log_pi",
    ),
    "constant": (
        lambda t: t.layers[1].mlp.b2[0].fill_(1.0),
        "the constant is added to column 0, the role names the blocks log_pi, half_norm2",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@torch.no_grad()
def test_hidden_units_that_do_something_else(name: str) -> None:
    circuit = em_circuit()
    change, message = CHANGES[name]
    change(circuit.transformer)
    refused(circuit.roles, circuit.transformer, rf"layer 1 \(M\):? {message}")


def test_numbers_and_kinds_that_do_not_fit() -> None:
    circuit = em_circuit()
    E, M = circuit.roles
    refused((E,), circuit.transformer, "the transformer has 2 layers, the roles name 1")
    refused((replace(E, heads=()), M), circuit.transformer, r"layer 0 \(E\) has 1 heads, the roles name 0")
    [head] = E.heads
    other = replace(E, heads=(replace(head, attention="relu"),))
    refused((other, M), circuit.transformer, r"layer 0 \(E\) head 0: attention is 'relu', .* 'softmax'")
    fewer = replace(E, units=E.units[:-1])
    refused((fewer, M), circuit.transformer, r"layer 0 \(E\) has [0-9]+ hidden units, the roles name [0-9]+")
    gap = replace(E, units=E.units[1:])
    refused(
        (gap, M),
        circuit.transformer,
        r"layer 0 \(E\): hidden units [0-9]+ to [0-9]+ are named, .* from 0 on",
    )
    refused(
        (replace(E, unit_output=True), M),
        circuit.transformer,
        r"layer 0 \(E\): unit_output is True, the shape says otherwise",
    )


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((Columns("a", 0, 2), Columns("b", 3, 4)), "block 'b' has columns 3 to 4, needs some from 2 on"),
        ((Columns("a", 0, 2), Columns("a", 2, 4)), "block 'a' is there twice, needs a name of its own"),
        ((Columns("a", 0, 2),), "the blocks end at column 2, needs the width 4 of the stream"),
        ((Columns("a", 0, 0), Columns("b", 0, 4)), "block 'a' has columns 0 to 0, needs some from 0 on"),
    ],
)
def test_blocks_that_are_no_stream(blocks: tuple[Columns, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_blocks(blocks, 4)
    check_blocks((Columns("a", 0, 1), Columns("b", 1, 4)), 4)
