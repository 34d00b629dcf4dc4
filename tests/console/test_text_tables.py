"""A printed table becomes columns again."""

from console.text_tables import read_text_table
from constructions.language.tables import text_table


def test_a_table_is_read_back() -> None:
    header, rows = ["layer", "formula", "error"], [["1 E", "a +=  b -- c", ""], ["", "x", "1e-3"]]
    found = read_text_table(f"name\nstream\n{text_table(header, rows)}")
    assert (found.before, found.header, found.rows) == (["name", "stream"], header, rows)


def test_text_without_a_table() -> None:
    found = read_text_table("one\ntwo")
    assert (found.before, found.header, found.rows) == (["one", "two"], [], [])
