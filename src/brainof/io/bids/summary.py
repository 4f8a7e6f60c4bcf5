"""What an index holds, as plain values."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from .dataset import BidsDataset, BidsIndex


def summary(index: BidsIndex) -> dict[str, Any]:
    """Datasets with subjects, sessions, tasks, recordings by modality and form, and what cannot be used."""
    return {"root": str(index.root), "datasets": [_dataset(dataset, index) for dataset in index.datasets]}


def _dataset(dataset: BidsDataset, index: BidsIndex) -> dict[str, Any]:
    recordings = dataset.recordings
    kinds = ("modality", "extension", "space", "resolution", "density", "description")
    forms: Counter[tuple[str, ...]] = Counter()
    for file in recordings:
        own = {"modality": file.modality, "extension": file.extension or "folder", **file.entities}
        forms[tuple(str(own.get(kind) or "") for kind in kinds)] += 1
    problems = [{"file": name, "problem": problem} for name, problem in dataset.problems()]
    return {
        "name": dataset.name,
        "path": os.path.relpath(dataset.root, index.root).replace(os.sep, "/"),
        "derivative": dataset.derivative,
        "generated_by": list(dataset.generators),
        "files": len(dataset.files),
        "subjects": dataset.values("subject"),
        "sessions": dataset.values("session"),
        "tasks": dataset.values("task"),
        "recordings": dict(Counter(str(file.modality) for file in recordings)),
        "forms": [
            {kind: value for kind, value in zip(kinds, form, strict=True) if value} | {"recordings": count}
            for form, count in sorted(forms.items())
        ],
        "missing": sum(file.missing for file in recordings),
        "problems": problems,
    }
