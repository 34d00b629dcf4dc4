"""A table by its columns is the table by its rows."""

from console.sections import Section, Table, table_of


def test_a_column_holds_its_name_and_its_cell():
    columns = [("n", str), ("square", lambda n: str(n * n)), ("n", lambda n: f"{n} again")]
    found = table_of("Squares", (n for n in (1, 2)), columns, "A note.")
    assert found == Table(
        "Squares", ["n", "square", "n"], [["1", "1", "1 again"], ["2", "4", "2 again"]], "A note."
    )
    assert table_of("None", [], columns).rows == []


def test_sections_do_not_share_their_lists():
    one, other = Section(["a"]), Section(["b"])
    one.tables.append(Table("T", [], []))
    assert other.tables == other.pictures == []
