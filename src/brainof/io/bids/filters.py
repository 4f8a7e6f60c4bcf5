"""Which recordings of a BIDS tree are meant: by entity, suffix, extension, datatype and derivative."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ...errors import ConfigError, did_you_mean
from .names import ENTITY_NAMES, BidsFile

#: keys of a filter that are no entities
OTHER_KEYS = ("suffix", "extension", "datatype", "derivative")

Wanted = str | list[str] | None


class BidsFilter:
    """Recordings by key -> value, list of values, pattern (fnmatch), or None for "has no such entity".

    Parameters
    ----------
    wanted : mapping
        Keys are entities by their short or long name (`ses` or `session`), `suffix`, `extension`, `datatype` and
        `derivative`. Without `derivative` only raw datasets are meant.

    Raises ConfigError: A key is unknown; the nearest is suggested.
    """

    def __init__(self, wanted: Mapping[str, Wanted] | None = None) -> None:
        self.wanted: dict[str, tuple[str, ...] | None] = {}
        known = {*ENTITY_NAMES, *ENTITY_NAMES.values(), *OTHER_KEYS}
        for key, value in (wanted or {}).items():
            if key not in known:
                raise ConfigError(f"unknown key {key!r}", field="bids", fix=did_you_mean(key, known))
            values = None if value is None else tuple(map(str, value)) if isinstance(value, list) else (str(value),)
            self.wanted[ENTITY_NAMES.get(key, key)] = values
        derivative = self.wanted.pop("derivative", None)
        self.derivative = derivative[0] if derivative else None

    def takes_dataset(self, derivative: str | None, generators: tuple[str, ...]) -> bool:
        """True for a dataset of this derivative name (its folder or a program that made it), or a raw one."""
        if self.derivative is None:
            return derivative is None
        names = [name.lower() for name in ((derivative,) if derivative else ()) + generators]
        return any(fnmatchcase(name, self.derivative.lower()) for name in names)

    def takes(self, file: BidsFile) -> bool:
        """True where every key fits."""
        for key, values in self.wanted.items():
            own = getattr(file, key) if key in OTHER_KEYS else file.entities.get(key)
            if values is None:
                if own:
                    return False
            elif own is None or not any(own == value or fnmatchcase(own, value) for value in values):
                return False
        return True
