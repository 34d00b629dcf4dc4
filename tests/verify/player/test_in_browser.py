"""The page in a real browser: clicked through by mouse and keys, its numbers read and compared.

Slow, for a browser starts in seconds: ``pytest -m slow tests/verify/player``. Skipped without Chromium.
"""

import itertools
import time

import pytest
import torch
from browser import browser, opened
from commands import run

from console.output import significant
from constructions.tensor_power.relu import tensor_power_construction
from constructions.tensor_power.softmax import softmax_tensor_power_construction
from verify.em import figures
from verify.tensor.data import gaussian_problem
from verify.tensor.measure import Runtime
from verify.tensor.player import play

pytestmark = pytest.mark.slow

STEPS, TOKENS = 3, 31


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page and the results of a small run: unit covariances, layers E and M."""
    browser()
    out = tmp_path_factory.mktemp("played")
    sizes = ("--dims", 2, "--components", 3, "--samples", TOKENS, "--trials", 1, "--steps", STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "pictures", lambda *_: [])
        _, results = run(out, *sizes, "--pieces", 32, "--no-certify", "--player")
    return out / "player.html", results["played"]


@pytest.fixture(scope="module")
def tab(made):
    with opened(made[0]) as tab:
        yield tab


@pytest.fixture(autouse=True)
def _from_the_start(tab):
    tab.value("document.activeElement.blur()")
    tab.press("Home")
    tab.value("Player.controls.change({ token: 0, head: 0 })")


def shown(tab, selector, what="textContent"):
    return tab.value(f"[...document.querySelectorAll('{selector}')].map((one) => one.{what})")


def said(tab):
    return tab.value("document.getElementById('said').textContent")


def test_every_layer_is_reached_by_clicks_and_its_numbers_are_the_results(tab, made):
    played = made[1]
    for at in range(1, 2 * STEPS + 1):
        tab.click("#next")
        step, layer = (at + 1) // 2, "ME"[at % 2]
        assert said(tab).startswith(f"Step {step} of {STEPS}, layer {layer}; token 0")
        assert (
            tab.value("document.getElementById('layer-title').textContent")
            == f"Layer {layer}, in step {step}"
        )
        assert len(shown(tab, "#formulas math")) >= 3
        assert all(height > 5 for height in shown(tab, "#formulas math", "getBoundingClientRect().height"))
        done = at // 2
        cells = tab.value(
            "[...document.querySelectorAll('#numbers td')]"
            ".map((one) => [one.dataset.key, one.textContent, one.title])"
        )
        assert len(cells) == (27 if done else 0)
        for place, (key, text, title) in enumerate(cells):
            value = played["steps"][done - 1]
            for name in key.split("."):
                value = value[name]
            value = value[place // 9]
            assert float(title) == value
            assert text == significant(value, 4)
    assert tab.value("document.getElementById('next').disabled") is True
    assert tab.complaints == []


def test_the_bars_of_a_token_hold_the_means_and_weights_of_the_results(tab, made):
    tab.press("End")
    end = made[1]["steps"][-1]["layers"]
    for token in range(3):
        titles = shown(tab, '#bars [data-block="mu"] .value', "title")
        assert list(map(float, titles)) == end["means"][token]
        weights = shown(tab, '#bars [data-block="pi"] .value', "title")
        assert list(map(float, weights)) == end["weights"]
        assert shown(tab, '#bars [data-block="mu"] .written') == ["written"]
        assert shown(tab, '#bars [data-block="resp"] .emptied') == ["emptied"]
        assert shown(tab, '#bars [data-block="resp"] .value') == []
        tab.press("ArrowDown")


def test_keys(tab):
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    assert "layer M" in said(tab)
    assert shown(tab, '#heads [aria-checked="true"]') == ["head 1"]
    tab.press("2")
    assert shown(tab, '#heads [aria-checked="true"]') == ["head 2"]
    assert len(shown(tab, "#lines line")) == TOKENS  # a plain average attends to all alike
    tab.press("9")  # there is no such head
    assert shown(tab, '#heads [aria-checked="true"]') == ["head 2"]
    tab.press("ArrowLeft")
    assert "Step 1" in said(tab)
    assert "layer E" in said(tab)
    tab.press("ArrowDown")
    tab.press("ArrowDown")
    tab.press("ArrowUp")
    assert "token 1 " in said(tab)
    tab.press("End")
    assert f"Step {STEPS} of {STEPS}, layer M" in said(tab)
    tab.press("ArrowRight")
    assert f"Step {STEPS} of {STEPS}, layer M" in said(tab)
    tab.press("Home")
    assert said(tab).startswith("Start")
    assert shown(tab, "#lines line") == []
    assert tab.complaints == []


def test_space_plays_and_stops(tab):
    tab.value("Player.PAUSE = 50")
    tab.press(" ")
    assert tab.value("document.getElementById('play').textContent") == "stop"
    end = time.monotonic() + 60
    while tab.value("document.getElementById('play').textContent") == "stop" and time.monotonic() < end:
        time.sleep(0.1)
    assert f"Step {STEPS} of {STEPS}, layer M" in said(tab)
    tab.value("Player.PAUSE = 1e6")
    tab.click("#play")
    assert said(tab).startswith("Start")  # from the end it begins again
    tab.press(" ")
    assert tab.value("document.getElementById('play').textContent") == "play"


def test_a_click_on_a_point_chooses_its_token(tab):
    tab.press("ArrowRight")
    for token in (7, TOKENS - 1):
        at = tab.value(
            f"(() => {{ const one = document.querySelectorAll('#points circle')[{token}];"
            " one.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        tab.click_at(*at)
        assert f"token {token} " in said(tab)
        assert tab.value("Number(document.getElementById('token').value)") == token
        point = tab.value(f"Player.scene.own.points[{token}]")
        assert list(map(float, shown(tab, '#bars [data-block="x"] .value', "title"))) == point


def test_a_number_typed_as_token_and_keys_afterwards(tab):
    tab.click("#token")
    tab.press("ArrowRight")  # the field's own key: it moves its cursor
    assert said(tab).startswith("Start")
    tab.value("document.getElementById('token').select()")
    tab.press("1")
    tab.press("2")
    tab.press("Escape")
    assert "token 12 " in said(tab)
    tab.press("ArrowRight")
    assert "Step 1" in said(tab)


def test_the_step_line_and_its_names_are_clicked(tab):
    tab.click('#ticks [data-at="3"]')
    assert "Step 2 of 3, layer E" in said(tab)
    left, top, width, height = tab.value(
        "(() => { const box = document.getElementById('line').getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })()"
    )
    tab.click_at(left + width - 4, top + height / 2)
    assert "Step 3 of 3, layer M" in said(tab)
    tab.press("ArrowLeft")  # the line has the focus now, and the key still goes one layer back
    assert "Step 3 of 3, layer E" in said(tab)


def test_attention_of_the_e_layer_is_the_responsibilities(tab):
    """By Theorem 1; of the run to rounding, for sums over a slot's tokens are made in the page."""
    tab.press("ArrowRight")
    resp = list(map(float, shown(tab, '#bars [data-block="resp"] .value', "title")))
    weights = tab.value("Player.attention(1, 0, 0)")
    sums = [sum(weights[slot::3]) for slot in range(3)]
    assert sums == pytest.approx(resp, abs=1e-12)
    drawn = list(map(float, shown(tab, "#lines line title")))
    most = max(sums)
    assert sorted(drawn) == pytest.approx(sorted(w for w in sums if w > most / 1000), abs=1e-12)
    assert sum(weights) == pytest.approx(1, abs=1e-12)


def test_dark_and_narrow_with_other_layers(made):
    with opened(made[0], width=380, height=800, scheme="dark") as tab:
        for _ in range(2 * STEPS):
            tab.press("ArrowRight")
        assert tab.value("document.documentElement.scrollWidth <= innerWidth") is True
        assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 27)"
        names = tab.value(
            "[...document.querySelectorAll('#ticks span')].map((one) => {"
            " const box = one.getBoundingClientRect(); return [box.left, box.right]; })"
        )
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(names))
        assert tab.complaints == []


@pytest.mark.parametrize("form", ["relu", "softmax"])
def test_tensor_power_is_clicked_through(form, tmp_path):
    """The second theorem, in the same page: contract and copy or broadcast, every head by its button."""
    problem = gaussian_problem(3, 1, torch.Generator().manual_seed(0))
    power = (
        tensor_power_construction(3, STEPS, normalise="rms")
        if form == "relu"
        else softmax_tensor_power_construction(3, STEPS, 1e-4)
    )
    found, page = play(power, problem, form, Runtime(), STEPS, "verify.test")
    path = tmp_path / "player.html"
    path.write_text(page, encoding="utf-8")
    with opened(path) as tab:
        for at in range(1, 2 * STEPS + 1):
            tab.click("#next")
            heads = len(shown(tab, "#heads button"))
            assert heads == (6 if at % 2 else 2 if form == "relu" else 1)
            for head in range(heads):
                tab.click(f"#heads button:nth-child({head + 1})")
                assert shown(tab, '#heads [aria-checked="true"]') == [f"head {head + 1}"]
                assert any("drawn" in text for text in shown(tab, "#formulas .part b"))
            done = at // 2
            titles = list(map(float, shown(tab, "#numbers td", "title")))
            texts = shown(tab, "#numbers td")
            step = found.steps[done - 1] if done else None
            values = [] if step is None else [step.error, step.bound, step.length]
            assert titles == values
            assert texts == [significant(value, 4) for value in values]
        vector = list(map(float, shown(tab, '#bars [data-block="v"] .value', "title")))
        assert vector == found.steps[-1].layers
        assert tab.complaints == []


def test_a_page_that_fails_is_noticed(made, tmp_path):
    """A control: complaints are seen, and a number that was changed in the page is not the results'."""
    broken = tmp_path / "broken.html"
    text = made[0].read_text(encoding="utf-8")
    broken.write_text(text.replace("Player.start();", "Player.start(); Player.missing();"), encoding="utf-8")
    with opened(broken) as tab:
        assert any("Player.missing is not a function" in line for line in tab.complaints)
        tab.press("End")
        assert f"Step {STEPS}" in said(tab)
    asking = tmp_path / "asking.html"
    asking.write_text(
        text.replace("<body>", '<body><img src="https://example.org/x.png" alt="">'), encoding="utf-8"
    )
    with opened(asking) as tab:
        assert tab.complaints
