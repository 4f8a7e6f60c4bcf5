"""Places of a file where cosmic-ray can change its meaning, and the changed source.

Left out: annotations, text that is only for type checkers, changes that do not compile, and replacements that fail by
type alone (`a + b` becomes `a - b`, not `a << b`; `a < b` becomes `a <= b`, not `a is b`).
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

_ARITHMETIC, _BITS = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}, {"BitOr", "BitAnd", "BitXor"}
_OF_OTHER_TYPES = {("USub", "Invert"), ("USub", "Not"), *(("Invert", other) for other in ("UAdd", "USub", "Not"))}


class Place(NamedTuple):
    """What an operator can change in a file: its `occurrence`-th place there."""

    path: Path
    line: int
    column: int
    kind: str
    operator: Operator
    occurrence: int


class Mutant(NamedTuple):
    """A changed file; `change` is "old line -> new line"."""

    path: Path
    line: int
    source: str
    change: str


class DeleteStatement(Operator):
    """Deletes a call whose value is not used, and `a += b`; cosmic-ray has no such operator."""

    def mutation_positions(self, node):
        """Of a statement that is a call or an augmented assignment."""
        if node.parent is None or node.parent.type != "simple_stmt":
            return
        call = node.type in ("atom_expr", "power") and node.children[-1].type == "trailer"
        sign = node.children[1] if node.type == "expr_stmt" else None
        if call or getattr(sign, "value", "=") not in ("=", ":"):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        """`pass` in its place."""
        return parso.python.tree.Keyword("pass", node.start_pos, node.get_first_leaf().prefix)

    @classmethod
    def examples(cls):
        """None."""
        return ()


def places_of(path: Path) -> Iterator[Place]:
    """All places of a file."""
    source = path.read_text()
    nodes, ignored = list(ast_nodes(get_ast(source))), list(_ignored(source))
    for name, operator in _operators():
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(starts):
            if not any(first <= (line, column) < last for first, last in ignored):
                yield Place(path, line, column, name, operator, occurrence)


def mutant(place: Place) -> Mutant | None:
    """The file changed at a place; None where the change does not compile."""
    source = place.path.read_text()
    try:
        mutated = mutate_code(source, place.operator, place.occurrence)
    except AttributeError:  # cosmic-ray cannot replace a dotted name in `except (module.Error, ...)`
        return None
    if mutated is None or mutated == source or not _compiles(mutated):
        return None
    return Mutant(place.path, place.line, mutated, _change(source, mutated))


def _operators() -> Iterator[tuple[str, Operator]]:
    yield "DeleteStatement", DeleteStatement()
    for name in operator_names():
        kind = get_operator(name)
        if not kind.arguments() and _alike(*name.split("/")[1].split("_")):
            yield name.split("/")[1].split("_")[0], kind()


def _alike(kind: str, old: str = "", new: str = "") -> bool:
    """Whether the replacement can stand for the old operator in the same types."""
    if kind == "ReplaceBinaryOperator":
        return {old, new} <= _ARITHMETIC or {old, new} <= _BITS
    if kind == "ReplaceComparisonOperator":
        return ("Is" in old) == ("Is" in new)
    return (old, new) not in _OF_OTHER_TYPES


def _ignored(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans of annotations and of `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(source)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts.append(node)
        for part in parts:
            if isinstance(part, (ast.expr, ast.stmt)):
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)  # type: ignore[misc]


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _change(source: str, mutated: str) -> str:
    """`old line -> new line`, without indentation; "nothing" where the line is gone."""
    lines = list(difflib.ndiff(source.splitlines(), mutated.splitlines()))
    old, new = ([line[2:].strip() for line in lines if line.startswith(sign)] for sign in ("- ", "+ "))
    return f"{' '.join(filter(None, old))} -> {' '.join(filter(None, new)) or 'nothing'}"
