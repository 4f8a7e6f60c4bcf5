"""The model card: README.md of a release, written from what config.json and the contract record and nothing else.

What was not recorded is said to be unknown; no sentence praises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..contract import InputContract

_NAMES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}

#: Explained variance that real latents must add to shuffled ones before a dataset counts as learned
_GAP = 0.01


def model_card(config: Mapping[str, Any], contract: InputContract) -> str:
    """Markdown with the Hub's metadata block.

    Parameters
    ----------
    config : mapping
        config.json of the release: `model`, `files`, `about`.
    contract : InputContract
    """
    from ..model.config import BrainOFConfig
    from ..model.presets import count

    about = config.get("about", {})
    counts = count(BrainOFConfig.parse(config["model"]))
    modalities = [_NAMES[name] for name in sorted(contract.modalities)]
    sections = [
        _metadata(config, contract),
        f"# {about.get('name') or 'Brain-OF model'}",
        f"A Brain-OF model (arXiv:2602.23410) for {', '.join(modalities)}: {counts['total'] / 1e6:.3g} million"
        f" parameters, {counts['active'] / 1e6:.3g} million active per token."
        + (f" Adapted from `{about['base_model']}`." if about.get("base_model") else "")
        + _head(config),
        "## Use\n\n```python\nimport brainof\n\n"
        'model, contract = brainof.load("organisation/name")  # or the folder of this file\n'
        'embeddings = brainof.embed("recording.edf", model, contract=contract)\nembeddings.to_frame()\n```\n\n'
        "Every recording is checked against the contract below and prepared by the steps stored in"
        " `preprocessing.json`. Weights are safetensors; nothing here is code.",
        _contract(contract),
        _data(about),
        _adapted(about),
        _training(about),
        _health(about),
        _scores(about),
        _limits(config, contract),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _metadata(config: Mapping[str, Any], contract: InputContract) -> str:
    about = config.get("about", {})
    lines = ["---"]
    if about.get("license"):
        lines.append(f"license: {json.dumps(about['license'])}")
    lines += ["library_name: brainof", "pipeline_tag: feature-extraction"]
    if about.get("base_model"):
        lines.append(f"base_model: {json.dumps(about['base_model'])}")
    lines += ["tags:", "- brain-of", "- neuroimaging", *(f"- {name}" for name in sorted(contract.modalities)), "---"]
    return "\n".join(lines)


def _head(config: Mapping[str, Any]) -> str:
    head = config.get("head")
    return f" It carries a head of {head['outputs']} outputs (pooling: {head['pool']})." if head else ""


def _contract(contract: InputContract) -> str:
    rows = []
    for name, part in sorted(contract.modalities.items()):
        steps = [str(step.get("step")) for step in part.steps]
        low, high = part.window_seconds
        rows.append(
            {
                "modality": _NAMES[name],
                "sensors and unit": ", ".join(f"{kind} [{unit}]" for kind, unit in sorted(part.units.items())),
                "Hz after preparation": _listed([f"{rate:g}" for rate in part.sfreqs]),
                "window (s)": f"{low:g}" if low == high else f"{low:g} to {high:g}",
                "frames": _listed(part.frames),
                "atlases": _listed([f"{atlas} ({digest})" for atlas, digest in sorted(part.atlases.items())]),
                "steps": ", ".join(steps),
            }
        )
    text = (
        f"Patches of {contract.patch} samples. Channels are given by position, type and orientation, never by number."
    )
    return f"## Input contract\n\n{_table(rows)}\n\n{text}"


def _data(about: Mapping[str, Any]) -> str:
    data = about.get("data") or [{"dataset": name, "windows": n} for name, n in (about.get("windows") or {}).items()]
    if not data:
        return "## Training data\n\nNot recorded."
    return f"## Training data\n\n{_data_table(data)}"


def _adapted(about: Mapping[str, Any]) -> str:
    data = about.get("adaptation_data")
    if not data:
        return ""
    how = about.get("adaptation") or {}
    task = f" Task: {about['task']}." if about.get("task") else ""
    text = (
        f"By {_plain(how)}.{task} Everybody below was trained on: scores on new people are those of cross-validation."
    )
    return f"## Adapted on\n\n{text}\n\n{_data_table(data)}"


def _data_table(data: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {
            "dataset": f"[{row.get('title') or row['dataset']}]({row['url']})"
            if row.get("url")
            else (row.get("title") or row["dataset"]),
            "modality": _NAMES.get(row.get("modality", ""), "unknown"),
            "people": row.get("people", "unknown"),
            "windows": f"{row['windows']:,}",
            "hours": f"{row['hours']:.3g}" if row.get("hours") is not None else "unknown",
            "licence": row.get("licence") or "not recorded",
        }
        for row in data
    ]
    totals: dict[str, list[float]] = {}
    for row in data:
        entry = totals.setdefault(_NAMES.get(row.get("modality", ""), "unknown modality"), [0, 0.0])
        entry[0] += row["windows"]
        entry[1] += row["hours"] if row.get("hours") is not None else float("nan")
    per = "; ".join(
        f"{name} {int(n):,} windows" + (f", {hours:.3g} h" if hours == hours else "")  # NaN: not recorded
        for name, (n, hours) in sorted(totals.items())
    )
    citations = [f"- {row.get('title') or row['dataset']}: {row['citation']}" for row in data if row.get("citation")]
    cited = "\n\nCite the data:\n\n" + "\n".join(citations) if citations else ""
    return f"{_table(rows)}\n\nIn all: {per}.{cited}"


def _training(about: Mapping[str, Any]) -> str:
    labels = {
        "steps": "steps",
        "batch": "windows per step",
        "seed": "seed",
        "seconds": "seconds",
        "hardware": "hardware",
        "precision": "precision",
        "objective": "objective",
        "mask": "masks",
        "lr": "largest learning rate",
        "versions": "software",
    }
    rows = [{"": label, "value": _plain(about[key])} for key, label in labels.items() if about.get(key) is not None]
    return f"## Training\n\n{_table(rows)}" if rows else "## Training\n\nNot recorded."


def _health(about: Mapping[str, Any]) -> str:
    health = about.get("health") or {}
    if not health:
        return ""
    rows = [
        {
            "dataset": name,
            "people": "held out" if row.get("held_out") else "from training",
            "waveform": _number(row.get("r2")),
            "shuffled": _number(row.get("r2_shuffled")),
            "log spectrum": _number(row.get("r2_log_spectrum")),
            "shuffled ": _number(row.get("r2_log_spectrum_shuffled")),
            "rank": _number(row.get("rank")),
        }
        for name, row in sorted(health.items())
    ]
    return (
        "## Health\n\nExplained variance of hidden patches, with the latents of the window and with those of another"
        " window (shuffled); where both are alike, the reconstruction does not use the latents.\n\n" + _table(rows)
    )


def _scores(about: Mapping[str, Any]) -> str:
    if not about.get("scores"):
        return "## Scores\n\nNone were recorded with this release."
    rows = [
        {
            "task": row.get("task", ""),
            "features": row.get("features", "") + _how(row),
            "metric": str(row.get("metric", "")).replace("_", " "),
            "score": _number(row.get("score")) + (f" ± {_number(row['sd'])}" if row.get("sd") is not None else ""),
            "chance": _number(row.get("chance")),
            "null 95 %": _number(row.get("null_95")),
            "p (null)": _number(row.get("p_value")),
        }
        for row in about["scores"]
    ]
    return f"## Scores\n\nMean ± SD over folds, by people.\n\n{_table(rows)}"


def _how(row: Mapping[str, Any]) -> str:
    """What a score used of the test subjects besides their features."""
    if row.get("recentred", row.get("transductive")):
        return " (recentred per subject)"
    return " (saw unlabelled windows of test subjects)" if row.get("transductive") else ""


def _limits(config: Mapping[str, Any], contract: InputContract) -> str:
    about = config.get("about", {})
    trained = [_NAMES[name] for name in sorted(contract.modalities)]
    never = [name for key, name in _NAMES.items() if key not in contract.modalities]
    limits = [
        f"Trained on {', '.join(trained)}"
        + (f"; {', '.join(never)} {'is' if len(never) == 1 else 'are'} refused." if never else ".")
    ]
    data = about.get("data") or []
    if data and all(row.get("people") is not None for row in data):
        people = sum(row["people"] for row in data)
        limits.append(f"Learned from {people} people in {len(data)} datasets: others may differ in ways nobody tested.")
    for name, part in sorted(contract.modalities.items()):
        if part.frames and set(part.frames) - {"head", "mni"}:
            limits.append(f"{_NAMES[name]}: some positions were in the frames {', '.join(part.frames)}.")
        if name == "fmri" and part.atlases:
            limits.append(f"fMRI: regions of other atlases than {', '.join(sorted(part.atlases))} were never seen.")
    deaf = [name for name, row in (about.get("health") or {}).items() if _gain(row) < _GAP]
    if deaf:
        limits.append(f"The reconstruction does not use the latents of: {', '.join(sorted(deaf))}.")
    if not about.get("scores"):
        limits.append("What its features decode was not measured for this release.")
    if not about.get("license"):
        limits.append("The licence of these weights was not stated; that of the data is in the table above.")
    limits.append("Not a medical device. Embeddings can identify people: treat them like the recordings.")
    limits += [str(note) for note in about.get("notes", ())]
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)


def _gain(row: Mapping[str, Any]) -> float:
    pairs = [(row.get(key), row.get(f"{key}_shuffled")) for key in ("r2", "r2_log_spectrum")]
    return max((a - b for a, b in pairs if a is not None and b is not None and a > 0), default=0.0)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table; what would break a cell is escaped."""
    columns = list(rows[0])

    def line(cells: Sequence[Any]) -> str:
        texts = (" ".join(str(cell).split()).replace("|", r"\|") for cell in cells)
        return "| " + " | ".join(texts) + " |"

    rule = "|" + "|".join(["---"] * len(columns)) + "|"
    return "\n".join([line(columns), rule, *(line([row[column] for column in columns]) for row in rows)])


def _listed(values: Sequence[str], most: int = 6) -> str:
    if not values:
        return "–"
    more = f", ... ({len(values)} in all)" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
