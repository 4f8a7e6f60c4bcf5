"""Sensors and what they see: electrodes (names of the 10-05 system), MEG helmets, lead fields in a spherical head.

A layout is a number of electrodes or the name of a helmet; everything is in the head frame.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..channels import Channels
from ..io.positions import coils, default_montage
from ..schema import read_yaml
from .regions import make_regions

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
#: Sphere fitted to the electrodes of the template head (metres, head frame)
SPHERE_CENTRE = (0.0, 0.015, 0.043)
SPHERE_RADIUS = 0.0965


@cache
def sensor_info(layout: int | str) -> mne.Info:
    """MNE info of a layout, with positions of electrodes or the transform from device to head frame."""
    import mne

    if isinstance(layout, int):
        info = mne.create_info(EEG_LAYOUTS[layout], 256.0, "eeg")
        return info.set_montage(mne.channels.make_standard_montage(default_montage()), verbose="ERROR")
    name, shift = MEG_HELMETS[layout]
    info = mne.channels.read_meg_canonical_info(name)
    if layout == "neuromag102":
        info = mne.pick_info(info, mne.pick_types(info, meg="mag"), verbose="ERROR")
    transform = np.eye(4)
    transform[:3, 3] = shift
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", transform)
    return info


@cache
def sensors(layout: int | str) -> Channels:
    """Channel table of a layout: electrodes, or coil centres and coil normals."""
    info = sensor_info(layout)
    names = tuple(info["ch_names"])
    if isinstance(layout, int):
        positions = np.array([channel["loc"][:3] for channel in info["chs"]])
        return Channels(names, ("eeg",) * layout, positions=positions, frame="head")
    positions, orientations, frame = coils(info, range(len(names)))
    types = ["axial" if layout == "ctf275" else kind for kind in info.get_channel_types()]
    return Channels(names, tuple(types), positions, orientations, frame=frame)


@cache
def free_lead_field(layout: int | str, n_regions: int) -> np.ndarray:
    """Lead field of the template head for three orthogonal dipoles in each region; computed once per process.

    EEG: four-layer sphere (MNE's default radii and conductivities), average reference. MEG: sphere, where only
    tangential currents are seen. Returns shape (n_channels, n_regions, 3), float64: V, T or T/m per A m; the last axis
    is x, y, z of the head frame.
    """
    import mne

    electric, regions, info = isinstance(layout, int), make_regions(n_regions), sensor_info(layout)
    sphere = mne.make_sphere_model(r0=SPHERE_CENTRE, head_radius=SPHERE_RADIUS, verbose="ERROR")
    dipoles = {"rr": regions.positions, "nn": regions.orientations}
    space = mne.setup_volume_source_space(pos=dipoles, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, trans=None, src=space, bem=sphere, meg=not electric, eeg=electric, mindist=0.0, n_jobs=1, verbose="ERROR"
    )
    gain = forward["sol"]["data"].reshape(len(info["ch_names"]), n_regions, 3)
    return gain - gain.mean(axis=0) if electric else gain


def lead_field(layout: int | str, orientations: np.ndarray) -> np.ndarray:
    """Lead field, shape (n_channels, n_regions), for currents along unit vectors of the head frame (n_regions, 3)."""
    return np.einsum("crk,rk->cr", free_lead_field(layout, len(orientations)), orientations)
