"""InputContract: what a checkpoint accepts, saved beside its weights and checked before every prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import Field, field_validator, model_validator

from .channels import UNITS, Channels
from .errors import ConfigError, ContractError, check_known
from .recording import Recording
from .schema import Schema, wrong

#: Differences that a user may accept by name: the model can take them, but was not trained on them
Acceptable = Literal["sfreq", "window", "frame", "atlas", "positions", "bads"]
ACCEPTABLE: tuple[str, ...] = get_args(Acceptable)

#: Hz that no recording exceeds, and samples that no patch has: a damaged contract must not take memory
FASTEST, LARGEST_PATCH = 1e5, 2**20

#: Regions of one atlas may sit this far (metres) from where training had them: means over other voxels of one region
REGION_TOLERANCE = 0.005

#: Where the places of all channels come from
_PLACES = {
    "eeg": "read it with montage= or channel_names= (in memory: channels= of an array, Raw.set_montage of MNE)",
    "meg": "read the file that the system wrote, which knows its coils",
    "fmri": "read it with atlas.image= or atlas.labels=, which know the regions",
}


class Regions(Schema):
    """The regions of one atlas as training had them: name -> rank, and place in metres where it is known."""

    order: dict[str, Annotated[int, Field(ge=0)]]
    places: dict[str, tuple[float, float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _are_one_atlas(self) -> Self:
        if len(set(self.order.values())) < len(self.order):
            raise wrong("two regions have one rank")
        if unknown := sorted(self.places.keys() - self.order.keys()):
            raise wrong(f"{unknown[0]!r} has a place and no rank")
        return self

    @classmethod
    def from_channels(cls, tables: Collection[Channels]) -> Regions:
        """The union over channel tables of one atlas."""
        order: dict[str, int] = {}
        places: dict[str, tuple[float, float, float]] = {}
        for table in tables:
            for name, rank, place in zip(table.names, table.order.tolist(), table.positions.round(5), strict=True):
                order.setdefault(name, rank)
                if np.isfinite(place).all():
                    places.setdefault(name, tuple(place.tolist()))
        return cls(order=dict(sorted(order.items(), key=lambda item: item[1])), places=places)

    @property
    def names(self) -> list[str]:
        """Names in the order of the atlas: what `Recording.reorder` takes."""
        return sorted(self.order, key=self.order.__getitem__)


class ModalityContract(Schema):
    """What one modality of a model was fed.

    `steps` is the serialised preparation chain (a list of {"step": name, ...parameters}) that produced the windows;
    `sfreqs` are the rates after preparation that were seen in training, `window_seconds` the shortest and longest
    window.
    """

    units: dict[str, str]
    steps: list[dict[str, Any]]
    sfreqs: list[Annotated[float, Field(gt=0, le=FASTEST)]] = Field(default_factory=list)
    window_seconds: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.0, 0.0)
    frames: list[str] = Field(default_factory=list)
    atlases: dict[str, str] = Field(default_factory=dict)
    """Atlas name -> digest of its ordered channel table."""
    regions: dict[str, Regions] = Field(default_factory=dict)
    """Atlas name -> names, ranks and places of its regions, so that an error can say which of them differ."""
    unlocated: bool = False
    """Training had channels without position or rank."""

    @field_validator("window_seconds")
    @classmethod
    def _shortest_first(cls, seconds: tuple[float, float]) -> tuple[float, float]:
        if seconds[0] > seconds[1]:
            raise wrong(f"the shortest window, {seconds[0]:g} s, is longer than the longest, {seconds[1]:g} s")
        return seconds

    def check(self, prepared: Recording, accept: Collection[str] = (), window_seconds: float | None = None) -> None:
        """Compare a recording, after the steps of this contract (`Chain.apply`), with what training saw.

        Differences in `accept` (of ACCEPTABLE) are allowed; `window_seconds` is the length of the windows that will be
        cut, where the user asks for one.

        Raises
        ------
        ContractError
            Names what differs, and the call that fixes it.
        """
        for text, field, fix, name in differences(self, prepared, window_seconds):
            if name not in check_accept(accept):
                fix = f"{fix}, or allow it with accept={name!r}"
                raise ContractError(text, file=prepared.file, field=field, fix=fix)


class InputContract(Schema):
    """The contract of a checkpoint: one ModalityContract per modality, and the patch length in samples."""

    version: Literal[1] = 1
    patch: int = Field(64, ge=4, le=LARGEST_PATCH)
    modalities: dict[str, ModalityContract]

    def part(self, recording: Recording) -> ModalityContract:
        """The part for the modality and sensor types of a recording.

        Raises
        ------
        ContractError
            The modality or a sensor type was never trained, or its unit is another.
        """
        file, contract = recording.file, part_of(self, recording.modality, recording.file)
        kinds = sorted(set(recording.channels.types))
        for kind in kinds:
            if kind not in contract.units:
                known = [other for other in kinds if other in contract.units]
                fix = f"read it with pick={known}" if known else f"the model reads {', '.join(sorted(contract.units))}"
                raise ContractError(f"{kind} channels were not in training", file=file, field="channels", fix=fix)
            if contract.units[kind] != UNITS[kind]:
                problem = f"the model needs {contract.units[kind]}, but the recording is in {UNITS[kind]}"
                raise ContractError(problem, file=file, field=f"unit of {kind}")
        return contract


def part_of(contract: InputContract, modality: str, file: str | None = None) -> ModalityContract:
    """The part of a contract for a modality; a ContractError where that was never trained."""
    if modality not in contract.modalities:
        text, fix = f"the model was not trained on {modality}", f"it accepts {', '.join(sorted(contract.modalities))}"
        raise ContractError(text, file=file, field="modality", fix=fix)
    return contract.modalities[modality]


def check_accept(accept: Collection[str]) -> tuple[str, ...]:
    """The accepted differences as a tuple; ConfigError when one is unknown."""
    names = (accept,) if isinstance(accept, str) else tuple(accept)
    for name in names:
        check_known(name, ACCEPTABLE, ConfigError, field="accept")
    return names


#: One way in which a recording differs from training: what, in which field, the fix, and the name to accept it by
Difference = tuple[str, str, str, Acceptable]


def differences(
    part: ModalityContract, prepared: Recording, window_seconds: float | None = None
) -> Iterator[Difference]:
    """The differences between a prepared recording and what training saw, one by one."""
    channels, rate = prepared.channels, prepared.sfreq
    if part.sfreqs and not any(abs(rate - seen) <= 1e-3 * seen for seen in part.sfreqs):
        nearest = min(part.sfreqs, key=lambda seen: abs(np.log(seen / rate)))
        seen = ", ".join(f"{value:.6g}" for value in part.sfreqs)
        text = f"{rate:.6g} Hz after preparation, the model was trained at {seen} Hz"
        yield text, "sfreq", f"brainof.prepare.resample(recording, {nearest:.6g})", "sfreq"
    nowhere = ~channels.located & (channels.order < 0)
    if nowhere.any() and not part.unlocated:
        first = channels.names[int(np.flatnonzero(nowhere)[0])]
        text = f"{int(nowhere.sum())} of {len(channels)} channels have no position, such as {first!r}"
        names = [channels.names[row] for row in np.flatnonzero(nowhere)]
        fix = _PLACES[prepared.modality] if nowhere.all() else _without(names)
        yield text, "channels", fix, "positions"
    if part.frames and channels.located.any() and channels.frame not in part.frames:
        text = f"positions in frame {channels.frame!r}, the model was trained in {', '.join(part.frames)}"
        yield text, "channels.frame", "give positions in that frame", "frame"
    if part.atlases:
        yield from _atlas_differences(part, channels)
    n_bad = sum(name in prepared.bads for name in channels.names)
    if n_bad > len(channels) / 2:
        fix = "brainof.prepare.interpolate(recording) where positions are known, or leave it out"
        yield f"{n_bad} of {len(channels)} channels are bad", "bads", fix, "bads"
    shortest, longest = part.window_seconds
    slack = 1.5 / rate
    if window_seconds is not None and longest and window_seconds > longest + slack:
        text = f"windows of {window_seconds:.4g} s, the model was trained on {shortest:.4g} to {longest:.4g} s"
        yield text, "window_seconds", f"use window_seconds={longest:.4g}", "window"
    if window_seconds is None and prepared.duration < shortest - slack:
        text = f"{prepared.duration:.4g} s are shorter than any window of training ({shortest:.4g} to {longest:.4g} s)"
        yield text, "duration", "give longer stretches", "window"


def _without(names: list[str], most: int = 4) -> str:
    """A cure for channels that a model does not know."""
    drop = repr(names[0]) if len(names) == 1 else f"{names[:most]}"
    return f"read it without them: drop={drop}" + (", ..." if len(names) > most else "")


def _atlas_differences(part: ModalityContract, channels: Channels) -> Iterator[Difference]:
    atlas = channels.atlas
    if atlas not in part.atlases:
        text = f"atlas {atlas or 'unknown'}, the model was trained on {', '.join(sorted(part.atlases))}"
        yield text, "channels.atlas", "extract the regions with that atlas", "atlas"
        return
    if channels.digest == part.atlases[atlas] or atlas not in part.regions:
        return
    regions = part.regions[atlas]
    unknown = [name for name in channels.names if name not in regions.order]
    if unknown:
        text = f"{len(unknown)} of {len(channels)} regions are not in the {atlas} of training, such as {unknown[0]!r}"
        fix = "extract them with the atlas of training" if len(unknown) == len(channels) else _without(unknown)
        yield text, "channels.names", fix, "atlas"
        return
    for name, rank in zip(channels.names, channels.order.tolist(), strict=True):
        if rank != regions.order[name]:
            text = f"region {name!r} has rank {rank} in this {atlas}, {regions.order[name]} in training"
            fix = f"recording.reorder(contract.modalities['fmri'].regions[{atlas!r}].names)"
            yield text, "channels.order", fix, "atlas"
            return
    for name, place in zip(channels.names, channels.positions, strict=True):
        apart = float(np.linalg.norm(place - np.array(regions.places.get(name, place))))
        if apart > REGION_TOLERANCE:  # NaN where the place is not known
            text = f"region {name!r} sits {1000 * apart:.0f} mm from where training had it: another {atlas}"
            yield text, "channels.positions", "extract the regions with the atlas of training", "atlas"
            return
