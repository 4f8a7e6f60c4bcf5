"""`report`: one self-contained page of one folder or several side by side, with a methods paragraph to paste."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError
from ..paths import user_path
from ..utils.files import require_writable
from ..utils.provenance import provenance, versions
from .folders import Part, read_part
from .page import Image, Section, Table, write_page
from .results import several_losses

#: What every page rests on
CITATIONS = {
    "Brain-OF": "Brain-OF: an omnifunctional foundation model for fMRI, EEG and MEG. arXiv:2602.23410 (2026).",
    "DINT": "DINT Transformer. arXiv:2501.17486 (2025).",
    "MNE-Python": "Gramfort A, et al. MEG and EEG data analysis with MNE-Python. Front Neurosci 7:267 (2013).",
    "Nilearn": "Abraham A, et al. Machine learning for neuroimaging with scikit-learn. Front Neuroinform 8:14 (2014).",
    "scikit-learn": "Pedregosa F, et al. Scikit-learn: machine learning in Python. JMLR 12:2825-2830 (2011).",
    "PyTorch": "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS (2019).",
}
_NO_COMPARISON = (
    "Nothing here was compared with random weights, so nothing here shows that pretraining helped; brainof evaluate "
    "scores a model beside the same architecture untrained."
)
_NEVER_TRAINED = (
    "The models here have random weights: what is shown is the level that a trained model has to beat, and nothing "
    "here shows that pretraining helped."
)


def report(
    folders: Sequence[str | PathLike[str]], out: str | PathLike[str], *, command: str = "", title: str = ""
) -> Path:
    """Write one page of runs, adaptations, evaluations, explanations and corpora.

    Parameters
    ----------
    folders : sequence of path
        Several are compared in a table at the top.
    out : path
        HTML file.
    command, title : str
        What stands as command at the foot, and as heading.

    Raises
    ------
    ConfigError
        No folder, or one that brainof did not write.

    Examples
    --------
    >>> brainof.report.report(["runs/first", "runs/second"], "both.html")  # doctest: +SKIP
    """
    if not folders:
        raise ConfigError("no folder", field="folders", fix="give the folder of a run, evaluation or explanation")
    require_writable(user_path(out))
    paths = [user_path(folder) for folder in folders]
    whole = [path.resolve() for path in paths]
    above, names = os.path.commonpath(whole), [path.name for path in whole]
    # with the folders above it where two have the same name
    names = [n if names.count(n) == 1 else os.path.relpath(path, above) for path, n in zip(whole, names, strict=True)]
    parts = [read_part(path, name) for path, name in zip(paths, names, strict=True)]
    sections = [_side_by_side(parts)] if len(parts) > 1 else []
    sections += [section for part in parts for section in part.sections]
    text = [methods(part.record) for part in parts if part.record] or [methods({})]
    paste = [*dict.fromkeys(text), citations([part.record for part in parts])]
    sections += [Section("Methods, ready to paste", paste=paste), _environment(parts), _limits(parts)]
    seeds = [part.record["seed"] for part in parts if "seed" in part.record]
    seeds = seeds or [part.facts["seed"] for part in parts if part.facts.get("seed") is not None]
    foot = provenance(command=command, seed=", ".join(map(str, dict.fromkeys(seeds))) or "not recorded")
    described = [
        {"name": part.name, "kind": part.kind, "facts": part.facts, "against_random_weights": part.gains, **part.data}
        for part in parts
    ]
    data = {"format": "brainof-report", "version": 1, "provenance": foot, "parts": described}
    heading = title or ("Report of " + ", ".join(part.name for part in parts))
    return write_page(out, sections, heading, _lead(parts), provenance=foot, data=data)


def _lead(parts: Sequence[Part]) -> str:
    if all(part.lead for part in parts):
        return " ".join(part.lead for part in parts)
    gains = [gain for part in parts for gain in part.gains]
    models = [part for part in parts if part.kind not in ("corpus", "explanation")]
    never = not gains and models and all(part.facts.get("weights") == "random" for part in models)
    return _NEVER_TRAINED if never else gain_sentence(gains)


def gain_sentence(gains: Sequence[Mapping[str, Any]]) -> str:
    """What was won and lost against random weights."""
    if not gains:
        return _NO_COMPARISON
    counts = {name: [gain for gain in gains if gain["verdict"] == name] for name in ("won", "lost", "open")}
    named = [gain for group in counts.values() for gain in group if gain.get("difference") is not None]
    details = "; ".join(f"{gain['task']} {gain['difference']:+.3f}" for gain in named[:4])
    return (
        f"Against random weights of the same architecture, pretraining won {len(counts['won'])}, lost "
        f"{len(counts['lost'])} and left open {len(counts['open'])} of {len(gains)} comparisons: "
        f"{details}{'; ...' if len(named) > 4 else '.'}"
    )


def _side_by_side(parts: Sequence[Part]) -> Section:
    keys = dict.fromkeys(key for part in parts for key in part.facts)
    frame = pd.DataFrame({"": ["kind", *keys]})
    for part in parts:
        frame[part.name] = [part.kind, *(_plain(part.facts.get(key)) for key in keys)]
    runs = {part.name: part.data["curve"] for part in parts if part.data.get("curve")}
    images = []
    if len(runs) > 1:
        caption = "Loss of every run over optimizer steps, mean over datasets: comparable only for equal objectives."
        images.append(Image(several_losses(runs), caption))
    return Section("Side by side", [], images, [Table(frame, "One column per folder; – is not there or not recorded.")])


def _plain(value: Any) -> str | None:
    return None if value is None or value != value else f"{value:.4g}" if isinstance(value, float) else str(value)


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
        ratio, unit = mask.get("ratio", "?"), mask.get("unit", "?")
        text.append(f"A fraction of {ratio} of the patches (unit: {unit}) was hidden.")
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


def _environment(parts: Sequence[Part]) -> Section:
    page = pd.DataFrame({"package": list(versions()), "this page": list(versions().values())})
    for part in parts:
        if recorded := part.record.get("versions"):
            page[part.name] = page["package"].map(recorded)
    lines = [
        f"{part.name}: seed {part.record.get('seed', part.facts.get('seed', 'not recorded'))}, "
        f"{part.record.get('hardware', 'hardware not recorded')}, "
        f"{part.record.get('precision', 'precision not recorded')}"
        for part in parts
        if part.kind in ("pretraining", "adaptation")
    ]
    return Section("Environment and seeds", points=lines, tables=[Table(page, "Versions.")])


def _limits(parts: Sequence[Part]) -> Section:
    points = [limit for part in parts for limit in part.limits]
    if any(part.gains for part in parts):
        points.append(
            "A win on these tasks and subjects is no win on others; comparisons are not corrected for their number."
        )
    elif not all(part.lead for part in parts):
        points.insert(0, _lead(parts))
    seeds = {part.record.get("seed") for part in parts if part.kind == "pretraining"}
    if len(seeds) == 1:
        points.append("One seed of pretraining: how much another would differ is unknown.")
    return Section("What this does not show", points=list(dict.fromkeys(points)))
