"""The methods paragraph and the references of a report, ready to paste, from what a release records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.provenance import versions

#: What every page rests on
CITATIONS = {
    "Brain-OF": "Brain-OF: an omnifunctional foundation model for fMRI, EEG and MEG. arXiv:2602.23410 (2026).",
    "DINT": "DINT Transformer. arXiv:2501.17486 (2025).",
    "MNE-Python": "Gramfort A, et al. MEG and EEG data analysis with MNE-Python. Front Neurosci 7:267 (2013).",
    "Nilearn": "Abraham A, et al. Machine learning for neuroimaging with scikit-learn. Front Neuroinform 8:14 (2014).",
    "scikit-learn": "Pedregosa F, et al. Scikit-learn: machine learning in Python. JMLR 12:2825-2830 (2011).",
    "PyTorch": "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS (2019).",
}


def methods(record: Mapping[str, Any]) -> str:
    """One paragraph: model, data, objective, training, software; what is not recorded is left out."""
    used = versions()
    names = ("torch", "mne", "nilearn", "scikit-learn", "numpy")
    software = ", ".join(f"{name} {used[name]}" for name in names if name in used)
    text = [f"Analyses used brainof {used['brainof']} (Brain-OF architecture, arXiv:2602.23410) with {software}."]
    if data := record.get("data"):
        sets = [
            f"{each['dataset']} ({each.get('modality', '?')}, {each.get('people', '?')} subjects, "
            f"{each.get('hours', 0):.1f} h)"
            for each in data
        ]
        windows = sum(each.get("windows", 0) for each in data)
        text.append(f"The model was pretrained without labels on {windows:,} windows of {'; '.join(sets)}.")
    if mask := record.get("mask"):
        text.append(
            f"A fraction of {mask.get('ratio', '?')} of the patches (unit: {mask.get('unit', '?')}) was hidden."
        )
    if objective := record.get("objective"):
        parts = ", ".join(f"{name} {value}" for name, value in objective.items() if not isinstance(value, (dict, list)))
        text.append(f"Objective: {parts}.")
    if "steps" in record:
        text.append(
            f"Training took {record['steps']} optimizer steps of {record.get('batch', '?')} windows at a rate of "
            f"{record.get('lr', '?')} in {record.get('precision', '?')}, seed {record.get('seed', '?')}, on "
            f"{record.get('hardware', 'unrecorded hardware')}."
        )
    if "adaptation" in record:
        how, base = record["adaptation"].get("adaptation", "?"), record.get("base_model", "an unnamed model")
        text.append(f"The model was adapted to {record.get('task', 'a task')} by {how}, starting from {base}.")
    return " ".join(text)


def citations(records: Sequence[Mapping[str, Any]]) -> str:
    """References, one a line: software first, then each dataset."""
    lines = list(CITATIONS.values())
    for record in records:
        described = (*record.get("data", ()), *record.get("adaptation_data", ()))
        lines += [f"{each['dataset']}: {each['citation']}" for each in described if each.get("citation")]
    return "\n".join(dict.fromkeys(lines))
