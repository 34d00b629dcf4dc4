"""A page says when and by what it was made; a commit only where the package is its own checkout."""

import subprocess
import sys

import pytest

from console.origin import ROOT, commit, origin, typed


def test_date_of_the_build_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    found = origin("verify.theorem")
    assert found.date == "1970-01-02 00:00 UTC"
    assert found.command == "python -m verify.theorem"
    assert found.version[0].isdigit()


def test_commit_of_its_own_checkout_alone(tmp_path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, "-C", str(tmp_path), *words], check=True, capture_output=True)  # noqa: S603, S607

    git("init")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    made = commit(tmp_path)
    assert len(made) == 12
    assert commit(inside) == ""  # installed somewhere inside another project
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path) == f"{made}-dirty"
    (tmp_path / ".git" / "HEAD").write_text("broken")
    assert commit(tmp_path) == ""


def test_the_command_as_it_was_typed() -> None:
    code = "from console.origin import typed; print(typed('json.tool')); print(typed('timeit'))"
    words = [sys.executable, "-m", "timeit", "-n1", "-r1", code]
    found = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    first, second = found.stdout.splitlines()[:2]
    assert first == "python -m json.tool"
    assert second.startswith("python -m timeit -n1 -r1 'from console.origin import")
    assert typed("verify.theorem") == "python -m verify.theorem"


def test_the_program_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gmm-theory", "verify", "--only", "em exact"])
    assert typed("verify") == "gmm-theory verify --only 'em exact'"
    assert typed("verify.theorem") == "python -m verify.theorem"
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gmm-theory"])
    assert typed("verify") == "python -m verify"
