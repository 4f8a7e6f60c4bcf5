"""Reconstructions: what a model puts into patches that it does not see, beside shuffled latents and random weights.

No label enters, so that permuted labels are no null here: latents of other windows take their place.

Legend: B windows, C channels, T samples, H hidden tokens, S samples per patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..channels import Channels
from ..errors import CheckpointError, ConfigError
from ..model import BrainOF
from ..paths import user_path
from ..pretraining.config import MaskConfig, ObjectiveConfig, PretrainConfig
from ..pretraining.masking import MaskedBatch, Masking
from ..pretraining.objective import Objective
from ..utils.modules import evaluating, to_device
from ..utils.values import finite
from .effects import ALPHA, judged, sign_flip_p
from .source import Explained, untrained

#: Windows that are reconstructed
WINDOWS = 16


@dataclass(frozen=True, eq=False)
class Example:
    """One window and what the model made of it.

    Signals (n_channels, n_times) are normalised: SD over the recording, per sensor type. `hidden_CT` (bool) is what the
    encoder did not see, `names` are those of the channels.
    """

    modality: str
    true_CT: np.ndarray
    reconstructed_CT: np.ndarray
    hidden_CT: np.ndarray
    sfreq: float
    names: Sequence[str]

    @property
    def r2(self) -> float:
        """Explained variance of the hidden samples, against zero; NaN where none is hidden."""
        true = self.true_CT[self.hidden_CT]
        error = true - self.reconstructed_CT[self.hidden_CT]
        return float(1 - (error**2).sum() / (true**2).sum()) if (true**2).sum() > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Windows of one dataset, reconstructed."""

    examples: list[Example]
    channels: Channels
    about: dict[str, Any]
    #: (B,): explained variance of hidden samples with the right latents, those of other windows, and random weights
    r2: np.ndarray
    shuffled: np.ndarray
    untrained: np.ndarray | None
    #: That the right latents are no better than the other ones (sign flips over windows)
    p: float
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """One sentence for the figure."""
        lost = [] if self.p < ALPHA else ["latents of other windows"]
        if np.nanmean(self.r2) <= 0:
            lost.append("zeros")
        parts = f"R2 {np.nanmean(self.r2):.2f}, other windows' latents {np.nanmean(self.shuffled):.2f}"
        if self.untrained is not None:
            parts += f", random weights {np.nanmean(self.untrained):.2f}"
            if np.nanmean(self.r2) <= np.nanmean(self.untrained):
                lost.append("random weights")
        return judged(lost, parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the signals."""
        values = {"r2": self.r2, "shuffled": self.shuffled, "untrained": self.untrained, "p": self.p}
        return finite({"kind": "reconstruction", "about": self.about, **values, "verdict": self.verdict}, 4)


def reconstructed(
    explained: Explained,
    model: BrainOF,
    run: str | PathLike[str] | None = None,
    *,
    n_untrained: int = 1,
    random_state: int = 0,
) -> Reconstruction:
    """Hide patches as in pretraining and let the model put them back.

    The masks are those of the run folder `run`, the default ones without it. A ConfigError where the model has no
    waveform, or every window is too short to hide something.
    """
    if "waveform" not in model.config.decoder.outputs:
        fix = "train one with this output"
        raise ConfigError("the decoder has no waveform", field="model.decoder.outputs", fix=fix)
    settings = user_path(run, CheckpointError) / "config.yaml" if run else None
    masks, objectives = MaskConfig(), ObjectiveConfig()
    if settings is not None and settings.is_file():
        config = PretrainConfig.load(settings)
        masks, objectives = config.mask, config.objective
    batch = explained.examples.batch(np.arange(min(WINDOWS, len(explained))))
    masking = Masking(masks, model.config.patch, rates=model.config.rates)
    masked = masking.plan(batch, np.random.default_rng(random_state), fourier=False)
    if masked is None:
        raise ConfigError("windows are too short to hide a patch of them", field="source", fix="give longer ones")
    masked = to_device(masked, model)
    names = explained.channels.names
    examples = reconstruct(Objective(model, objectives), masked, names)
    others = reconstruct(Objective(model, objectives), masked, names, shift=1)
    nulls = [reconstruct(Objective(null, objectives), masked, names) for null in untrained(model, n_untrained)]
    r2, shuffled, *random = (np.array([each.r2 for each in made]) for made in (examples, others, *nulls))
    known = np.isfinite(r2) & np.isfinite(shuffled)
    p = float(sign_flip_p((r2 - shuffled)[known, None])[0]) if known.sum() > 1 else 1.0
    other = np.mean(random, axis=0) if random else None
    return Reconstruction(examples, explained.channels, explained.about, r2, shuffled, other, p, explained.notes)


def reconstruct(objective: Objective, masked: MaskedBatch, names: Sequence[str], shift: int = 0) -> list[Example]:
    """Let the model put back what is hidden of each window of a batch from `Masking.plan`.

    The batch is of one modality and sampling rate, and the model has the output `waveform`; `names` are those of the
    channels. With a `shift` above 0 each window is decoded from the latents of another, so many further.
    """
    with evaluating(objective):
        tokens = objective.model.tokens(masked.batch)
        latents: Tensor = objective.encode(masked, tokens)
        outputs = objective.decode(masked, tokens, torch.roll(latents, shift, 0))
        made_BHS = outputs["waveform"].float().cpu().numpy()
    batch = masked.batch
    true_BCT = batch.signal_BCT.float().cpu().numpy()
    C, T, patch = *true_BCT.shape[1:], made_BHS.shape[-1]
    chosen_BH, numbers_BH = masked.predicted_mask_BH.cpu().numpy(), masked.predicted_BH.cpu().numpy()
    examples = []
    for row, n_times in enumerate(batch.n_times_B.tolist()):
        hidden_NS, made_NS = np.zeros((2, C * T // patch, patch), np.float32)
        numbers = numbers_BH[row, chosen_BH[row]]
        hidden_NS[numbers], made_NS[numbers] = 1, made_BHS[row, chosen_BH[row]]
        signals = (true_BCT[row], made_NS.reshape(C, T), hidden_NS.reshape(C, T) > 0)
        true_CT, made_CT, hidden_CT = (values[:, :n_times] for values in signals)
        examples.append(Example(batch.modality, true_CT, made_CT, hidden_CT, float(1 / batch.interval_B[row]), names))
    return examples
