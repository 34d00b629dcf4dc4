"""The program as a shell runs it: what it says, its exit codes, completion, Ctrl-C while it loads."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from console.commands import COMMANDS, PROGRAM
from console.starting import STOPPED_EARLY

ROOT = Path(__file__).parents[2]
SCRIPT = """#!{python}
import sys
sys.path[:0] = {folders}
from console.program import main
sys.exit(main())
"""
COMPLETED = {"tr": ["train"], "em-construction --cov": ["--covariance"], "nothing": []}
SHELLS = {
    "bash": """eval "$({program} --show-completion bash)"
COMP_WORDS=({program} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_gmm_theory_completion {program}
printf "%s\\n" "${{COMPREPLY[@]}}" """,
    "fish": "{program} --show-completion fish | source; complete --do-complete '{program} {words}'",
    "zsh": """compdef() {{ : }}; _files() {{ : }}
_arguments() {{ print -r -- "${{1#*\\(\\(}}" }}
eval "$({program} --show-completion zsh)"
words=({program} {words}); CURRENT=$#words
_gmm_theory_completion""",
}
"""What a shell does at Tab after the words; of zsh without its completion system, which needs a terminal."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the program, as pip makes it."""
    return with_program(tmp_path_factory.mktemp("bin"), ROOT)


def with_program(folder: Path, *places: Path) -> Path:
    (folder / PROGRAM).write_text(SCRIPT.format(python=sys.executable, folders=[*map(str, places)]))
    (folder / PROGRAM).chmod(0o755)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "80"}
    return subprocess.run(  # noqa: S603
        [*words], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def test_help_names_every_command_in_a_line_of_its_own(folder: Path) -> None:
    shown = run(folder, PROGRAM, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert run(folder, PROGRAM).stdout == shown.stdout
    lines = [line.split() for line in shown.stdout.partition("Commands:")[2].splitlines()]
    assert [words[0] for words in lines if words and words[0] in COMMANDS] == list(COMMANDS)
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_a_command_is_the_module_of_its_name(folder: Path) -> None:
    shown = run(folder, PROGRAM, "train", "--help").stdout
    assert shown.startswith(f"Usage: {PROGRAM} train [OPTIONS]\n")
    module = subprocess.run(
        [sys.executable, "-m", "training.train", "--help"],
        env=os.environ | {"COLUMNS": "80"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.partition("\n")[2] == module.partition("\n")[2]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tran", f"error: tran: no command; it is one of {', '.join(COMMANDS)}\n"),
        ("--bar", "error: No such option: --bar\n"),
        ("train", "error: Missing option '--out'.\n"),
        ("certified-regions --radii x", "error: --radii x: numbers separated by commas are needed, as in"),
    ],
)
def test_bad_input_is_one_line_and_code_2(words: str, line: str, folder: Path) -> None:
    refused = run(folder, PROGRAM, *words.split())
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(line)
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_shell_completes(shell: str, folder: Path) -> None:
    if shutil.which(shell, path="/usr/bin:/bin") is None:
        pytest.skip(f"{shell} is not installed")
    for words, expected in COMPLETED.items():
        done = run(folder, shell, "-c", SHELLS[shell].format(program=PROGRAM, words=words))
        assert done.stderr == ""
        found = [line.split("\t")[0].split(":")[0].strip('"') for line in done.stdout.splitlines()]
        assert [name for name in found if name] == expected, words


def test_completion_is_installed_for_a_shell(folder: Path) -> None:
    done = run(folder, PROGRAM, "--install-completion", "bash")
    assert done.returncode == 0, done.stderr
    [script] = folder.rglob(f"{PROGRAM}.sh")
    assert str(script) in (folder / ".bashrc").read_text()


def test_a_stop_while_it_loads_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    stopped = run(with_program(tmp_path, tmp_path, ROOT), PROGRAM, "verify")
    assert (stopped.returncode, stopped.stderr) == (-signal.SIGINT, STOPPED_EARLY)
