"""Signals -> tokens: patches with their identities, and the embedding of what a patch contains.

Legend: B windows, C channels, P patches per channel, N = C * P tokens (channel-major), S samples per patch, D width,
V visible tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RecordingError
from ..schema import Schema
from ..signals import Checked, SignalBatch
from .layers import RMSNorm, init_linear, wide

#: Added to Fourier amplitudes before the logarithm, in units of the normalised signal
SPECTRUM_FLOOR = 0.05


class TokenConfig(Schema):
    """What of a patch its content holds, beside a linear map of its samples.

    Attributes
    ----------
    log_spectrum : bool
        An MLP of log |FFT| of the patch.
    connectivity : bool
        The correlations with the other visible channels, see `connectivity.py`.
    """

    log_spectrum: bool = True
    connectivity: bool = False


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch of windows as tokens; patches are zero where padded or bad.

    Attributes
    ----------
    identity_BND : Tensor
        Where, what and when each token is; B = 1 where the batch shares it.
    mask_BN, valid_BNS : Tensor of bool
        True where a token holds signal, and where a sample is (None when every sample of every token is).
    modality_B : Tensor of int64
        Index into MODALITIES.
    n_channels, n_patches : int
        C and P.
    complete : bool
        Every token holds signal, so that no mask is needed.
    weight_BKC, map_1HLN : Tensor or None
        From `BrainOF.layout`.
    checked : bool
        The host has checked the batch; patches that replace its own are taken as finite.
    """

    patch_BNS: Tensor
    identity_BND: Tensor
    mask_BN: Tensor
    valid_BNS: Tensor | None
    modality_B: Tensor
    n_channels: int
    n_patches: int
    complete: bool = False
    weight_BKC: Tensor | None = None
    map_1HLN: Tensor | None = None
    checked: bool = False

    def __len__(self) -> int:
        return len(self.patch_BNS)

    def with_patches(self, patch_BNS: Tensor) -> Tokens:
        """The same tokens with other contents; a RecordingError where a sample that counts is not finite."""
        if self.valid_BNS is not None:
            patch_BNS = torch.where(self.valid_BNS, patch_BNS, 0)
        if not self.checked and not torch.isfinite(patch_BNS.sum()) and not torch.isfinite(patch_BNS).all():
            window, token, _ = (~torch.isfinite(patch_BNS)).nonzero()[0].tolist()
            raise RecordingError(f"window {window} is not finite at token {token}", field="patch_BNS")
        return replace(self, patch_BNS=patch_BNS)


def log_spectrum(patch_BNS: Tensor) -> Tensor:
    """log(|rFFT| + 0.05) of each patch, shape (..., S // 2 + 1), orthonormal Fourier transform, at least float32."""
    return torch.fft.rfft(wide(patch_BNS), norm="ortho").abs().add_(SPECTRUM_FLOOR).log()


def patchify(signal_BCT: Tensor, patch: int) -> Tensor:
    """(B, C, T) -> (B, N, S), channel-major; T is a multiple of S."""
    return signal_BCT.unflatten(-1, (-1, patch)).flatten(1, 2)


def unpatchify(patch_BNS: Tensor, n_channels: int) -> Tensor:
    """Inverse of `patchify`."""
    return patch_BNS.unflatten(1, (n_channels, -1)).flatten(2)


def valid_samples(batch: SignalBatch) -> Tensor:
    """True where a sample is signal: in a good channel, before the end of its window; (B, C, T) of bool."""
    time = torch.arange(batch.signal_BCT.shape[-1], device=batch.signal_BCT.device)
    valid_BT = time < batch.n_times_B[:, None]
    return batch.channel_mask_BC[..., None] & valid_BT[:, None]


def checked(batch: SignalBatch, patch: int) -> SignalBatch:
    """The batch, which the host has now checked; errors as `check`."""
    return replace(batch, checked=Checked(check(batch, patch), is_shared(batch), batch.modality))


def check(batch: SignalBatch, patch: int) -> bool:
    """Refuse a batch the model cannot read (RecordingError with field and window); True when every sample is valid."""
    windows, channels, times = batch.signal_BCT.shape
    if not windows or not channels:
        raise RecordingError(f"the batch has {windows} windows of {channels} channels", field="channels")
    if not times or times % patch:
        problem = f"{times} samples are not a whole number of patches of {patch}"
        raise RecordingError(problem, field="signal", fix="pad with SignalBatch.from_arrays")
    usable_B, filled_B = batch.channel_mask_BC.any(1), batch.n_times_B > 0
    timed_B = torch.isfinite(batch.interval_B) & (batch.interval_B > 0)
    sensors = batch.sensors
    facts = [
        usable_B.all(),
        filled_B.all(),
        timed_B.all(),
        torch.isfinite(sensors.position_BC3).all() & torch.isfinite(sensors.orientation_BC3).all(),
        torch.isfinite(batch.signal_BCT.sum()),  # a sum is finite only if every sample is
        batch.channel_mask_BC.all() & (batch.n_times_B >= times).all(),
    ]
    usable, filled, timed, placed, finite, complete = torch.stack(facts).tolist()  # one transfer to the host

    def first(wrong_B: Tensor) -> str:
        """The first window at fault, with its dataset."""
        row = int(wrong_B.nonzero()[0])
        return f"window {row} ({batch.datasets[row]})" if row < len(batch.datasets) else f"window {row}"

    if not usable:
        raise RecordingError(f"no good channel is left in {first(~usable_B)}", field="channel_mask")
    if not filled:
        raise RecordingError(f"{first(~filled_B)} has no samples", field="n_times")
    if not timed:
        interval = float(batch.interval_B[~timed_B][0])
        raise RecordingError(f"{interval} seconds between samples in {first(~timed_B)}", field="interval")
    if not placed:
        problem, fix = "positions or orientations are not finite", "unknown ones are zero, with located_BC False"
        raise RecordingError(problem, field="sensors.position", fix=fix)
    if not finite:
        bad_BCT = ~torch.isfinite(batch.signal_BCT) & valid_samples(batch)
        if bad_BCT.any():
            _, channel, time = bad_BCT.nonzero()[0].tolist()
            problem = f"{first(bad_BCT.flatten(1).any(1))} is not finite at channel {channel}, sample {time}"
            raise RecordingError(problem, field="signal", fix="repair or mask the channel before the model")
    return bool(complete)


def is_shared(batch: SignalBatch) -> bool:
    """True when one identity serves the whole batch: one channel set, one sampling interval, one modality."""
    if batch.checked is not None:
        return batch.checked.shared
    if len(batch.sensors.type_BC) > 1 and len(batch) > 1:
        return False
    same = (batch.interval_B == batch.interval_B[0]).all() & (batch.modality_B == batch.modality_B[0]).all()
    return bool(same)


class Content(nn.Module):
    """What a patch contains: a linear map of its samples, plus an MLP of its log spectrum; RMS-normalised.

    A linear map keeps the sign of the signal, in which band power is invisible; the spectrum adds the even features.
    """

    def __init__(self, dim: int, patch: int, log_spectrum: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(patch, dim)
        self.spectrum_hidden = nn.Linear(patch // 2 + 1, dim) if log_spectrum else None
        self.spectrum_output = nn.Linear(dim, dim) if log_spectrum else None
        self.norm = RMSNorm(dim)
        self.init_weights()

    def init_weights(self) -> None:
        for layer in (self.linear, self.spectrum_hidden, self.spectrum_output):
            if layer is not None:
                init_linear(layer)

    def forward(self, patch_BNS: Tensor, extra_BND: Tensor | None = None, output: str | None = None) -> Tensor:
        """Contents (B, N, D): of everything, or of the part that the latents of an output read.

        `extra_BND` (correlations) is added before the normalisation.
        """
        return self.norm(self.raw(patch_BNS, extra_BND, output))

    def raw(self, patch_BNS: Tensor, extra_BND: Tensor | None = None, output: str | None = None) -> Tensor:
        """Contents before their normalisation."""
        if output == "connectivity":
            assert extra_BND is not None
            return extra_BND
        if output == "log_spectrum":
            assert self.spectrum_output is not None
            return self.spectrum_output(self.hidden(patch_BNS))
        x_BND = self.linear(patch_BNS.to(self.linear.weight.dtype))
        if output == "waveform":
            return x_BND
        if extra_BND is not None:
            x_BND = x_BND + extra_BND
        return x_BND if self.spectrum_output is None else x_BND + self.spectrum_output(self.hidden(patch_BNS))

    def hidden(self, patch_BNS: Tensor) -> Tensor:
        """Hidden features (B, N, D) of the log spectrum."""
        assert self.spectrum_hidden is not None
        return F.gelu(self.spectrum_hidden(log_spectrum(patch_BNS).to(self.linear.weight.dtype)))


class Given(Content):
    """Contents that are only normalised: those of an output that nothing trains (`SamplerConfig.fixed`)."""

    def __init__(self, dim: int) -> None:
        nn.Module.__init__(self)
        self.norm = RMSNorm(dim)

    def init_weights(self) -> None:
        """The norm has its own."""


def take_tokens(x_BND: Tensor, index_BV: Tensor | None) -> Tensor:
    """Rows of each window, (B, V, D); x may have B = 1 for all windows. None takes all."""
    if index_BV is None:
        return x_BND
    if x_BND.shape[0] == 1:  # a length would make the batch size a constant in exported programs
        # its gradient is a sorted sum, faster and more repeatable than a scatter
        return F.embedding(index_BV, x_BND[0])
    start_B1 = torch.arange(x_BND.shape[0], device=index_BV.device)[:, None] * x_BND.shape[1]
    return x_BND.flatten(0, 1).index_select(0, (index_BV + start_B1).flatten()).unflatten(0, index_BV.shape)
