"""MTFM on pairs: what is hidden in one modality is predicted from what is visible in all, fused one after the other.

With modality dropout some batches hide one modality altogether, so that it is predicted from the others alone: what
decoding fMRI from EEG needs, and what keeps the model useful where a modality is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count as count_from
from os import PathLike
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from ..corpus import Windows
from ..corpus.loader import ahead
from ..errors import ConfigError
from ..model.tokens import Tokens
from ..paths import user_path
from ..signals import SignalBatch
from ..utils.progress import progress
from .checkpoint import Checkpoints
from .config import ObjectiveConfig, PretrainConfig
from .data import contract_of, index_of
from .masking import MaskedBatch, Masking
from .objective import Objective
from .record import write_record
from .run import masking_of, trainer_of
from .run_folder import locked, remember_failure, settle_config
from .trainer import Step, require_finite

log = logging.getLogger(__name__)

#: Domain of the random numbers of pairs among those that are derived from the seed of a run
PAIR_STREAM = 3


class PairedConfig(PretrainConfig):
    """Training on pairs: all of a pretraining run, and these; the fields `sampling`, `augment` and `health_*` have no
    effect here."""

    modality_dropout: float = Field(0.3, ge=0, lt=1)
    """Fraction of the batches in which one modality, drawn at random, is hidden altogether."""
    hide: str | None = None
    """Hide always this modality in those batches, instead of a random one."""
    any_order: bool = True
    """Draw the order of fusion anew for every batch; else it is the order of the table's columns."""


@dataclass(frozen=True, eq=False)
class MaskedPairs:
    """Masked batches of the same windows by modality, in the order of fusion; of `lost`, nothing is seen."""

    parts: dict[str, MaskedBatch]
    lost: str | None = None

    @property
    def counts(self) -> dict[str, float]:
        """Predicted patches of each modality, to be summed over the batches of an optimizer step; and windows."""
        patches = {f"patches/{name}": float(part.n_predicted) for name, part in self.parts.items()}
        return {**patches, "windows": len(next(iter(self.parts.values())).batch)}

    @property
    def source(self) -> str:
        """Where the windows come from, for messages."""
        return ", ".join(part.source for part in self.parts.values())

    def split(self, count: int) -> list[MaskedPairs]:
        """The same pairs in at most `count` batches of about equal size, in order."""
        pieces = zip(*(part.split(count) for part in self.parts.values()), strict=True)
        return [replace(self, parts=dict(zip(self.parts, piece, strict=True))) for piece in pieces]

    def to(self, device: torch.device) -> MaskedPairs:
        """On a device."""
        return replace(self, parts={name: part.to(device) for name, part in self.parts.items()})


class PairedObjective(Objective):
    """The objective on pairs: each modality counts the same, however many patches it has. A ConfigError as of
    `Objective`, or for a term on whole windows or on second looks at them, which pairs do not have apart."""

    def __init__(self, model: Any, config: ObjectiveConfig) -> None:
        super().__init__(model, config)
        for name, term in self.terms.items():
            if term.whole or term.look:
                raise ConfigError("not for pairs", field=f"objective.terms.{name}", fix="leave it out")

    def forward(  # type: ignore[override]
        self, pairs: MaskedPairs, counts: Mapping[str, float], progress: float = 1.0
    ) -> dict[str, Tensor]:
        """As `Objective.forward`: "loss" and terms are means over modalities of the mean per predicted patch."""
        tokens, latents_BLD = self.fuse(pairs)
        n = len(pairs.parts)
        fractions = self.gradient_fractions(counts["windows"] * n, progress)
        found = []
        for name, masked in pairs.parts.items():
            outputs = self.decode(masked, tokens[name], latents_BLD, fractions)
            losses = self.compare(masked, tokens[name], outputs, latents_BLD)
            found.append({term: loss / (counts[f"patches/{name}"] * n) for term, loss in losses.items()})
        terms = {term: torch.stack([part[term] for part in found]).sum(0) for term in self.terms}
        return {"loss": self.combine(terms, progress), **terms}

    def fuse(self, pairs: MaskedPairs) -> tuple[dict[str, Tokens], Tensor]:
        """Tokens of all modalities, and latents (B, L, D) of what is visible of all but the lost one."""
        tokens = {name: self.model.tokens(masked.batch) for name, masked in pairs.parts.items()}
        latents_BLD = None
        for name, masked in pairs.parts.items():
            if name != pairs.lost:
                latents_BLD = self.encode(masked, tokens[name], latents_BLD)
        if latents_BLD is None:
            raise ConfigError("every modality is hidden", field="lost")
        return tokens, latents_BLD


def mask_pairs(
    masking: Masking,
    batches: Mapping[str, SignalBatch],
    rng: np.random.Generator,
    *,
    order: Sequence[str] | None = None,
    lost: str | None = None,
    **options: Any,
) -> MaskedPairs | None:
    """Hide patches of every modality, and all of those of `lost`; `options` are those of `Masking.plan`.

    A pair of which a window has fewer than two good patches is left out; None where no pair is left.
    """
    usable = np.logical_and.reduce([masking.usable(batch) for batch in batches.values()])
    if not usable.any():
        return None
    if not usable.all():
        rows = torch.from_numpy(np.flatnonzero(usable))
        batches = {name: batch.take_windows(rows) for name, batch in batches.items()}
    parts = {name: masking.plan(batch, rng, hide_all=name == lost, **options) for name, batch in batches.items()}
    return MaskedPairs({name: parts[name] for name in order or parts}, lost)  # type: ignore[misc]


def pretrain_pairs(
    config: PairedConfig, corpus: Windows, table: pd.DataFrame, model: Any, out: str | PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Train a model in place on pairs, in one process.

    Batch k is a function of (seed, k) alone, so that a run that was stopped and continued is the run that was not.

    Parameters
    ----------
    table : DataFrame
        Complete pairs of training subjects, from `brainof.corpus.pairs`.
    out : path, optional
        Run folder, for checkpoints every `checkpoint_every` steps and at the end, and for `about.json` as of any run
        (data, environment, versions, commit): called again with the same configuration and pairs, training goes on
        where the folder stands, whatever the weights of `model` are.

    Returns
    -------
    list of dict
        step, loss, lr, every `log_every` steps.

    Raises
    ------
    ConfigError
        Fewer than two modalities, a pair that lacks one, or a run folder of another configuration or of other pairs.
    CheckpointError
        Another process trains in `out`, or its checkpoints are of another model.
    HealthError
        The loss is not finite.
    """
    names = [str(name) for name in table.columns]
    if len(names) < 2 or (table.to_numpy() < 0).any():
        raise ConfigError(f"{names}", field="table", fix="give pairs of two or more modalities, all complete")
    if config.hide is not None and config.hide not in names:
        raise ConfigError(f"{config.hide!r}", field="hide", fix=f"one of {names}")
    if out is None:
        return _train(config, corpus, table, model, None)
    folder = user_path(out)
    with locked(folder):
        settle_config(folder, config)
        with remember_failure(folder):
            return _train(config, corpus, table, model, folder)


def _train(
    config: PairedConfig, corpus: Windows, table: pd.DataFrame, model: Any, folder: Path | None
) -> list[dict[str, Any]]:
    device = next(model.parameters()).device
    trainer = trainer_of(PairedObjective(model, config.objective), config, device)
    digest = f"{crc32(table.to_csv(index=False).encode()):08x}"
    done, rows, losses = 0, [], []
    unread: list[Step] = []
    saved = folder and Checkpoints(folder / "checkpoints", model, trainer.optimizer, config.keep_checkpoints)
    state = saved.load() if saved else None
    if state is not None:
        if state["pairs"] != digest:
            raise ConfigError(f"the run in {folder} has other pairs", field="table", fix="choose another folder")
        done, rows, losses = int(state["step"]), state["rows"], state["losses"]
    if folder is not None:
        used = index_of(corpus, config.sampling).loc[np.unique(table.to_numpy())]
        of = contract_of(corpus, used, model.config.patch), config, corpus, used
        write_record(folder, *of, device=device, bfloat16=trainer.bfloat16, pairs=len(table))
    masked = partial(_masked, config, corpus, table, masking_of(config, model.config.patch, model.config.rates))
    numbers = count_from(done * config.accumulate)
    batches = ahead(masked, numbers, config.loader.prefetch, config.loader.threads)
    moved = (pairs and pairs.to(device) for _, pairs in batches)
    with closing(saved) if saved else nullcontext(), closing(batches), closing(trainer.steps(moved, done)) as steps:
        for step in progress(steps, total=config.steps, initial=done, desc="pairs", unit="step"):
            done, unread = step.number, [*unread, step.numbers]
            ends = done == config.steps
            log_now, save_now = ends or done % config.log_every == 0, ends or done % config.checkpoint_every == 0
            if log_now or save_now:
                require_finite(unread)
                losses, unread = losses + [each.loss.item() for each in unread], []
            if log_now:
                rows.append({"step": done, "loss": float(np.mean(losses)), "lr": step.lr})
                log.info("pairs: step %d, loss %.4f", done, rows[-1]["loss"])
                losses = []
            if save_now and saved:
                saved.save(done, {"pairs": digest, "rows": rows, "losses": losses})
    if saved:
        saved.wait()
    model.eval()
    return rows


def _masked(
    config: PairedConfig, corpus: Windows, table: pd.DataFrame, masking: Masking, number: int
) -> MaskedPairs | None:
    """Masked batch `number` of a run, a function of (seed, number) and its place in the curriculum."""
    names = [str(name) for name in table.columns]
    rng = np.random.default_rng([config.seed, PAIR_STREAM, number])
    chosen = table.iloc[rng.choice(len(table), min(config.batch_size, len(table)), replace=False)]
    order = [names[i] for i in rng.permutation(len(names))] if config.any_order else names
    drops = rng.random() < config.modality_dropout
    lost = (config.hide or names[rng.integers(len(names))]) if drops else None
    batches = {name: corpus.batch(chosen[name].tolist(), patch=masking.patch) for name in names}
    done = number // config.accumulate / config.steps
    return mask_pairs(masking, batches, rng, order=order, lost=lost, progress=done)
