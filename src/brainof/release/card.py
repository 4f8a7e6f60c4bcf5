"""The model card: README.md of a release, `card.md` filled with what config.json and the contract record.

What was not recorded is said to be unknown; no sentence praises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from ..contract import InputContract
from ..model import BrainOFConfig, count
from ..utils.console import markdown_table

_NAMES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}

#: Explained variance that real latents must add to shuffled ones before a dataset counts as learned
_GAP = 0.01

#: what a run records of its training -> what the card calls it
_TRAINING = {
    "steps": "steps",
    "batch": "windows per step",
    "seed": "seed",
    "seconds": "seconds",
    "hardware": "hardware",
    "precision": "precision",
    "compiled": "blocks compiled",
    "objective": "objective",
    "mask": "masks",
    "lr": "largest learning rate",
    "versions": "software",
}


def model_card(config: Mapping[str, Any], contract: InputContract) -> str:
    """Markdown with the Hub's metadata block, from config.json of the release (`model`, `files`, `about`)."""
    about = config.get("about", {})
    counts = count(BrainOFConfig.parse(config["model"]))
    return _template().render(
        about=about,
        contract=contract,
        head=config.get("head"),
        trained=", ".join(_NAMES[name] for name in sorted(contract.modalities)),
        parameters=f"{counts['total'] / 1e6:.3g}",
        active=f"{counts['active'] / 1e6:.3g}",
        inputs=_inputs(contract),
        data=about.get("data") or [{"dataset": name, "windows": n} for name, n in (about.get("windows") or {}).items()],
        training=[
            {"": label, "value": _plain(about[key])} for key, label in _TRAINING.items() if about.get(key) is not None
        ],
        names=_NAMES,
        never=[name for key, name in _NAMES.items() if key not in contract.modalities],
        people=[row.get("people") for row in about.get("data") or ()],
        ignored=sorted(name for name, row in (about.get("health") or {}).items() if _gain(row) < _GAP),
    )


@cache
def _template() -> jinja2.Template:
    page = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    page.filters.update(json=json.dumps, table=_table, data_table=_data_table, plain=_plain, how=_how)
    page.filters["number"] = lambda value: "–" if value is None else f"{value:.3g}"
    return page.from_string(Path(__file__).with_name("card.md").read_text(encoding="utf-8"))


def _inputs(contract: InputContract) -> list[dict[str, str]]:
    rows = []
    for name, part in sorted(contract.modalities.items()):
        low, high = part.window_seconds
        rows.append(
            {
                "modality": _NAMES[name],
                "sensors and unit": ", ".join(f"{kind} [{unit}]" for kind, unit in sorted(part.units.items())),
                "Hz after preparation": _listed([f"{rate:g}" for rate in part.sfreqs]),
                "window (s)": f"{low:g}" if low == high else f"{low:g} to {high:g}",
                "frames": _listed(part.frames),
                "atlases": _listed([f"{atlas} ({digest})" for atlas, digest in sorted(part.atlases.items())]),
                "steps": ", ".join(str(step.get("step")) for step in part.steps),
            }
        )
    return rows


def _data_table(data: Sequence[Mapping[str, Any]]) -> str:
    rows, citations = [], []
    totals: dict[str, list[float]] = {}
    for row in data:
        title, hours = row.get("title") or row["dataset"], row.get("hours")
        cells = {
            "dataset": f"[{title}]({row['url']})" if row.get("url") else title,
            "modality": _NAMES.get(row.get("modality", ""), "unknown"),
            "people": row.get("people", "unknown"),
            "windows": f"{row['windows']:,}",
            "hours": f"{hours:.3g}" if hours is not None else "unknown",
            "license": row.get("license") or row.get("licence") or "not recorded",
        }
        rows.append(cells)
        citations += [f"- {title}: {row['citation']}"] if row.get("citation") else []
        entry = totals.setdefault(_NAMES.get(row.get("modality", ""), "unknown modality"), [0, 0.0])
        entry[0] += row["windows"]
        entry[1] += hours if hours is not None else float("nan")
    per = "; ".join(
        f"{name} {int(n):,} windows" + (f", {hours:.3g} h" if hours == hours else "")  # NaN: not recorded
        for name, (n, hours) in sorted(totals.items())
    )
    cited = "\n\nCite the data:\n\n" + "\n".join(citations) if citations else ""
    return f"{_table(rows)}\n\nIn all: {per}.{cited}"


def _how(row: Mapping[str, Any]) -> str:
    """How features were read, and whether anything saw the test subjects."""
    parts = [row.get("readout"), row.get("option") if row.get("option") != "plain" else None]
    parts += ["saw unlabelled windows of test subjects" if row.get("transductive") else None]
    return f" ({', '.join(filter(None, parts))})" if any(parts) else ""


def _gain(row: Mapping[str, Any]) -> float:
    pairs = [(row.get(key), row.get(f"{key}_shuffled")) for key in ("r2", "r2_log_spectrum")]
    return max((a - b for a, b in pairs if a is not None and b is not None and a > 0), default=0.0)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    return markdown_table([*rows[0]], ([*map(str, row.values())] for row in rows))


def _listed(values: Sequence[str], most: int = 6) -> str:
    if not values:
        return "–"
    return ", ".join(values[:most]) + (f", ... ({len(values)} in all)" if len(values) > most else "")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
