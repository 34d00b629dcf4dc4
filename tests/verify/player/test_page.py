"""One file: data that no text in it can break out of, and nothing from elsewhere."""

import json
import re

import pytest

from verify.player.page import FOLDER, SCRIPTS, as_script, player_page
from verify.player.scene import Recorded, Scene, State

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 & \"quoted\" 'so'"


def page_of(title):
    run = Recorded(1, [[0]], [], [], [State(0, None, {}, [])])
    return player_page(Scene("em", title, [title], [], [], run, {"note": title}), "verify.test")


def test_no_text_ends_the_data():
    text = as_script({"name": HOSTILE})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"name": HOSTILE}


def test_a_hostile_name_stays_text():
    page = page_of(HOSTILE)
    assert "<script>alert" not in page
    opened, closed = len(re.findall(r"<script\b", page)), page.count("</script>")
    assert opened == closed == 1 + len(SCRIPTS) + 2  # data, the parts, the picture, main
    data = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["title"] == HOSTILE


def test_a_page_needs_no_other_file_and_no_network():
    page = page_of("title")
    assert not re.search(r"\b(src|href)=|@import|url\(|\bfetch\(|XMLHttpRequest|import\(", page)
    # The one address is the name of SVG, which no browser asks for.
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page


def test_numbers_that_json_has_not_are_null():
    page = player_page(
        Scene("em", "t", [], [], [], Recorded(1, [], [], [], []), {"bound": float("inf")}), "verify.test"
    )
    assert '"own":{"bound":null}' in page


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_scripts_are_small_and_used(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400
    assert path.stem in {*SCRIPTS, "main", "em", "sphere"}
