"""Chain: the ordered steps that turn a recording into normalised float32, stored with everything made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from ..channels import MODALITIES
from ..errors import ConfigError, RecordingError, check_known
from ..recording import Recording
from .bads import BadChannels, Repair
from .filters import Detrend, Filter, Notch
from .maxwell import Maxwell
from .rejection import AutoReject
from .resampling import Resample
from .scaling import Normalise, Reference, Volumes
from .steps import Step

#: All steps by name, in the order in which a recipe's overrides are put together
STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        Repair,
        *(Maxwell, Detrend, Resample, Notch, Filter),
        *(BadChannels, Reference, AutoReject, Normalise, Volumes),
    )
}

#: modality -> step -> parameters. fMRI keeps its TR; drift is taken out because it is scanner, not brain.
_SENSORS: dict[str, dict[str, Any]] = {
    "repair": {},
    "resample": {"sfreq": 256.0},
    "filter": {"low": 0.5, "high": 45.0},
    "bad_channels": {},
    "normalise": {"per": "type"},
}
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "eeg": _SENSORS,
    "meg": _SENSORS,
    "fmri": {"repair": {"max_gap": 5.0}, "detrend": {"order": 1}, "normalise": {"per": "channel"}},
}


@dataclass(frozen=True)
class Chain:
    """Steps applied in order.

    Examples
    --------
    >>> chain = default_chain("eeg", {"filter": {"high": 40.0}})
    >>> [step["step"] for step in chain.to_steps()]
    ['repair', 'resample', 'filter', 'bad_channels', 'normalise']
    >>> Chain.from_steps(chain.to_steps()) == chain
    True
    """

    steps: tuple[Step, ...]

    @classmethod
    def from_steps(cls, steps: Sequence[Mapping[str, Any]], file: str | PathLike[str] | None = None) -> Chain:
        """Build from `[{"step": name, **parameters}, ...]`; ConfigError where one is unknown or wrong."""
        return cls(tuple(_step(str(values.get("step")), values, file) for values in steps))

    def to_steps(self) -> list[dict[str, Any]]:
        """Plain values that `from_steps` accepts and JSON can hold."""
        return [{"step": step.name, **step.to_dict()} for step in self.steps]

    @property
    def sfreq(self) -> float | None:
        """Rate after the chain in Hz; None where the chain keeps the recording's own."""
        rates = [step.sfreq for step in self.steps if isinstance(step, Resample)]
        return rates[-1] if rates else None

    def apply(self, recording: Recording) -> Recording:
        """The prepared recording, float32; statistics of steps in its provenance; RecordingError if too short."""
        if not recording.n_channels or not recording.n_times:
            size = f"{recording.n_channels} channels x {recording.n_times} samples"
            raise RecordingError(f"empty recording ({size})", file=recording.file)
        for step in self.steps:
            recording = step.apply(recording)  # rebinding frees the stage before
        if recording.data.dtype != np.float32:
            recording = recording.replace(data=recording.data.astype(np.float32))
        return recording.replace(provenance={**recording.provenance, "chain": self.to_steps()})


def default_chain(
    modality: str,
    overrides: Mapping[str, Mapping[str, Any] | bool] | None = None,
    file: str | PathLike[str] | None = None,
) -> Chain:
    """The chain of a modality ("eeg", "meg", "fmri"), with a recipe's overrides.

    `overrides`: step name -> parameters that replace the defaults; False leaves the step out; a step that the modality
    does not have by default is put at its place in the order of `STEPS` (True: with its own defaults).

    Raises ConfigError: unknown modality, step or parameter.
    """
    check_known(modality, MODALITIES, ConfigError, file=file, field="modality")
    chosen: dict[str, dict[str, Any]] = {name: dict(values) for name, values in DEFAULTS[modality].items()}
    for name, values in (overrides or {}).items():
        field = f"prepare.{name}"
        check_known(name, STEPS, ConfigError, "unknown step", file=file, field=field)
        if values is False:
            chosen.pop(name, None)
            continue
        if modality not in STEPS[name].only:
            raise ConfigError(f"is made for {' and '.join(STEPS[name].only)}, not {modality}", file=file, field=field)
        chosen[name] = {**chosen.get(name, {}), **({} if isinstance(values, bool) else values)}
    return Chain(tuple(_step(name, chosen[name], file) for name in STEPS if name in chosen))


def _step(name: str, values: Mapping[str, Any], file: str | PathLike[str] | None) -> Step:
    check_known(name, STEPS, ConfigError, "unknown step {!r}", file=file, field="step")
    try:
        return STEPS[name].parse({key: value for key, value in values.items() if key != "step"})
    except ConfigError as error:
        field = f"prepare.{name}.{error.field}" if error.field else f"prepare.{name}"
        raise ConfigError(error.problem, file=file, field=field, fix=error.fix) from None
