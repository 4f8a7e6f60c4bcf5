"""The documentation: the site builds without a warning, and examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import os
import sys
from pathlib import Path

import pytest
from tests import ranks

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


def build(docs: Path, out: Path) -> None:
    from sphinx.cmd.build import build_main

    os.environ["BRAINOF_GALLERY"] = "0"
    words = ["-W", "--keep-going", "-q", "-b", "html", "-D", "html_theme=basic", "-w", f"{out}.txt", docs, out]
    sys.exit(build_main(list(map(str, words))))


@pytest.mark.timeout(400)
def test_the_site_builds(tmp_path):
    """Without running the gallery and in a plain theme, whose pages take a third of the time (`./run docs`: all)."""
    pytest.importorskip("sphinx_gallery")
    child = ranks.CONTEXT.Process(target=build, args=(Path(__file__).parents[1] / "docs", tmp_path / "html"))
    child.start()
    child.join()
    assert child.exitcode == 0, (tmp_path / "html.txt").read_text()
    page = (tmp_path / "html" / "index.html").read_text()
    assert "gallery/plot_1_eeg.html" in page
    assert "brainof.read" in (tmp_path / "html" / "api.html").read_text()
