"""Labels of recordings and events, as a recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LabelError, check_known
from .discover import fill, inside
from .recipe import LabelSource, Recipe
from .tables import named_array, read_table, scalar


class Labels:
    """Looks up the labels of a recipe for the dataset in `root`; LabelError where a table or a column is missing."""

    def __init__(self, recipe: Recipe, root: str | PathLike[str]) -> None:
        self.sources = recipe.labels
        self.root = root
        for name, source in self.sources.items():
            if source.table is not None and not source.varies:
                self._open(name, source, {})  # what is wrong with it stops a run before it begins

    def of(self, entities: Mapping[str, str]) -> dict[str, str]:
        """Labels of a whole recording, by its entities; LabelError where one that is not optional is missing."""
        labels = {}
        for name, source in self.sources.items():
            if source.event is not None or source.signal is not None:
                continue
            file: Path | None = None
            if source.entity is not None:
                value = entities.get(source.entity, "")
                if not value and not source.optional:
                    fix = f"name it in files.pattern or files.entities; known: {', '.join(sorted(entities))}"
                    raise LabelError(f"the recording has no entity {source.entity!r}", field=f"labels.{name}", fix=fix)
            else:
                file, table = self._open(name, source, entities)
                value = _look_up(name, source, entities, file, table) if table is not None else ""
            labels[name] = _renamed(name, source, value, file)
        return {name: value for name, value in labels.items() if value}

    def of_event(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Labels of a window that was cut on an event (a row of the events table)."""
        labels = {}
        for name, source in self.sources.items():
            if source.event is not None:
                problem, field = "events have no column {!r}", f"labels.{name}.event"
                check_known(source.event, map(str, row), LabelError, problem, field=field)
                labels[name] = _renamed(name, source, str(row[source.event]), None)
        return {name: value for name, value in labels.items() if value}

    def of_span(self, entities: Mapping[str, str], onset: float, duration: float) -> dict[str, str]:
        """Labels of a window (onset, duration in s) by signals beside the recording; LabelError if one is missing."""
        labels = {}
        for name, path in self.signals(entities).items():
            source = self.sources[name]
            values = np.ravel(named_array(path, str(source.variable), f"labels.{name}")).astype(np.float64)
            step = scalar(path, source.step, f"labels.{name}") if isinstance(source.step, str) else source.step
            first, last = (round((time - source.lag) / float(step or 1)) for time in (onset, onset + duration))
            if first >= 0 and last <= len(values):
                part = values[first:last]
                mean = np.log(np.maximum(part, 1e-4)).mean() if source.log else part.mean()
                labels[name] = f"{mean:.6g}"
        return labels

    def signals(self, entities: Mapping[str, str]) -> dict[str, Path]:
        """The file of each label that comes from a signal."""
        return {
            name: inside(self.root, fill(source.signal, entities, f"labels.{name}.signal", LabelError))
            for name, source in self.sources.items()
            if source.signal is not None
        }

    def files(self, entities: Mapping[str, str]) -> dict[str, Path]:
        """The table of each label that has one for a recording; raises as `of`."""
        sources = {name: source for name, source in self.sources.items() if source.table is not None}
        opened = {name: self._open(name, source, entities) for name, source in sources.items()}
        return {name: path for name, (path, table) in opened.items() if table is not None}

    def _open(self, name: str, source: LabelSource, entities: Mapping[str, str]) -> tuple[Path, pd.DataFrame | None]:
        """A label's table and its path; no table where it varies by recording, is not there, and is optional."""
        path = inside(self.root, fill(str(source.table), entities, f"labels.{name}.table", LabelError))
        if source.varies and source.optional and not path.exists():
            return path, None
        table = read_table(path)
        for column in (*source.key, str(source.column)):
            check_known(column, table.columns, LabelError, "no column {!r}", file=path, field=f"labels.{name}")
        return path, table


def _look_up(name: str, source: LabelSource, entities: Mapping[str, str], path: Path, table: pd.DataFrame) -> str:
    """The value of `source.column` in the row of the table that the recording's entities name."""
    rows, keys = np.ones(len(table), bool), []
    for column, template in source.key.items():
        value = fill(template, entities, f"labels.{name}.key", LabelError, path)
        keys.append(f"{column} = {value!r}")
        rows &= table[column].to_numpy() == value
    where, optional = ", ".join(keys) or "this recording", f"set labels.{name}.optional"
    values = sorted(set(table[source.column].to_numpy()[rows]))
    if len(values) > 1:
        text = f"{rows.sum()} rows with {where} disagree ({', '.join(values[:3])})"
        raise LabelError(text, file=path, field=source.column, fix=f"add a column to labels.{name}.key")
    if source.optional or (values and values[0]):
        return values[0] if values else ""
    if values:
        raise LabelError(f"no value where {where}", file=path, field=source.column, fix=f"fill it in or {optional}")
    column = next(iter(source.key), str(source.column))
    known = f"the table has {column} such as {', '.join(map(repr, table[column].unique()[:3]))}"
    fix = f"{known}; add the row, correct the key, or {optional}"
    raise LabelError(f"no row with {where}", file=path, field=f"labels.{name}", fix=fix)


def _renamed(name: str, source: LabelSource, value: str, file: Path | None) -> str:
    """The label of a value, by `source.values` where there are any."""
    if not source.values or not value:
        return value
    if value in source.values or source.optional:
        return source.values.get(value, "")
    problem = f"value {value!r} is not among values ({', '.join(map(repr, source.values))})"
    fix = f"add it to labels.{name}.values, or set labels.{name}.optional"
    raise LabelError(problem, file=file, field=f"labels.{name}", fix=fix)
