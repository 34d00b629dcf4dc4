"""The documentation site: what it lists, links, docstrings as they are shown; slow: its pages in a browser.

``make docs`` builds it, and runs every cell of the tutorials.
"""

import ast
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import browser, opened
from entries import ENTRIES

ROOT = Path(__file__).parents[2]
SITE = ROOT / "paper_notes" / "site"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOMS = ("constructions", "baselines", "training", "verify")


def load(name):
    spec = importlib.util.spec_from_file_location(f"site_{name}", SITE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(monkeypatch):
    """The builder's modules; what they put into the path goes again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load("build")
    for name in ("reference", "docstrings"):
        sys.modules.pop(name, None)


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ROOMS:
            yield from ((node.module, alias.name) for alias in node.names)


def test_what_the_readme_imports_is_in_the_reference(site) -> None:
    documented = list(sys.modules["reference"].api_names(SITE / "api.toml"))
    names = {name for _, name in documented}
    wanted = {pair for block in BLOCK.findall((ROOT / "README.md").read_text()) for pair in imported(block)}
    assert len(wanted) > 5
    assert {name for _, name in wanted} <= names
    assert len(documented) == len(set(documented))


def test_every_command_has_a_page_with_its_options(site) -> None:
    pages = sys.modules["reference"].command_pages()
    modules = {name.removesuffix(".__main__") for name in ENTRIES}
    assert {f"commands/{name.replace('.', '_')}.md" for name in modules} == set(pages) - {"commands/index.md"}
    assert "`--preset <str>`" in pages["commands/training_train.md"]
    assert all("| `--help` |" in text for name, text in pages.items() if name != "commands/index.md")


def test_a_link_that_leads_nowhere_is_refused(site) -> None:
    page = ROOT / "paper_notes" / "x.md"
    with pytest.raises(site.LinkError, match=r"paper_notes/x\.md: the link to gone\.md leads to no file"):
        site.with_links("[here](gone.md)", page, "notes")
    assert site.with_links("[here](choosing.md#a)", page, "notes") == "[here](choosing.md#a)"
    assert site.with_links("[here](../README.md)", page, "notes") == "here (`README.md`)"
    assert site.with_links("```\n[here](gone.md)\n```", page, "notes") == "```\n[here](gone.md)\n```"


def test_every_link_of_every_note_leads_to_a_file(site) -> None:
    for path in (ROOT / "paper_notes").glob("*.md"):
        site.with_links(path.read_text(encoding="utf-8"), path, "notes")


DOCSTRING = """
p(x) = |x|_2 of *one* ``point``.

    y = A x   +  b

    z = y

name, other    what it is
               and more
last           :func:`f` here

Args:
    X: (N, d) points,
        of any *kind*.
    a, b: two.

Raises:
    ValueError: no.
"""

SHOWN = r"""
p(x) = \|x\|\_2 of \*one\* ``point``.

.. code-block:: text

        y = A x   +  b

.. code-block:: text

        z = y

* ``name, other``: what it is and more
* ``last``: ``f`` here

**Args**

* ``X``: (N, d) points, of any \*kind\*.
* ``a``, ``b``: two.

**Raises**

* ``ValueError``: no.
"""


def test_docstrings_are_shown_as_they_are_written() -> None:
    found = load("docstrings").as_rst(DOCSTRING.strip().splitlines())
    assert "\n".join(found).strip() == SHOWN.strip()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    browser()
    if importlib.util.find_spec("myst_nb") is None:
        pytest.skip("the packages of the extra docs are not installed")
    target = tmp_path_factory.mktemp("docs") / "site"
    subprocess.run([sys.executable, SITE / "build.py", target], check=True, capture_output=True)  # noqa: S603
    return target


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(built) -> None:
    loads = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?:https?:)?//""")
    pages = list(built.rglob("*.html"))
    assert len(pages) > 50
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []


def troubles(tab):
    """Complaints but for files of the site, and pictures written into its style sheets."""
    return [one for one in tab.complaints if not one.startswith(("asked for file:", "asked for data:"))]


@pytest.mark.slow
def test_every_page_opens_without_a_complaint_and_with_its_formulas(built) -> None:
    for page in sorted(built.rglob("*.html")):
        source = page.read_text(encoding="utf-8")
        formulas = len(re.findall(r'class="math[ "]', source))
        with opened(page) as tab:
            if formulas:
                tab.value("MathJax.startup.promise.then(() => 1)")
                drawn = "[...document.querySelectorAll('mjx-container')]"
                sizes = tab.value(f"{drawn}.map((one) => one.getBoundingClientRect().height)")
                assert len(sizes) >= formulas, page.name
                assert all(size > 3 for size in sizes), page.name
                assert tab.value("document.querySelectorAll('mjx-merror').length") == 0, page.name
            assert troubles(tab) == [], page.name


@pytest.mark.slow
def test_search_finds_pages(built) -> None:
    with opened(built / "search.html", query="?q=certificate") as tab:
        links, found, end = "document.querySelectorAll('#search-results li a')", [], time.monotonic() + 60
        while len(found) < 4 and time.monotonic() < end:
            found = tab.value(f"[...{links}].map((one) => one.textContent)")
        assert "Read a certificate" in found
        assert troubles(tab) == []
