"""BrainOFModule: Brain-OF as braindecode, MOABB and skorch expect a network to look."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError, did_you_mean
from ..inference.windows import preparation
from ..io import ReadOptions, from_array
from ..model import BrainOF
from ..model.layers import RMSNorm
from ..plausibility import implausible_amplitudes
from ..recording import Recording
from ..release import load
from ..signals import SignalBatch
from ..utils.modules import to_device

log = logging.getLogger(__name__)

#: What a channel of MNE's `info["chs"]` must say to be rebuilt, and how it becomes a JSON value
_CHANNEL: dict[str, Callable[[Any], Any]] = {
    "ch_name": str,
    **dict.fromkeys(("kind", "coil_type", "unit", "unit_mul", "coord_frame"), int),
    **dict.fromkeys(("cal", "range"), float),
    "loc": lambda values: np.asarray(values, dtype=float).tolist(),
}

_FACTORS = {"uV": 1e-6, "mV": 1e-3, "V": 1.0, "fT": 1e-15, "pT": 1e-12, "SI": 1.0, "none": None}


class BrainOFModule(nn.Module):
    """`(batch, channels, times)` in, `(batch, outputs)` out, with the six signal arguments of braindecode.

    Windows are prepared inside, by the steps of the model's contract, with the statistics of each window alone (its
    median, its robust scale), as nothing else is there; see docs/guide/interop.md for what that changes. Preparation
    runs in NumPy and is not differentiated: gradients reach the weights, not the raw input.

    Parameters
    ----------
    n_outputs : int, optional
        Classes or targets; without it the features come out.
    n_chans, n_times : int, optional
        Channels and samples of a window.
    chs_info : list of dict, optional
        `info["chs"]` of MNE: names, types and positions. Without it and `ch_names` positions are unknown, which costs
        accuracy and is warned of.
    input_window_seconds, sfreq : float, optional
        Length and rate of a window; two of `n_times`, these two are enough.
    model : str, path or BrainOF
        As for `brainof.load`: folder, preset (random weights) or Hub id; a model in memory is copied.
    contract : InputContract, optional
        With a BrainOF in memory.
    ch_names : list of str, optional
        Names instead of `chs_info`; EEG positions come from the 10-05 template.
    modality : {"eeg", "meg", "fmri"}, optional
        By default that of `chs_info`, else EEG.
    unit : {"uV", "mV", "V", "fT", "pT", "SI", "none"}, optional
        Unit of the values, to check their amplitude once; by default uV for EEG (what braindecode and MOABB give) and
        SI for MEG. "none": already standardised, not checked.
    pool : str
        Pooling of the latents.
    adapt : {"full", "frozen"}
        Train everything, or the head alone.

    Attributes
    ----------
    final_layer : Linear
        The head.

    Raises
    ------
    ConfigError
        Signal arguments that are missing or contradict each other.
    ContractError
        A modality or sensor type that the model was not trained on; in `forward`, another shape or a wrong unit.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        *,
        model: str | PathLike[str] | BrainOF = "pretrained",
        contract: InputContract | None = None,
        ch_names: Sequence[str] | None = None,
        modality: str | None = None,
        unit: str | None = None,
        pool: str = "auto",
        adapt: Literal["full", "frozen"] = "full",
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.sfreq, self.n_times = _timing(n_times, input_window_seconds, sfreq)
        self.input_window_seconds = self.n_times / self.sfreq
        said = [{key: plain(each[key]) for key, plain in _CHANNEL.items() if key in each} for each in chs_info or ()]
        self.chs_info = None if chs_info is None else said
        self.ch_names = None if ch_names is None else list(ch_names)
        if adapt not in ("full", "frozen"):
            raise ConfigError(f"{adapt!r}", field="adapt", fix=did_you_mean(str(adapt), ("full", "frozen")))
        channels, self.modality, self.picks = _channels(self.chs_info, self.ch_names, n_chans, modality)
        self.n_chans = n_chans or (len(self.chs_info) if self.chs_info is not None else len(channels))
        for name, count in (("chs_info", self.chs_info), ("ch_names", self.ch_names)):
            if count is not None and len(count) != self.n_chans:
                raise ConfigError(f"{len(count)} channels, n_chans says {self.n_chans}", field=name)
        self.unit = unit or ("uV" if self.modality == "eeg" else "SI")
        if self.unit not in _FACTORS:
            raise ConfigError(f"{unit!r}", field="unit", fix=did_you_mean(str(unit), _FACTORS))
        self.model, self.pool, self.adapt = None if isinstance(model, BrainOF) else str(model), pool, adapt

        if isinstance(model, BrainOF):
            self.encoder = copy.deepcopy(model)  # the caller's keeps its head and its gradients
        else:
            self.encoder, contract = load(model)
        self.encoder.reset_head(0)
        self.contract = contract
        silent = Recording(np.zeros((len(channels), 2), np.float32), self.sfreq, self.modality, channels)
        self.chain = preparation(silent, contract)[1]
        self.channels = channels
        if not channels.located.any():
            log.warning("no channel has a position: give chs_info (mne.Epochs carry it) or ch_names")
        self._checked = False
        if adapt == "frozen":
            self.encoder.requires_grad_(False)
        width = self.encoder.pooled_width(pool, self.modality)
        self.norm = RMSNorm(width)
        self.reset_head(n_outputs)

    def reset_head(self, n_outputs: int | None) -> Self:
        """A new `final_layer` for `n_outputs` classes or targets (None: the features come out)."""
        if n_outputs is not None and n_outputs < 1:
            raise ConfigError(f"{n_outputs}", field="n_outputs", fix="give the number of classes or targets")
        self.n_outputs = n_outputs
        self.final_layer: nn.Module = nn.Identity()
        if n_outputs is not None:
            like = self.norm.weight
            self.final_layer = layer = nn.Linear(len(like), n_outputs, device=like.device, dtype=like.dtype)
            nn.init.normal_(layer.weight, std=0.1 * len(like) ** -0.5)
            nn.init.zeros_(layer.bias)
        return self

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | dict[str, Tensor | None]:
        """Outputs (batch, n_outputs), or `{"features": (batch, n_features), "cls_token": None}`.

        Parameters
        ----------
        x : Tensor, shape (batch, n_chans, n_times)
            In `unit`, at `sfreq`.
        return_features : bool
        """
        if x.ndim != 3 or x.shape[1:] != (self.n_chans, self.n_times):
            text = f"windows of shape {tuple(x.shape)}, expected (batch, {self.n_chans}, {self.n_times})"
            fix = "cut, pick or resample the windows, or build the module for these"
            raise ContractError(text, field="x", fix=fix)
        x = x[:, self.picks]
        if not self._checked:
            self._check_amplitude(x)
            self._checked = True
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.adapt != "frozen"):
            batch = to_device(self._prepared(x), self.encoder)
            features = self.encoder.pool(self.encoder.forward_features(batch), self.pool, self.modality)
        if return_features:
            return {"features": features, "cls_token": None}
        return self.final_layer(self.norm(features))

    def _prepared(self, x: Tensor) -> SignalBatch:
        """Windows (B, C, U) through the chain, each by itself."""
        ready = [
            self.chain.apply(Recording(window, self.sfreq, self.modality, self.channels))
            for window in x.detach().double().cpu().numpy()
        ]
        good = np.array([[name not in one.bads for name in self.channels.names] for one in ready])
        data, patch = [one.data for one in ready], self.encoder.config.patch
        return SignalBatch.from_arrays(data, self.channels, ready[0].sfreq, self.modality, patch, good)

    def _check_amplitude(self, x: Tensor) -> None:
        """Of the first batch, its windows end to end without their offsets."""
        if (factor := _FACTORS[self.unit]) is None:
            return
        x = x.detach().double()
        x = x - x.mean(-1, keepdim=True)
        data = x.transpose(0, 1).flatten(1).cpu().numpy() * factor
        for problem in implausible_amplitudes(Recording(data, self.sfreq, self.modality, self.channels)):
            fix = 'say what the values are with unit="V", "uV", ... or "none" where they are standardised'
            raise ContractError(f"{problem}, taken as {self.unit}", field="unit", fix=fix)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values; `from_config` builds the module again (the head is new)."""
        if self.model is None:
            fix = "save it with brainof.save_pretrained, give the path"
            raise ConfigError("was given in memory", field="model", fix=fix)
        arguments = ("n_outputs", "n_chans", "chs_info", "n_times", "sfreq", "model", "ch_names", "modality", "unit")
        return {name: getattr(self, name) for name in (*arguments, "pool", "adapt")}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**config)


def _timing(n_times: int | None, seconds: float | None, sfreq: float | None) -> tuple[float, int]:
    """Rate and samples from two of the three."""
    if sfreq is None and n_times is not None and seconds is not None:
        sfreq = n_times / seconds
    if sfreq is None:
        raise ConfigError("is missing", field="sfreq", fix="give sfreq (in skorch: module__sfreq), or pass mne.Epochs")
    if n_times is None:
        if seconds is None:
            raise ConfigError("is missing", field="n_times", fix="give n_times or input_window_seconds")
        n_times = round(seconds * sfreq)
    if seconds is not None and abs(n_times - seconds * sfreq) > 1.5:  # an epoch of MNE holds both of its ends
        raise ConfigError(f"{n_times} samples are not {seconds:g} s at {sfreq:g} Hz", field="n_times")
    return float(sfreq), int(n_times)


def _channels(
    chs_info: list[dict[str, Any]] | None, ch_names: list[str] | None, n_chans: int | None, modality: str | None
) -> tuple[Channels, str, list[int]]:
    """Channel table, modality, and the numbers of the channels that hold brain signals of it.

    `chs_info` goes through the same conversion as files, so that types, coils and positions mean the same.
    """
    if chs_info is None:
        modality = modality or "eeg"
        count = len(ch_names) if ch_names is not None else n_chans
        if count is None:
            raise ConfigError("is missing", field="n_chans", fix="give n_chans, chs_info or ch_names")
        flat = np.zeros((count, 2), np.float32)
        channels = from_array(flat, 1.0, modality, channel_names=ch_names).channels
        return channels, modality, list(range(count))
    import mne

    from ..io.mne_convert import Opened, recording_of_raw

    names = [str(channel["ch_name"]) for channel in chs_info]
    info = mne.create_info(names, 1.0, "misc", verbose="error")
    with info._unlock():
        for own, given in zip(info["chs"], chs_info, strict=True):
            own.update({key: value for key, value in given.items() if key != "loc"})
            own["loc"] = np.array(given.get("loc", [np.nan] * 12), dtype=float)
            if given.get("kind") == mne.io.constants.FIFF.FIFFV_EEG_CH and not own["loc"][:3].any():
                own["loc"][:3] = np.nan  # MNE's zero for "unknown"
    raw = mne.io.RawArray(np.zeros((len(names), 2)), info, verbose="error")
    # channel positions of an Info are in the head frame, as those of a FIF file are
    recording = recording_of_raw(Opened(raw), modality=modality, options=ReadOptions(), format_name="fif")
    return recording.channels, recording.modality, [names.index(name) for name in recording.channels.names]
