"""Tables that pandas reads, with a pandas of a few lines in its place: it is no dependency of the tests."""

import math
import sys
import types
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from console.errors import BadInputError
from console.table_file import Chosen, Labels, read_points


@dataclass
class Values:
    values: list

    def tolist(self):
        return self.values

    def isna(self):
        return Values([v is None or (isinstance(v, float) and math.isnan(v)) for v in self.values])


class Frame:
    """What is used of a data frame."""

    def __init__(self, names, rows):
        self.columns, self.rows = names, rows
        self.shape = len(rows), len(names)
        self.iloc = self

    def __getitem__(self, place):
        return Values([row[place[1]] for row in self.rows])


@pytest.fixture
def pandas(monkeypatch):
    """A module that gives the frame put into it; books have a sheet more than the first."""
    module = types.ModuleType("pandas")

    @contextmanager
    def book(_):
        yield types.SimpleNamespace(sheet_names=["Data", "more"], parse=lambda *_, **__: module.frame)

    module.read_parquet, module.ExcelFile = lambda _: module.frame, book
    for name in ("pandas", "pyarrow", "openpyxl"):
        monkeypatch.setitem(sys.modules, name, module if name == "pandas" else types.ModuleType(name))
    return module


def test_a_parquet_file_has_names_numbers_and_labels(pandas, tmp_path):
    (tmp_path / "d.parquet").touch()
    pandas.frame = Frame(["x", 7, "kind"], [[0.1, True, "a"], [1e-300, False, None], [3, True, "b"]])
    found = read_points(tmp_path / "d.parquet", Chosen(label="kind"))
    assert found.X.tolist() == [[0.1, 1.0], [1e-300, 0.0], [3.0, 1.0]]
    assert found.names == ("x", "7")
    assert found.labels == Labels("kind", ("a", "", "b"))
    with pytest.raises(
        BadInputError, match=r"data row 1, column 3 'kind' is 'a', and the whole column is text"
    ):
        read_points(tmp_path / "d.parquet")


def test_a_workbook_is_read_as_a_csv_is(pandas, tmp_path):
    (tmp_path / "d.xlsx").touch()
    pandas.frame = Frame([0, 1], [["x", "y"], [None, None], [1.5, 2], [2.5, math.nan]])
    with pytest.raises(BadInputError, match=r"data row 2, column 2 'y' \(line 4\) is missing"):
        read_points(tmp_path / "d.xlsx")
    found = read_points(tmp_path / "d.xlsx", Chosen(drop="y"))
    assert (found.X.tolist(), found.names) == ([[1.5], [2.5]], ("x",))
    assert found.remarks == ("only the first of 2 sheets, Data, is read",)


def test_files_that_cannot_be_read_are_refused_in_a_line(pandas, tmp_path):
    (tmp_path / "d.parquet").touch()
    (tmp_path / "d.xlsx").touch()
    pandas.frame = Frame(["x"], [])
    with pytest.raises(BadInputError, match="has 0 rows of 1 columns"):
        read_points(tmp_path / "d.parquet")
    with pytest.raises(BadInputError, match="sheet 'Data' is empty"):
        read_points(tmp_path / "d.xlsx")
    pandas.read_parquet = lambda _: 1 / 0
    with pytest.raises(
        BadInputError, match=r"d.parquet: not readable as a .parquet file \(division by zero\)"
    ):
        read_points(tmp_path / "d.parquet")
    with pytest.raises(BadInputError, match=r"--header: is for \.csv"):
        read_points(tmp_path / "d.parquet", Chosen(header=True))


@pytest.mark.parametrize(("suffix", "engine"), [("parquet", "pyarrow"), ("xlsx", "openpyxl")])
@pytest.mark.parametrize("gone", ["pandas", "engine"])
def test_what_is_not_installed_is_named(pandas, suffix, engine, gone, tmp_path, monkeypatch):
    (tmp_path / f"d.{suffix}").touch()
    monkeypatch.setitem(sys.modules, "pandas" if gone == "pandas" else engine, None)
    with pytest.raises(BadInputError) as caught:
        read_points(tmp_path / f"d.{suffix}")
    assert "pip install 'gmm-theory-toolkit[tables]'" in str(caught.value)
    assert "\n" not in str(caught.value)
