"""Which rows of an index to use: by view, modality, dataset and subject; and a split by subject."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError, check_known
from .index import subjects


def select(
    index: pd.DataFrame,
    view: str | None = "pretrain",
    exclude_subjects: Iterable[str] = (),
    modalities: Iterable[str] | None = None,
    datasets: Iterable[str] | None = None,
) -> pd.DataFrame:
    """The rows that meet all conditions; row numbers (the frame's index) are kept, so they still name windows.

    `view` is "pretrain", or a task of the recipe; None keeps all views. Subjects to leave out are written
    `dataset/subject`; those who are not in the index are ignored, so that one list of evaluation subjects serves any
    corpus. `modalities` and `datasets` are names to keep; all where left out.

    Raises CorpusError: a view, modality or dataset is not in the index, or no window is left; ConfigError: a subject is
    not written as `dataset/subject`.
    """
    keep = np.ones(len(index), bool)
    for column, wanted in {"view": view, "modality": modalities, "dataset": datasets}.items():
        if wanted is None:
            continue
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        known = [str(name) for name in index[column].unique()]
        for name in wanted:
            check_known(name, known, CorpusError, "{!r} is not in the corpus", field=column)
        keep &= index[column].isin(wanted).to_numpy()
    excluded = [exclude_subjects] if isinstance(exclude_subjects, str) else list(exclude_subjects)
    for name in excluded:
        if "/" not in name:
            raise ConfigError(f"{name!r}", field="exclude_subjects", fix="name subjects as dataset/subject")
    if excluded:
        keep &= ~subjects(index).isin(excluded).to_numpy()
    if not keep.any():
        raise CorpusError("no window is left", field="select", fix="the conditions exclude each other; loosen one")
    return index[keep]


def split_subjects(index: pd.DataFrame, fraction: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split rows into train and validation such that no subject is on both sides.

    In each dataset about `fraction` of the subjects (a ConfigError outside [0, 1)), and at least one where there are
    two, go to validation; a dataset of one subject goes to train. Who goes depends on the seed and the subject's name
    alone, so that subjects who join later move few others, and a subject's modalities stay together.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"{fraction}", field="fraction", fix="give a fraction of subjects in [0, 1)")
    subject = subjects(index)
    held_out: list[str] = []
    every = subject.cat.categories.to_series()
    for _, names in every.groupby(every.str.split("/").str[0]):
        drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        count = min(max(round(fraction * len(drawn)), 1), len(drawn) - 1) if fraction > 0 else 0
        held_out += drawn[:count]
    validation = subject.isin(held_out).to_numpy()
    return index[~validation], index[validation]
