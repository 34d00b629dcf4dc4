"""Without python-flint everything else works, and what needs it says in one line what to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from console.errors import BadInputError
from console.extras import missing
from verify.engine import certificates

WITHOUT_FLINT = """
import sys
sys.modules["flint"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "flint" else found(name, *rest)
import runpy
sys.argv = {argv!r}
runpy.run_module({module!r}, run_name="__main__")
"""


def without_flint(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT_FLINT.format(argv=[module, *options], module=module)
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def test_a_certified_line_that_is_asked_for_says_what_to_install(tmp_path: Path) -> None:
    ended = without_flint("verify", "--only", "em-certified", "--out", str(tmp_path / "out"))
    assert ended.returncode == 2
    assert ended.stderr.strip().splitlines() == [f"error: {missing('em-certified', 'certify')}"]
    assert not (tmp_path / "out").exists()


def test_other_lines_work_without_it(tmp_path: Path) -> None:
    ended = without_flint("verify", "--only", "softmax-sink", "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr


def test_the_refusal_names_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    certificates.check_certificates(["--certify"])
    monkeypatch.setattr(certificates, "can_certify", lambda: False)
    certificates.check_certificates([])
    with pytest.raises(BadInputError, match=r"^--certify needs python-flint, .*pip install"):
        certificates.check_certificates(["--certify"])


def test_who_gets_a_certificate() -> None:
    of = certificates.tasks_certified
    assert of(None, 7, certificates.SMALL, 1) == 1
    assert of(None, 7, certificates.SMALL, 2) == 0
    assert of(True, 7, certificates.SMALL, 2) == 7
    assert of(False, 7, 1, 1) == 0


def test_the_line_counts_verdicts() -> None:
    made = [
        certificates.Certificate(verdict, (0.0, 1.0), (2.0, 3.0), 128, 1)
        for verdict in ("held", "held", "unknown", "broken")
    ]
    assert certificates.summary(made) == (
        "certified in ball arithmetic: 4 records, 2 held, 1 broken, 1 unknown"
    )
    assert "--certify" in certificates.summary([])
    assert [certificates.broken_in(one) for one in (*made, None)] == [0, 0, 0, 1, 0]
