"""Sphinx: `./run docs` builds the site in docs/_build/html. See docs/decisions/0085-sphinx.md for the choice."""

from __future__ import annotations

import os

import brainof

project, author, copyright = "brainof", "the brainof developers", "the brainof developers, Apache-2.0"
version = release = brainof.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = f"brainof {version}"
exclude_patterns = ["_build", "examples", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
templates_path = ["_templates"]  # a class: its docstring and its methods, each once
# scikit-learn and pydantic make these; their text is their own
_MADE = ", ".join(f"set_{name}_request" for name in ("fit", "score", "predict", "transform", "partial_fit"))
_MADE += ", get_metadata_routing, set_output, model_config"
_OF_OTHERS = "BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin, Module, BaseModel, tuple, object"
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": _MADE}
autodoc_default_options |= {"inherited-members": _OF_OTHERS}
autodoc_typehints = "none"  # the docstrings say types and shapes
napoleon_google_docstring = False
napoleon_use_rtype = False
# links into the repository, which the site does not hold; decisions are listed on their index page
suppress_warnings = ["myst.xref_missing", "config.cache", "ref.python", "toc.not_included"]
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "plot_gallery": os.environ.get("BRAINOF_GALLERY", "1") == "1",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "within_subsection_order": "FileNameSortKey",
}
