"""The accounting of information: what each stage of the encoder keeps, by a plain read-out of three classical tasks.

Input statistics -> contents -> latents -> backbone -> default features, with random weights or those of a model. A
stage that scores less than the one before has lost what the task needs; nothing that is trained behind it can bring it
back. Nothing is fitted but the ridge probe of EEG, which leaves the people of its test fold out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from brainof.corpus import Corpus
from brainof.datasets import find_recipe
from brainof.datasets.run import prepare
from brainof.evaluation.baselines import band_power, functional_connectivity
from brainof.evaluation.matching import matched, matching, segments
from brainof.model import BrainOF
from brainof.model.tokens import Tokens
from brainof.release import load
from brainof.report.page import Section, Table, write_page
from brainof.signals import SignalBatch
from brainof.stats.ridge import decisions
from brainof.stats.splits import CrossSubject
from brainof.utils.files import write_atomically
from brainof.utils.progress import timed
from studies.tables import markdown

#: Features wider than this are reduced by a fixed random projection, which keeps distances to about one per cent
WIDEST = 8192

Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """A classical task: a view of a dataset, statistics that solve it, the output that should hold them, a score."""

    folder: str
    view: str
    statistics: Callable[[np.ndarray, float], np.ndarray]
    output: str
    score: Callable[[np.ndarray, pd.DataFrame], dict[str, float]]


def film(features: np.ndarray, index: pd.DataFrame) -> dict[str, float]:
    """Top-1 of 30 s of film against the mean of the other people; runs 1 to 4 were looked at while choosing."""
    of, scores = segments(index), dict[str, float]()
    for name, recentred in (("", False), (", recentred", True)):
        hits = matched(features, of, recentred)
        by_run = [np.mean([(c == np.arange(len(c))).mean() for c in people.values()]) for people in hits.values()]
        scores |= {f"runs 1-4{name}": float(np.mean(by_run[:4])), f"runs 5-8{name}": float(np.mean(by_run[4:]))}
    return scores


def people(features: np.ndarray, index: pd.DataFrame) -> dict[str, float]:
    """Top-1 of the other visit, both ways, with features as they are and standardised over sessions."""
    pairs = matching(index)
    names = ("top-1", False), ("top-1, standardised", True)
    return {name: pairs.hits(features, standardised).score for name, standardised in names}


def arithmetic(features: np.ndarray, index: pd.DataFrame) -> dict[str, float]:
    """Balanced accuracy of a ridge probe, rest or arithmetic, six folds by subject."""
    y = np.unique(index["label.condition"].astype(str), return_inverse=True)[1]
    subject = index["subject"].astype(str).to_numpy()
    scores = []
    for train, test in CrossSubject(6).split(groups=subject):
        decided = decisions(features[train], y[train][:, None], subject[train], features[test], 2)[:, 0]
        right = (decided > 0) == y[test]
        scores += [np.mean([right[y[test] == label].mean() for label in np.unique(y)])]
    return {"balanced accuracy": float(np.mean(scores))}


QUESTIONS = {
    "people at two visits": Question(
        "stages_fep_rsfmri", "stages_fep/identification", functional_connectivity, "connectivity", people
    ),
    "rest or arithmetic": Question("eegmat", "eegmat/pretrain", band_power, "log_spectrum", arithmetic),
    "film, 30 s": Question(
        "studyforrest_movie_shen",
        "studyforrest_movie/segments_30s",
        lambda windows, _: windows.reshape(len(windows), -1),
        "waveform",
        film,
    ),
}


def contents(model: BrainOF, tokens: Tokens, output: str) -> torch.Tensor:
    """What the latents of an output read, (B, N, D)."""
    correlations = None
    if model.connectivity is not None:
        correlations = model.connectivity(tokens, tokens.mask_BN)
    own = output if model.config.decoder.kind == "per_output" else None
    return model.content(tokens.patch_BNS, correlations, own)


@torch.inference_mode()
def stages(model: BrainOF, batch: SignalBatch, output: str) -> Features:
    """Features (B, F) of every stage."""
    tokens = model.tokens(model.on_grid(batch))
    sampled, encoded = model.norm(model.sample(tokens)), model.encode(tokens)
    own = model.config.latents_of(output) if output in model.config.decoder.outputs else slice(None)
    return {
        f"contents, {output}": _reduced(contents(model, tokens, output)),
        f"latents, {output}": _reduced(sampled[:, own]),
        f"backbone, {output}": _reduced(encoded[:, own]),
        "default features": _reduced(model.pool(encoded, "auto", batch.modality)),
    }


def _reduced(x: torch.Tensor) -> np.ndarray:
    """Rows (B, F) of at most WIDEST values."""
    values = x.flatten(1).numpy()
    if values.shape[1] <= WIDEST:
        return values
    rng = np.random.default_rng(0)
    width = values.shape[1]
    signs = rng.choice([-1.0, 1.0], width).astype(np.float32)
    projection = sparse.csr_matrix((signs, (np.arange(width), rng.integers(WIDEST, size=width))), (width, WIDEST))
    return np.asarray(values @ projection)


def effective_rank(features: np.ndarray) -> float:
    """exp(entropy) of the spectrum of the centred features: how many dimensions (500) windows really differ in."""
    features = features[:: max(1, len(features) // 500)]
    centred = features - features.mean(axis=0)
    small = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    power = np.linalg.eigvalsh(small).clip(min=0)
    power = power[power > 0] / power.sum()
    return float(np.exp(-(power * np.log(power)).sum()))


def account(corpus: Corpus, models: list[BrainOF], question: Question) -> pd.DataFrame:
    """One line per stage: width, effective rank, scores; means over models."""
    view = question.view.partition("/")[2]
    index = corpus.index[corpus.index["view"] == view]
    recordings = [rows for _, rows in index.groupby("recording", sort=False, observed=True)]
    index, batches = pd.concat(recordings), _batches(corpus, recordings)
    lines: list[dict[str, Any]] = []
    for number, model in enumerate(models):
        parts: dict[str, list[np.ndarray]] = {}
        for batch in batches:
            found = stages(model, batch, question.output)
            if not number:
                windows = batch.signal_BCT[..., : int(batch.n_times_B[0])].numpy()
                found = {"input": question.statistics(windows, float(1 / batch.interval_B[0])), **found}
            for name, values in found.items():
                parts.setdefault(name, []).append(np.nan_to_num(values))
        if not number:
            tokens = model.tokens(batches[0])
            identity_CD = tokens.identity_BND[0, :: tokens.n_patches].detach().numpy()
            lines.append({"stage": "identities", "rank": effective_rank(identity_CD)})
        for name, pieces in parts.items():
            features = np.concatenate(pieces)
            scores = question.score(features, index)
            lines.append({"stage": name, "width": features.shape[1], "rank": effective_rank(features), **scores})
    frame = pd.DataFrame(lines)
    return frame.groupby("stage", sort=False).mean().loc[_order(frame["stage"])].reset_index()


def _order(names: pd.Series) -> list[str]:
    found = list(dict.fromkeys(names))
    return ["input", "identities", *(name for name in found if name not in ("input", "identities"))]


def _batches(corpus: Corpus, recordings: list[pd.DataFrame]) -> list[SignalBatch]:
    """The windows of each recording, at the regions or sensors that all share."""
    found = [corpus.batch(rows.index.tolist()) for rows in recordings]
    orders = [batch.sensors.order_BC[0].tolist() for batch in found]
    shared = sorted(set.intersection(*map(set, orders)))
    if shared == [-1]:
        return found
    return [
        batch.take_channels(torch.tensor([order.index(rank) for rank in shared]))
        for batch, order in zip(found, orders, strict=True)
    ]


def accounting(root: Path, out: Path, say: Callable[[str], None], *, model: str, seeds: int = 3) -> Path:
    """Prepare, account, write `report.html` and `table.md`.

    Parameters
    ----------
    root : Path
        Folder that holds the dataset folders of QUESTIONS.
    out : Path
        Everything is written here.
    say : callable
        Called with a line of progress.
    model : str
        A preset, for which `seeds` draws of random weights are averaged, or a run or release folder.
    seeds : int
        Draws of random weights.
    """
    tell, tables, text = timed(say), [], []
    config, _ = load(model)
    models = [config.eval()]
    if getattr(config, "contract", None) is None:  # a preset
        models = []
        for seed in range(seeds):
            torch.manual_seed(1000 + seed)
            models.append(BrainOF(config.config).eval())
    lead = f"`{model}`: a read-out of each stage, scores and effective rank, means over {len(models)} sets of weights."
    for name, question in QUESTIONS.items():
        recipe = find_recipe(question.view.partition("/")[0])
        summary = prepare(recipe, root / question.folder, out / question.folder)
        tell(summary.text().splitlines()[0])
        frame = account(Corpus(out / question.folder), models, question)
        tables.append(Table(frame.round(3), name))
        text.append(f"## {name[0].upper()}{name[1:]}\n\n{markdown(frame.round(3))}\n")
        write_atomically(out / "table.md", ["\n".join([lead, "", *text]).encode()])
        tell(name)
    page = write_page(out / "report.html", [Section("Accounting", [lead], tables=tables)], title="Accounting")
    tell(f"done: {page}")
    return page
