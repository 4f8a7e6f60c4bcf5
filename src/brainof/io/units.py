"""Unit texts -> factor to SI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

import numpy as np

from ..channels import UNITS
from ..errors import ReadError

_PREFIX = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}

#: factor from a unit text to the SI unit of the same quantity
FACTORS: dict[str, dict[str, float]] = {
    "V": {f"{prefix}V": factor for prefix, factor in _PREFIX.items()},
    "T": {f"{prefix}T": factor for prefix, factor in _PREFIX.items()},
    "T/m": {
        f"{prefix}T/{length}": factor / metres
        for prefix, factor in _PREFIX.items()
        for length, metres in (("m", 1.0), ("cm", 1e-2), ("mm", 1e-3))
    },
    "a.u.": {"a.u.": 1.0, "au": 1.0, "1": 1.0, "%": 1.0},
}

#: units of recordings of the body and the room: never a brain signal
# fmt: off
NOT_ELECTRICAL = frozenset((
    "%", "c", "degc", "°c", "degf", "f", "k", "bpm", "/min", "1/min", "l/min", "ml/s", "lpm", "hz", "khz", "s",
    "ms", "sec", "g", "mg", "m/s^2", "m/s²", "mmhg", "cmh2o", "kpa", "pa", "bar", "lux", "lx", "us", "ohm",
    "kohm", "mohm", "deg", "rad", "bool", "boolean", "count", "counts", "n/a", "na", "none", "aru", "unitless",
    "1", "bit", "bits", "mm", "cm", "m",
))
# fmt: on

#: texts that stand where a unit is not known
NO_UNIT = ("", "n/a", "na", "none", "1", "unitless")

_MICRO = str.maketrans({"µ": "u", "μ": "u", "\u0083": None, "Ê": "u"})


def plain(unit: str) -> str:
    """A unit text in ASCII: the micro signs become `u`, spaces and a stray byte of older code pages go."""
    text = unit.strip().translate(_MICRO).replace("Â", "").replace(" ", "")
    for word, symbol in (("microvolt", "uV"), ("millivolt", "mV"), ("nanovolt", "nV"), ("volt", "V")):
        if text.lower() in (word, word + "s"):
            return symbol
    return "uV" if text in ("UV", "uv", "Uv") else text


def factor_to_si(unit: str, si: str = "V") -> float | None:
    """Factor from `unit` to the SI unit `si`, or None where the unit is not one of that quantity."""
    return FACTORS[si].get(plain(unit))


def filled_units(units: Mapping[str, str], table: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Unit text of each channel, by channels.tsv (`table`) where the file gives no voltage, and a note."""
    blank = [
        name
        for name, unit in units.items()
        if factor_to_si(unit) is None
        and factor_to_si(table.get(name.strip(), "")) is not None
        and (plain(unit).lower() in NO_UNIT or not is_body_unit(unit))
    ]
    note = f"the file gives no unit for {len(blank)} channels: those of channels.tsv were taken"
    return {**units, **{name: table[name.strip()] for name in blank}}, [note] if blank else []


def unknown_unit(name: str, unit: str, path: Path) -> ReadError:
    """The error for a channel whose unit is no voltage."""
    return ReadError(f"unknown unit {unit!r}", file=path, field=f"unit of {name}", fix="give units=")


def is_body_unit(unit: str) -> bool:
    """True for units of respiration, temperature, movement and the like (never a voltage)."""
    return plain(unit).lower() in NOT_ELECTRICAL


def override_factors(
    units: str | dict[str, str], names: Sequence[str], types: Sequence[str], file: str | PathLike[str] | None
) -> np.ndarray:
    """Factor per channel by `ReadOptions.units`, NaN where it names none; ReadError for a unit of another quantity."""
    patterns = {"*": units} if isinstance(units, str) else units
    factors = np.full(len(names), np.nan)
    for row, (name, kind) in enumerate(zip(names, types, strict=True)):
        unit = next((unit for pattern, unit in patterns.items() if fnmatchcase(name, pattern)), None)
        if unit is None:
            continue
        factor = factor_to_si(unit, UNITS[kind])
        if factor is None:
            problem, fix = f"{unit!r} is not a unit of {kind} channels", f"known: {', '.join(FACTORS[UNITS[kind]])}"
            raise ReadError(problem, file=file, field=f"unit of {name}", fix=fix)
        factors[row] = factor
    return factors
