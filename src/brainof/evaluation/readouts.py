"""Read-outs: how an answer is read from features, or a model adapted to the task. Part of the protocol of a task.

Those of features are functions (X_train, y_train, groups_train, X_test, n_classes) -> scores of the test rows: decision
values (n,) for two classes or a value, (n, n_classes) for more. `n_classes` is 0 for regression.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from ..adaptation import Target, TrainingSet, adaptation
from ..adaptation.base import Adapted, AdaptedEnsemble
from ..adaptation.calibration import decision_values, log_probabilities
from ..errors import ConfigError
from ..inference.batches import pooled
from ..inference.examples import CorpusRows
from ..stats.metrics import LOWER_IS_BETTER, METRICS
from ..stats.ridge import decisions
from ..stats.splits import CrossSubject
from .folds import Split
from .questions import Question
from .transforms import Sides, equal_dimension, filled

#: Inverse penalties of the logistic read-out, chosen on inner folds over groups
PENALTIES = tuple(10.0**power for power in range(-4, 3))
#: Learning rates of trained read-outs, chosen on validation groups, as factors of the adaptation's own
LEARNING_RATES = {"attentive": (0.1, 0.3, 1.0, 3.0, 10.0), "lora": (0.3, 1.0, 3.0), "full": (0.3, 1.0, 3.0)}
#: Fraction of the training groups that choose the learning rate where the split names no validation side
VALIDATION = 0.2


def ridge(X: np.ndarray, y: np.ndarray, groups: np.ndarray, X_test: np.ndarray, n_classes: int) -> np.ndarray:
    """Ridge regression on standardised features, penalty and threshold from inner folds over groups."""
    return decisions(X, y[:, None], groups, X_test, n_classes)[:, 0]


def logistic(X: np.ndarray, y: np.ndarray, groups: np.ndarray, X_test: np.ndarray, n_classes: int) -> np.ndarray:
    """Logistic regression with balanced classes on standardised features, the penalty from inner folds over groups."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not n_classes:
        raise ConfigError("predicts classes, not values", field="readouts: logistic", fix="use ridge")
    X, X_test = filled(X, X_test)

    def sides(rows: np.ndarray, others: np.ndarray) -> Sides:
        """Standardised; of more features than rows only the space of the rows, outside which no coefficient lies."""
        scaler = StandardScaler().fit(X[rows])
        return equal_dimension(scaler.transform(X[rows]), scaler.transform(others), len(rows))

    def decided(inside: np.ndarray, labels: np.ndarray, outside: np.ndarray, penalty: float) -> np.ndarray:
        model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=500)
        # weak penalties on few rows separate them
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            return _decided(model.fit(inside, labels), outside, n_classes)

    n_groups = len(np.unique(groups))
    best = PENALTIES[len(PENALTIES) // 2]
    if n_groups > 1:
        inner = list(CrossSubject(min(4, n_groups)).split(groups=groups))
        usable = [(train, test) for train, test in inner if len(np.unique(y[train])) == len(np.unique(y))]
        metric = METRICS["classification"]["balanced_accuracy"]
        scores = np.zeros(len(PENALTIES))
        for train, test in usable:
            inside, outside = sides(train, X[test])
            scores += [metric(y[test], decided(inside, y[train], outside, penalty)) for penalty in PENALTIES]
        if usable:
            best = PENALTIES[int(scores.argmax())]
    inside, outside = sides(np.arange(len(y)), X_test)
    return decided(inside, y, outside, best)


def _decided(model: Any, X: np.ndarray, n_classes: int) -> np.ndarray:
    """Decision values in columns of all classes, also of those that the training side lacks."""
    values = model.decision_function(X)
    if n_classes == 2:
        return values
    columns = np.full((len(X), n_classes), -np.inf)
    columns[:, model.classes_] = values if values.ndim > 1 else np.stack([-values, values], axis=1)
    return columns


#: Read-outs of features; "second_order" is ridge on other features, see `transforms.SecondOrder`
READOUTS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]] = {
    "ridge": ridge,
    "logistic": logistic,
    "second_order": ridge,
}
#: Read-outs that train, on latents or through the model
TRAINED = ("attentive", "lora", "full")


def trained(
    readout: str, model: torch.nn.Module, question: Question, split: Split, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Scores of the test rows of a read-out that trains, and what was chosen.

    The learning rate is the one whose model, fitted on the training side without the validation groups, scores best on
    these; that model is then tested. Test rows are looked at once.
    """
    task = question.task
    patch = int(model.config.patch)  # type: ignore[union-attr, arg-type]
    examples = CorpusRows(question.corpus, question.rows, patch)
    target = Target.coded(question.y, question.classes, question.groups)
    data = TrainingSet(examples, target, cache(partial(pooled, model, examples)), seed)
    inside, validation = _validation(question, split, seed)
    base: Any = adaptation({"adaptation": readout, **task.tunings.get(readout, {})})
    metric, sign = METRICS[task.kind][question.metric], -1 if question.metric in LOWER_IS_BETTER else 1
    best: tuple[float, float, Any] | None = None
    for factor in LEARNING_RATES[readout]:
        chosen = base.model_copy(update={"lr": base.lr * factor})
        fitted = chosen.apply(model, data.take(inside))
        value = sign * metric(question.y[validation], decision(fitted, data.take(validation)))
        if best is None or value > best[0]:
            best = (value, chosen.lr, fitted)
    assert best is not None
    about = {"lr": best[1], "validation": sign * best[0], "n_validation": len(validation)}
    return decision(best[2], data.take(split.test)), about


def decision(fitted: Adapted | AdaptedEnsemble, data: TrainingSet) -> np.ndarray:
    """Decision values as metrics take them: (n,) for two classes or a value, (n, K) for more classes.

    They are those of the estimator that is saved: members of an ensemble average their probabilities (or values).
    """
    outputs = [(part, part.outputs(data.examples, features=data.features)) for part in fitted.members()]
    if fitted.kind == "regression":
        return np.concatenate([values for _, values in outputs]).mean(axis=0)[:, 0]
    return decision_values(log_probabilities(outputs))


def _validation(question: Question, split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The training rows, and those that choose: named by the split, or a fraction of the training groups."""
    if len(split.validation):
        return split.train, split.validation
    names = np.random.default_rng(seed).permutation(np.unique(question.groups[split.train]))
    if len(names) < 2:
        raise ConfigError("one training group only, none is left to choose a learning rate", field=question.task.name)
    held = np.isin(question.groups[split.train], names[: max(1, round(VALIDATION * len(names)))])
    return split.train[~held], split.train[held]
