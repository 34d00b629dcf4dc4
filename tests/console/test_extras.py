"""One line says what is missing and how to get it; the extras are those of pyproject.toml."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from console.errors import BadInputError
from console.extras import EXTRAS, check_installed, missing

ROOT = Path(__file__).parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_line() -> None:
    line = "--dask x needs distributed, which is not installed: pip install 'gmm-theory-toolkit[distributed]'"
    assert missing("--dask x", "distributed") == line
    assert "pandas, pyarrow and openpyxl, which are not all installed" in missing("d.xlsx", "tables")


@pytest.mark.parametrize("extra", list(EXTRAS))
def test_an_extra_installs_what_its_line_names(extra: str) -> None:
    names = [re.split("[>=<[]", line)[0] for line in DECLARED[extra]]
    assert re.split(", | and ", EXTRAS[extra].removesuffix(" below 4")) == names


def test_every_extra_that_a_command_asks_for_has_its_line() -> None:
    assert set(EXTRAS) == set(DECLARED) - {"dev", "docs"}


def test_what_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed("json", "--dask x", "distributed")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInputError, match=r"^--dask x needs distributed, which is not installed: "):
        check_installed("distributed", "--dask x", "distributed")
