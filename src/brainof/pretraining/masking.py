"""Masked batches, planned in numpy on the host: what the encoder sees of each window and what is to be predicted.

Planning runs in the threads of the loader, ahead of time, so that a training step never waits for it. The mask of a
window is a function of (seed, epoch, row of the index), the subset of channels of (seed, epoch, number of the batch).

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), S samples per
patch, V visible tokens, H predicted tokens (the hidden ones, or all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..corpus import Windows
from ..errors import RecordingError
from ..model.resolution import on_grid
from ..model.tokens import check, checked
from ..signals import SignalBatch, Tensors
from ..utils.values import ceil_div
from . import masks
from .config import MaskConfig
from .masks import Random, WindowRandom
from .views import View, ViewPlanner

#: Domains of the random numbers that are derived from the seed of a run
MASK_STREAM, CHANNEL_STREAM = 1, 4


@dataclass(frozen=True, eq=False)
class MaskedBatch(Tensors):
    """One batch before the model sees it."""

    batch: SignalBatch  # The clean signal of the channels at hand
    seen_BCT: Tensor | None  # What the encoder may look at where Fourier components are removed
    visible_BV: Tensor  # Numbers of the tokens that are encoded, filled up to the longest row
    visible_mask_BV: Tensor  # False for fillers
    predicted_BH: Tensor  # Numbers of the tokens that are decoded and compared, likewise
    predicted_mask_BH: Tensor
    place_BC: Tensor  # Place of each channel among the `n_places` that the window has, in the order of the atlas
    n_places: int
    n_predicted: int  # Predicted patches, which losses are divided by
    n_patches: int = 0  # Of a channel, padding included
    skipped: int = 0  # Windows of the batch that were left out because they have fewer than two good patches
    n_valid: int = 0  # Tokens that hold signal; the others are padding or bad channels
    mean_1PCC: Tensor | None = None  # Mean correlations by patch, where differences from them are compared
    view: View | None = None  # Second looks at the same windows, where a term of the objective asks for them
    partner: View | None = None
    distorted: View | None = None
    networks: View | None = None

    @property
    def views(self) -> dict[str, View]:
        """The second looks that there are."""
        found = {name: getattr(self, name) for name in ("view", "partner", "distorted", "networks")}
        return {name: view for name, view in found.items() if view is not None}

    @property
    def counts(self) -> dict[str, float]:
        """What losses are divided by, to be summed over the batches of an optimizer step."""
        return {"patches": self.n_predicted, "windows": len(self.batch) if self.n_predicted else 0}

    @property
    def name(self) -> tuple[str, str]:
        """Datasets and modality, which metrics are logged by."""
        return "+".join(sorted(set(self.batch.datasets))), self.batch.modality

    @property
    def hidden_mask_BH(self) -> Tensor:
        """True where a predicted token is one that the encoder did not see; False for fillers."""
        seen_BN = self.predicted_BH.new_zeros(
            len(self.batch), 1 + int(torch.cat([self.visible_BV, self.predicted_BH], 1).max())
        )
        seen_BN = seen_BN.scatter_add(1, self.visible_BV, self.visible_mask_BV.long())
        return self.predicted_mask_BH & (seen_BN.gather(1, self.predicted_BH) == 0)

    @property
    def source(self) -> str:
        """Where the windows come from, for messages."""
        return f"{self.name[0]} rows {list(self.batch.rows)}"

    def split(self, count: int) -> list[MaskedBatch]:
        """The same windows in at most `count` batches of about equal size, in order."""
        windows = torch.arange(len(self.batch), device=self.predicted_BH.device)
        parts = windows.tensor_split(min(count, len(windows)))
        return [self.take_windows(some) for some in parts] if count > 1 else [self]

    def share(self, part: int, parts: int) -> MaskedBatch:
        """Every `parts`-th window; where there is none, the first one with nothing to predict, as no rank may rest."""
        windows = torch.arange(part, len(self.batch), parts)
        if len(windows):
            return self.take_windows(windows)
        taken = self.take_windows(torch.zeros(1, dtype=torch.int64))
        return replace(taken, predicted_mask_BH=torch.zeros_like(taken.predicted_mask_BH), n_predicted=0, skipped=0)

    def take_windows(self, windows: Tensor) -> MaskedBatch:
        """The windows numbered in a 1-D index tensor."""
        taken = super(MaskedBatch, replace(self, mean_1PCC=None)).take_windows(windows)
        n_valid = self.n_valid * len(windows) // len(self.batch)  # about
        return replace(taken, mean_1PCC=self.mean_1PCC, n_valid=n_valid, n_predicted=int(taken.predicted_mask_BH.sum()))


@dataclass(frozen=True)
class Masking:
    """Batches -> masked batches; `patch` is in samples, see ObjectiveConfig and PretrainConfig for what follows it.

    `differences`: batches bring the mean correlations of their windows.
    """

    config: MaskConfig
    patch: int
    predict: str = "hidden"
    max_tokens: int | None = None
    min_channels: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)
    differences: bool = False

    def plan(
        self,
        batch: SignalBatch,
        rng: np.random.Generator,
        *,
        windows: WindowRandom | None = None,
        progress: float = 1.0,
        fourier: bool = True,
        hide_all: bool = False,
        views: Mapping[str, View] = MappingProxyType({}),
    ) -> MaskedBatch | None:
        """Hide components and patches of a batch of one modality; None where no window has two good patches.

        Components are removed before channels are left out, because fMRI's transform runs over all regions in order.

        `rng` draws what the batch shares, its subset of channels; `windows`, a stream for each window, all else (else
        `rng` does that, too). `progress` is the fraction of the steps done, for the curriculum. Of `views`, second
        looks at the same windows, nothing is hidden. A RecordingError where the model cannot read the batch.
        """
        batch = on_grid(batch, self.rates, self.patch)
        mask = self.config.at(progress, batch.modality)
        draw: Random = rng if windows is None else windows
        n_windows, usable_B = len(batch), self.usable(batch)
        if batch.channel_mask_BC.numel() and not usable_B.all():
            if not usable_B.any():
                return None
            rows = np.flatnonzero(usable_B)
            batch, draw = batch.take_windows(torch.from_numpy(rows)), masks.streams_of(draw, rows)
            views = {name: view.take_windows(torch.from_numpy(rows)) for name, view in views.items()}
        times_BT = np.arange(batch.signal_BCT.shape[2]) < batch.n_times_B.numpy()[:, None]
        valid_BCT = batch.channel_mask_BC.numpy()[:, :, None] & times_BT[:, None]
        if not check(batch, self.patch):  # bad channels and padding may hold anything, which no transform may spread
            batch = replace(batch, signal_BCT=torch.where(torch.from_numpy(valid_BCT), batch.signal_BCT, 0))
        place_BC = _places(batch)
        seen_BCT = self._seen(batch, mask, place_BC, draw) if fourier else None
        n_places = place_BC.shape[1]
        index_BC = self._channels(batch, rng)
        if index_BC.shape[-1] < n_places:
            batch = batch.take_channels(torch.from_numpy(index_BC))
            index_BC = np.broadcast_to(index_BC, (len(batch), index_BC.shape[-1]))
            place_BC = np.take_along_axis(place_BC, index_BC, 1)
            valid_BCT = np.take_along_axis(valid_BCT, index_BC[..., None], 1)
            seen_BCT = None if seen_BCT is None else np.take_along_axis(seen_BCT, index_BC[..., None], 1)
        B, C, _ = valid_BCT.shape
        shared = self.differences and B > 1 and len(batch.sensors.type_BC) == 1
        valid_BCP = np.any(valid_BCT.reshape(B, C, -1, self.patch), axis=-1)
        valid_BN = valid_BCP.reshape(B, -1)
        hidden_BN = valid_BN if hide_all else self._hidden(batch, mask, valid_BCP, draw).reshape(B, -1)
        visible, visible_mask = masks.token_indices(valid_BN & ~hidden_BN)
        predicted, predicted_mask = masks.token_indices(valid_BN if self.predict == "all" else hidden_BN)
        return MaskedBatch(
            batch=checked(batch, self.patch),
            seen_BCT=None if seen_BCT is None else torch.from_numpy(np.ascontiguousarray(seen_BCT)),
            visible_BV=torch.from_numpy(visible),
            visible_mask_BV=torch.from_numpy(visible_mask),
            predicted_BH=torch.from_numpy(predicted),
            predicted_mask_BH=torch.from_numpy(predicted_mask),
            place_BC=torch.from_numpy(np.ascontiguousarray(place_BC)),
            n_places=n_places,
            n_predicted=int(predicted_mask.sum()),
            n_patches=valid_BCP.shape[2],
            skipped=n_windows - B,
            n_valid=int(valid_BN.sum()),
            mean_1PCC=torch.from_numpy(mean_correlations(batch.signal_BCT.numpy(), valid_BCT, self.patch))
            if shared
            else None,
            **{name: self.seen_whole(view, rng) for name, view in views.items()},
        )

    def seen_whole(self, view: View, rng: np.random.Generator) -> View:
        """A view on the time grid of the model, with as many of its channels as the budget allows."""
        batch = on_grid(view.batch, self.rates, self.patch)
        batch = batch.take_channels(torch.from_numpy(self._channels(batch, rng)))
        return replace(view, batch=checked(batch, self.patch))

    def usable(self, batch: SignalBatch) -> np.ndarray:
        """True for windows (B,) with two good patches: one to hide and one to see."""
        return batch.channel_mask_BC.numpy().sum(1) * self.n_patches(batch) >= 2

    def n_patches(self, batch: SignalBatch) -> np.ndarray:
        """Patches (B,) of a channel of each window, a last one that ends in padding included."""
        return ceil_div(batch.n_times_B.numpy(), self.patch)

    def _seen(self, batch: SignalBatch, mask: MaskConfig, place_BC: np.ndarray, draw: Random) -> np.ndarray | None:
        """The signal without the components that are removed; None where none is."""
        if mask.fourier_ratio <= 0:
            return None
        signal_BCT = batch.signal_BCT.numpy()
        signal_BCT = signal_BCT.astype(np.promote_types(signal_BCT.dtype, np.float32), copy=False)
        ratio, bands = mask.fourier_ratio, mask.fourier_bands if mask.fourier_unit == "band" else None
        if batch.modality == "fmri":
            good_BC = batch.channel_mask_BC.numpy()
            return masks.remove_across_regions(signal_BCT, good_BC, place_BC, ratio=ratio, bands=bands, rng=draw)
        times = batch.n_times_B.numpy(), batch.interval_B.numpy()
        most = mask.fourier_max_hz
        return masks.remove_along_time(signal_BCT, *times, ratio=ratio, bands=bands, max_hz=most, rng=draw)

    def _hidden(self, batch: SignalBatch, mask: MaskConfig, valid_BCP: np.ndarray, draw: Random) -> np.ndarray:
        region_BC, sensors = None, batch.sensors
        if mask.unit in ("region", "block"):
            # in space, or in the order of the atlas or table where positions lack
            order_BC, place_BC3 = sensors.order_BC.numpy(), sensors.position_BC3.numpy()
            if not sensors.located_BC.all():
                known_B1 = (order_BC >= 0).all(axis=1, keepdims=True)
                place_BC3 = np.where(known_B1, order_BC, np.arange(order_BC.shape[1]))[..., None].astype(float)
            region_BC = masks.regions(place_BC3, np.any(valid_BCP, axis=-1), mask.region_size, draw)
        elif mask.unit == "slice":
            region_BC = masks.slices(_places(batch), mask.region_size, draw)
        return masks.hide_patches(valid_BCP, mask.ratio, mask.unit, draw, region_BC, mask.block_patches)

    def _channels(self, batch: SignalBatch, rng: np.random.Generator) -> np.ndarray:
        """Which channels the batch keeps (see `choose_channels`): a random number, within the token budget."""
        C, P = batch.signal_BCT.shape[1], batch.signal_BCT.shape[2] // self.patch
        most = C if self.max_tokens is None else min(C, max(2, self.max_tokens // P))
        least = max(min(2, C), round(self.min_channels * most))
        count = int(rng.integers(least, most + 1))
        return choose_channels(batch.channel_mask_BC.numpy(), self.n_patches(batch), count, rng)


@dataclass(frozen=True)
class Planner:
    """What the loader calls with each batch: its mask in this epoch, at this point of the curriculum.

    There are `per_epoch` batches in an epoch, `per_step` in an optimizer step, and `steps` in the run; `corpora` names
    the recordings of a batch in messages. Of each batch, part `part` of `parts` is handed out. `views` plans the second
    looks at each window.
    """

    masking: Masking
    corpora: Windows
    seed: int
    per_epoch: int
    per_step: int
    steps: int
    part: int = 0
    parts: int = 1
    views: ViewPlanner | None = None

    def __call__(self, batch: SignalBatch, epoch: int, number: int) -> MaskedBatch | None:
        progress = (epoch * self.per_epoch + number) // self.per_step / self.steps
        rng = np.random.default_rng([self.seed, CHANNEL_STREAM, epoch, number])
        windows = WindowRandom((self.seed, MASK_STREAM, epoch), batch.rows)
        try:
            batch, views = (batch, {}) if self.views is None else self.views(batch, epoch)
            masked = self.masking.plan(batch, rng, windows=windows, progress=progress, views=views)
        except RecordingError as error:
            index = self.corpora.columns(["dataset", "recording"]).iloc[list(batch.rows)].astype(str)
            names = (index["dataset"] + "/" + index["recording"] + " row " + index.index.astype(str)).tolist()
            raise RecordingError(error.problem, file=", ".join(names), field=error.field, fix=error.fix) from None
        return masked if masked is None or self.parts == 1 else masked.share(self.part, self.parts)


def choose_channels(good_BC: np.ndarray, n_patches_B: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted numbers of the channels to keep: (count,) for all windows, or (B, count) where they cannot share them.

    Channels that are good in every window come first. Where such a choice leaves a window fewer than two good patches,
    each window keeps good channels of its own.
    """
    C = good_BC.shape[1]
    if count >= C:
        return np.arange(C)
    order = rng.permutation(C)
    shared = np.sort(order[np.argsort(~np.all(good_BC, axis=0)[order], kind="stable")][:count])
    if (good_BC[:, shared].sum(1) * n_patches_B >= 2).all():
        return shared
    return np.sort(order[np.argsort(~good_BC[:, order], axis=1, kind="stable")][:, :count], axis=1)


def mean_correlations(signal_BCT: np.ndarray, valid_BCT: np.ndarray, patch: int) -> np.ndarray:
    """Mean over windows of the correlations between channels that hold signal, zero on the diagonal.

    (1, P, C, C): the part of each patch, which add up to the correlation of the window.
    """
    signal_BCT = np.where(valid_BCT, signal_BCT, 0).astype(np.promote_types(signal_BCT.dtype, np.float32))
    mean_BC1 = signal_BCT.sum(-1, keepdims=True) / valid_BCT.sum(-1, keepdims=True).clip(1)
    signal_BCT = np.where(valid_BCT, signal_BCT - mean_BC1, 0)
    unit_BCT = signal_BCT / np.linalg.norm(signal_BCT, axis=-1, keepdims=True).clip(1e-6)
    B, C, _ = unit_BCT.shape
    unit_PCK = unit_BCT.reshape(B, C, -1, patch).transpose(2, 1, 0, 3).reshape(-1, C, B * patch)
    there_BC = valid_BCT.any(-1).astype(unit_BCT.dtype)
    mean_PCC = unit_PCK @ unit_PCK.swapaxes(1, 2) / (there_BC.T @ there_BC).clip(1)
    return (mean_PCC * (1 - np.eye(C, dtype=mean_PCC.dtype)))[None]


def _places(batch: SignalBatch) -> np.ndarray:
    """Place (B, C) of every channel on the ordered axis of the batch: its rank by atlas order, 0 to C - 1."""
    order_BC = batch.sensors.order_BC.expand(len(batch), -1).numpy()
    return order_BC.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
