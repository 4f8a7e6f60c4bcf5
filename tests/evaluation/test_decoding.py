"""Nulls without an effect are calibrated: p values are uniform, or larger."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from brainof.evaluation.folds import NONE, Split
from brainof.evaluation.matching import Matching
from brainof.evaluation.protocol import Task
from brainof.evaluation.questions import Question, plain_question
from brainof.evaluation.suite import SuiteTask
from brainof.stats.nulls import p_value


def autocorrelated(rng: np.random.Generator, n: int, n_features: int = 4, memory: float = 0.9) -> np.ndarray:
    """Features of neighbouring windows are alike, as in life."""
    x = rng.standard_normal((n, n_features))
    for time in range(1, n):
        x[time] = memory * x[time - 1] + np.sqrt(1 - memory**2) * x[time]
    return x


def blocks(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six subjects with eight blocks of four windows, half of each label."""
    y = np.concatenate([np.repeat(rng.permutation(np.arange(8) % 2), 4) for _ in range(6)])
    return y, np.repeat(np.arange(6), 32), np.concatenate([autocorrelated(rng, 32) for _ in range(6)])


def rare_events(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One event of four windows in each of six recordings."""
    y = np.zeros((6, 32), int)
    for row, start in enumerate(rng.integers(1, 28, 6)):
        y[row, start : start + 4] = 1
    return y.ravel(), np.repeat(np.arange(6), 32), np.concatenate([autocorrelated(rng, 32) for _ in range(6)])


def labels_of_subjects(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sixteen subjects with a label each, whose windows are alike."""
    subject = np.repeat(np.arange(16), 4)
    x = 2 * rng.standard_normal((16, 4))[subject] + rng.standard_normal((64, 4))
    return rng.permutation(np.arange(16) % 2)[subject], subject, x


def scores(design, seed: int) -> np.ndarray:
    """Score with the true labels, then with permuted ones, in the folds of the test."""
    y, subject, x = design(np.random.default_rng(seed))
    names = subject.astype(str)
    index = pd.DataFrame({"dataset": "made", "subject": names, "recording": names, "onset": np.arange(len(y))})
    index["label.state"] = y.astype(str)
    task = Task(name="t", view="v", label="state", n_splits=3, repeats=1, random_state=seed)
    question = plain_question(task, SimpleNamespace(index=index.assign(view="v")))  # type: ignore[arg-type]
    return question.null(x, 19)


@pytest.mark.parametrize(("design", "largest"), [(blocks, 0.5), (rare_events, 1.0), (labels_of_subjects, 1.0)])
def test_the_null_is_calibrated(design, largest):
    """No p value up to `largest` is more frequent than it says.

    For blocks that is 1/2: in another order runs of one label may touch, so permuted labels have fewer, longer runs
    than true ones (21 against 30), the null is wider than the scores (SD 0.074 against 0.054), and p values crowd in
    the middle: conservative below 1/2, and too small above, where nothing is decided.
    """
    mains = [scores(design, seed) for seed in range(200)]
    p = np.array([p_value(main[0], main[1:]) for main in mains])
    grid = np.arange(1, round(20 * largest) + 1) / 20  # every value that 19 permutations can give
    too_small = max((p <= value + 1e-9).mean() - value for value in grid)
    assert too_small < 1.22 / np.sqrt(200)  # Kolmogorov-Smirnov, one-sided, 5 %
    assert np.mean([main[0] - main[1:].mean() for main in mains]) == pytest.approx(0, abs=0.025)
    assert np.mean(p) < 0.6  # nor is power thrown away


def test_chance_knows_the_training_side_only():
    def scored(kind, y, classes, split):
        task, names = (
            SuiteTask(name="t", recipe="made/t", view="v", label="x", kind=kind),
            np.arange(len(y)).astype(str),
        )
        question = Question(task, None, names, None, y, classes, names, names, [split])  # type: ignore[arg-type]
        (scores,) = question.chance()
        return question.measure(y[split.test], scores, split.test)

    values, sides = np.array([0.0, 0.0, 10.0, 12.0]), Split(np.array([2, 3]), NONE, np.array([0, 1]))
    assert scored("regression", values, [], sides) == 11.0
    codes, sides = np.array([2, 0, 0, 1, 1, 1]), Split(np.array([2, 3, 4, 5]), NONE, np.array([0, 1]))
    assert scored("classification", codes, list("abc"), sides) == 0.0  # the largest class of the training side: 1


def matching(n: int) -> Matching:
    return Matching(np.arange(2 * n), np.arange(n), np.arange(n, 2 * n), np.arange(n).astype(str))


def test_the_null_of_identification_pairs_both_directions_alike():
    """Every first session looks like the last one of the next subject: under that pairing all are found both ways."""
    first = np.eye(3) + 0.1
    found = matching(3).hits(np.concatenate([first, first[[2, 0, 1]]]), False, 60)
    assert found.score == 0
    assert set(np.round(found.null, 6)) == {0.0, round(1 / 3, 6), 1.0}


def test_features_are_standardised_over_sessions_only_when_asked():
    """Loud features without information hide the quiet ones that tell subjects apart, until all are equally loud."""
    rng = np.random.default_rng(0)
    own, noise = rng.standard_normal((12, 20)), rng.standard_normal((24, 30))
    quiet = np.concatenate([own, own]) + 0.1 * noise[:, :20]
    features = np.concatenate([quiet, 100 * noise[:, 20:]], axis=1)
    raw, standardised = (matching(12).hits(features, asked) for asked in (False, True))
    assert raw.score < 0.3
    assert standardised.score == 1.0
    strangers = np.concatenate([own, rng.standard_normal((12, 20))])
    assert matching(12).hits(strangers, True).score < 0.5
