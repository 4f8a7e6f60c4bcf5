"""Labels and target values as users hand them over -> arrays, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ..errors import LabelError


def checked_labels(y: Any, n_samples: int) -> np.ndarray:
    """Labels of classes, shape (n_samples,); LabelError where there are none, some are missing, or lengths differ."""
    _refuse_none(y)
    labels = column_or_1d(y.to_numpy() if isinstance(y, pd.Series) else y, warn=True)
    if len(labels) != n_samples:
        raise LabelError(f"{len(labels)} labels for {n_samples} samples", field="y")
    missing = pd.isna(labels)
    if missing.any():
        text = f"Input y contains NaN: {int(missing.sum())} of {len(labels)} labels are missing"
        raise LabelError(text, field="y", fix="leave those samples out")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise LabelError("Input y contains infinity", field="y", fix="leave those samples out")
    check_classification_targets(labels)
    return labels


def checked_values(y: Any, n_samples: int) -> np.ndarray:
    """Target values (n_samples,) or (n_samples, n_targets); LabelError as `checked_labels`, and for a single sample."""
    _refuse_none(y)
    if np.asarray(y).dtype.kind in "mM":  # numpy would count nanoseconds
        raise LabelError("targets are dates or durations", field="y", fix="give one number each")
    try:
        values = np.asarray(y, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] == 1:
            values = column_or_1d(values)
    except (TypeError, ValueError) as error:
        raise LabelError(f"targets are not numbers ({error})", field="y", fix="give one number each") from None
    if len(values) == 1:
        raise LabelError("1 sample is too few to fit", field="y", fix="give two or more")
    if len(values) != n_samples:
        raise LabelError(f"{len(values)} targets for {n_samples} samples", field="y")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        text = f"Input y contains NaN or infinity in {wrong} of {values.size} targets"
        raise LabelError(text, field="y", fix="leave those samples out")
    return values


def _refuse_none(y: Any) -> None:
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None", field="y")
