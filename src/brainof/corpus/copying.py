"""Copying between corpora: merge several into one, split one into several; every byte is checked on the way."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, CorpusError
from ..paths import user_path
from ..utils.files import read_json, write_json
from .index import from_frame, to_columns, to_table, write_index
from .selection import split_subjects
from .shards import INDEX_SUFFIX, SUFFIX, write_shard
from .store import Corpus
from .writer import make_corpus

SPLITS = ("subject", "dataset", "modality")


def merge(corpora: Sequence[Corpus], out: str | PathLike[str]) -> dict[str, Any]:
    """Copy the windows of several corpora into a new or an existing one, and compact it; counts of the result.

    What was deleted or superseded is left behind, so merging one corpus into a new folder also frees its space.

    Raises CorpusError: a window is damaged, or two corpora describe a dataset differently; StorageError: `out` cannot
    be written; shards that were copied before are kept.
    """
    target = user_path(out)
    for corpus in corpora:
        if not corpus.remote and corpus.root.resolve() == target.resolve():
            raise CorpusError("cannot be merged into itself", file=target, fix="choose another --out")
    make_corpus(target)
    for corpus in corpora:
        copy_windows(corpus, np.arange(len(corpus)), target)
    done = Corpus(target).compact()
    index = Corpus(target).columns(["dataset", "modality", "recording"])
    return {"recordings": len(index.drop_duplicates()), "windows": done["windows"], "shards": done["shards"]}


def split(
    corpus: Corpus, out: str | PathLike[str], by: str = "subject", fraction: float = 0.1, seed: int = 0
) -> dict[str, int]:
    """Copy a corpus into parts below `out`: the windows of each; ConfigError where `by` or `fraction` is not known."""
    index = corpus.columns(["dataset", "modality", "subject"])
    if by == "subject":
        train, validation = split_subjects(index, fraction, seed)
        parts: Mapping[str, np.ndarray] = {"train": train.index.to_numpy(), "validation": validation.index.to_numpy()}
    elif by in SPLITS:
        parts = {str(name): np.sort(rows) for name, rows in index.groupby(by, observed=True).indices.items()}
    else:
        raise ConfigError(f"{by!r}", field="by", fix=f"known: {', '.join(SPLITS)}")
    counts = {}
    for name, rows in parts.items():
        if not len(rows):
            continue
        target = user_path(out) / name
        make_corpus(target)
        copy_windows(corpus, rows, target)
        counts[name] = int(Corpus(target).compact()["windows"])
    return counts


def copy_windows(corpus: Corpus, rows: np.ndarray, target: Path) -> None:
    """Copy windows shard by shard, after what they need: a copy that is interrupted can be used as far as it got.

    A shard keeps its time and gets a name of its own, so that of a recording that is in two corpora the newest counts.
    One that is at the target already is not copied again.
    """
    described = corpus.columns(["dataset", "channel_set"]).iloc[rows]
    for digest in described["channel_set"].unique():
        write_json(target / "channels" / f"{digest}.json", corpus.channels(digest).to_dict())
    for dataset in described["dataset"].unique():
        if dataset in corpus.datasets:
            path, description = target / "datasets" / f"{dataset}.json", corpus.datasets[dataset]
            if path.exists() and read_json(path) != description:
                fix = "prepare both with one recipe, or give one of the datasets another name"
                raise CorpusError("describes the dataset differently from the corpus to be merged", file=path, fix=fix)
            write_json(path, description, checksum=True)
    copied = {path.name.removesuffix(SUFFIX)[-12:] for path in (target / "shards").glob(f"[!.]*{SUFFIX}")}
    shards = corpus.columns(["shard"])["shard"].iloc[rows]
    for name, places in shards.groupby(shards, observed=True).indices.items():
        mine = rows[places]
        origin = uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{mine.tolist()}").hex[:12]
        if origin in copied:
            continue
        shard = re.sub(r"-[0-9a-f]{12}$", "", str(name)) + f"-{origin}"
        records = []
        for number, record in enumerate(from_frame(corpus.index.iloc[mine]).to_pylist()):
            known = {key: value for key, value in record.items() if value is not None}
            records.append(known | {"shard": shard, "key": f"{number:05d}"})
        write_shard(target / "shards" / f"{shard}{SUFFIX}", records, [corpus.read(int(row)) for row in mine])
        write_index(target / "shards" / f"{shard}{INDEX_SUFFIX}", to_table(to_columns(records)), [shard])
