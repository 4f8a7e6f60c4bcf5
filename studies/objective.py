"""The objective study: addressing, objectives and cures for the fight between waveform and spectrum, cell by cell.

A cell is one option, one seed and one fold. It is pretrained on a small joint corpus, of recordings and of simulated
signals, without the eegmat people and the simulated people of the fold, and answers three questions about frozen
latents: how much of hidden patches of the people left out is explained, with the right and with shuffled latents; what
a probe trained on the other people decodes on them; and who is who in STAGES (transductive: its people were seen,
without their names). Cells are lines of `cells.jsonl`; a line that is there is not run again, so the study may be
stopped at any time.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from brainof.corpus import Corpus
from brainof.datasets import Source, prepare_sources
from brainof.errors import ConfigError, ReadError, did_you_mean
from brainof.evaluation.baselines import baseline_features
from brainof.evaluation.protocol import task_windows
from brainof.model import BrainOF
from brainof.pretraining import find_config, pretrain
from brainof.release import load
from brainof.report.page import Section, Table, write_page
from brainof.report.sections import data_section
from brainof.simulate.tasks import task_parameters
from brainof.simulate.write import write
from brainof.utils.files import write_atomically
from brainof.utils.progress import timed
from studies.objective_grid import (
    CELLS,
    COHORT,
    DATASETS,
    DECODING,
    HALF,
    N_FOLDS,
    N_SEEDS,
    QUICK,
    REFERENCES,
    SHARED,
    SIMULATED,
    STEPS,
    UNTRAINED,
    configuration,
)
from studies.objective_questions import Fold, answers, reconstruction
from studies.objective_tables import cells_of, identification_table, markdown, overview, paired_rows, simulated_table


class Ledger:
    """Finished cells, one JSON line each; several processes may add to one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else ""
        if text and not text.endswith("\n"):  # a line that was cut off must not swallow the next one
            with path.open("a") as file:
                file.write("\n")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All lines, those of other processes included."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [row for row in map(_parsed, lines) if row is not None]

    def has(self, key: Mapping[str, Any]) -> bool:
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None  # cut off by a stop; the cell is run again


def run_cell(ledger: Ledger, fold: Fold, cell: str, seed: int, steps: int, out: Path, changes: list[str]) -> float:
    """Train and examine one cell unless it is in the ledger; returns seconds (0 when it was there)."""
    key = {"cell": cell, "seed": seed, "fold": fold.number, "steps": steps, "changes": changes}
    if ledger.has(key):
        return 0.0
    started = time.perf_counter()
    config = configuration(cell, seed, fold.people, steps, changes)
    name = "-".join([*cell.replace(",", "").split(), f"s{seed}", f"f{fold.number}", f"n{steps}"])
    run = pretrain(config, fold.corpus.root, out / "runs" / name)
    model, _ = load(run)
    index = fold.corpus.index
    checked = {DECODING[name].partition("/")[0]: question.test_rows for name, question in fold.questions.items()}
    for dataset in DATASETS:
        if dataset not in checked:
            own = index[(index["dataset"] == dataset) & (index["view"] == "pretrain")]
            shapes = own.groupby(["n_channels", "n_times"], observed=True).indices
            checked[dataset] = own.index.to_numpy()[max(shapes.values(), key=len)]
    row = {**key, "people": fold.people, "r2": reconstruction(model, config, fold.corpus, checked)}
    row |= answers(model, fold)
    ledger.add(row | {"seconds": round(time.perf_counter() - started, 1)})
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return time.perf_counter() - started


def run_references(ledger: Ledger, fold: Fold) -> None:
    """Classical features on the windows and the people of a fold."""
    for name in dict.fromkeys(name for names in REFERENCES.values() for name in names):
        asked = {question: fold.questions[question] for question, names in REFERENCES.items() if name in names}
        key = {"cell": name, "fold": fold.number}
        if not ledger.has(key):
            row: dict[str, Any] = {}
            for question, problem in asked.items():
                windows, sfreqs = task_windows(fold.corpus, problem.rows)
                modality = "fmri" if question == "simulated_fmri" else "eeg"
                row[question] = {"features": problem.decode(baseline_features(name, modality, windows, sfreqs))}
            ledger.add({**key, "people": fold.people, **row})
    key = {"cell": "functional connectivity of sessions", "fold": fold.number}
    if not ledger.has(key):
        windows, sfreqs = task_windows(fold.corpus, fold.session_rows)
        features = baseline_features("functional connectivity", "fmri", windows, sfreqs)
        found = {name: fold.identified(features, name != "features") for name in ("features", "features, standardised")}
        ledger.add({**key, "people": fold.people, "identification": found})


def run_untrained(ledger: Ledger, fold: Fold, seed: int) -> None:
    """The same questions to random weights."""
    for name, options in UNTRAINED.items():
        key = {"cell": name, "seed": seed, "fold": fold.number}
        if not ledger.has(key):
            config = find_config("per_output").replaced([*SHARED, *options], name)
            torch.manual_seed(1000 + seed)
            overrides = dict(config.model)
            model = BrainOF.from_preset(overrides.pop("preset"), **overrides)
            ledger.add({**key, "people": fold.people, **answers(model, fold)})


def prepared(root: Path, out: Path, tell: Callable[[str], None]) -> Corpus:
    """The joint corpus of the study."""
    cohort = write(task_parameters("rest_vs_task", effects=HALF, **COHORT), out / "cohort")
    sources = [Source(name, root / folder) for name, (folder, _) in DATASETS.items()]
    sources += [Source(cohort / f"recipe_{name.partition('_')[2]}.yaml", cohort) for name in SIMULATED]
    for summary in prepare_sources(sources, out / "corpus"):
        tell(summary.text().splitlines()[0])
    return Corpus(out / "corpus")


def objective(
    root: Path, out: Path, say: Callable[[str], None], *, changes: list[str], quick: bool = False, cells: str = ""
) -> Path:
    """Run what is missing of the grid, then write `report.html` and `table.md` from `cells.jsonl`.

    Parameters
    ----------
    root : Path
        Folder that holds the dataset folders of DATASETS.
    out : Path
        Everything is written here; cells that are finished are kept.
    say : callable
        Called with a line of progress.
    changes : list of str
        `key=value` changes to the recipe of every cell; `steps=N` is the length of all runs.
    quick : bool
        Two cells, one seed, one fold, 60 steps: shows that everything works, and nothing else.
    cells : str
        Names of cells, separated by semicolons; all by default.
    """
    tell = timed(say)
    steps = next((int(text.partition("=")[2]) for text in changes if text.startswith("steps=")), 60 if quick else STEPS)
    changes = [text for text in changes if not text.startswith("steps=")]
    chosen = [name.strip() for name in cells.split(";") if name.strip()] or list(QUICK if quick else CELLS)
    for name in chosen:
        if name not in CELLS:
            raise ConfigError("no such cell", field=name, fix=did_you_mean(name, CELLS))
    for folder, _ in DATASETS.values():
        if not (root / folder).is_dir():
            raise ReadError(
                "no such dataset folder", file=root / folder, fix="give the folder of the recordings with --root"
            )
    torch.set_num_threads(1)
    corpus = prepared(root, out, tell)
    ledger = Ledger(out / "cells.jsonl")
    examined = [Fold(corpus, number) for number in range(1 if quick else N_FOLDS)]
    for fold in examined:
        run_references(ledger, fold)
    # one run of every cell first, so that a study that is stopped early has something of everything
    grid = [(seed, fold) for seed in range(1 if quick else N_SEEDS) for fold in examined]
    grid.sort(key=lambda pair: (pair[0] != pair[1].number, pair[0], pair[1].number))
    for seed, fold in grid:
        run_untrained(ledger, fold, seed)
        for cell in chosen:
            seconds = run_cell(ledger, fold, cell, seed, steps, out, changes)
            if seconds:
                tell(f"{cell}: seed {seed}, fold {fold.number}, {seconds:.0f} s")
            write_results(ledger.rows, corpus, out)
    tell(f"done: {out / 'report.html'}")
    return out / "report.html"


def write_results(rows: list[dict[str, Any]], corpus: Corpus, out: Path) -> None:
    """The page and the Markdown table of what is finished."""
    trained = [cell for cell in cells_of(rows) if cell in CELLS]
    references = [*REFERENCES["decoding"], *UNTRAINED]
    decoding, simulated, identified = overview(rows), simulated_table(rows), identification_table(rows)
    comparisons = [
        paired_rows(rows, cell, [*references, "one decoder"], "decoding", pooling)
        for cell in trained
        for pooling in ("mean_std", "concat", "concat@log_spectrum")
    ]
    pairs = pd.concat(comparisons, ignore_index=True) if trained else pd.DataFrame()
    text = [
        "Each run was pretrained without the people of its fold; explained variance and probe are of those people. "
        "Scores are averaged over the runs that tested a person, then over people.",
        "Identification is transductive: its people were in pretraining, without their names. Chance is 0.05.",
    ]
    sections = [
        data_section(corpus, ["Public recordings under their own licences; see the recipes."]),
        Section(
            "Cells",
            text,
            tables=[
                Table(decoding, "Explained variance of hidden patches, and the frozen probe on eegmat"),
                Table(
                    simulated, "Simulated people left out: explained variance, and the frozen probe of rest and task"
                ),
                Table(identified, "Identification in STAGES, top-1"),
                Table(pairs, "Paired per person: the probe"),
            ],
        ),
    ]
    write_page(out / "report.html", sections, title="Objectives", lead="Which objective gives which features.")
    tables = [markdown(frame) for frame in (decoding, simulated, identified, pairs) if len(frame)]
    write_atomically(out / "table.md", [("\n\n".join(tables) + "\n").encode()])
