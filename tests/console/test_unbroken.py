"""No line break inside of a number."""

import re

import pytest

from console.unbroken import unbroken


@pytest.mark.parametrize("number", ["1.2e-04", "-3e+05", "9e-300"])
def test_a_number_with_an_exponent_is_one_word(number: str) -> None:
    found = unbroken(f"<style>td {{}}</style><td>{number} of 3</td>")
    assert found == f'<style>td {{}}</style><td><span class="n">{number}</span> of 3</td>'


def test_style_and_attributes_stay_and_so_does_the_text() -> None:
    page = '<style>a { b: 1e-4 }</style><img alt="1e-4" src="data:1e-4"><p>1e-4 to 2.5e-03, the-end</p>\n'
    found = unbroken(page)
    assert found.startswith('<style>a { b: 1e-4 }</style><img alt="1e-4" src="data:1e-4"><p><span')
    assert re.sub(r"</?span[^>]*>", "", found) == page
    assert found.count("<span") == 2
