"""The fusion study: one modality, late fusion, serial fusion in both orders, and what a missing modality costs.

Everything is simulated, so that it is known what can be had: in `pair` the label is the exclusive or of a bit that only
EEG shows and a bit that only fMRI shows; in `rest_vs_task` each modality shows the label weakly by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from brainof.corpus import Corpus, pairs
from brainof.datasets import Recipe, prepare
from brainof.evaluation import Task, evaluate_task, recipe_tasks, task_rows
from brainof.evaluation.baselines import baseline_features
from brainof.evaluation.protocol import task_windows
from brainof.inference.pairs import PairedRows, embed_pairs
from brainof.model import BrainOF
from brainof.model.fusion import FusedBrainOF
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.paired import PairedConfig, pretrain_pairs
from brainof.release import load, save_release
from brainof.report.page import Section, Table, write_page
from brainof.schema import Schema
from brainof.simulate import CohortParameters, cohort
from brainof.simulate.write import recipe, write
from brainof.stats import recentre
from brainof.utils.files import write_json
from brainof.utils.progress import timed
from brainof.utils.values import finite
from studies.oracle import fraction, joined, oracle_score, pooled, true_features

PAIR = ("eeg", "fmri")
DATASETS = {modality: f"simulated_{modality}" for modality in PAIR}
#: Blocks of 32 s hold one window of EEG and one of 64 volumes
SESSION: dict[str, Any] = {
    "modalities": PAIR,
    "channels": 19,
    "t_r": 0.5,
    "seconds": 256.0,
    "block": 32.0,
    "eeg_epoch": 32.0,
    "meg_epoch": 32.0,
    "fmri_blocks": 0,
}
#: question -> effects of its cohort
COHORTS: dict[str, dict[str, Any]] = {"pair": {"pair": True}, "rest_vs_task": {"state_strength": 0.5}}
#: EEG windows: a low rate and band make few tokens of 32 s, and the rhythms end at 25 Hz
EEG = {"resample": {"sfreq": 64.0}, "filter": {"low": 0.5, "high": 25.0}}


class Sizes(Schema):
    """How large the study is; the defaults take some ten minutes of one core."""

    pretraining_people: int = Field(default=24, ge=1)
    people: int = Field(default=40, ge=1)
    steps: int = Field(default=250, ge=1)
    pair_steps: int = Field(default=120, ge=1)
    tuning_steps: int = Field(default=120, ge=1)
    n_permutations: int = Field(default=100, ge=0)


def fusion(out: Path, say: Callable[[str], None], *, seed: int = 0, sizes: Sizes | None = None) -> Path:
    """Run the study; writes `report.html` and `scores.json`.

    Parameters
    ----------
    out : Path
        Folder for everything; complete corpora and runs in it are kept.
    say : callable
        Called with a line of progress.
    seed : int
    sizes : Sizes, optional

    Returns
    -------
    Path
        The page.
    """
    tell, sizes = timed(say), sizes or Sizes()

    tell("pretraining, on people of their own")
    before = _corpus(out / "pretraining", COHORTS["pair"], sizes.pretraining_people, seed + 1)
    models = _models(before, out, sizes, seed)
    rows: list[dict[str, Any]] = []
    tuned: list[dict[str, Any]] = []
    for name, effects in COHORTS.items():
        tell(f"{name}: frozen features")
        corpus = _corpus(out / name, effects, sizes.people, seed + 2)
        best = _oracle(effects, sizes.people, seed + 2)
        for row in _frozen(corpus, models, sizes.n_permutations, seed):
            key = row["entry"].split(":")[0]
            limit = best.get(key, best["eeg+fmri"])
            reached = fraction(row["fold_score"], 0.5, limit)
            rows.append({**row, "question": name, "oracle": limit, "fraction": reached})
        write_json(out / "frozen.json", finite(rows, 17))
        tell(f"{name}: fine-tuning")
        for arm, scores in _tuned(corpus, models["pairs"], sizes.tuning_steps, seed):
            tuned.append({"question": name, "training": arm, **scores})
            tell(f"  {arm}: " + ", ".join(f"{key} {value:.2f}" for key, value in scores.items()))
        write_json(out / "tuned.json", finite(tuned, 17))
    sections = [
        Section("Frozen features, ridge probe", _FROZEN, tables=[Table(_table(rows))]),
        Section("Fine-tuned on pairs", _TUNED, tables=[Table(pd.DataFrame(tuned))]),
    ]
    page = write_page(out / "report.html", sections, title="Fusion of EEG and fMRI", lead="Simulated people.")
    tell(f"done: {page}")
    return page


_FROZEN = [
    "Balanced accuracy of 32 s blocks, folds by person, features recentred per person (transductive). `linear` is a "
    "ridge probe; `quadratic` adds products of 12 leading components, in which an exclusive or is linear. Oracle: from "
    "the true sources."
]
_TUNED = [
    "All weights trained on the first 70 % of the people, tested on the rest with both modalities, and with one taken "
    "away. The cost of a missing modality is the difference."
]


def _corpus(folder: Path, effects: dict[str, Any], subjects: int, seed: int) -> Corpus:
    """Simulate, write and prepare a cohort."""
    parameters = _parameters(effects, subjects, seed)
    root = write(parameters, folder / "cohort")
    for modality in PAIR:
        values = recipe(parameters, modality)
        if modality == "eeg":
            values["prepare"] = EEG
        prepare(Recipe.parse(values), root, folder / "corpus")
    return Corpus(folder / "corpus")


def _parameters(effects: dict[str, Any], subjects: int, seed: int) -> CohortParameters:
    return CohortParameters.parse({**SESSION, "subjects": subjects, "seed": seed, "effects": effects})


def _oracle(effects: dict[str, Any], subjects: int, seed: int) -> dict[str, float]:
    parts: dict[str, list] = {modality: [] for modality in PAIR}
    for subject in cohort(_parameters(effects, subjects, seed)):
        for modality in PAIR:
            parts[modality].append(true_features(subject, modality))
    found = {modality: pooled(epochs) for modality, epochs in parts.items()}
    scores = {modality: oracle_score(epochs) for modality, epochs in found.items()}
    return {**scores, "eeg+fmri": oracle_score(joined(found["eeg"], found["fmri"]), centre=False)}


def _models(corpus: Corpus, out: Path, sizes: Sizes, seed: int) -> dict[str, BrainOF]:
    """Untrained, pretrained on both modalities one at a time, and then on pairs."""
    shared: dict[str, Any] = {
        "model": {"preset": "tiny", "sampler": {"latents": 32}, "decoder": {"kind": "separate"}},
        "mask": {"fourier_ratio": 0.0},
        "objective": {"frequency_start": 0.3},
        "batch_size": 12,
        "max_tokens": 384,
        "min_channels": 0.8,
        "seed": seed,
        "log_every": 20,
    }
    config = PretrainConfig.parse(
        {
            **shared,
            "steps": sizes.steps,
            "lr": 2e-3,
            "health_every": sizes.steps,
            "health_margin": 0.0,
            "checkpoint_every": max(1, sizes.steps // 2),
            "sampling": {"weights": {"modality": "equal"}},
        }
    )
    run = pretrain(config, corpus.root, out / "run")
    single = load(run)[0]
    both, contract = load(run)
    assert contract is not None
    table = pairs(corpus.index, DATASETS, anchor="fmri")
    if (out / "pairs").is_dir():
        both = load(out / "pairs")[0]
    else:
        changed = {**shared, "objective": {"frequency_start": 0.0}, "steps": sizes.pair_steps, "lr": 1e-3}
        pretrain_pairs(PairedConfig.parse(changed), corpus, table, both)
        save_release(out / "pairs", both, contract, steps=sizes.pair_steps)
    torch.manual_seed(seed + 1000)
    return {"untrained": BrainOF(single.config).eval(), "pretrained": single.eval(), "pairs": both.eval()}


def _table_of(corpus: Corpus) -> pd.DataFrame:
    """Labelled pairs in the order of the EEG task's rows."""
    question = _question(corpus)
    table = pairs(corpus.index, DATASETS, view="rest_vs_task", anchor="eeg").set_index("eeg", drop=False)
    return table.loc[task_rows(corpus.index, question)].reset_index(drop=True)


def _question(corpus: Corpus) -> Task:
    """Rest or task in windows of EEG."""
    return next(task for task in recipe_tasks(corpus) if task.name == "simulated_eeg/rest_vs_task")


def quadratic(values: np.ndarray, parts: Sequence[np.ndarray]) -> Callable:
    """Features and all products of 12 leading components of each part, taken from the training side."""

    def features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside, outside = [values[train]], [values[test]]
        components = []
        for part in parts:
            scale = StandardScaler().fit(part[train])
            pca = PCA(12, whiten=True, random_state=0).fit(scale.transform(part[train]))
            components.append([pca.transform(scale.transform(part[rows])) for rows in (train, test)])
        products = PolynomialFeatures(2, include_bias=False)
        inside.append(products.fit_transform(np.concatenate([side[0] for side in components], axis=1)))
        outside.append(products.transform(np.concatenate([side[1] for side in components], axis=1)))
        return np.concatenate(inside, axis=1), np.concatenate(outside, axis=1)

    return features


def _frozen(corpus: Corpus, models: dict[str, BrainOF], n_permutations: int, seed: int) -> list[dict[Any, Any]]:
    """Lines of a summary for every model and way of fusion, linear and quadratic."""
    question = _question(corpus).model_copy(update={"baselines": [], "repeats": 1, "random_state": seed})
    table = _table_of(corpus)
    rows_of = PairedRows(corpus, table)
    subjects = corpus.index["subject"].astype(str).to_numpy()[table["eeg"]]
    sets: dict[str, list[np.ndarray]] = {}
    classical = {
        "eeg": baseline_features("band power", "eeg", *task_windows(corpus, table["eeg"].to_numpy())),
        "fmri": baseline_features("block means", "fmri", *task_windows(corpus, table["fmri"].to_numpy())),
    }
    own = {name: np.nan_to_num(np.asarray(values)) for name, values in classical.items()}
    sets |= {f"{name}: classical": [values] for name, values in own.items()}
    sets["late: classical"] = list(own.values())
    for label, model in models.items():
        alone = {name: embed_pairs(rows_of, model, (name,)) for name in PAIR}
        sets |= {f"{name}: {label}": [values] for name, values in alone.items()}
        sets[f"late: {label}"] = list(alone.values())
        for order in (PAIR, PAIR[::-1]):
            sets[f"serial {' > '.join(order)}: {label}"] = [embed_pairs(rows_of, model, order)]
    features: dict[str, Any] = {}
    for name, parts in sets.items():
        parts = [recentre(part, subjects) for part in parts]
        joint = np.concatenate(parts, axis=1)
        features[f"{name}, linear"] = joint
        features[f"{name}, quadratic"] = quadratic(joint, parts)
    lines, _ = evaluate_task(corpus, question, features, n_permutations=n_permutations)
    return lines[lines["kind"] != "chance"].to_dict("records")


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    lines = []
    for row in rows:
        way, rest = row["entry"].split(": ")
        model, probe = rest.split(", ")
        lines.append(
            {"question": row["question"], "features": way, "model": model, "probe": probe, "score": row["fold_score"]}
            | {"95 % from": row["low"], "to": row["high"], "p (null)": row.get("p_value"), "oracle": row["oracle"]}
            | {"fraction": row["fraction"]}
        )
    return pd.DataFrame(lines)


#: name of an arm -> order of fusion, modality dropout, any order
ARMS: dict[str, tuple[tuple[str, ...], float, bool]] = {
    "eeg alone": (("eeg",), 0.0, False),
    "fmri alone": (("fmri",), 0.0, False),
    "serial eeg > fmri": (PAIR, 0.0, False),
    "serial, any order, modality dropout 0.5": (PAIR, 0.5, True),
}


def _tuned(corpus: Corpus, model: BrainOF, steps: int, seed: int):
    """Fine-tune every arm on the first people and test it on the others, with and without each modality."""
    table = _table_of(corpus)
    index = corpus.index
    label = (index["label.state"].astype(str).to_numpy()[table["eeg"]] == "task").astype(np.int64)
    subject = index["subject"].astype(str).to_numpy()[table["eeg"]]
    people = np.unique(subject)
    trained = np.isin(subject, people[: round(0.7 * len(people))])
    test = PairedRows(corpus, table[~trained])
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for arm, (order, dropout, any_order) in ARMS.items():
        model.reset_head(0)
        model.load_state_dict(start)
        torch.manual_seed(seed)
        fused = FusedBrainOF(model, order, dropout, any_order).reset_head(2)
        fine_tune(fused, PairedRows(corpus, table.loc[trained, list(order)]), label[trained], steps, seed)
        scores = {}
        for name, given in {"both": order, "eeg": ("eeg",), "fmri": ("fmri",)}.items():
            if set(given) <= set(order):
                found = _predict(fused, test, given)
                scores[name] = float(balanced_accuracy_score(label[~trained], found))
        if len(order) == 1:
            scores = {order[0]: scores[order[0]]}
        elif any_order:
            found = _predict(FusedBrainOF(model, order[::-1]), test, order[::-1])
            scores["both, other order"] = float(balanced_accuracy_score(label[~trained], found))
        yield arm, scores
    model.reset_head(0)
    model.load_state_dict(start)


def fine_tune(
    fused: FusedBrainOF, rows: PairedRows, label: np.ndarray, steps: int, seed: int, lr: float = 5e-4
) -> None:
    """Train all weights with cross entropy; balanced draws, warm-up and cosine."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(fused.parameter_groups(), lr=lr, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    sides = [np.flatnonzero(label == code) for code in (0, 1)]
    fused.train()
    for _ in range(steps):
        chosen = np.concatenate([rng.choice(side, 8, replace=False) for side in sides])
        outputs = fused(rows.batch(chosen))
        loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(label[chosen]), label_smoothing=0.05)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(fused.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    fused.eval()


def _predict(fused: FusedBrainOF, rows: PairedRows, names: Sequence[str]) -> np.ndarray:
    fused.eval()
    rows = PairedRows(rows.corpus, rows.table[list(names)])
    with torch.inference_mode():
        parts = np.array_split(np.arange(len(rows)), -(-len(rows) // 32))
        return np.concatenate([fused(rows.batch(part)).argmax(1).numpy() for part in parts])
