from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
import pytest

from brainof.errors import StorageError
from brainof.report.page import Image, Section, Table, render, write_page
from brainof.report.training import loss_curves

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Every element is closed in order; collects what is linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            assert dict(attrs)["alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def sections() -> list[Section]:
    frame = pd.DataFrame({"name": ["a", "b"], "score": [0.5, float("nan")], "n": [3, 4], "yes": [True, False]})
    return [
        Section("Loss & more", ["1 < 2"], [Image(loss_curves([]), "The loss.")]),
        Section("Scores", tables=[Table(frame, "All", digits=2)]),
        Section("End"),
    ]


def test_the_page_is_well_formed_and_needs_nothing_else():
    text = render(sections(), "Study <real>", "Made up.")
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert all(link.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,", "#")) for link in checker.links)
    assert checker.links.count("#s1") == 1
    assert not {"link", "iframe", "object", "embed"} & set(checker.seen)
    assert checker.seen.count("script") == 2  # the numbers, and the sorting of tables; both inside the page
    assert "http" not in text
    assert "url(" not in text


def test_text_is_escaped():
    text = render(sections(), "Study <real>")
    assert "<real>" not in text
    assert "Study &lt;real&gt;" in text
    assert "1 &lt; 2" in text


def test_numbers_are_rounded_and_missing_ones_marked():
    text = render(sections())
    assert "<td>0.50</td><td>3</td>" in text
    assert '<td class="missing">–</td>' in text
    assert '<td class="text">yes</td>' in text


def test_the_page_appears_whole_or_not_at_all(tmp_path):
    path = write_page(tmp_path / "page.html", sections())
    assert path.read_text(encoding="utf-8") == render(sections())
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(StorageError, match="absent"):
        write_page(tmp_path / "absent" / "page.html", sections())
