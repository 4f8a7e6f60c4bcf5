"""Electrode layouts (names of the 10-05 system) and MEG helmets, as MNE's measurement info in the head frame."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..channels import Channels
from ..io.positions import coils, default_montage

if TYPE_CHECKING:
    import mne

# names added by each layout to the smaller ones
_NAMES = {
    19: "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2",
    32: "FC5 FC1 FC2 FC6 CP5 CP1 CP2 CP6 TP9 TP10 POz PO9 PO10",
    64: """
        AF7 AF3 AF4 AF8 AFz F5 F1 F2 F6 FT7 FC3 FCz FC4 FT8 C5 C1 C2 C6 TP7 CP3 CPz CP4 TP8 P5 P1 P2 P6 PO7 PO3 PO4
        PO8 Oz
    """,
    128: """
        Fpz F9 F10 FT9 FT10 P9 P10 I1 I2 Iz AFF1h AFF2h AFF5h AFF6h FFT7h FFC5h FFC3h FFC1h FFC2h FFC4h FFC6h FFT8h
        FTT7h FCC5h FCC3h FCC1h FCC2h FCC4h FCC6h FTT8h TTP7h CCP5h CCP3h CCP1h CCP2h CCP4h CCP6h TTP8h TPP7h CPP5h
        CPP3h CPP1h CPP2h CPP4h CPP6h TPP8h PPO9h PPO5h PPO1h PPO2h PPO6h PPO10h POO9h POO1 POO2 POO10h OI1h OI2h
        FTT9h FTT10h TPP9h TPP10h AFp1 AFp2
    """,
}
#: Nested layouts: each holds the smaller ones
EEG_LAYOUTS: dict[int, list[str]] = {
    size: " ".join(list(_NAMES.values())[: k + 1]).split() for k, size in enumerate(_NAMES)
}
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
