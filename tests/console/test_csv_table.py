"""Tables as people write them: what is a header, an index, a label; numbers, remarks and refusals."""

from pathlib import Path

import numpy as np
import pytest

from console.errors import BadInputError
from console.table_file import read_points

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
    return read_points(path, **options)


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
        ["data row 1, column 3 (line 2)", "'a'", "--columns"],
    ),
    "text as an index": (lines(",x", "ann,1.5", "bob,2.5"), {}, ["column 1 (line 2)", "'ann'", "--columns"]),
    "a trailing comma": (lines("x,y,", "1.5,2.5,", "3.5,4.5,"), {}, ["column 3 (line 2)", "''", "--columns"]),
    "header forced away": (lines("x,y", *BODY), {"header": False}, ["data row 1, column 1 (line 1)", "'x'"]),
    "header alone": (lines("1,2"), {"header": True}, ["only a header", "'1,2'"]),
    "comments alone": (lines("# 1,2", "#"), {}, ["empty"]),
    "no such name": (lines("x,y", *BODY), {"columns": "x,z"}, ["--columns x,z", "'z'", "x, y", "1 to 2"]),
    "no such number": (lines(*BODY), {"columns": "3"}, ["--columns 3", "1 to 2"]),
    "number 0": (lines(*BODY), {"columns": "0"}, ["--columns 0", "1 to 2"]),
    "a range too long": (lines(*BODY), {"columns": "1-3"}, ["--columns 1-3", "1 to 2"]),
    "a range backwards": (lines(*BODY), {"columns": "2-1"}, ["--columns 2-1"]),
    "no column": (lines(*BODY), {"columns": ""}, ["--columns ", "''", "1 to 2"]),
    "a hole": (lines(*BODY), {"columns": "1,,2"}, ["--columns 1,,2", "''"]),
    "twice": (lines("x,y", *BODY), {"columns": "x,1"}, ["--columns x,1", "twice"]),
    "a name of two": (lines("x,x", *BODY), {"columns": "x"}, ["--columns x", "2 columns are called 'x'"]),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_could_be_meant_in_two_ways_is_refused(case, tmp_path):
    text, options, named = REFUSED[case]
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text, **options)
    for part in ("d.csv" if "columns" not in options else "--columns", *named):
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
        "to leave it out give --columns x,y,id",
        "column id counts the rows and is read as a coordinate; to leave it out give --columns x,y,kind",
    )
    assert read(tmp_path, lines("x,y,kind,id", *ROWS), columns="x,y").remarks == ()


def test_arrays_have_columns_and_labels_too(tmp_path):
    table = np.array([[float(v) for v in row.split(",")] for row in ROWS])
    np.save(tmp_path / "d.npy", table)
    found = read_points(tmp_path / "d.npy")
    assert found.read == "read 9 points, 4 columns: 1, 2, 3, 4"
    assert [remark.split(" and ")[0] for remark in found.remarks] == [
        "column 3 holds 0 to 2 in whole numbers, as labels do,",
        "column 4 counts the rows",
    ]
    chosen = read_points(tmp_path / "d.npy", columns="2,1")
    assert np.array_equal(chosen.X, table[:, [1, 0]])
    with pytest.raises(BadInputError, match=r"--no-header: is for .csv files, --data is .*d.npy"):
        read_points(tmp_path / "d.npy", header=False)


def test_counts_and_grids_are_no_labels(tmp_path):
    grid = [f"{i},{j}" for i in range(4) for j in range(3)]
    assert read(tmp_path, lines("a,b", *grid)).remarks == ()
    assert read(tmp_path, lines("a", *map(str, range(9)))).remarks == ()
