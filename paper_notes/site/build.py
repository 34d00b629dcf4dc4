"""The documentation site: sources put together, then built by Sphinx; a warning is an error.

    python paper_notes/site/build.py [FOLDER]        # build/site unless given; make docs

Pages written by hand lie here; the notes are those of paper_notes/; pages of commands and of the API are made
from what the code says. Links from a page to a file of the repository must lead to a file that is there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent
ROOT = SITE.parents[1]
sys.path[:0] = [str(SITE), str(ROOT)]

from reference import api_pages, command_pages  # noqa: E402  found beside this file

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
NOTES = "notes"


class LinkError(ValueError):
    """A link that leads nowhere."""


def assemble(folder: Path) -> None:
    """Write every source page below `folder`, which is made anew.

    Raises:
        LinkError: a relative link without a file behind it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns("*.py", "*.toml", "__pycache__"))
    (folder / NOTES).mkdir()
    for path in sorted((ROOT / "paper_notes").iterdir()):
        if path.suffix == ".png":
            shutil.copy(path, folder / NOTES)
        elif path.suffix == ".md":
            text = with_links(path.read_text(encoding="utf-8"), path, NOTES)
            (folder / NOTES / path.name).write_text(text, encoding="utf-8")
    changes = ROOT / "CHANGELOG.md"
    (folder / "changelog.md").write_text(
        with_links(changes.read_text(encoding="utf-8"), changes, "."), encoding="utf-8"
    )
    for name, text in {**command_pages(), **api_pages(SITE / "api.toml")}.items():
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")


def with_links(text: str, path: Path, place: str) -> str:
    """The page's text with links to files that are no pages written as their names in the repository."""
    parts = FENCE.split(text)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: _link(m, path, place), part) for part in parts
    )


def _link(match: re.Match[str], path: Path, place: str) -> str:
    label, target, anchor = match[1], match[2], match[3] or ""
    if "://" in target or target.startswith("mailto:"):
        return match[0]
    file = (path.parent / target).resolve()
    if not file.exists() or not file.is_relative_to(ROOT):
        raise LinkError(f"{path.relative_to(ROOT)}: the link to {target} leads to no file of the repository")
    if file.parent == ROOT / "paper_notes" and file.suffix == ".md":
        where = file.name if place == NOTES else f"{NOTES}/{file.name}"
        return f"[{label}]({where}{anchor})"
    return (
        f"{label} (`{file.relative_to(ROOT)}`)"
        if label.strip("`") != target
        else f"`{file.relative_to(ROOT)}`"
    )


def mathjax() -> Path:
    """The scripts and fonts that set formulas, as their package has them."""
    files = importlib.metadata.files("sphinx-mathjax-offline") or []
    start = next(file for file in files if file.name == "tex-chtml.js")
    return Path(str(start.locate())).parent


def build(target: Path) -> int:
    """Sphinx's exit code: 0 where there was no warning. Examples run with this Python, on one thread."""
    from sphinx.cmd.build import main

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    source = target.parent / f"{target.name}_source"
    assemble(source)
    shutil.rmtree(target, ignore_errors=True)
    scripts = mathjax()
    wanted = ("tex-chtml.js", "output/chtml/fonts/woff-v2")
    code = main(
        ["-b", "html", "-c", str(SITE), "-W", "--keep-going", "-q", "-j", "2", str(source), str(target)]
    )
    for name in wanted:
        goal = target / "_static" / "mathjax" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (scripts / name).is_dir() else shutil.copy)(scripts / name, goal)
    return code


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()))
