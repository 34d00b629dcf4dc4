"""Roles say what the formulas say."""

from circuit_instances import em

from constructions.language.assembly import Construction, Layer
from constructions.language.heads import linear_pair
from constructions.language.mlp import clear, copy
from constructions.language.scores import dot
from constructions.language.stream import Stream
from training.interpretability.roles import Columns, blocks_of, roles_of


def test_roles_of_em_are_its_three_heads() -> None:
    E, M = roles_of(em().construction)
    assert (E.name, M.name) == ("E", "M")
    [responsibilities], (mean, weight) = E.heads, M.heads
    assert [block.name for block in responsibilities.query] == ["x", "log_pi", "one"]
    assert [block.name for block in responsibilities.key] == ["mu", "slot", "half_norm2", "log_count"]
    assert (responsibilities.value.name, responsibilities.writes.name) == ("slot", "resp")
    assert mean.role == "adds to mu the average of x over tokens, weights softmax(<q.slot, k.log_resp>)"
    assert (mean.query, mean.key) == ((Columns("slot", 2, 5),), (Columns("log_resp", 19, 22),))
    assert weight.role == "adds to pi the average of resp over tokens, equal weights"
    assert (weight.query, weight.key, weight.score) == ((), (), "0")


def test_hidden_units_follow_one_another_and_are_all_named() -> None:
    made = em()
    layers = made.to_transformer().layers
    for roles, layer in zip(roles_of(made.construction), layers, strict=True):
        assert [unit.first for unit in roles.units] == [0, *(unit.stop for unit in roles.units[:-1])]
        assert roles.units[-1].stop == len(layer.mlp.b1)  # type: ignore[union-attr]
    E, M = roles_of(made.construction)
    log, *clears = E.units
    assert log.formula == f"log_resp += {made.log_resp}(resp)"
    assert [[block.name for block in unit.clears] for unit in clears] == [
        ["mu"],
        ["pi"],
        ["log_pi"],
        ["half_norm2"],
    ]
    assert [unit.formula for unit in clears] == ["mu = 0", "pi = 0", "log_pi = 0", "half_norm2 = 0"]
    assert [block.name for unit in M.units for block in unit.writes] == ["log_pi", "half_norm2"]


def test_parts_of_blocks_pairs_of_heads_and_scales() -> None:
    s = Stream(a=4, b=2, c=2)
    pair = linear_pair(dot(s.query.a.part(1, 2), s.key.b), s.b, s.c, 0.5)
    made = Construction(
        "pairs", "a test", s, (s.a, s.b), (Layer("one", (pair,), (clear(s.b), copy(s.c, s.b, 3.0))),)
    )
    [layer] = roles_of(made)
    first, second = layer.heads
    assert first.query == (Columns("a.1", 2, 4),)
    assert first.role == "adds to c 0.5 times the sum of b over tokens, weights relu(<q.a.1, k.b>)"
    assert (first.scale, second.scale) == (0.5, -0.5)
    assert [unit.formula for unit in layer.units] == ["b = 0", "b += 3 c"]
    assert blocks_of(s) == (Columns("a", 0, 4), Columns("b", 4, 6), Columns("c", 6, 8))
