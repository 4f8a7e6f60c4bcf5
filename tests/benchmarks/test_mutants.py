from __future__ import annotations

import json

import pytest
from benchmarks.mutants import PAGE, RESULTS, page
from benchmarks.mutation.places import mutant, places_of
from benchmarks.mutation.runner import Runner

SOURCE = """from __future__ import annotations


class Kept:
    size: int | None = 3

    @property
    def half(self) -> float | None:
        return self.size / 2


def add(items: list[int], more: int | None = None) -> int:
    total = 0
    for item in items:
        total += item
    items.clear()
    if more is not None and total < 10:
        return total
    return -total
"""
TESTS = """from brainof.room import Kept, add


def test_half():
    assert Kept().half == 1.5


def test_add():
    assert add([1, 2], 1) == 3
    assert add([1, 2]) == -3
"""


@pytest.fixture
def project(tmp_path):
    package = tmp_path / "src" / "brainof"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "room.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_room.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def changes(project) -> dict[str, object]:
    found = map(mutant, places_of(project / "src" / "brainof" / "room.py"))
    return {each.change: each for each in found if each is not None}


def test_places_are_changes_of_meaning_and_no_annotations(project):
    found = changes(project)
    assert {
        "return self.size / 2 -> return self.size * 2",
        "@property -> nothing",
        "size: int | None = 3 -> size: int | None = 4",
        "total += item -> pass",
        "items.clear() -> pass",
        "for item in items: -> for item in []:",
        "if more is not None and total < 10: -> if more is not None or total < 10:",
        "if more is not None and total < 10: -> if more is not None and total <= 10:",
        "return -total -> return +total",
    } <= set(found)
    assert not [
        change for change in found if "int &" in change or "float &" in change or "<<" in change or "~" in change
    ]


def test_what_the_library_cannot_change_is_no_mutant(tmp_path):
    file = tmp_path / "room.py"
    file.write_text(
        "import ast\n\n\ndef read():\n    try:\n        return 1 + 2\n    except (ast.Error, OSError):\n        raise\n"
    )
    found = [mutant(place) for place in places_of(file)]
    assert None in found
    assert any(found)


def test_tests_that_reach_the_line_decide(project):
    found = changes(project)
    with Runner(project, ["tests"]) as runner:
        half = found["return self.size / 2 -> return self.size * 2"]
        assert runner.tests_of(half) == ["tests/test_room.py::test_half"]
        assert runner.outcome(half) == "noticed"
        assert runner.outcome(found["items.clear() -> pass"]) == "survived"
        limit = found["if more is not None and total < 10: -> if more is not None and total <= 10:"]
        assert runner.outcome(limit) == "survived"  # no test adds up to 10
        assert runner.outcome(found["@property -> nothing"]) == "noticed"
        assert (project / "src" / "brainof" / "room.py").read_text() == SOURCE
        (project / "tests" / "test_room.py").write_text("def test_wrong():\n    assert False\n")
    with pytest.raises(RuntimeError, match="the tests fail without a change"):
        Runner(project, ["tests"])


def test_the_page_lists_survivors_with_their_reason():
    survivor = {"file": "model/a.py", "line": 3, "change": "a | b -> a & b"}
    text = page({"model": {"seed": 0, "noticed": 8, "out of time": 1, "survivors": [survivor]}})
    assert "| model | 0 | 10 | 9 (90 %) | 1 | 1 |" in text
    assert "| model/a.py:3 | `a \\| b -> a \\& b` |".replace("\\&", "&") in text


def test_the_page_is_what_its_results_give():
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()))
