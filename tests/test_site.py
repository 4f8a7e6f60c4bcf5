"""The documentation: the site builds without a warning, and examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import io
from pathlib import Path

import pytest

import brainof

ROOT = Path(brainof.__file__).parent
MODULES = [
    "brainof." + ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(ROOT.rglob("*.py"))
    if ">>> " in file.read_text() and file.parent != ROOT / "recipes"
]


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_do_what_they_show(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")
def test_the_site_builds(tmp_path, monkeypatch):
    """Every page is read and every reference resolved; the gallery is not run and no HTML written (`./run docs`)."""
    pytest.importorskip("sphinx_gallery")
    application = pytest.importorskip("sphinx.application")
    monkeypatch.setenv("BRAINOF_GALLERY", "0")
    docs, warnings = Path(__file__).parents[1] / "docs", io.StringIO()
    site = application.Sphinx(docs, docs, tmp_path, tmp_path / "trees", "dummy", status=None, warning=warnings)
    site.build()
    assert warnings.getvalue() == ""
    assert "gallery/plot_1_eeg" in site.env.all_docs
    assert "brainof.read" in site.env.domains["py"].objects
