"""Circuits come back from their files as they were; what does not fit together is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from circuit_instances import em_circuit, em_tokens, uneven
from model_instances import small_model

from training.interpretability.circuit import Circuit, learned_circuit
from training.interpretability.circuit_files import ENTRIES, KIND, export_circuit, load_circuit
from training.interpretability.recording import record_stream
from training.trainer.tensor_files import encode_side, encode_tensors, read_pair, write_pair


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("suffix", ["", ".safetensors", ".json"])
def test_a_circuit_comes_back(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    circuit = em_circuit(dtype)
    written = export_circuit(circuit, tmp_path / "em")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["em.json", "em.safetensors"]
    assert written == tmp_path / "em.safetensors"
    found = load_circuit(tmp_path / f"em{suffix}")
    for name in ("name", "source", "hypotheses", "blocks", "roles"):
        assert getattr(found, name) == getattr(circuit, name)
    assert found.transformer.shape == circuit.transformer.shape
    tokens = em_tokens(0, dtype)
    assert torch.equal(record_stream(found, tokens).states, record_stream(circuit, tokens).states)


def test_learned_and_uneven_ones_come_back_without_roles(tmp_path: Path) -> None:
    for circuit in (
        learned_circuit(small_model({"loops": 2}), "small", "a test"),
        Circuit("uneven", "a test", (), uneven(norm="rms", causal=True)),
    ):
        found = load_circuit(export_circuit(circuit, tmp_path / circuit.name))
        assert (found.name, found.roles) == (circuit.name, ())
        assert found.transformer.shape == circuit.transformer.shape
        given, weights = circuit.transformer.state_dict(), found.transformer.state_dict()
        assert all(torch.equal(given[name], weight) for name, weight in weights.items())


def test_the_json_reads_as_documented(tmp_path: Path) -> None:
    export_circuit(em_circuit(), tmp_path / "em")
    content = json.loads((tmp_path / "em.json").read_text())
    assert content["shape"]["loops"] == 2
    assert content["blocks"][2] == {"name": "mu", "start": 5, "stop": 7}
    head = content["roles"][1]["heads"][0]
    assert head["role"] == "adds to mu the average of x over tokens, weights softmax(<q.slot, k.log_resp>)"
    assert head["writes"] == content["blocks"][2]
    assert content["roles"][1]["units"][0]["first"] == 0
    assert len(content["tensors_sha256"]) == len(content["sha256"]) == 64


def rewritten(path: Path, tensors: dict[str, torch.Tensor] | None = None, **entries: Any) -> None:
    """The files with other entries or weights, and digests that are right."""
    old, content = read_pair(path, path.with_suffix(".json"), KIND, ENTRIES)
    data = encode_tensors(path, tensors or old)
    kept = {name: content[name] for name in ENTRIES}
    write_pair(path, data, encode_side(path, KIND, data, kept | entries))


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        load_circuit(path)
    assert "\n" not in str(refusal.value)
    assert str(path.with_suffix("")) in str(refusal.value)


def test_a_wrong_head_is_refused(tmp_path: Path) -> None:
    """The control: the two M heads are exchanged in the weights, and nothing else is amiss."""
    path = export_circuit(em_circuit(), tmp_path / "em")
    tensors, _ = read_pair(path, path.with_suffix(".json"), KIND, ENTRIES)
    for name in ("query", "key", "value", "output"):
        key = f"layers.1.attention.{name}"
        tensors[key] = tensors[key].flip(0)
    rewritten(path, tensors)
    refused(path, r"layer 1 \(M\) head 0: the query reads no column of 'slot', which the role names$")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 23}, "has shape .*, its shape needs"),
        ({"attention": "linear"}, "attention is 'linear', needs one of"),
        ({"order": [0, 5]}, "order names layers up to 5"),
        ({"layers": []}, "has a tensor .*, which its shape knows nothing of"),
        ({"loops": "2"}, "loops is '2', needs an integer"),
        ({"causal": None}, "causal is None, needs true or false"),
        ({"surplus": 1}, "has an unknown 'surplus'"),
    ],
)
def test_a_shape_that_is_not_that_of_the_weights(tmp_path: Path, change: dict, message: str) -> None:
    circuit = Circuit("uneven", "a test", (), uneven(order=None))
    path = export_circuit(circuit, tmp_path / "uneven")
    _, content = read_pair(path, path.with_suffix(".json"), KIND, ENTRIES)
    rewritten(path, shape=content["shape"] | change)
    refused(path, message)


def test_negative_sizes_describe_nothing(tmp_path: Path) -> None:
    path = export_circuit(Circuit("uneven", "a test", (), uneven()), tmp_path / "uneven")
    _, content = read_pair(path, path.with_suffix(".json"), KIND, ENTRIES)
    layers = [layer | {"heads": -1} for layer in content["shape"]["layers"]]
    rewritten(path, shape=content["shape"] | {"layers": layers})
    refused(path, "its shape describes no transformer")


def test_roles_and_blocks_that_do_not_fit(tmp_path: Path) -> None:
    path = export_circuit(em_circuit(), tmp_path / "em")
    _, content = read_pair(path, path.with_suffix(".json"), KIND, ENTRIES)
    rewritten(path, blocks=content["blocks"][1:])
    refused(path, "block 'slot' has columns 2 to 5, needs some from 0 on")
    rewritten(path, blocks=content["blocks"], roles=content["roles"][:1])
    refused(path, "the transformer has 2 layers, the roles name 1")
    rewritten(path, roles=content["roles"])
    assert load_circuit(path).roles == em_circuit().roles


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "cannot be read")
    path = export_circuit(em_circuit(), tmp_path / "em")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(path, "is damaged")


def test_weights_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    circuit = em_circuit()
    path = export_circuit(circuit, tmp_path / "em")
    weights = circuit.transformer.state_dict()
    half = {name: torch.zeros_like(weight, dtype=torch.float16) for name, weight in weights.items()}
    rewritten(path, half)
    refused(path, "has tensors of dtype float16, needs float32 or float64 for all")
    circuit.transformer.layers[0].attention.query[0, 0, 0] = torch.nan  # type: ignore[index,union-attr]
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        export_circuit(circuit, tmp_path / "other")
    with pytest.raises(ValueError, match="not saved"):
        export_circuit(em_circuit(), tmp_path / "missing" / "em")
