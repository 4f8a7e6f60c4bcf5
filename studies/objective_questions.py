"""What the objective study asks of a model: probes and identification on frozen latents, explained variance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from brainof.corpus import Corpus
from brainof.evaluation.decoding import Problem, score_features
from brainof.evaluation.identity import identify, matching
from brainof.evaluation.protocol import Task, targets, task_rows
from brainof.evaluation.runs import choose_tasks
from brainof.model import BrainOF
from brainof.pretraining import PretrainConfig
from brainof.pretraining.health import check_batch
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.stats.splits import group_keys
from studies.objective_grid import DECODING, IDENTIFICATION, folds


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
        tokens = model.tokens(batch)
        before_BLD, latents_BLD = model.norm(model.sample(tokens)), model.encode(tokens)
        for kind in kinds:
            pooled = model.pool(before_BLD if kind.endswith("@sampler") else latents_BLD, kind.removesuffix("@sampler"))
            found[kind].append(pooled.numpy())
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def poolings(model: BrainOF) -> tuple[list[str], list[str]]:
    """Poolings for decoding and for identification."""
    decoder = model.config.decoder
    parts = decoder.outputs if decoder.kind == "per_output" else ()
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
        return dict(
            zip(self.pairs.subjects.tolist(), ((found.forward + 0.0 + found.backward) / 2).tolist(), strict=True)
        )


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
    objective = Objective(model, config.objective)
    masking = Masking(config.mask, model.config.patch, max_tokens=config.max_tokens)
    found = {}
    for name, own in rows.items():
        rng = np.random.default_rng([config.seed, 7])
        chosen = np.sort(rng.choice(own, min(64, len(own)), replace=False))
        masked = masking.plan(corpus.batch(chosen.tolist(), model.config.patch), rng, fourier=False)
        assert masked is not None
        row = check_batch(objective, masked)
        found[name] = {key: round(float(value), 4) for key, value in row.items() if np.isfinite(value)}
    return found
