"""What is recorded besides the brain in fMRI: noise, scanner drift, head motion."""

from __future__ import annotations

import numpy as np

from .artefacts import Contaminated, Stream, _arrivals
from .parameters import ArtefactParameters


def contaminate_bold(
    clean: np.ndarray, positions: np.ndarray, t_r: float, level: ArtefactParameters, stream: Stream
) -> Contaminated:
    """Add everything that is switched on to clean regional BOLD, shape (n_regions, n_volumes), with its baseline.

    Motion changes near regions alike: `positions`, shape (n_regions, 3), are in metres.
    """
    n_regions, n_volumes = clean.shape
    size = float(np.median(clean.std(axis=1)))
    data, masks = clean.copy(), {}
    if level.fmri_noise:
        noise = stream("fmri noise").standard_normal(clean.shape, dtype=np.float32)
        data += np.float32(level.fmri_noise * size) * noise
    if level.fmri_drift:
        rng = stream("fmri drift")
        place = (np.arange(n_volumes) + 0.5) / n_volumes
        slow = np.stack([np.cos(np.pi * k * place) / k for k in (1, 2, 3)])
        data += (level.fmri_drift * size * rng.standard_normal((n_regions, 3)) @ slow).astype(np.float32)
    if level.motion:
        rng = stream("fmri motion")
        masks["motion"] = np.zeros(n_volumes, bool)
        centred = (positions - positions.mean(axis=0)) / positions.std()
        for onset in _arrivals(n_volumes * t_r, level.motion, 2 * t_r, rng):
            volume = min(int(onset / t_r), n_volumes - 1)
            tilt = centred @ rng.standard_normal(3)
            data[:, volume] += (size * (4 + 2 * tilt) * rng.choice([-1, 1])).astype(np.float32)
            data[:, volume:] += (0.5 * size * tilt).astype(np.float32)[:, None]
            masks["motion"][volume] = True
    return Contaminated(data, (), masks)
