"""What `brainof report` finds in a folder: a pretraining run, an adaptation, an evaluation, explanations, a corpus.

Every reader takes what is there: a run that crashed has no release, and old or new versions have other columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..corpus import Corpus
from ..errors import BrainOFError, ConfigError
from ..pretraining.run_folder import FAILED, read_metrics
from ..schema import read_yaml
from ..utils.files import parse_json
from . import quality
from .explanations import FILE, lead, stored_section
from .page import Image, Section, Table
from .results import confusion, gains, paired_lines, scores
from .tables import DATA, gain_rows, paired_table, renamed, summary_table, trained_models
from .training import expert_load, explained_variance, loss_curves


@dataclass
class Part:
    """One folder of a report, of a kind of `_KINDS`."""

    name: str
    kind: str
    sections: list[Section] = field(default_factory=list)
    #: What the release records of its training; empty where there is none
    record: dict[str, Any] = field(default_factory=dict)
    #: Against random weights, where that was measured: task, entry, difference, low, high, verdict
    gains: list[dict[str, Any]] = field(default_factory=list)
    #: One line for the comparison of several folders; numbers for machines
    facts: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    #: What this folder does not show
    limits: list[str] = field(default_factory=list)
    #: The first sentence of a page of nothing else; empty where gains make it
    lead: str = ""


def read_part(folder: Path, name: str = "") -> Part:
    """What a folder (or `name`), and an evaluation and explanations in it, give a report; a ConfigError for another."""
    if not folder.is_dir():
        fix = "give folders that brainof wrote: runs, evaluations, corpora"
        raise ConfigError("no such folder", file=folder, fix=fix)
    for kind, (file, read) in _KINDS.items():
        if any((folder / name).exists() for name in file.split()):
            part = Part(name or folder.resolve().name, kind)
            try:
                read(folder, part)
            except BrainOFError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:  # of another layout
                problem = f"is damaged ({type(error).__name__}: {error})"
                raise ConfigError(problem, file=folder, fix="write it again, or leave it out") from error
            if kind != "explanation" and (folder / "explained" / FILE).is_file():
                part.sections.append(stored_section(folder / "explained"))
            return part
    fix = "give the folder of brainof pretrain, adapt, evaluate, explain or prepare"
    if (folder / "config.json").is_file() and (folder / "preprocessing.json").is_file():
        raise ConfigError("is a release, without curves or scores", file=folder, fix=f"{fix}; brainof info shows it")
    raise ConfigError("holds no run, evaluation, explanation or corpus", file=folder, fix=fix)


#: Figure of the rows of a run's metrics -> its caption
_FIGURES = {
    loss_curves: "Loss (Smooth L1) of hidden patches over optimizer steps, a colour per modality. Thin: as logged, "
    "thick: running median. Waveform: samples in SD of the recording; spectrum: log amplitude.",
    explained_variance: "Share of the variance of hidden patches that the model explains, per dataset; 0 is no better "
    "than the mean, below -0.5 is cut. Solid: right latents; dotted: latents of other windows.",
    expert_load: "How unevenly the router loads its experts: tokens of the busiest expert over the mean, minus one. "
    "0 is even, 1 is one expert with twice its share.",
}
_GAINS = (
    "Gain over random weights, 95 % interval over subjects. Won or lost is what lies outside zero also with the spread "
    "of random initialisations."
)
_MEANS = "Mean over subjects with 95 % interval; gain: paired difference from random weights of the same architecture."
_SCORES = (
    "Dot: mean score with its 95 % interval over subjects (runs, where these are left out), which are grey ticks; "
    "dashed line: chance; shaded: up to the 95th percentile with permuted labels. Open dots used windows of test "
    "subjects. First read-out of each."
)
_PAIRED = "One line per subject: the same architecture with random weights, and the model. Thick: mean."
_PAIRS = "Model minus what was read out the same way, paired by subject (Wilcoxon); above 0 the model is better."
#: Columns of `summary.csv` that a page shows
_COLUMNS = (
    *("modality", "option", "score", "low", "high", "against", "gain", "gain_low", "gain_high", "gain_low_any"),
    *("gain_high_any", "chance", "null_95", "n_people", "n_seeds", "transductive", "reason"),
)
#: Keys of a health check -> the output that they are of
_OUTPUTS = {"r2": "waveform", "r2_log_spectrum": "log spectrum", "r2_connectivity": "connectivity"}


def _pretraining(folder: Path, part: Part) -> None:
    rows = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    config, record = _yaml(folder / "config.yaml"), _record(folder)
    health: dict[str, Any] = next((row["health"] for row in reversed(rows) if row.get("health")), {})  # the last
    steps = max((int(row["step"]) for row in rows if "step" in row), default=0)
    logged = pd.DataFrame([row for row in rows if row.get("loss") is not None], columns=["step", "dataset", "loss"])
    losses, curve = logged.groupby("dataset")["loss"].last(), logged.groupby("step")["loss"].mean()

    data = renamed(record.get("data", ()), DATA)
    tables = [Table(data, "What the model was trained on.", 2)] if len(data) else []
    text = [] if tables else ["The run has not recorded its data yet: it does so in its release."]
    part.sections = [Section(f"Data of {part.name}", text, tables=tables)]

    text = [f"{steps} of {config.get('steps') or '?'} steps are logged; seed {config.get('seed', '?')}."]
    if (folder / FAILED).is_file():
        text.append(f"This run FAILED: {_json(folder / FAILED).get('error', 'no reason is recorded')}.")
    elif not record:
        text.append(
            "This run is UNFINISHED: it has no release. It crashed, was stopped, or still runs; the same command of "
            "brainof pretrain continues it."
        )
    if trial := record.get("trial"):
        text.append(f"This run is a TRIAL: {trial}.")
    if record:
        text.append(f"{record.get('seconds', 0):.0f} s on {record.get('hardware', 'unknown hardware')}.")
    speed = [row["windows_per_second"] for row in rows if row.get("windows_per_second") is not None]
    text.append(f"Median {np.median(speed):.0f} windows per second." if speed else "No speed was logged.")
    text.append(
        "A falling loss does not show that anything was learned: a decoder that ignores the input has a plausible one. "
        "What shows it is explained variance with the right latents (solid) above that with latents of other windows "
        "(dotted)."
    )
    others = "R2, latents of other windows"
    lines = [
        {"dataset": name, "output": output, "R2": entry[key], others: entry.get(f"{key}_shuffled")}
        for name, entry in health.items()
        for key, output in _OUTPUTS.items()
        if entry.get(key) is not None
    ]
    about = "Explained variance of hidden patches at the last check, with the right latents and with those of others."
    tables = [Table(pd.DataFrame(lines), about)] if health else []
    images = [Image(figure(rows), caption) for figure, caption in _FIGURES.items()]
    part.sections += [Section(f"Pretraining of {part.name}", text, images, tables), _configuration(config, part.name)]

    part.record = record
    part.facts = {"steps": steps, "seed": config.get("seed"), "loss": float(losses.mean()) if len(losses) else None}
    part.facts |= {f"R2 {name}": entry.get("r2") for name, entry in health.items()}
    part.data = {"config": config, "last_loss": losses.to_dict(), "health": health, "record": record}
    part.data["curve"] = list(zip(map(int, curve.index), map(float, curve), strict=True))
    part.limits = [
        "Losses and explained variance are those of the objective; whether features are useful is for an evaluation.",
        *([] if health else ["No health check was logged: nothing shows that the decoder uses the latents."]),
    ]
    if (folder / "evaluation" / "summary.csv").is_file():
        _evaluation(folder / "evaluation", part)


def _adaptation(folder: Path, part: Part) -> None:
    config, found = _yaml(folder / "config.yaml"), _json(folder / "scores.json")
    part.record = _record(folder)
    base, task = part.record.get("base_model", "unknown"), part.record.get("task", config.get("task"))
    text = [f"Base model: {base}. Task: {task}."]
    tables, images = [], []
    if summary := found.get("summary"):
        lines, people = whole(pd.DataFrame(summary)), pd.DataFrame(found["people"])
        metrics = lines["metric"].unique()
        main, people = lines[lines["metric"] == metrics[0]], people[people["metric"] == metrics[0]]
        about = "cross-validated on the same windows and folds"
        means = lines[lines["kind"] != "chance"].pivot(index="entry", columns="metric", values="fold_score")
        means = means.loc[main["entry"][main["kind"] != "chance"], metrics].reset_index()  # a column per metric
        means[f"chance, {metrics[0]}"] = main["chance"].iloc[0]
        means = means.rename(columns=lambda name: name.replace("_", " "))
        tables = [Table(means, f"Scores, {about}: means over folds.")]
        caption = f"Dot: score, {about}, with its 95 % interval over subjects (ticks); dashed: chance."
        images = [Image(scores(main, people), caption)]
        part.gains = gain_rows(main)
    elif found:
        text.append("Its scores.json has no table of scores: an earlier brainof wrote it.")
    else:
        text.append("This adaptation was not scored (repeats: 0): it only fitted the model.")
    if counted := found.get("confusion"):
        caption = "Windows of each true class (rows) by what the adapted model calls them, over all folds."
        images.append(Image(confusion(counted["counts"], counted["classes"]), caption))
    part.sections = [Section(f"Scores of {part.name}", text, images, tables), _configuration(config, part.name)]
    metric = next(iter(found.get("metrics", {}).items()), None)
    part.facts = {"base model": part.record.get("base_model"), "task": part.record.get("task")}
    part.facts |= {metric[0].replace("_", " "): metric[1]["mean"]} if metric else {}
    part.data = {"config": config, "scores": found, "record": part.record}
    part.limits = ["No label permutation was run here, and the interval does not cover the choice of settings."]


def _evaluation(folder: Path, part: Part) -> None:
    lines, results = whole(pd.read_csv(folder / "summary.csv")), folder / "results.parquet"
    people = pd.read_parquet(results) if results.is_file() else pd.DataFrame()
    part.gains += gain_rows(lines)
    images = [Image(gains(part.gains), _GAINS)] if part.gains else []
    images.append(Image(scores(lines, people), _SCORES))
    if (figure := paired_lines(lines, people)) is not None:
        images.append(Image(figure, _PAIRED))
    pairs = paired_table(lines, people)
    tables = [Table(summary_table(lines), _MEANS)]
    tables += [Table(pairs, _PAIRS, folded=len(pairs) > 20)] if len(pairs) else []
    part.sections.append(Section(f"Scores of {part.name}", [], images, tables))
    part.data["summary"] = lines.astype(object).where(lines.notna(), None).to_dict("records")
    part.facts["tasks"] = int(lines["task"].nunique())
    models = lines[lines["kind"] == "model"]
    untrained = models["entry"].drop(trained_models(models).index)
    if len(models) and len(untrained) == len(models):
        part.facts["weights"] = "random"
    if lines["n_seeds"].notna().any():
        part.facts.setdefault("seed", ", ".join(map(str, range(int(lines["n_seeds"].max())))))
    for row in lines[lines["reason"].notna()].to_dict("records"):
        part.limits.append(f"{row['task']}, {row['entry']}: {row['reason']}.")
    for name, about in _json(folder / "tasks.json").items():
        if about.get("absent"):
            part.limits.append(f"Task {name} is not in the table: {about['absent']['why']}.")
        elif about.get("refused"):
            part.limits.append(f"Task {name} is not in the table, it was refused: {about['refused']}.")
    if len(untrained):
        known = ", ".join(untrained.unique())
        part.limits.append(f"{known}: never trained; its difference from other random weights is chance.")
    if lines["transductive"].any():
        part.limits.append("Some features saw unlabelled windows of test subjects (transductive): they are open dots.")


def whole(lines: pd.DataFrame) -> pd.DataFrame:
    """A summary with all columns that a page shows, which older or smaller ones lack."""
    lines = lines.reindex(columns=[*lines, *(name for name in _COLUMNS if name not in lines)])
    lines = lines.where(lines.notna(), np.nan)  # JSON has None for what is not known
    return lines.assign(option=lines["option"].astype(object).fillna(""), transductive=lines["transductive"].eq(True))


def _explanation(folder: Path, part: Part) -> None:
    part.sections = [stored_section(folder)]
    part.data = _json(folder / FILE)
    part.facts = {"maps": len(part.data["maps"]), "model": part.data.get("model"), "seed": part.data.get("seed")}
    part.lead = lead(part.data["maps"])
    part.limits = ["Explanations describe the model on the windows shown, not the brain."]


def _corpus(folder: Path, part: Part) -> None:
    corpus = Corpus(folder)
    part.sections = [Section(f"Data quality of {part.name}", ["This corpus holds no quality notes."])]
    if records := corpus.quality:
        part.sections, part.lead = quality.quality_sections(corpus, records), quality.lead(records)
    sets = {(record["dataset"], record["modality"]) for record in records}
    part.facts = {"windows": len(corpus), "datasets": len(sets)}


#: Kind -> files one of which tells it, and its reader; the first that fits
_KINDS: dict[str, tuple[str, Callable[[Path, Part], None]]] = {
    "pretraining": ("metrics.jsonl failed.json", _pretraining),
    "explanation": (FILE, _explanation),
    "adaptation": ("adapter", _adaptation),
    "evaluation": ("summary.csv", _evaluation),
    "corpus": ("corpus.json", _corpus),
}


def _configuration(config: dict[str, Any], name: str) -> Section:
    (flat,) = pd.json_normalize([config]).to_dict("records")
    frame = pd.DataFrame([{"setting": str(key), "value": str(value)} for key, value in flat.items()])
    return Section(f"Configuration of {name}", tables=[Table(frame, f"{len(frame)} settings", folded=True)])


def _record(folder: Path) -> dict[str, Any]:
    found = _json(folder / "release" / "config.json")
    return found.get("about", {}) if isinstance(found, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path)
    except ConfigError:
        return {}


def _json(path: Path) -> Any:
    try:
        return parse_json(path.read_text())
    except OSError:
        return {}
    except ValueError as error:
        raise ConfigError(f"is damaged ({error})", file=path, fix="write it again, or remove it") from None
