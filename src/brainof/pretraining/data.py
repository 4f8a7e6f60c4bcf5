"""From corpora to what a run sees: rows kept in and out, and the InputContract they imply."""

from __future__ import annotations

import logging
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..channels import UNITS
from ..contract import InputContract, ModalityContract, Regions
from ..corpus import BatchSampler, Windows, select, split_subjects
from ..errors import CheckpointError
from ..utils.values import ceil_div
from .config import PretrainConfig, SamplingConfig

log = logging.getLogger(__name__)

#: Columns of the index that a run looks at: the others stay on disk, which matters at millions of windows
COLUMNS = (
    *("view", "modality", "dataset", "subject", "recording"),
    *("sfreq", "n_channels", "n_times", "channel_set", "good"),
)


def index_of(corpora: Windows, sampling: SamplingConfig, aligned: bool = False) -> pd.DataFrame:
    """What a run needs to know of every window; `aligned`: when it was, too."""
    more = ["shard"] if sampling.mix_shards else []
    return corpora.columns([*COLUMNS, *more, *(("session", "task", "run", "onset") if aligned else ())])


def sampler_of(rows: pd.DataFrame, config: PretrainConfig, patch: int) -> BatchSampler:
    """The sampler that a configuration describes."""
    sampling = config.sampling
    options = sampling.model_dump(include={"max_padding", "limits", "mix_shards"})
    options |= {"tokens_per_batch": config.tokens_per_batch, "tokens_per_window": config.max_tokens}
    weights = sampling.weights or None  # without any, an epoch is every window once
    sampler = BatchSampler(rows, config.batch_size, weights, config.seed, patch=patch, **options)
    text = "%d batches an epoch, %.1f %% padding; %d consecutive batches hold every modality"
    log.info(text, len(sampler), 100 * sampler.padding, sampler.span)
    return sampler


def choose_rows(
    index: pd.DataFrame, sampling: SamplingConfig, patch: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and validation rows of the `pretrain` view; a subject is on one side only.

    Windows with fewer than two good patches are left out: either nothing could be hidden or nothing be seen.
    """
    rows = select(index, "pretrain", sampling.exclude, sampling.modalities or None)
    good = rows["good"].cat
    n_good = np.array([name.count("1") for name in good.categories], np.int64)[good.codes]
    usable = n_good * ceil_div(rows["n_times"].to_numpy(), patch) > 1
    if not usable.all():
        counts = rows["dataset"][~usable].astype(str).value_counts().to_dict()
        log.warning("windows with fewer than two good patches are left out: %s", counts)
    return split_subjects(rows[usable], sampling.validation, seed)


def rows_digest(rows: pd.DataFrame) -> dict[str, Any]:
    """What a checkpoint remembers of the training rows: windows of each dataset, and a digest of all columns."""
    values = pd.util.hash_pandas_object(rows).to_numpy()
    counts = rows["dataset"].astype(str).value_counts().sort_index()
    return {
        "windows": {str(k): int(v) for k, v in counts.items()},
        "digest": blake2b(values.tobytes(), digest_size=16).hexdigest(),
    }


def require_same_rows(before: dict[str, Any], rows: pd.DataFrame, run: Path) -> None:
    """Refuse to continue a run on other windows than it was started with; names the datasets that differ in number."""
    now = rows_digest(rows)
    if now["digest"] == before["digest"]:
        return
    names = sorted({*now["windows"], *before["windows"]})
    counts = {name: (before["windows"].get(name, 0), now["windows"].get(name, 0)) for name in names}
    different = [f"{name} had {old} windows, has {new}" for name, (old, new) in counts.items() if old != new]
    text = f"the run was started on other windows ({'; '.join(different) or 'equally many of each dataset'})"
    fix = "continue it with the corpora it was started with, or use another --out"
    raise CheckpointError(text, file=run, field="corpus", fix=fix)


def contract_of(corpora: Windows, rows: pd.DataFrame, patch: int) -> InputContract:
    """The InputContract of a model that is trained on `rows`."""
    modalities: dict[str, ModalityContract] = {}
    for modality, part in rows.groupby("modality", observed=True):
        counts = part.groupby("dataset", observed=True).size().sort_values(ascending=False)
        leading, *others = map(str, counts.index)
        steps = corpora.datasets[leading]["steps"]
        for name in others:
            if corpora.datasets[name]["steps"] != steps:
                text = "%s was prepared unlike %s; the contract for %s records the latter"
                log.warning(text, name, leading, modality)
        tables = [corpora.channels(digest) for digest in sorted(set(part["channel_set"]))]
        kinds = sorted({kind for table in tables for kind in table.types})
        seconds = part["n_times"] / part["sfreq"]
        modalities[str(modality)] = ModalityContract(
            units={kind: UNITS[kind] for kind in kinds},
            steps=steps,
            sfreqs=sorted({round(float(value), 6) for value in part["sfreq"]}),
            window_seconds=(float(np.min(seconds)), float(np.max(seconds))),
            frames=sorted({table.frame for table in tables}),
            atlases={table.atlas: table.digest for table in tables if table.atlas},
            regions={
                atlas: Regions.from_channels([table for table in tables if table.atlas == atlas])
                for atlas in sorted({table.atlas for table in tables if table.atlas})
            },
            unlocated=any((~table.located & (table.order < 0)).any() for table in tables),
        )
    return InputContract(patch=patch, modalities=modalities)
