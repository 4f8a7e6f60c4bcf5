"""What a study of `arms.yaml` measures of people whom pretraining did not see: Values are measure -> arm -> person."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from brainof.evaluation import Suite
from brainof.evaluation.entries import MODEL, RANDOM
from brainof.evaluation.questions import Question, ask
from brainof.evaluation.sources import Opened, open_task
from brainof.inference import embed
from brainof.model import BrainOF
from brainof.pretraining import PretrainConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.terms.comparison import clean_patches
from brainof.release import load
from brainof.stats.metrics import LOWER_IS_BETTER
from brainof.utils.files import read_json, write_json
from brainof.utils.modules import evaluating

if TYPE_CHECKING:
    from studies.arms import Study

#: Windows of one modality that are rebuilt, and principal components that the information is read from
WINDOWS, COMPONENTS = 64, 20

#: measure -> arm -> person -> value
Values = dict[str, dict[str, dict[str, float]]]


def task_values(study: Study, results: pd.DataFrame, arms: Mapping[str, str]) -> tuple[Values, set[str]]:
    """Task and read-out -> arm -> person -> score over seeds; and where lower is better.

    `arms` names the arm of each run folder. Random weights of the architecture of an arm stand beside it as
    `random weights ARM`.
    """
    values: Values = {}
    own = results[(results["option"] == "plain") & results["kind"].isin([MODEL, RANDOM])]
    networks = {arm: study.config(arm, 0, []).model for arm in study.arms}
    twins = {arm: next(other for other in networks if networks[other] == networks[arm]) for arm in networks}
    own = own.assign(person=own["dataset"] + "/" + own["subject"], arm=own["entry"].replace(dict(arms), regex=True))
    for (task, readout, arm), part in own.groupby(["task", "readout", "arm"], sort=False):
        scores = by_person(part["score"], part["person"])
        found = values.setdefault(f"{task} ({readout})", {})
        if arm in study.arms:
            found[str(arm)] = scores
        for name, twin in twins.items():
            if arm in (RANDOM, f"{RANDOM} (as {twin})"):
                found[f"{RANDOM} {name}"] = scores
    measured = own.drop_duplicates(["task", "readout", "metric"])
    lower = measured[measured["metric"].isin(LOWER_IS_BETTER)]
    return values, {f"{task} ({readout})" for task, readout in zip(lower["task"], lower["readout"], strict=True)}


def looked_into(study: Study, suite: Suite, runs: Mapping, root: Path, out: Path) -> Values:
    """Rebuilding of hidden patches, and information, by the people who were not seen: mean over seeds."""
    values: Values = {}
    first = next(iter(study.arms))
    for name, task in suite.tasks.items():
        opened = open_task(task, root, out)
        if task.sided or not isinstance(opened, Opened) or task.kind != "classification":
            continue
        question = ask(*opened.sides())
        for (arm, seed), run in runs.items():
            masked_as = study.config(first, 0, [])
            digest = hashlib.sha256(f"{masked_as.mask} {masked_as.max_tokens} {question.digest}".encode()).hexdigest()
            place = run / f"looked-into-{digest[:12]}.json"
            if not place.exists():
                model, _ = load(run)
                found = rebuilt(model, study.config(arm, seed, []), masked_as, question)
                write_json(place, {**found, "information": information(question, features(model, question))})
            for measure, of_people in read_json(place).items():
                kept = values.setdefault(f"{measure}, {name}", {}).setdefault(arm, {})
                for person, value in of_people.items():
                    kept[person] = kept.get(person, 0.0) + value / study.seeds
    return values


def features(model: BrainOF, question: Question) -> np.ndarray:
    """As the tasks read them."""
    return embed(question.corpus, model, contract=None, rows=question.rows).values


def rebuilt(
    model: BrainOF, config: PretrainConfig, masked_as: PretrainConfig, question: Question
) -> dict[str, dict[str, float]]:
    """MSE and cosine of the waveform of hidden patches, by person; the windows and masks of all arms are the same."""
    objective = Objective(model, config.objective)
    masking = Masking(masked_as.mask, model.config.patch, max_tokens=masked_as.max_tokens)
    rng = np.random.default_rng(2602)
    sets = question.index["channel_set"].astype(str) + question.index["n_times"].astype(str)
    own = np.flatnonzero((sets == sets.mode()[0]).to_numpy())
    chosen = np.sort(rng.choice(own, min(WINDOWS, len(own)), replace=False))
    masked = masking.plan(question.corpus.batch(question.rows[chosen].tolist(), model.config.patch), rng, fourier=False)
    assert masked is not None
    with evaluating(objective), torch.no_grad():
        tokens = model.tokens(masked.batch)
        outputs = objective.decode(masked, tokens, objective.encode(masked, tokens))
        target_BHS, mask_BHS = clean_patches(masked, tokens)
        mask_BHS = (mask_BHS & masked.hidden_mask_BH[..., None]).float()
        waveform_BHS = outputs["waveform"].float() * mask_BHS
        target_BHS = target_BHS * mask_BHS
        mse_B = (waveform_BHS - target_BHS).square().sum((1, 2)) / mask_BHS.sum((1, 2)).clamp(min=1)
        cosine_BH = torch.cosine_similarity(waveform_BHS, target_BHS, dim=2)
        hidden_BH = masked.hidden_mask_BH.float()
        cosine_B = (cosine_BH * hidden_BH).sum(1) / hidden_BH.sum(1).clamp(min=1)
    people = question.groups[chosen]
    return {
        name: by_person(pd.Series(values.numpy()), people) for name, values in (("MSE", mse_B), ("cosine", cosine_B))
    }


def by_person(values: pd.Series, people: np.ndarray | pd.Series) -> dict[str, float]:
    """Person -> mean."""
    return {str(person): float(mean) for person, mean in values.groupby(people).mean().items()}


def information(question: Question, X: np.ndarray) -> dict[str, float]:
    """Bits that features know of the label, by person: the bound of Barber and Agakov (2003).

    I(Y; Z) >= H(Y) + E log2 q(y | z), with q a logistic regression (C = 0.1) on the first principal components, fitted
    on the other people of each fold. It may be negative where q is wrong with confidence.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shares = np.bincount(question.y) / len(question.y)
    entropy = float(-(shares * np.log2(shares)).sum())
    found: dict[str, list[float]] = {}
    for split in question.folds:
        reduced = PCA(min(COMPONENTS, len(split.train) - 1), svd_solver="randomized", random_state=0)
        q = make_pipeline(StandardScaler(), reduced, LogisticRegression(C=0.1, max_iter=500))
        probability = q.fit(X[split.train], question.y[split.train]).predict_proba(X[split.test])
        bits = entropy + np.log2(probability[np.arange(len(split.test)), question.y[split.test]].clip(1e-6))
        for person, value in zip(question.groups[split.test].tolist(), bits.tolist(), strict=True):
            found.setdefault(person, []).append(value)
    return {person: float(np.mean(values)) for person, values in sorted(found.items())}
