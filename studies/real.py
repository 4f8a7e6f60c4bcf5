"""The real study: joint pretraining on the public recordings of the shared folder, then probes.

Pretraining that has seen (without labels) the people it is tested on is called transductive; with `folds` the people
of a fold are left out of pretraining, and the probe is trained on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from brainof.corpus import Corpus
from brainof.datasets import prepare
from brainof.errors import ReadError
from brainof.evaluation import Suite, evaluate
from brainof.explain import explain
from brainof.pretraining import find_config, pretrain
from brainof.pretraining.run_folder import last_of
from brainof.report.explanations import write_explanations
from brainof.report.report import report
from brainof.report.tables import PIPELINE, by_person
from brainof.stats.compare import paired, standard_error
from brainof.utils.console import markdown_table
from brainof.utils.files import write_atomically, write_json
from brainof.utils.progress import timed
from brainof.utils.values import finite

#: recipe -> folder below the root
DATASETS = {
    "eegmat": "eegmat",
    "eegmmidb": "eegmmidb_S001",
    "muse_n170": "muse_n170",
    "muse_ssvep": "muse_ssvep",
    "eeg_vendor_clips": "eeg_vendor_clips",
    "meg_vendor_clips": "meg_vendor_clips",
    "meg_vendor_clips_eeg": "meg_vendor_clips",
    "stages_fep": "stages_fep_rsfmri",
    "hcp_aal2": "hcp_aal2_rsfmri",
    "cni_adhd": "cni_adhd_rsfmri",
    "haxby2001": "haxby2001_mini",
    "haxby2001_slice": "haxby2001_mini",
    "studyforrest_localizer": "studyforrest_localizer_bold",
}

#: What is asked of the run; blocks of fMRI lift and lower the signal itself, which its waveform holds
TASKS: dict[str, dict[str, Any]] = {
    "arithmetic": {"recipe": "eegmat/arithmetic"},
    "identification": {"recipe": "stages_fep/identification"},
    "categories": {"recipe": "haxby2001_slice/categories", "n_splits": None, "pool": "concat@waveform"},
    "flicker": {"recipe": "muse_ssvep/flicker", "baselines": ["amplitude", "band power", "filter-bank tangent"]},
}
SUITE = Suite.parse(
    {
        "name": "real",
        "version": "1.0",
        "title": "Tasks of the public recordings",
        "permutations": 200,
        "tasks": {name: {**task, "options": ["recentred"], "equal": False} for name, task in TASKS.items()},
    }
)


#: Explained variances of the last health check, each with latents of other windows
SCORES = {"r2": "waveform", "r2_log_spectrum": "log spectrum", "r2_connectivity": "connectivity"}


def summarised(
    lines: pd.DataFrame, people: pd.DataFrame, health: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """What the tables show of an evaluation and of a health check, as plain values."""
    scores, of = [], by_person(people)
    models = {(row["task"], row["option"]): row for row in lines[lines["kind"] == "model"].to_dict("records")}
    for row in lines[lines["kind"] != "chance"].to_dict("records"):
        own = of[tuple(row[key] for key in PIPELINE)].dropna().to_dict()
        about = {"task": row["task"], "features": row["entry"] + " (recentred)" * (row["option"] == "recentred")}
        about |= {"score": row["score"], "SD (folds)": row["fold_sd"], "SE (subjects)": standard_error([*own.values()])}
        about |= {"chance": row["chance"], "null 95 %": row["null_95"], "p (null)": row["p_value"]}
        about |= {"metric": row["metric"].replace("_", " ")}
        found: dict[str, Any] = {}
        if row["kind"] != "model":
            model = models[row["task"], row["option"]]
            found = paired(of[tuple(model[key] for key in PIPELINE)].to_dict(), own)
        about |= {"difference": found.get("difference"), "SE (difference)": found.get("se")}
        about |= {"wins": found.get("wins"), "losses": found.get("losses"), "p (Wilcoxon)": found.get("p_value")}
        scores.append(about)
    known = [{"dataset": name, **row} for name, row in sorted(health.items())]
    return {"scores": [finite(row, 6) for row in scores], "health": [finite(row, 4) for row in known]}


def tables(found: Mapping[str, list[dict[str, Any]]]) -> str:
    """The tables of the study in Markdown, from `summarised`."""
    scores, health = [], []
    for row in found["scores"]:
        gain = "" if row["difference"] is None else f"{row['difference']:+.3f} ± {row['SE (difference)']:.3f}"
        won = "" if row["wins"] is None else f"{row['wins']:.0f}/{row['losses']:.0f}, {row['p (Wilcoxon)']:.2g}"
        score, error = _cell(row["score"]), _cell(row["SE (subjects)"])
        about = [row["task"], row["metric"], row["features"], f"{score} ± {error}", _cell(row["chance"])]
        scores.append([*about, _cell(row["null 95 %"]), _cell(row["p (null)"]), gain, won])
    for row in found["health"]:
        pairs = [(row.get(name), row.get(f"{name}_shuffled")) for name in SCORES]
        cells = ["" if own is None else f"{own:.2f} ({other:.2f})" for own, other in pairs]
        health.append([row["dataset"], "held out" if row["held_out"] else "from training", *cells])
    head = ["task", "metric", "features", "score", "chance", "null 95 %", "p (null)", "pretrained minus these"]
    text = markdown_table([*head, "wins/losses, p (signed rank)"], scores)
    return f"{text}\n\n{markdown_table(['dataset', 'people', *SCORES.values()], health)}\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def require_folders(root: Path, folders: Iterable[str]) -> None:
    """A ReadError that names the first dataset folder that is not below the root."""
    for folder in folders:
        if not (root / folder).is_dir():
            fix = "give the folder of the recordings with --root"
            raise ReadError("no such dataset folder", file=root / folder, fix=fix)


def real(root: Path, out: Path, say: Callable[[str], None], *, changes: list[str]) -> Path:
    """Prepare, pretrain, probe, write `report.html`, `run/evaluation`, `summary.json` and its `tables.md`.

    Parameters
    ----------
    root : Path
        Folder that holds the dataset folders of DATASETS.
    out : Path
        Everything is written here; what is complete in it is kept.
    say : callable
        Called with a line of progress.
    changes : list of str
        `key=value` changes to the pretraining recipe `real`.

    Raises
    ------
    ReadError
        A dataset folder is missing.
    """
    tell = timed(say)
    config = find_config("real").replaced(changes, "real")

    require_folders(root, DATASETS.values())
    for recipe, folder in DATASETS.items():
        tell(prepare(recipe, root / folder, out / "corpus").text().splitlines()[0])
    tell(f"joint pretraining, {config.steps} steps")
    run = pretrain(config, out / "corpus", out / "run")
    tell("probing")
    done = evaluate(SUITE, run, run / "evaluation", root=out / "corpus", accept=["overlap"], say=tell)
    found = summarised(done.summary, done.results, last_of("health", run / "metrics.jsonl") or {})
    write_json(out / "summary.json", found)
    write_atomically(out / "tables.md", [tables(found).encode()])
    corpus = Corpus(out / "corpus")
    write_explanations(explain(run, corpus, what=["reconstruction"], n_untrained=1), run / "explained", model=str(run))
    page = report([run], out / "report.html", title="Brain-OF on real recordings")
    tell(f"done: {page}")
    return page
