"""A person's .npy file: what is taken, and the line that refuses the rest."""

import numpy as np
import pytest

from console.errors import BadInputError
from console.npy_file import as_finite, read_npy


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float32, ">f8", np.longdouble])
def test_real_numbers_of_any_kind_and_shape(dtype, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(1, 2, 3).astype(dtype))
    found = as_finite(path, "--x", read_npy(path, "--x"))
    assert found.dtype == np.float64
    assert found.tolist() == [[[0, 1, 2], [3, 4, 5]]]


def refusal(path) -> str:
    with pytest.raises(BadInputError) as caught:
        as_finite(path, "--x", read_npy(path, "--x"))
    return str(caught.value)


def test_what_is_refused_is_named_with_its_option(tmp_path):
    files = {name: tmp_path / f"{name}.npy" for name in ("text", "complex", "objects", "hole", "large")}
    files["text"].write_text("1 2 3")
    np.save(files["complex"], np.ones(2) * 1j)
    np.save(files["objects"], np.array([None, 1]), allow_pickle=True)
    np.save(files["hole"], np.array([[1.0, np.nan]]))
    np.save(files["large"], np.array([np.longdouble(10) ** 400]))
    found = {name: refusal(path) for name, path in files.items()}
    assert all(line.startswith(f"--x {files[name]}: ") for name, line in found.items())
    assert "cannot be read" in found["text"]
    assert "holds complex128; real numbers are needed" in found["complex"]
    assert "cannot be read" in found["objects"]
    assert "entry [0, 1] is nan" in found["hole"]
    assert "entry [0] is inf" in found["large"]
    assert "there is no such file" in refusal(tmp_path / "none.npy")
    assert "the suffix is '.txt'" in refusal(tmp_path / "a.txt")
