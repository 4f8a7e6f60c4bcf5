"""Maxwell filtering (SSS, tSSS) through MNE, where the recording has what it needs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from ..recording import Recording
from .steps import Step

#: Orders of the spherical harmonics inside and outside the helmet (MNE's defaults)
INSIDE, OUTSIDE = 8, 3


class Maxwell(Step):
    """Signal-space separation (SSS, tSSS) by MNE: keep what comes from inside the helmet, take out what is far away.

    Needs coil geometry, a device-to-head transform and more sensors than components, which FIF files of whole-head
    systems have; elsewhere the recording stays as it is and says so. Bad sensors are found first, because SSS spreads
    them over all others, and rebuilt. With `st_duration` seconds it is the temporal form. Fine-calibration and
    cross-talk files are not used: where a site has them, clean with MNE first.
    Taulu and Simola, Physics in Medicine and Biology 51:1759 (2006).
    """

    name: ClassVar[str] = "maxwell"
    only: ClassVar[tuple[str, ...]] = ("meg",)
    st_duration: float | None = Field(default=None, gt=0)

    def apply(self, recording: Recording) -> Recording:
        if why := _missing(recording):
            return self.done(recording, {"applied": False, "why": why}).noted(f"no Maxwell filtering: {why}")
        import mne

        raw = recording.to_mne(annotations=False)
        with mne.use_log_level("error"):
            digitised = any(int(point["kind"]) == 4 for point in raw.info["dig"] or ())  # extra head-shape points
            space = {"origin": "auto" if digitised else (0.0, 0.0, 0.04), "int_order": INSIDE, "ext_order": OUTSIDE}
            space |= {"ignore_ref": True, "bad_condition": "warning"}
            noisy, flat = mne.preprocessing.find_bad_channels_maxwell(raw, **space)
            found = sorted({*noisy, *flat})
            raw.info["bads"] = [*raw.info["bads"], *(name for name in found if name not in raw.info["bads"])]
            cleaned = mne.preprocessing.maxwell_filter(raw, st_duration=self.st_duration, **space)
        data = cleaned.get_data().astype(np.float32)
        statistics = {"applied": True, "rebuilt": list(raw.info["bads"]), "found": found}
        return self.done(recording, statistics, data=data, bads=(), info=cleaned.info)


def _missing(recording: Recording) -> str | None:
    """Why a recording cannot be filtered."""
    if recording.info is None:
        return "the file's measurement info (coils, head position) is not known"
    if recording.info["dev_head_t"] is None:
        return "no device-to-head transform"
    if any(entry["max_info"].get("sss_info") for entry in recording.info["proc_history"] or ()):
        return "it was done before"
    needed = (INSIDE + 1) ** 2 - 1 + (OUTSIDE + 1) ** 2 - 1
    if (good := recording.n_channels - len(recording.bads)) < needed:
        return f"{good} sensors for {needed} components"
    if not np.isfinite(recording.channels.orientations).all():
        return "coils without position"
    return None
