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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..corpus import Corpus
from ..errors import ConfigError, ReadError, did_you_mean
from ..evaluation.baselines import baseline_features
from ..evaluation.decoding import Problem, score_features
from ..evaluation.identity import identify, matching
from ..evaluation.protocol import Task, targets, task_rows, task_windows
from ..evaluation.splits import group_keys
from ..files import write_atomically
from ..model import BrainOF
from ..pretraining import PretrainConfig, find_config, pretrain
from ..pretraining.health import check_batch
from ..pretraining.mtfm import MTFM
from ..release import load
from ..report.page import Section, Table, write_page
from ..simulate.tasks import task_parameters
from ..simulate.write import write
from .objective_tables import cells_of, identification_table, markdown, overview, paired_rows, simulated_table
from .path import Source, choose_tasks, data_section, prepare_sources

#: recipe -> (folder below the root, share of the windows that pretraining draws)
DATASETS = {
    "eegmat": ("eegmat", 0.50),
    "stages_fep": ("stages_fep_rsfmri", 0.20),
    "hcp_aal2": ("hcp_aal2_rsfmri", 0.05),
    "cni_adhd": ("cni_adhd_rsfmri", 0.10),
}
#: Simulated datasets -> share. Rest and task differ half as much as by default, so that scores stay below the ceiling.
SIMULATED = {"simulated_eeg": 0.10, "simulated_fmri": 0.05}
COHORT = {"subjects": 18, "seed": 2602, "modalities": ("eeg", "fmri"), "channels": 19}
HALF = {"state_strength": 0.5}
#: Question -> the task it asks
DECODING = {
    "decoding": "eegmat/arithmetic",
    "simulated_eeg": "simulated_eeg/rest_vs_task",
    "simulated_fmri": "simulated_fmri/rest_vs_task",
}
IDENTIFICATION = "stages_fep/identification"
N_FOLDS, N_SEEDS, STEPS = 3, 3, 300

#: What all cells share: `tiny` with two blocks and half the latents, small batches, no Fourier masks
SHARED = [
    "model.preset=tiny",
    "objective.spectrum_of=patch",
    "objective.second_order=0",
    "model.depth=2",
    "model.latents=32",
    "batch_size=8",
    "min_channels=0.8",
    "mask.fourier_ratio=0",
    "health_grace=1",
    "health_margin=0",
    "threads=1",
]
APART = ["model.separate_decoders=true"]
#: A start in which the signal is not drowned: what cross-attention reads is loud, what it is added to is quiet
LOUD = ["model.latent_std=0.05", "model.cross_gain=4", "model.log_spectrum_gain=0.1", "model.mirrored=true"]
BALANCED = [*APART, *LOUD, "model.balanced_gradients=true"]

STREAMS = [
    *BALANCED,
    "model.log_spectrum_gain=1",
    "model.partition=true",
    "model.streams=true",
    "objective.spectrum_of=window",
]
THREE = [
    *STREAMS,
    "model.connectivity_features=true",
    "model.outputs=[waveform,log_spectrum,connectivity]",
    "model.pooling=concat@log_spectrum",
    "objective.second_order=1",
]

#: cell -> changes to the shared recipe
CELLS: dict[str, list[str]] = {
    "one decoder": [],
    "a decoder each": APART,
    "three streams": [*THREE, "model.latents=48"],
    "three streams, 72 latents": [*THREE, "model.latents=72"],
    "two streams": STREAMS,
    "balanced": BALANCED,
    "balanced, window spectrum": [*BALANCED, "objective.spectrum_of=window"],
    "balanced, shares": [*BALANCED, "model.partition=true"],
    "balanced, connectivity": [
        *BALANCED,
        "model.connectivity_features=true",
        "model.outputs=[waveform,log_spectrum,connectivity]",
        "objective.second_order=1",
    ],
    "balanced, waveform before backbone": [*BALANCED, "model.sampler_outputs=[waveform]"],
    "balanced, mask curriculum": [
        *BALANCED,
        "mask.fourier_ratio=0.3",
        "mask.fourier_start=0.5",
        "mask.changes=[{start: 0.5, unit: mixed}, {start: 0.5, modality: fmri, unit: region}]",
    ],
    "loud": [*APART, *LOUD],
    "balanced, not loud": [*APART, "model.balanced_gradients=true"],
    # objectives
    "waveform": ["objective.frequency=none", *LOUD],
    "raw components": ["objective.frequency=raw", *LOUD],
    "log spectrum": ["objective.alpha=1", *LOUD],
    # addressing, with the waveform alone
    "plain addressing": [
        "objective.frequency=none",
        "model.keys=both",
        "model.values=both",
        "model.decoder_keys=processed",
        "model.temperature=0",
        "model.layer_scale=1",
    ],
    "keys of identity": [
        "objective.frequency=none",
        "model.values=both",
        "model.decoder_keys=processed",
        "model.layer_scale=1",
    ],
    "static decoder keys": ["objective.frequency=none", "model.layer_scale=1"],
    "LayerScale 0.05": ["objective.frequency=none"],
}
QUICK = ("one decoder", "three streams")
#: Question -> classical features
REFERENCES = {
    "decoding": ("amplitude", "band power", "tangent space"),
    "simulated_eeg": ("amplitude", "band power", "tangent space"),
    "simulated_fmri": ("amplitude", "block means", "functional connectivity"),
}
#: Models that are not trained: name -> changes
UNTRAINED = {
    "random weights": [],
    "random weights, three streams": CELLS["three streams"],
    "random weights, three streams, 72 latents": CELLS["three streams, 72 latents"],
}


def configuration(
    cell: str, seed: int, excluded: Iterable[str], steps: int, changes: Iterable[str] = ()
) -> PretrainConfig:
    """The pretraining run of a cell."""
    weights = {"dataset": {name: share for name, (_, share) in DATASETS.items()} | SIMULATED}
    fixed = [f"steps={steps}", f"health_every={steps}", f"checkpoint_every={steps}", f"seed={seed}"]
    fixed += [f"sampling={json.dumps({'weights': weights, 'validation': 0.0, 'exclude': sorted(excluded)})}"]
    return find_config("tiny").replaced([*SHARED, *fixed, *CELLS[cell], *changes], f"cell {cell!r}")


def folds(people: Iterable[str], n_folds: int = N_FOLDS) -> list[list[str]]:
    """People (dataset/subject) of each fold: every third one, in the order of their names."""
    names = sorted(set(people))
    return [names[number::n_folds] for number in range(n_folds)]


@torch.inference_mode()
def latent_features(corpus: Corpus, model: BrainOF, rows: np.ndarray, kinds: Iterable[str]) -> dict[str, np.ndarray]:
    """Pooled latents of windows, several poolings from one pass.

    A pooling is one that `BrainOF.pool` takes, or one with `@sampler` for the latents before the backbone.
    """
    config, kinds = model.config, list(kinds)
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    index = corpus.index.iloc[rows]
    size = max(1, 16_384 // int((index["n_channels"] * -(-index["n_times"] // config.patch)).max()))
    for start in range(0, len(rows), size):
        batch = corpus.batch(rows[start : start + size].tolist(), config.patch)
        both_BLD = model.encode(model.tokens(batch), with_sampled=True)
        for kind in kinds:
            before = kind.endswith("@sampler")
            latents_BLD = both_BLD[:, config.latents :] if before else both_BLD[:, : config.latents]
            found[kind].append(model.pool(latents_BLD, kind.removesuffix("@sampler")).numpy())
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def poolings(model: BrainOF) -> tuple[list[str], list[str]]:
    """Poolings for decoding and for identification."""
    parts = model.config.outputs if model.config.partition else ()
    decoding = ["mean_std", "concat", *(f"{pool}@{name}" for name in parts for pool in ("mean_std", "concat"))]
    identification = ["mean_std", "concat", "gram", "gram@sampler", *(f"concat@{name}" for name in parts)]
    return decoding, identification


class Fold:
    """The decoding tasks with the people of one fold on the test side, and the identification task."""

    def __init__(self, corpus: Corpus, number: int) -> None:
        *decoding, identification = choose_tasks(corpus, [*DECODING.values(), IDENTIFICATION])
        self.corpus, self.number = corpus, number
        self.questions = {name: Question(corpus, task, number) for name, task in zip(DECODING, decoding, strict=True)}
        self.people = sorted(person for question in self.questions.values() for person in question.people)
        self.session_rows = task_rows(corpus.index, identification)
        self.pairs = matching(corpus.index.iloc[self.session_rows])

    def identified(self, features: Any, standardised: bool) -> dict[str, float]:
        """Share of the two directions in which each person was found."""
        found = identify(features, self.pairs, standardised)
        return dict(zip(self.pairs.people.tolist(), ((found.forward + 0.0 + found.backward) / 2).tolist(), strict=True))


class Question:
    """A decoding task with every third person on the test side."""

    def __init__(self, corpus: Corpus, task: Task, number: int) -> None:
        self.rows = task_rows(corpus.index, task)
        index = corpus.index.iloc[self.rows]
        groups = group_keys(index, "subject")
        self.people = folds(groups)[number]
        test = np.isin(groups, self.people)
        y, classes = targets(index, task)
        split = [(np.flatnonzero(~test), np.flatnonzero(test))]
        self.test_rows = self.rows[test]
        self.problem = Problem(
            "classification", y[:, None], len(classes), groups, group_keys(index, "recording"), split
        )

    def decode(self, features: Any) -> dict[str, float]:
        """Balanced accuracy of each test person."""
        return score_features(self.problem, features).groups["window"]["balanced_accuracy"]


def answers(model: BrainOF, fold: Fold) -> dict[str, Any]:
    """The probes and the identification of a model, per person and pooling."""
    model.eval()
    decoding, identification = poolings(model)
    found: dict[str, Any] = {}
    for name, question in fold.questions.items():
        of_windows = latent_features(fold.corpus, model, question.rows, decoding)
        found[name] = {kind: question.decode(values) for kind, values in of_windows.items()}
    of_sessions = latent_features(fold.corpus, model, fold.session_rows, identification)
    found["identification"] = {
        f"{kind}{', standardised' if standardised else ''}": fold.identified(values, standardised)
        for kind, values in of_sessions.items()
        for standardised in (False, True)
    }
    return found


def reconstruction(
    model: BrainOF, config: PretrainConfig, corpus: Corpus, rows: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Explained variance of hidden patches, by name of the rows: one batch of 64 windows each."""
    objective = MTFM(model, config.mask, config.objective)
    found = {}
    for name, own in rows.items():
        rng = np.random.default_rng([config.seed, 7])
        chosen = np.sort(rng.choice(own, min(64, len(own)), replace=False))
        row = check_batch(objective, corpus.batch(chosen.tolist(), model.config.patch), rng, config.max_tokens)
        found[name] = {key: round(float(value), 4) for key, value in row.items() if np.isfinite(value)}
    return found


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
            config = find_config("tiny").replaced([*SHARED, *options], name)
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
    started = time.perf_counter()

    def tell(text: str) -> None:
        say(f"[{time.perf_counter() - started:6.1f} s] {text}")

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
