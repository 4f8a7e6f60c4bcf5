"""The house: a package imports only what stands above it in ROOMS, and no two modules import each other."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import brainof

#: From the top: each may import what is above it (docs/architecture.md says what each holds)
ROOMS = """
version errors paths schema
channels recording contract signals
utils
plausibility
io
prepare
corpus
datasets
simulate
stats
model
release
pretraining
inference
adaptation
estimators
interop
evaluation
explain
report
demo
cli
__main__
"""

ROOT = Path(brainof.__file__).parent


def modules() -> dict[str, Path]:
    """Dotted name below brainof -> file; a package is its `__init__`. The facade `brainof/__init__` imports lazily."""
    files = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts).removesuffix("__init__").rstrip(".")] = file
    return {name: file for name, file in files.items() if name}


def imports() -> dict[str, set[str]]:
    """Module -> modules of brainof that it imports anywhere in it, also late or for types alone."""
    files = modules()
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
        graph[name] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *(node.module or "").split(".")]).strip(".")
            elif (node.module or "").split(".")[0] == "brainof":
                base = (node.module or "").removeprefix("brainof").lstrip(".")
            else:
                continue
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                found = inner if inner in files else base
                assert found in files, f"{name} imports {inner} through the facade: import the module itself"
                graph[name].add(found)
        graph[name].discard(name)
    return graph


def test_no_module_imports_downwards():
    rank = {room: number for number, line in enumerate(ROOMS.split("\n")) for room in line.split()}
    rooms = {name.split(".")[0] for name in modules()}
    assert rooms <= set(rank), f"say where {rooms - set(rank)} stands"
    wrong = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in sorted(others)
        if rank[other.split(".")[0]] > rank[name.split(".")[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def three_ways() -> list[list[Any]]:
    """What docs/architecture.md names on each of the ways through the code, in the order of the calls."""
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    ways = page.split("## Three ways through the code")[1].split("## Contracts")[0]
    rooms = {name.split(".")[0] for name in modules()}
    found = []
    for way in ways.split("\n**")[1:]:
        lines = "\n".join(line for line in way.splitlines() if line.startswith("    "))
        names = re.findall(r"\b[a-z_]+(?:\.[A-Za-z_]\w*)+", lines)
        found.append([resolve_name(f"brainof.{name}") for name in names if name.split(".")[0] in rooms])
    return found


def test_the_three_ways_of_the_architecture_page_name_what_is_there():
    assert len(three_ways()) == 3
    assert sum(map(len, three_ways())) > 20


def test_a_reader_of_the_three_ways_seldom_turns_back():
    """Stretches within one file, less the files: at most half of 16, 36 and (as 33 stretches in 17 places) 16."""
    for way, most in zip(three_ways(), (8, 18, 8), strict=True):
        files = [inspect.getsourcefile(named) for named in way]
        stretches = [file for file, _ in itertools.groupby(files)]
        assert len(stretches) - len(set(stretches)) <= most
