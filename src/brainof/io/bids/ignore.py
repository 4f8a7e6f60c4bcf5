""".bidsignore: patterns of files that do not belong to a dataset, in the syntax of .gitignore."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


class Ignore:
    """Decides by relative path; later patterns win, `!` takes a path back.

    Parameters
    ----------
    lines : sequence of str
        Of a .bidsignore file.
    """

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self.rules: list[tuple[re.Pattern[str], bool, bool]] = []
        for line in lines:
            text = line.rstrip()
            if not text or text.startswith("#"):
                continue
            back = text.startswith("!")
            text = text.removeprefix("!").removeprefix("\\")
            only_folders = text.endswith("/")
            self.rules.append((_regex(text.rstrip("/")), back, only_folders))

    @classmethod
    def of(cls, folder: Path) -> Ignore:
        """The rules of `folder/.bidsignore`; none where there is no such file."""
        try:
            return cls((folder / ".bidsignore").read_text(encoding="utf-8", errors="replace").splitlines())
        except OSError:
            return cls()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __call__(self, path: str, is_folder: bool) -> bool:
        """True where `path` (relative to the dataset, forward slashes) is left out."""
        left_out = False
        for pattern, back, only_folders in self.rules:
            if (is_folder or not only_folders) and pattern.fullmatch(path):
                left_out = not back
        return left_out


def _regex(pattern: str) -> re.Pattern[str]:
    # a slash anywhere but at the end ties the pattern to the root; without one it matches in any folder
    anchored = "/" in pattern
    text, place, pattern = "" if anchored else "(?:.*/)?", 0, pattern.lstrip("/")
    while place < len(pattern):
        mark = pattern[place]
        if pattern.startswith("**/", place):
            text, place = text + "(?:.*/)?", place + 3
            continue
        if pattern.startswith("**", place):
            text, place = text + ".*", place + 2
            continue
        closing = pattern.find("]", place + 2) if mark == "[" else -1
        if closing > 0:
            inner = pattern[place + 1 : closing].replace("\\", "\\\\")
            inner = "^" + inner[1:] if inner.startswith("!") else inner
            text, place = f"{text}[{inner}]", closing + 1
            continue
        text += {"*": "[^/]*", "?": "[^/]"}.get(mark, re.escape(mark))
        place += 1
    return re.compile(text)
