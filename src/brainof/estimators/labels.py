"""Labels and target values as users hand them over -> arrays, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ..errors import LabelError
from ..utils.values import counted


def checked_labels(y: Any) -> np.ndarray:
    """Labels of classes, shape (n_samples,); LabelError where there are none or some are missing."""
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None", field="y")
    labels = column_or_1d(y.to_numpy() if isinstance(y, pd.Series) else y, warn=True)
    missing = pd.isna(labels)
    if missing.any():
        text = f"Input y contains NaN: {int(missing.sum())} of {len(labels)} labels are missing"
        raise LabelError(text, field="y", fix="leave those samples out")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise LabelError("Input y contains infinity", field="y", fix="leave those samples out")
    try:
        check_classification_targets(labels)
    except ValueError as error:
        raise LabelError(f"{error}", field="y", fix="give a class each, or use BrainOFRegressor for numbers") from None
    return labels


def checked_values(y: Any) -> np.ndarray:
    """Target values (n_samples,) or (n_samples, n_targets); LabelError as `checked_labels`, and for a single sample."""
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None", field="y")
    kind = np.asarray(y).dtype.kind
    if kind in "cmM":  # numpy would count nanoseconds, and drop what is imaginary
        complex_ = "Complex data not supported: targets are complex numbers"
        text = complex_ if kind == "c" else "targets are dates or durations"
        raise LabelError(text, field="y", fix="give one number each")
    try:
        values = np.asarray(y, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] == 1:
            values = column_or_1d(values)
    except (TypeError, ValueError) as error:
        raise LabelError(f"targets are not numbers ({error})", field="y", fix="give one number each") from None
    if len(values) == 1:
        raise LabelError("1 sample is too few to fit", field="y", fix="give two or more")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        text = f"Input y contains NaN or infinity in {wrong} of {values.size} targets"
        raise LabelError(text, field="y", fix="leave those samples out")
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(values.var(axis=0)).all():
            text = f"targets up to {np.abs(values).max():.3g} are too large, their variance overflows"
            raise LabelError(text, field="y", fix="scale them")
    return values


def check_lengths(values: np.ndarray, n_samples: int, what: str, field: str) -> None:
    """A LabelError where there is not one value per sample."""
    if len(values) != n_samples:
        text = f"{counted(len(values), what)} for {counted(n_samples, 'sample')}"
        raise LabelError(text, field=field, fix="give one per sample")
