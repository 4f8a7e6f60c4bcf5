"""Corpus -> Zarr stores in the layout of braindecode, the one its users exchange on the Hub.

One store holds recordings of one channel table, rate and window length, because braindecode asks for it; float32, one
window a chunk. Read a store with `braindecode.datautil.hub_formats.load_from_zarr`.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import ConfigError, CorpusError, check_known
from ..paths import user_path
from ..utils.files import make_folder, storage_error
from ..utils.values import finite
from .index import LABEL
from .store import Corpus

FORMATS = ("braindecode-zarr",)


#: MNE's names of our sensor types; what MNE does not know is `misc`
_MNE_TYPES = ("eeg", "mag", "grad", "seeg", "ecog", "eog", "ecg", "emg")


_GROUP = ["dataset", "modality", "view", "channel_set", "sfreq", "n_times"]


_ENTITIES = ("dataset", "modality", "subject", "session", "task", "run", "recording", "view")


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
