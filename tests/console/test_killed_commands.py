"""kill -9 and Ctrl-C at random moments of the real commands: the next call goes on to the same figures."""

import time

import pytest
from killed import figures, started, stop_and_go_on

COMMANDS = {
    "evaluate": ["training.evaluate", "d2", "--grid", "samples", "--quick"],
    "ledger": ["verify", "--only", "em-read-out,em-slope,tensor-paths,softmax-paths,learned-copies"],
    "levels": ["verify.reference_levels", "--tasks", "256"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COMMANDS))
def test_ten_stops_change_no_figure(name, tmp_path):
    arguments, began = COMMANDS[name], time.perf_counter()
    whole = started([*arguments, "--out", str(tmp_path / "whole")])
    _, error = whole.communicate()
    assert whole.returncode == 0, error
    longest = (time.perf_counter() - began) / 2
    stop_and_go_on(arguments, tmp_path / "out", 10, longest, seed=0)
    assert figures(tmp_path / "out") == figures(tmp_path / "whole")
