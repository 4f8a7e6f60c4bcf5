from __future__ import annotations

import io
import sys

import pytest

from brainof.utils.console import table

ROWS = [{"name": "a", "n": 12, "title": "[bold]one[/]"}, {"name": "long", "n": None, "title": "two"}]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PLAIN = "a     12  [bold]one[/]\nlong      two"


@pytest.mark.parametrize("why", ["pipe", "ci", "absent"])
def test_rows_are_plain_lines(why, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    if why == "ci":
        monkeypatch.setenv("CI", "true")
    if why == "absent":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert table(ROWS, io.StringIO() if why == "pipe" else Terminal()) == PLAIN
    assert table([], sys.stdout) == ""


def test_a_terminal_gets_a_ruled_table(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    text = table(ROWS, Terminal())
    assert "title" in text.splitlines()[0]
    assert "\u2500\u2500" in text.splitlines()[1]
    assert "[bold]one[/]" in text
