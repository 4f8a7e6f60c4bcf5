from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainof import BrainOFClassifier, read
from brainof.errors import ContractError


@pytest.mark.real
def test_epochs_and_recordings_of_real_files(real_data, release):
    import mne

    files = sorted((real_data / "eegmat" / "edf").glob("*.edf"))[:4]
    made = []
    for file in files:
        raw = mne.io.read_raw_edf(file, preload=True, verbose="error")
        raw.pick([name for name in raw.ch_names if "ECG" not in name and "A2-A1" not in name])
        raw.rename_channels(lambda name: name.replace("EEG ", ""))
        epochs = mne.make_fixed_length_epochs(raw, 2.0, preload=True, verbose="error")[:4]
        epochs.metadata = pd.DataFrame({"subject": file.stem.split("_")[0]}, index=range(4))
        made.append(epochs)
    y = np.repeat(["rest", "task"] * 2, 4)
    classifier = BrainOFClassifier(release, random_state=0).fit(made, y)
    assert len(classifier.subjects_) == 2
    assert classifier.predict(made[0]).shape == (4,)
    # the whole file is one sample: cut, prepared by the same steps, averaged
    whole = read(files[0])
    if not whole.channels.located.all():
        with pytest.raises(ContractError, match="drop='EEG A2-A1'"):
            classifier.predict([whole])
        whole = whole.pick(np.flatnonzero(whole.channels.located))
    assert classifier.predict_proba([whole]).shape == (1, 2)
