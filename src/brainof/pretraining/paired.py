"""MTFM on pairs: what is hidden in one modality is predicted from what is visible in all, fused one after the other.

With modality dropout some batches hide one modality altogether, so that it is predicted from the others alone: what
decoding fMRI from EEG needs, and what keeps the model useful where a modality is missing.

Shape suffixes as in `mtfm`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from ..errors import ConfigError, HealthError
from ..model import update_balance
from ..model.tokens import valid_samples
from ..signals import SignalBatch
from ..utils.progress import progress
from .checkpoint import load_checkpoint, save_checkpoint
from .config import PretrainConfig
from .health import explained_variance
from .losses import log_spectrum_loss, waveform_loss
from .masks import token_indices
from .mtfm import MTFM, Plan
from .optimizer import learning_rate, make_optimizer
from .run_folder import locked, settle_config

log = logging.getLogger(__name__)

PAIR_STREAM = 3


class PairedConfig(PretrainConfig):
    """Training on pairs: masks, objective, steps, batch and learning rate of a pretraining run, and these.

    The fields about sampling, accumulation, precision, threads and health have no effect here.
    """

    modality_dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the batches in which one modality, drawn at random, is hidden altogether."""
    hide: str | None = None
    """Hide always this modality in those batches, instead of a random one."""
    any_order: bool = True
    """Draw the order of fusion anew for every batch; else it is the order of the table's columns."""


class PairedMTFM:
    """The objective on pairs, around an MTFM."""

    def __init__(self, mtfm: MTFM) -> None:
        self.mtfm, self.model = mtfm, mtfm.model

    def plans(
        self,
        batches: Mapping[str, SignalBatch],
        rng: np.random.Generator,
        *,
        lost: str | None = None,
        fourier: bool = False,
        max_tokens: int | None = None,
        min_channels: float = 1.0,
    ) -> dict[str, Plan]:
        """Hide patches of every modality, and all of those of `lost`."""
        options: dict[str, Any] = {"fourier": fourier, "max_tokens": max_tokens, "min_channels": min_channels}
        found = {name: self.mtfm.plan(batch, rng, **options) for name, batch in batches.items()}
        if lost is not None:
            found[lost] = hide_all(found[lost], self.model.config.patch)
        return found

    def encode(self, plans: Mapping[str, Plan], order: Sequence[str], lost: str | None = None) -> Tensor:
        """Latents (B, L, D) of the visible tokens of all modalities but `lost`, fused in the order given."""
        latents_BLD = None
        there = [name for name in order if name != lost]
        for name in there:
            plan = plans[name]
            seen = self.model.tokens(plan.batch).with_patches(plan.seen_BNS)
            latents_BLD = self.model.encode(
                seen,
                plan.visible_BV,
                plan.visible_mask_BV,
                start_BLD=latents_BLD,
            )
        if latents_BLD is None:
            raise ConfigError("every modality is hidden", field="lost")
        return latents_BLD

    def decode(self, plan: Plan, latents_BLD: Tensor) -> dict[str, Tensor]:
        """Outputs at the hidden tokens of one modality."""
        return self.mtfm.decode(plan, latents_BLD, self.model.tokens(plan.batch))

    def loss(self, plans: Mapping[str, Plan], latents_BLD: Tensor, share: float = 1.0) -> Tensor:
        """Mean over modalities of their mean loss per hidden patch: each counts the same, however many patches it has.

        `share` of the steps done is for objectives that change on the way.
        """
        losses = []
        for plan in plans.values():
            outputs = self.decode(plan, latents_BLD)
            time = waveform_loss(outputs["waveform"], plan.target_BHS, plan.sample_mask_BHS)
            frequency = time.new_zeros(())
            if self.mtfm.objective.frequency == "log_spectrum":
                frequency = log_spectrum_loss(outputs["log_spectrum"], self.mtfm.spectra(plan), plan.full_BH)
            losses.append(self.mtfm.combine(time, frequency, share) / plan.n_hidden)
        return torch.stack(losses).mean()


def hide_all(plan: Plan, patch: int) -> Plan:
    """The plan with every valid patch hidden (and nothing left for the encoder)."""
    valid_BNS = valid_samples(plan.batch, patch)
    index, mask = token_indices(valid_BNS.any(-1).cpu().numpy())
    hidden_BH = torch.from_numpy(index).to(valid_BNS.device)
    mask_BH = torch.from_numpy(mask).to(valid_BNS.device)
    clean_BNS = plan.batch.signal_BCT.reshape(valid_BNS.shape)
    where_BHS = hidden_BH[..., None].expand(-1, -1, patch)
    return replace(
        plan,
        visible_BV=plan.visible_BV[:, :0],
        visible_mask_BV=plan.visible_mask_BV[:, :0],
        hidden_BH=hidden_BH,
        hidden_mask_BH=mask_BH,
        target_BHS=clean_BNS.gather(1, where_BHS).float(),
        sample_mask_BHS=valid_BNS.gather(1, where_BHS) & mask_BH[..., None],
    )


def pretrain_pairs(
    config: PairedConfig,
    corpus: Windows,
    table: pd.DataFrame,
    model: Any,
    out: str | PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Train a model in place on pairs, in one process.

    Batch k is a function of (seed, k) alone, so that a run that was stopped and continued is the run that was not.

    Parameters
    ----------
    config : PairedConfig
    corpus : Corpus or Corpora
    table : DataFrame
        Complete pairs of training people, from `brainof.corpus.pairs`.
    model : BrainOF
        From scratch or pretrained.
    out : path, optional
        Run folder, for checkpoints every `checkpoint_every` steps and at the end: called again with the same
        configuration and pairs, training goes on where the folder stands, whatever the weights of `model` are.

    Returns
    -------
    list of dict
        step, loss, every `log_every` steps.

    Raises
    ------
    ConfigError
        Fewer than two modalities, a pair that lacks one, `objective.frequency` "raw", which is not defined here, or a
        run folder of another configuration or of other pairs.
    CheckpointError
        Another process trains in `out`, or its checkpoints are of another model.
    HealthError
        The loss is not finite.
    """
    names = [str(name) for name in table.columns]
    if len(names) < 2 or (table.to_numpy() < 0).any():
        raise ConfigError(f"{names}", field="table", fix="give pairs of two or more modalities, all complete")
    if config.objective.frequency == "raw":
        raise ConfigError("'raw' is not defined on pairs", field="objective.frequency", fix="use log_spectrum or none")
    if config.hide is not None and config.hide not in names:
        raise ConfigError(f"{config.hide!r}", field="hide", fix=f"one of {names}")
    if out is None:
        return _train(config, corpus, table, model, None)
    with locked(Path(out)):
        settle_config(Path(out), config)
        return _train(config, corpus, table, model, Path(out) / "checkpoints")


def _train(
    config: PairedConfig, corpus: Windows, table: pd.DataFrame, model: Any, checkpoints: Path | None
) -> list[dict[str, Any]]:
    names = [str(name) for name in table.columns]
    objective = PairedMTFM(MTFM(model, config.mask, config.objective))
    optimizer = make_optimizer(model, config)
    digest = f"{crc32(table.to_csv(index=False).encode()):08x}"
    rows: list[dict[str, Any]] = []
    losses: list[float] = []
    start = 0
    state = load_checkpoint(checkpoints, model, optimizer) if checkpoints else None
    if state is not None:
        if state["pairs"] != digest:
            raise ConfigError(f"the run in {checkpoints} has other pairs", field="table", fix="choose another folder")
        start, rows, losses = int(state["step"]), state["rows"], state["losses"]
    model.train()
    for step in progress(range(start, config.steps), desc="pairs", unit="step"):
        rng = np.random.default_rng([config.seed, PAIR_STREAM, step])
        chosen = table.iloc[rng.choice(len(table), min(config.batch_size, len(table)), replace=False)]
        order = [names[i] for i in rng.permutation(len(names))] if config.any_order else names
        drops = rng.random() < config.modality_dropout
        lost = (config.hide or names[rng.integers(len(names))]) if drops else None
        batches = {name: corpus.batch(chosen[name].tolist(), patch=model.config.patch) for name in names}
        plans = objective.plans(
            batches,
            rng,
            lost=lost,
            fourier=step >= config.mask.fourier_start * config.steps,
            max_tokens=config.max_tokens,
            min_channels=config.min_channels,
        )
        lr = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        loss = objective.loss(plans, objective.encode(plans, order, lost), step / config.steps)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise HealthError(f"loss {loss.item()} at step {step}", field="loss", fix="lower lr")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_balance(model, config.balance_rate)
        losses.append(loss.item())
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            rows.append({"step": step + 1, "loss": float(np.mean(losses)), "lr": lr})
            log.info("pairs: step %d, loss %.4f", step + 1, rows[-1]["loss"])
            losses = []
        if checkpoints and ((step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps):
            state = {"pairs": digest, "rows": rows, "losses": losses}
            save_checkpoint(checkpoints, step + 1, model, optimizer, state, config.keep_checkpoints)
    model.eval()
    return rows


@torch.no_grad()
def check_pairs(
    objective: PairedMTFM, batches: Mapping[str, SignalBatch], rng: np.random.Generator, max_tokens: int | None = None
) -> dict[str, dict[str, float]]:
    """Explained variance of each modality predicted from the others alone, with the right and with shuffled latents.

    Returns
    -------
    dict
        Modality -> {"r2", "r2_shuffled"}: healthy where the first is above the second.
    """
    model = objective.model
    training = model.training
    model.eval()
    found = {}
    try:
        for name in batches:
            plans = objective.plans(batches, rng, lost=name, max_tokens=max_tokens)
            latents_BLD = objective.encode(plans, list(batches), lost=name)
            row = {}
            for key, source in (("r2", latents_BLD), ("r2_shuffled", latents_BLD.roll(1, 0))):
                predicted = objective.decode(plans[name], source)["waveform"].float()
                weight = plans[name].sample_mask_BHS.float()
                row[key] = explained_variance(predicted, plans[name].target_BHS, weight)
            found[name] = row
    finally:
        model.train(training)
    return found
