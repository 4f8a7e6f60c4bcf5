"""Electrode layouts (names of the 10-05 system) and MEG helmets, as MNE's measurement info in the head frame."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..channels import Channels
from ..io.positions import coils, default_montage
from ..schema import read_yaml

if TYPE_CHECKING:
    import mne

_ADDED: dict[int, str] = read_yaml(Path(__file__).with_suffix(".yaml"))  # type: ignore[assignment]
#: Nested layouts: each holds the smaller ones
EEG_LAYOUTS = dict(zip(_ADDED, accumulate(names.split() for names in _ADDED.values()), strict=True))
#: helmet -> (MNE's name, translation of the device frame to the head frame in metres). The translations put the
#: centre of the helmet on the axis of the template head and leave about 2 cm between scalp and coils.
MEG_HELMETS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "neuromag306": ("neuromag", (0.0, 0.0, 0.046)),
    "neuromag102": ("neuromag", (0.0, 0.0, 0.046)),  # the magnetometers of neuromag306: a third of its size
    "ctf275": ("ctf275", (0.0, 0.016, 0.058)),
}


@cache
def eeg_info(n_channels: int) -> mne.Info:
    """MNE info of a layout: electrode positions in metres in the head frame (nasion, LPA, RPA)."""
    import mne

    info = mne.create_info(EEG_LAYOUTS[n_channels], 256.0, "eeg")
    return info.set_montage(mne.channels.make_standard_montage(default_montage()), verbose="ERROR")


@cache
def meg_info(helmet: str) -> mne.Info:
    """MNE info of a helmet, with the transform from device to head frame."""
    import mne

    name, shift = MEG_HELMETS[helmet]
    info = mne.channels.read_meg_canonical_info(name)
    if helmet == "neuromag102":
        info = mne.pick_info(info, mne.pick_types(info, meg="mag"), verbose="ERROR")
    transform = np.eye(4)
    transform[:3, 3] = shift
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", transform)
    return info


@cache
def eeg_channels(n_channels: int) -> Channels:
    """Channel table of a layout."""
    positions = np.array([channel["loc"][:3] for channel in eeg_info(n_channels)["chs"]])
    names = EEG_LAYOUTS[n_channels]
    return Channels(tuple(names), ("eeg",) * len(names), positions=positions, frame="head")


@cache
def meg_channels(helmet: str) -> Channels:
    """Channel table of a helmet: coil centres and coil normals in the head frame."""
    info = meg_info(helmet)
    positions, orientations, frame = coils(info, range(len(info["chs"])))
    types = ["axial" if helmet == "ctf275" else kind for kind in info.get_channel_types()]
    return Channels(tuple(info["ch_names"]), tuple(types), positions, orientations, frame=frame)
