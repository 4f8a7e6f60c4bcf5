"""Copies of corpora: several merged into one, one split into several, or exported; every byte is checked on the way.

Exported are Zarr stores in the layout of braindecode, the one its users exchange on the Hub. One store holds recordings
of one channel table, rate and window length, because braindecode asks for it; float32, one window a chunk. Read a store
with `braindecode.datautil.hub_formats.load_from_zarr`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import ConfigError, CorpusError, check_known
from ..paths import user_path
from ..utils.files import make_folder, read_json, storage_error, write_json
from ..utils.values import finite
from .index import LABEL, from_frame, to_columns, to_table, write_index
from .selection import split_subjects
from .shards import INDEX_SUFFIX, SUFFIX, write_shard
from .store import Corpus
from .writer import make_corpus

SPLITS = ("subject", "dataset", "modality")

FORMATS = ("braindecode-zarr",)

#: MNE's names of our sensor types; what MNE does not know is `misc`
_MNE_TYPES = ("eeg", "mag", "grad", "seeg", "ecog", "eog", "ecg", "emg")
_GROUP = ["dataset", "modality", "view", "channel_set", "sfreq", "n_times"]
_ENTITIES = ("dataset", "modality", "subject", "session", "task", "run", "recording", "view")


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


def export(
    corpus: Corpus, out: str | PathLike[str], to: str = FORMATS[0], label: str | None = None
) -> list[dict[str, Any]]:
    """Write the windows of a corpus as Zarr stores below `out`: path, recordings, windows and targets of each.

    `label` becomes braindecode's `target`, numbered in the order of its names; -1 where there is none.

    Raises ConfigError: the format or the label is not known, or zarr is not installed; CorpusError: a window is
    damaged, or a store exists; StorageError: `out` cannot be written. No half-written store is left.
    """
    check_known(to, FORMATS, ConfigError, field="to")
    if importlib.util.find_spec("zarr") is None:
        raise ConfigError("zarr is not installed", field="to", fix="pip install 'brainof[zarr]'")
    index = corpus.index
    if label is not None:
        known = [str(name).removeprefix(LABEL) for name in index if str(name).startswith(LABEL)]
        check_known(label, known, ConfigError, "{!r} is not in the corpus", field="label")
    folder = user_path(out)
    make_folder(folder)
    stores: list[dict[str, Any]] = []
    taken: Counter[str] = Counter()
    for (dataset, modality, view, *_), rows in index.groupby(_GROUP, observed=True):
        name = f"{dataset}-{modality}-{view}"
        taken[name] += 1
        path = folder / (f"{name}.zarr" if taken[name] == 1 else f"{name}-{taken[name]}.zarr")
        if path.exists():
            raise CorpusError("exists already", file=path, fix="choose another --out, or delete it")
        stores.append(_export_store(corpus, rows, path, label))
    return stores


def _export_store(corpus: Corpus, rows: pd.DataFrame, path: Path, label: str | None) -> dict[str, Any]:
    import mne
    import zarr

    partial = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    first = rows.iloc[0]
    info = _info(corpus.channels(first["channel_set"]), float(first["sfreq"]), str(first["modality"]))
    targets = sorted(rows[LABEL + label].dropna().unique()) if label else []
    recordings = list(rows.groupby("recording", observed=True, sort=True))
    try:
        root = zarr.open_group(str(partial), mode="w")
        versions = {"mne_version": mne.__version__, "zarr_version": zarr.__version__}
        root.attrs.update({"n_datasets": len(recordings), "dataset_type": "WindowsDataset", **versions})
        for number, (_, part) in enumerate(recordings):
            group = root.create_group(f"recording_{number}")
            shape = (len(part), int(part["n_channels"].iloc[0]), int(part["n_times"].iloc[0]))
            data = group.create_array("data", shape=shape, chunks=(1, *shape[1:]), dtype="float32")
            for place, row in enumerate(part.index):
                data[place] = corpus.read(int(row)).astype(np.float32)
            _metadata(part, label, targets).to_csv(partial / f"recording_{number}" / "metadata.tsv", sep="\t")
            entities = part.iloc[0][[*_ENTITIES]].dropna()
            group.attrs["description"] = {str(name): str(value) for name, value in entities.items()}
            group.attrs["info"] = info
            group.attrs["target_name"] = label or "target"
        partial.rename(path)
    except OSError as error:
        raise storage_error(error, path) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    counts = {"recordings": len(recordings), "windows": len(rows)}
    return {"path": str(path), **counts, "targets": [str(target) for target in targets]}


def _metadata(part: pd.DataFrame, label: str | None, targets: list[Any]) -> pd.DataFrame:
    """Windows as braindecode describes them: where they begin and stop in the recording, and the target."""
    start = np.round(part["onset"].to_numpy() * part["sfreq"].to_numpy()).astype(np.int64)
    number = {name: i for i, name in enumerate(targets)}
    target = [number.get(value, -1) for value in part[LABEL + label]] if label else [-1] * len(part)
    named = [name for name in part if str(name).startswith(LABEL) and part[name].notna().any()]
    return pd.DataFrame(
        {
            "i_window_in_trial": np.arange(len(part)),
            "i_start_in_trial": start,
            "i_stop_in_trial": start + part["n_times"].to_numpy(),
            "target": target,
            **{str(name).replace(".", "_"): part[name].astype(object).to_numpy() for name in named},
            "good_channels": part["good"].astype(str).map(lambda good: f"m{good}").to_numpy(),
        }
    )


def _info(channels: Channels, sfreq: float, modality: str) -> dict[str, Any]:
    """MNE's description of the channels as plain JSON, with positions where they are known in the head frame."""
    import mne

    kinds = [kind if kind in _MNE_TYPES else "misc" for kind in channels.types]
    info = mne.create_info(list(channels.names), sfreq, kinds, verbose="error")
    info["description"] = f"{modality} windows, normalised (no unit)"
    if channels.frame == "head":
        for entry, position, located in zip(info["chs"], channels.positions, channels.located, strict=True):
            if located:
                entry["loc"][:3] = position
    return finite(info.to_json_dict(), digits=12)  # no NaN: braindecode writes null, too
