"""How the pages are built: `sphinx-build -W -n docs docs/_build/html`, without a network."""

from __future__ import annotations

from types import GenericAlias, UnionType
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import lstmkit

project = "lstmkit"
author = "the lstmkit authors"
project_copyright = "the lstmkit authors, MIT licence"
release = version = lstmkit.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"
html_theme = "furo"
html_title = f"lstmkit {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["formulas.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give shapes, dtypes and units, which a hint cannot
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# -n: a reference to one of our own names must lead somewhere. Nobody else's pages are asked.
nitpick_ignore_regex = [(r"py:.*", r"(?!lstmkit\b).*")]


def inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(writer: Any, node: Any) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    if node.get("number"):
        writer.body.append(f'<span class="eqno">({node["number"]})</span>')
    writer.body.append(tex2mathml(node.astext(), as_block=True) + "</div>")
    raise nodes.SkipNode


def skip_aliases(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Leave out names of types such as ``Schedule``, whose docstring is that of ``Callable``."""
    return skip or isinstance(obj, GenericAlias | UnionType)


def setup(app: Sphinx) -> None:
    """Formulas as MathML, which a browser draws by itself: the usual script needs a network."""
    app.connect("autodoc-skip-member", skip_aliases)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
