"""The suite `simulated 1.0`: cohorts, questions and the scores that the truth allows, as data.

A score on simulated recordings means something beside chance and beside what is possible; `oracle` gives the latter,
so that a score can be read as a fraction of it: (score - chance) / (oracle - chance).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from brainof.channels import Modality
from brainof.schema import Schema
from brainof.simulate.parameters import CohortParameters, task_parameters
from brainof.simulate.subjects import cohort
from studies.oracle import best_accuracy, joined, oracle_score, pooled, true_features


class SuiteTask(Schema):
    """One question of a suite.

    `cohort` is a key of TASKS, `changes` are further parameters of it, `recipe_task` the task of the written recipes.
    With `together` the question is asked of all modalities at once, window by window, beside each of them alone.
    """

    name: str
    asks: str
    cohort: str
    changes: dict[str, Any] = Field(default_factory=dict)
    modalities: tuple[Modality, ...] = ("eeg", "meg", "fmri")
    recipe_task: Literal["rest_vs_task", "diagnosis"] = "rest_vs_task"
    together: bool = False
    nuisance: str = ""
    """Label whose effect a second null must keep: the score has to vanish against it."""

    def parameters(self, subjects: int, seed: int) -> CohortParameters:
        """Parameters of the cohort."""
        values = {"meg": "neuromag102", **self.changes, "modalities": self.modalities}
        return task_parameters(self.cohort, subjects=subjects, seed=seed, **values)


class Suite(Schema):
    """A named, versioned set of questions; another version may score otherwise."""

    name: str
    version: str
    subjects: int
    seed: int
    tasks: tuple[SuiteTask, ...]


_HALF = {"effects": {"state_strength": 0.5}}
_ELECTRIC: tuple[Modality, ...] = ("eeg", "fmri")
SIMULATED = Suite(
    name="simulated",
    version="1.0",
    subjects=24,
    seed=2602,
    tasks=(
        SuiteTask(name="rest_vs_task", asks="seen in each modality by itself", cohort="rest_vs_task"),
        SuiteTask(name="rest_vs_task_half", asks="the same, half as strong", cohort="rest_vs_task", changes=_HALF),
        SuiteTask(name="frequency", asks="where the alpha peak lies", cohort="frequency", modalities=_ELECTRIC),
        SuiteTask(name="topography", asks="on which side alpha is", cohort="topography", modalities=_ELECTRIC),
        SuiteTask(
            name="pair",
            asks="two bits, one in each of two modalities",
            cohort="pair",
            modalities=_ELECTRIC,
            together=True,
        ),
        SuiteTask(
            name="diagnosis", asks="the person", cohort="diagnosis", recipe_task="diagnosis", modalities=_ELECTRIC
        ),
        SuiteTask(
            name="confounded",
            asks="the site passes for the group",
            cohort="confounded",
            recipe_task="diagnosis",
            modalities=_ELECTRIC,
            nuisance="site",
        ),
        SuiteTask(name="null", asks="nothing", cohort="null", modalities=_ELECTRIC),
    ),
)


def oracle(task: SuiteTask, subjects: int, seed: int) -> dict[str, float]:
    """Best balanced accuracy by modality, and for "together" (joined by "+").

    States: a classifier on the true sources of the same cohort, each person's own level known. People: the classes are
    Gaussian with known distance in the individual alpha peak, which EEG and MEG show (Bayes-optimal); the default
    network of patients is coupled so much more weakly that BOLD tells them apart with certainty. Confounded: nothing
    but the site tells, so the best honest score is chance.
    """
    parameters = task.parameters(subjects, seed)
    effects = parameters.effects
    if task.recipe_task == "diagnosis":
        fast = best_accuracy(effects.group_alpha)
        slow = 1.0 if effects.group_connectivity else 0.5
        return {modality: slow if modality == "fmri" else fast for modality in task.modalities}
    parts = [{kind: true_features(subject, kind) for kind in task.modalities} for subject in cohort(parameters)]
    found = {modality: pooled(part[modality] for part in parts) for modality in task.modalities}
    scores: dict[str, float] = {modality: oracle_score(epochs) for modality, epochs in found.items()}
    if task.together:
        first, second = (found[modality] for modality in task.modalities[:2])
        scores["+".join(task.modalities)] = oracle_score(joined(first, second), centre=False)
    return scores


def fraction(score: float, chance: float, best: float) -> float:
    """How much of what is possible a score reaches; NaN where the best is within 0.1 of chance: nothing is possible."""
    return float((score - chance) / (best - chance)) if abs(best - chance) > 0.1 else float(np.nan)
