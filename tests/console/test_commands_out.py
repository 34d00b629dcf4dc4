"""What --out may be, for every command that has one."""

import importlib

import pytest

from console.errors import run_command

COMMANDS = {
    "training.train": ("--preset", "smoke"),
    "training.evaluate": ("em",),
    "training.compare": ("d2", "--quick"),
    "training.benchmark": ("set-transformer",),
    "training.count": ("cluster-pfn",),
    "training.export": ("em",),
    "training.clustering": ("--quick",),
    "training.curves": ("nowhere",),
    "training.real_data": (),
    "training.release": ("nowhere", "--evaluation", "nowhere", "--name", "d8"),
    "verify.__main__": (),
    "verify.reference_levels": (),
    "verify.em_construction": (),
    "verify.spectral_construction": (),
    "verify.tensor_power": (),
    "verify.softmax_tensor_power": (),
    "verify.resources": (),
    "verify.certified_regions": (),
    "verify.precision": (),
}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_empty_out_does_not_write_into_the_current_folder(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    app = importlib.import_module(name).app
    assert run_command(app, [*COMMANDS[name], "--out", ""]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "--out" in line
    assert "empty" in line
    assert list(tmp_path.iterdir()) == []
