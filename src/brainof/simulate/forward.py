"""Lead fields: what EEG electrodes and MEG coils see of a current dipole, in MNE's spherical head model."""

from __future__ import annotations

from functools import cache

import numpy as np

from .montages import eeg_info, meg_info
from .regions import make_regions

#: Sphere fitted to the electrodes of the template head (metres, head frame)
SPHERE_CENTRE = (0.0, 0.015, 0.043)
SPHERE_RADIUS = 0.0965


@cache
def free_lead_field(modality: str, layout: int | str, n_regions: int) -> np.ndarray:
    """Lead field of the template head for three orthogonal dipoles in each region; computed once per process.

    EEG ("eeg", number of electrodes): four-layer sphere (MNE's default radii and conductivities), average reference.
    MEG ("meg", name of the helmet): sphere, where only tangential currents are seen. Returns shape (n_channels,
    n_regions, 3), float64: V, T or T/m per A m; the last axis is x, y, z of the head frame.
    """
    import mne

    electric, regions = modality == "eeg", make_regions(n_regions)
    info = eeg_info(int(layout)) if electric else meg_info(str(layout))
    sphere = mne.make_sphere_model(r0=SPHERE_CENTRE, head_radius=SPHERE_RADIUS, verbose="ERROR")
    dipoles = {"rr": regions.positions, "nn": regions.orientations}
    space = mne.setup_volume_source_space(pos=dipoles, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, trans=None, src=space, bem=sphere, meg=not electric, eeg=electric, mindist=0.0, n_jobs=1, verbose="ERROR"
    )
    gain = forward["sol"]["data"].reshape(len(info["ch_names"]), n_regions, 3)
    return gain - gain.mean(axis=0) if electric else gain


def lead_field(modality: str, layout: int | str, orientations: np.ndarray) -> np.ndarray:
    """Lead field, shape (n_channels, n_regions), for currents along unit vectors of the head frame (n_regions, 3)."""
    return np.einsum("crk,rk->cr", free_lead_field(modality, layout, len(orientations)), orientations)
