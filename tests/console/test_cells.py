"""Finished parts on disk: what is kept, what is not used, and what a stop says."""

import json
import math
from pathlib import Path

import pytest
import typer

from console import cells as module
from console.cells import Cells, code_digest
from console.errors import STOPPED, StoppedError, run_command

RUN = {"seed": 0}


def cells(out, run=RUN, threads=1):
    return Cells(out, "tested", run, ("console",), threads)


def test_a_cell_comes_back_as_it_was_saved(tmp_path):
    data = {"rows": [0.1 + 0.2, math.inf, -math.inf, None], "text": "\u00e9"}
    assert cells(tmp_path).save("d = 2, K = 3", data) == data
    assert cells(tmp_path).load("d = 2, K = 3") == data
    assert math.isnan(cells(tmp_path).save("b", math.nan))
    assert [path.name for path in sorted((tmp_path / "parts").iterdir())] == ["b.json", "d-2-K-3.json"]
    held = json.loads((tmp_path / "parts" / "b.json").read_text())
    assert (held["command"], held["run"], held["format"], held["threads"]) == ("tested", RUN, 1, 1)
    assert held["code"] == code_digest(("console",))
    assert held["versions"]["torch"]


def test_keys_of_one_file_name_are_not_mixed_up(tmp_path):
    cells(tmp_path).save("a b", 1)
    assert cells(tmp_path).load("a-b") is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": "a"}'])
def test_a_damaged_cell_is_not_used(tmp_path, damage):
    kept = cells(tmp_path)
    kept.save("a", 1)
    (tmp_path / "parts" / "a.json").write_text(damage)
    assert kept.load("a") is None


def test_cells_of_another_origin_are_not_used(tmp_path, monkeypatch):
    cells(tmp_path).save("a", 1)
    assert cells(tmp_path, run={"seed": 1}).load("a") is None
    assert cells(tmp_path, threads=2).load("a") is None
    for name, value in (("code_digest", lambda rooms: "x"), ("FORMAT", 2), ("versions", dict)):
        with monkeypatch.context() as other:
            other.setattr(module, name, value)
            assert cells(tmp_path).load("a") is None
    assert cells(tmp_path).load("a") == 1


def test_other_code_has_another_digest(tmp_path, monkeypatch):
    (tmp_path / "console").mkdir()
    (tmp_path / "room").mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "console" / "cells.py"))
    found = []
    for content in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "room" / "a.py").write_text(content)
        found.append(code_digest(("room",)))
    assert found[0] == found[2] != found[1]


def test_a_write_that_is_cut_short_leaves_the_old_cell(tmp_path, monkeypatch):
    kept = cells(tmp_path)
    kept.save("a", 1)
    whole = Path.write_bytes

    def half(self, content):
        whole(self, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        kept.save("a", 2)
    assert cells(tmp_path).load("a") == 1
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["a.json"]


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_every_stop_goes_on_to_the_same_end(tmp_path, stop, capsys):
    keys = ["a", "b", "c"]
    computed = []

    def compute(key):
        if len(computed) == stop:
            raise KeyboardInterrupt
        computed.append(key)
        return key * 2

    whole = [("a", "aa"), ("b", "bb"), ("c", "cc")]
    kept = cells(tmp_path)
    if stop < 3:
        said = f"stopped; {stop} of 3 parts are saved in {tmp_path}" if stop else "nothing is saved"
        with pytest.raises(StoppedError, match=said), kept.stopping(keys):
            list(kept.all_of(keys, compute))
    else:
        assert list(kept.all_of(keys, compute)) == whole
    assert computed == keys[:stop]
    again = cells(tmp_path)
    assert again.missing(keys) == keys[stop:]
    said = f"{tmp_path}: {stop} of 3 parts are there already, going on\n" if stop else ""
    assert capsys.readouterr().err == said
    stop = -1
    assert list(again.all_of(keys, compute)) == whole
    assert computed == keys


def test_a_stop_is_one_line_and_130(tmp_path, capsys):
    app = typer.Typer()

    @app.command()
    def main(keep: bool = False) -> None:
        kept = cells(tmp_path)
        if keep:
            with kept.stopping(["a", "b"]):
                kept.save("a", 1)
                raise KeyboardInterrupt
        raise KeyboardInterrupt

    assert run_command(app, []) == STOPPED
    assert capsys.readouterr().err.strip() == "stopped; nothing of this call is saved"
    assert run_command(app, ["--keep"]) == STOPPED
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"stopped; 1 of 2 parts are saved in {tmp_path}, the same command goes on there"
