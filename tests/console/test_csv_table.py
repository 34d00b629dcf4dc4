"""Tables as people write them: what is a header, an index, a label; numbers, remarks and refusals."""

from pathlib import Path

import numpy as np
import pytest

from console.errors import BadInputError
from console.table_file import Chosen, Labels, read_points

X = [[1.5, 2.25], [-3.5, 4.75], [5.125, 6.5]]


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


BODY = ("1.5,2.25", "-3.5,4.75", "5.125,6.5")
SAME_POINTS = {
    "no header": (lines(*BODY), {}, "1, 2"),
    "a header": (lines("x,y", *BODY), {}, "x, y"),
    "pandas, to_csv(index=False), columns without names": (lines("0,1", *BODY), {"header": True}, "0, 1"),
    "a header of years": (lines("2019,2020", *BODY), {"header": True}, "2019, 2020"),
    "a comment above": (lines("# made by hand", *BODY), {}, "1, 2"),
    "a header below a comment": (lines("# made by hand", "#", "x,y", *BODY), {}, "x, y"),
    "a comment in the middle": (lines(BODY[0], "# below: the second day", *BODY[1:]), {}, "1, 2"),
    "numpy.savetxt": (lines("1.5 2.25", "-3.5 4.75", " 5.125  6.5 "), {}, "1, 2"),
    "spaces, with a header": (
        lines("# a comment, with a comma", "x y", "1.5 2.25", "-3.5 4.75", "5.125 6.5"),
        {},
        "x, y",
    ),
    "quoted names": (lines('"a, b","c"', *BODY), {}, "a, b, c"),
    "columns by name": (
        lines("id,x,kind,y", "7,1.5,a,2.25", "8,-3.5,b,4.75", "9,5.125,a,6.5"),
        {"columns": "x,y"},
        "x, y",
    ),
    "columns by number": (lines("1.5,9,2.25", "-3.5,9,4.75", "5.125,8,6.5"), {"columns": "1,3"}, "1, 3"),
    "a range of columns": (lines("9,1.5,2.25", "9,-3.5,4.75", "8,5.125,6.5"), {"columns": "2-3"}, "2, 3"),
    "names that are numbers": (
        lines("2,1", "2.25,1.5", "4.75,-3.5", "6.5,5.125"),
        {"header": True, "columns": "1,2"},
        "1, 2",
    ),
}
INDEXED = {
    "pandas, to_csv()": lines(",x,y", "0,1.5,2.25", "1,-3.5,4.75", "2,5.125,6.5"),
    "pandas, columns without names": lines(",0,1", "0,1.5,2.25", "1,-3.5,4.75", "2,5.125,6.5"),
    "pandas, rows chosen": lines(",x,y", "17,1.5,2.25", "3,-3.5,4.75", "5,5.125,6.5"),
    "pandas, tabs": lines("\tx\ty", "0\t1.5\t2.25", "1\t-3.5\t4.75", "2\t5.125\t6.5"),
    "R, write.csv": lines('"","x","y"', '"1",1.5,2.25', '"2",-3.5,4.75', '"3",5.125,6.5'),
    "R, write.table": lines('"x" "y"', "1 1.5 2.25", "2 -3.5 4.75", "3 5.125 6.5"),
}


def read(folder: Path, text: str, **options):
    path = folder / "d.csv"
    path.write_text(text, encoding="utf-8")
    return read_points(path, Chosen(**options))


@pytest.mark.parametrize("case", list(SAME_POINTS))
def test_the_same_points(case, tmp_path):
    text, options, names = SAME_POINTS[case]
    found = read(tmp_path, text, **options)
    assert found.X.tolist() == X
    assert found.read == f"read 3 points, 2 columns: {names}"
    assert found.remarks == ()


@pytest.mark.parametrize("case", list(INDEXED))
def test_an_index_without_a_name_is_left_out_and_said(case, tmp_path):
    found = read(tmp_path, INDEXED[case])
    assert found.X.tolist() == X
    [remark] = found.remarks
    assert remark == "column 1 has no name and numbers the rows: left out; --columns can take it"
    taken = read(tmp_path, INDEXED[case], columns="1-3")
    assert taken.X[:, 1:].tolist() == X
    assert taken.remarks == ()


REFUSED = {
    "numbers above real numbers": (lines("0,1", *BODY), {}, ["line 1", "'0,1'", "--header", "--no-header"]),
    "years above real numbers": (lines("# c", "2019,2020", *BODY), {}, ["line 2", "'2019,2020'", "--header"]),
    "one number above real numbers": (lines("0", "0.5", "1.5"), {}, ["line 1", "'0'", "--no-header"]),
    "names and numbers": (lines("x,2020", *BODY), {}, ["line 1", "'x'", "--header"]),
    "a title above the header": (
        lines("My data", "x,y", *BODY),
        {},
        ["line 2", "2 columns", "line has 1", "#"],
    ),
    "text beside numbers": (
        lines("x,y,kind", "1.5,2,a", "2.5,3,b"),
        {},
        ["data row 1, column 3 'kind' (line 2)", "'a'", "text", "--drop kind", "--label kind"],
    ),
    "text as an index": (lines(",x", "ann,1.5", "bob,2.5"), {}, ["column 1 (line 2)", "'ann'", "--drop 1"]),
    "a trailing comma": (
        lines("x,y,", "1.5,2.5,", "3.5,4.5,"),
        {},
        ["column 3 (line 2)", "empty", "--drop 3"],
    ),
    "header forced away": (lines("x,y", *BODY), {"header": False}, ["data row 1, column 1 (line 1)", "'x'"]),
    "header alone": (lines("1,2"), {"header": True}, ["only a header", "'1,2'"]),
    "comments alone": (lines("# 1,2", "#"), {}, ["empty"]),
    "no such name": (lines("x,y", *BODY), {"columns": "x,z"}, ["--columns x,z", "'z'", "x, y", "1 to 2"]),
    "no such number": (lines(*BODY), {"columns": "3"}, ["--columns 3", "1 to 2"]),
    "number 0": (lines(*BODY), {"columns": "0"}, ["--columns 0", "1 to 2"]),
    "a range too long": (lines(*BODY), {"columns": "1-3"}, ["--columns 1-3", "1 to 2"]),
    "a range backwards": (lines(*BODY), {"columns": "2-1"}, ["--columns 2-1"]),
    "no column": (lines(*BODY), {"columns": ""}, ["--columns ", "''", "1 to 2"]),
    "values that are missing": (
        lines("x,y", "1.5,NA", "2.5,3.5", "3.5,"),
        {},
        ["data row 1, column 2 'y' (line 2) is missing ('NA')", "2 of 3 rows", "--drop y"],
    ),
    "not a number": (lines("x,y", "1.5,nan", *BODY), {}, ["data row 1, column 2 'y'", "is missing ('nan')"]),
    "infinite": (lines("x,y", *BODY, "1,inf"), {}, ["data row 4, column 2 'y' is inf", "finite"]),
    "a letter too many": (lines("x,y", *BODY, "1,2x"), {}, ["data row 4", "'2x'", "a number is needed"]),
    "decimal commas": (lines("x;y", "1,5;2", "2,5;3"), {}, ["'1,5'", "decimal comma"]),
    "nothing left": (lines("x,y", *BODY), {"drop": "x,2"}, ["--drop x,2", "no column of 2"]),
    "the label as a coordinate": (
        lines("x,y", *BODY),
        {"columns": "x", "label": "x"},
        ["--label x", "--columns x"],
    ),
    "several labels": (lines("x,y", *BODY), {"label": "1-2"}, ["--label 1-2", "2 columns"]),
    "no such label": (lines("x,y", *BODY), {"label": "z"}, ["--label z", "'z'", "x, y"]),
    "an empty label": (lines("x,y,l", "1.5,2,", "2.5,3,"), {"label": "l"}, ["--label l", "0 different"]),
    "a hole": (lines(*BODY), {"columns": "1,,2"}, ["--columns 1,,2", "''"]),
    "twice": (lines("x,y", *BODY), {"columns": "x,1"}, ["--columns x,1", "twice"]),
    "a name of two": (lines("x,x", *BODY), {"columns": "x"}, ["--columns x", "2 columns are called 'x'"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_could_be_meant_in_two_ways_is_refused(case, tmp_path):
    text, options, named = REFUSED[case]
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text, **options)
    asked = next((f"--{name}" for name in ("columns", "drop", "label") if name in options), "d.csv")
    for part in (asked, *named):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_first_line_that_may_be_a_point_is_one_where_the_user_says_so(tmp_path):
    found = read(tmp_path, lines("0,1", *BODY), header=False)
    assert found.X.tolist() == [[0.0, 1.0], *X]
    assert found.remarks == ()


def test_a_first_line_among_whole_numbers_is_a_point_with_a_remark(tmp_path):
    found = read(tmp_path, lines("0,1", "1,0", "1,1"))
    assert found.X.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert found.remarks == ("line 1, '0,1', is read as a point; --header if it names the columns",)
    assert read(tmp_path, lines("1,0", "0,1", "1,1")).remarks == ()


ROWS = [f"{0.5 * i},{i * i / 7},{i % 3},{i}" for i in range(9)]


def test_labels_and_a_count_of_the_rows_are_pointed_at(tmp_path):
    found = read(tmp_path, lines("x,y,kind,id", *ROWS))
    assert found.X.shape == (9, 4)
    assert found.remarks == (
        "column kind holds 0 to 2 in whole numbers, as labels do, and is read as a coordinate; "
        "--drop kind leaves it out, --label kind compares the fit with it",
        "column id counts the rows and is read as a coordinate; --drop id leaves it out",
    )
    done = read(tmp_path, lines("x,y,kind,id", *ROWS), drop="id", label="kind")
    assert (done.names, done.remarks) == (("x", "y"), ())
    assert done.labels == Labels("kind", ("0", "1", "2") * 3)
    assert done.read.endswith("; labels: kind, 3 different")
    assert read(tmp_path, lines("x,y,kind,id", *ROWS), columns="x,y").remarks == ()


def test_labels_may_be_text_or_missing(tmp_path):
    found = read(tmp_path, lines("x,kind,y", "1.5,a,2", "2.5,,3", "3.5,NA,4", "4.5,b,5"), label="kind")
    assert found.X.tolist() == [[1.5, 2], [2.5, 3], [3.5, 4], [4.5, 5]]
    assert found.labels == Labels("kind", ("a", "", "", "b"))
    assert found.labels.groups == ["a", "b"]
    assert found.read == "read 4 points, 2 columns: x, y; labels: kind, 2 different, 2 points have none"


@pytest.mark.parametrize(("name", "text"), [("d.tsv", "x\ty\n1.5\t2\n"), ("d.TXT", "x   y\n 1.5  2\n")])
def test_other_files_of_text(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    found = read_points(tmp_path / name)
    assert (found.X.tolist(), found.names) == ([[1.5, 2.0]], ("x", "y"))


def test_arrays_have_columns_and_labels_too(tmp_path):
    table = np.array([[float(v) for v in row.split(",")] for row in ROWS])
    np.save(tmp_path / "d.npy", table)
    found = read_points(tmp_path / "d.npy")
    assert found.read == "read 9 points, 4 columns: 1, 2, 3, 4"
    assert [remark.split(" and ")[0] for remark in found.remarks] == [
        "column 3 holds 0 to 2 in whole numbers, as labels do,",
        "column 4 counts the rows",
    ]
    chosen = read_points(tmp_path / "d.npy", Chosen(columns="2,1"))
    assert np.array_equal(chosen.X, table[:, [1, 0]])
    assert chosen.names == ("column 2", "column 1")
    labelled = read_points(tmp_path / "d.npy", Chosen(label="3", drop="4")).labels
    assert labelled == Labels("column 3", ("0", "1", "2") * 3)
    with pytest.raises(
        BadInputError, match=r"--no-header: is for .csv, .tsv, .txt and .xlsx files, --data is .*d.npy"
    ):
        read_points(tmp_path / "d.npy", Chosen(header=False))


def test_counts_and_grids_are_no_labels(tmp_path):
    grid = [f"{i},{j}" for i in range(4) for j in range(3)]
    assert read(tmp_path, lines("a,b", *grid)).remarks == ()
    assert read(tmp_path, lines("a", *map(str, range(9)))).remarks == ()
