"""Frequency bands by modality."""

from __future__ import annotations

#: Hz, from the lower up to below the higher edge: delta to gamma of EEG and MEG, slow-5 to slow-2 of fMRI (Buzsaki &
#: Draguhn 2004); EEG and MEG hold no signal above 45 Hz
BANDS = {
    "eeg": (1.0, 4.0, 8.0, 13.0, 30.0, 45.0),
    "meg": (1.0, 4.0, 8.0, 13.0, 30.0, 45.0),
    "fmri": (0.01, 0.027, 0.073, 0.198, 0.25),
}
