"""Sphinx's settings of the documentation site; `build.py` puts its sources together and runs it."""

import importlib.metadata
import sys
from pathlib import Path

SITE = Path(__file__).parent
sys.path[:0] = [str(SITE), str(SITE.parents[1])]

from docstrings import as_rst  # noqa: E402  found beside this file

project = "Theory toolkit"
author = "its contributors"
release = version = importlib.metadata.version("gmm-theory-toolkit")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
mathjax_path = "mathjax/tex-chtml.js"
"""Copied beside the pages by build.py: nothing is loaded from elsewhere."""
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False
"""It would fetch the pages, which a browser forbids where they are files."""
html_static_path = ["static"]
html_css_files = ["site.css"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
pygments_style = "friendly"
smartquotes = False
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_preserve_defaults = True


def setup(app):
    """Docstrings here are plain text with formulas, not reStructuredText."""
    app.connect("autodoc-process-docstring", _shown)


def _shown(app, what, name, value, options, lines):
    lines[:] = as_rst(lines)
