"""Maps without time as recordings: each condition a block of equal volumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import LabelError
from ..recording import Recording
from .recipe import Patterns
from .tables import named_array


def read_patterns(path: Path, patterns: Patterns, entities: Mapping[str, str]) -> list[Recording]:
    """One recording per subject of the file, see `Patterns`; LabelError where the sizes of its arrays do not agree."""
    data, subjects, conditions, regions = (
        named_array(path, getattr(patterns, name), f"patterns.{name}")
        for name in ("variable", "subjects", "conditions", "regions")
    )
    expected = (len(subjects), len(conditions), len(regions))
    if data.shape != expected:
        text = f"{data.shape} is not subjects x conditions x regions {expected}"
        raise LabelError(text, file=path, field=f"patterns.{patterns.variable}")
    n, duration = len(regions), patterns.n_times * patterns.t_r
    channels = Channels(tuple(map(str, regions)), ("roi",) * n, labels=np.arange(1, n + 1), order=np.arange(n))
    onsets = np.arange(len(conditions)) * duration
    events = pd.DataFrame({"onset": onsets, "duration": duration, "trial_type": conditions.astype(str)})
    return [
        Recording(
            data=np.repeat(maps.T, patterns.n_times, axis=1).astype(np.float32),
            sfreq=1 / patterns.t_r,
            modality="fmri",
            channels=channels,
            entities={**entities, "subject": str(subject)},
            events=events.copy(),
            provenance={"file": str(path), "part": f"sub-{subject}", "notes": ["maps without time, held as blocks"]},
        )
        for subject, maps in zip(subjects, data, strict=True)
    ]
