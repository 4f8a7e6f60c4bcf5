"""InputContract: what a checkpoint accepts, saved beside its weights and checked before every prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from .channels import UNITS
from .errors import ContractError
from .memory import sampled
from .recording import Recording
from .schema import Schema

#: Robust amplitude (median over channels of the interquartile range) outside which the unit is probably wrong
PLAUSIBLE_AMPLITUDE: dict[str, tuple[float, float]] = {
    "eeg": (1e-7, 2e-3),
    "mag": (1e-15, 1e-9),
    "axial": (1e-15, 1e-8),
    "grad": (1e-14, 1e-8),
}


class ModalityContract(Schema):
    """What one modality of a model was fed.

    `steps` is the serialised preparation chain (a list of {"step": name, ...parameters}) that produced the windows;
    `sfreqs` are the rates after preparation that were seen in training, `window_seconds` the shortest and longest
    window.
    """

    units: dict[str, str]
    steps: list[dict[str, Any]]
    sfreqs: list[float] = Field(default_factory=list)
    window_seconds: tuple[float, float] = (0.0, 0.0)
    frames: list[str] = Field(default_factory=list)
    atlases: dict[str, str] = Field(default_factory=dict)
    """Atlas name -> digest of its ordered channel table."""


class InputContract(Schema):
    """The contract of a checkpoint: one ModalityContract per modality, and the patch length in samples."""

    version: int = 1
    patch: int = 64
    modalities: dict[str, ModalityContract]

    def of(self, recording: Recording) -> ModalityContract:
        """The part for the recording's modality, after checking the recording against it.

        Raises
        ------
        ContractError
            The modality was never trained, the unit or amplitude is wrong, or the recording is shorter than a patch.
        """
        file = recording.provenance.get("file")
        if recording.modality not in self.modalities:
            raise ContractError(
                f"the model was not trained on {recording.modality}",
                file=file,
                field="modality",
                fix=f"it accepts {', '.join(sorted(self.modalities))}",
            )
        contract = self.modalities[recording.modality]
        for kind in sorted(set(recording.channels.types)):
            if kind not in contract.units:
                raise ContractError(
                    f"{kind} channels were not in training",
                    file=file,
                    field="channels",
                    fix=f"pick {sorted(contract.units)}",
                )
            if contract.units[kind] != UNITS[kind]:
                raise ContractError(
                    f"the model takes {contract.units[kind]}, not {UNITS[kind]}", file=file, field=f"unit of {kind}"
                )
        for problem in implausible_amplitudes(recording):
            raise ContractError(problem, file=file, field="unit", fix="give the unit of the file with units=")
        return contract


def implausible_amplitudes(recording: Recording) -> list[str]:
    """One sentence per sensor type whose robust amplitude no living head produces (wrong unit, usually)."""
    problems = []
    types = np.array(recording.channels.types)
    good = np.array([name not in recording.bads for name in recording.channels.names])
    for kind, (low, high) in PLAUSIBLE_AMPLITUDE.items():
        rows = np.flatnonzero((types == kind) & good)
        if not len(rows) or not recording.n_times:
            continue
        step = max(1, recording.n_times // 20_000)  # a quartile needs no more samples than this
        low_quartile, high_quartile = np.nanpercentile(sampled(recording.data, rows, step), (25, 75), axis=1)
        spread = float(np.nanmedian(high_quartile - low_quartile))
        if spread and not low <= spread <= high:
            problems.append(f"{kind} amplitude {spread:.2g} {UNITS[kind]} is outside {low:g} to {high:g} {UNITS[kind]}")
    return problems
