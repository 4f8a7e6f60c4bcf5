"""Signals where there is no good sensor: bad channels put back, montages made denser, by the decoder at positions.

The decoder is asked with the identity of a place, so that any place can be asked for, seen in training or not. It must
have been trained for the waveform (`objective.frequency: none`, or `model.decoder.kind: separate`).

Legend: B windows, N tokens, V visible tokens, Q queries, S samples per patch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..channels import MODALITY_OF_TYPE, Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError, RecordingError, did_you_mean
from ..model.tokens import unpatchify
from ..prepare.resampling import ratio, resampled
from ..recording import Recording
from ..signals import SignalBatch
from ..utils.modules import device_of, evaluating
from ..utils.values import ceil_div
from .windows import preparation

#: Windows in a batch
BATCH = 8


def inpaint(
    recording: Recording, model: Any, contract: InputContract | None = None, bads: tuple[str, ...] | None = None
) -> Recording:
    """Replace bad channels of EEG or MEG, as read, by what the model makes of the others.

    Parameters
    ----------
    recording : Recording
        Left as it is.
    model : BrainOF
        Trained for the waveform.
    contract : InputContract, optional
        Of the model: how recordings are prepared; the default chain without it.
    bads : tuple of str, optional
        Channels to replace; by default `recording.bads`.

    Returns
    -------
    Recording
        The same rate, length and unit. The replaced channels hold only the band that the model was trained on, are no
        longer bad, and are named in `provenance["reconstructed"]`.

    Raises
    ------
    RecordingError
        Nothing to replace, an unknown channel, or one without a position.
    ContractError, ConfigError
        The recording or the model does not fit.
    """
    bads = recording.bads if bads is None else tuple(bads)
    if not bads:
        raise RecordingError("no bad channel", field="bads", fix="name the channels to replace with bads=")
    for name in bads:
        if name not in recording.channels.names:
            raise RecordingError(f"no channel {name!r}", field="bads", fix=did_you_mean(name, recording.channels.names))
    rows = [recording.channels.names.index(name) for name in bads]
    marked = tuple(dict.fromkeys([*recording.bads, *bads]))
    values = predict_at(recording.replace(bads=marked), model, recording.channels.take(rows), contract)
    data = recording.data.copy()
    data[rows] = values
    left = tuple(name for name in recording.bads if name not in bads)
    return recording.replace(data=data, bads=left, provenance=_told(recording, bads))


def upsample(recording: Recording, model: Any, channels: Channels, contract: InputContract | None = None) -> Recording:
    """Add sensors that were not there: the recording with `channels` behind its own.

    As `inpaint`; the new sensors have positions in the coordinate frame of the recording.

    Raises
    ------
    RecordingError
        A name is there already, or a new sensor has no position, another frame or another modality.
    ContractError, ConfigError
        The recording or the model does not fit.
    """
    if twice := sorted(set(channels.names) & set(recording.channels.names)):
        raise RecordingError(f"{twice[0]!r} is there already", field="channels", fix="give new names, or use inpaint")
    values = predict_at(recording, model, channels, contract)
    return recording.replace(
        data=np.concatenate([recording.data, values.astype(recording.data.dtype)]),
        channels=_joined(recording.channels, channels),
        provenance=_told(recording, channels.names),
    )


def predict_at(
    recording: Recording, model: Any, targets: Channels, contract: InputContract | None = None
) -> np.ndarray:
    """What sensors at `targets` would have recorded, from the good channels: shape (n_targets, n_times), SI units.

    The recording is prepared as the model was trained, read in overlapping windows, decoded at the targets, faded from
    window to window, and brought back to unit and rate of the recording with the scale that preparation measured.
    """
    file = recording.file
    if recording.modality == "fmri":
        raise ContractError(
            "regions have scales of their own, which an unseen one lacks", file=file, field="modality", fix="EEG or MEG"
        )
    if "waveform" not in model.config.decoder.outputs:
        raise ConfigError("the decoder has no waveform", field="model.outputs", fix="train one with this output")
    for name, kind, located in zip(targets.names, targets.types, targets.located, strict=True):
        if MODALITY_OF_TYPE[kind] != recording.modality:
            raise RecordingError(f"a {kind} channel in {recording.modality} data", file=file, field=name)
        if not located:
            raise RecordingError("has no position", file=file, field=name, fix="give one, or a montage=")
    if targets.frame != recording.channels.frame:
        problem = f"positions in frame {targets.frame!r}, the recording has {recording.channels.frame!r}"
        raise RecordingError(problem, file=file, field="channels.frame", fix="bring both to one frame")
    part, chain = preparation(recording, contract)
    prepared = chain.apply(recording)
    steps = {step["step"]: step for step in prepared.provenance.get("steps", [])}
    if "normalise" not in steps:
        fix = "use a model with a normalise step"
        raise ContractError("the preparation does not normalise", field="steps", fix=fix)
    scale = {kind: value for kind, value in steps["normalise"]["scale"].items() if value > 0}
    seconds = part.window_seconds[1] if part and part.window_seconds[1] else 4.0
    values = _decoded(prepared, model, targets, seconds)
    values *= np.array([scale.get(kind, np.nan) for kind in targets.types])[:, None]
    if np.isnan(values).any():
        kind = next(kind for kind in targets.types if kind not in scale)
        raise RecordingError(f"no good {kind} channel to take the scale from", file=file, field="channels")
    up, down = ratio(prepared.sfreq, recording.sfreq)
    if (up, down) != (1, 1):
        values = resampled(values, up, down)
    short = recording.n_times - values.shape[1]
    return np.pad(values, ((0, 0), (0, max(0, short))), mode="edge")[:, : recording.n_times]


def _decoded(prepared: Recording, model: Any, targets: Channels, seconds: float) -> np.ndarray:
    """Waveforms at the targets in normalised units, shape (n_targets, n_times) at the prepared rate."""
    patch = model.config.patch
    good = [name for name in prepared.channels.names if name not in prepared.bads and name not in targets.names]
    if not good:
        raise RecordingError("no good channel is left", field="channels")
    seen = prepared.pick(good)
    table = _joined(seen.channels, targets)
    n_times = seen.n_times
    length = min(max(patch, round(seconds * seen.sfreq) // patch * patch), ceil_div(n_times, patch) * patch)
    starts = list(range(0, max(1, n_times - length + 1), max(patch, length // 2 // patch * patch)))
    if starts[-1] + length < n_times:
        starts.append(n_times - length)
    ramp = np.arange(1.0, length + 1)
    fade = np.minimum(ramp, ramp[::-1])
    total, weight = np.zeros((len(targets), n_times)), np.zeros(n_times)
    mask = np.arange(len(table)) < len(good)
    device = device_of(model)
    numbers = torch.arange(len(table) * length // patch, device=device)
    visible, queries = numbers.tensor_split([len(good) * length // patch])
    with evaluating(model):
        for first in range(0, len(starts), BATCH):
            part = starts[first : first + BATCH]
            # rows of the targets are empty
            windows = [np.pad(seen.data[:, start : start + length], ((0, len(targets)), (0, 0))) for start in part]
            batch = SignalBatch.from_arrays(windows, table, seen.sfreq, seen.modality, patch, mask).to(device)
            tokens = model.tokens(batch)
            latents = model.encode(tokens, visible.expand(len(part), -1))
            patches_BQS = model.decode(latents, tokens.identity_BND, queries.expand(len(part), -1))["waveform"]
            decoded = unpatchify(patches_BQS, len(targets)).double().cpu().numpy()
            for start, values in zip(part, decoded, strict=True):
                stop = min(start + length, n_times)
                total[:, start:stop] += (fade * values)[:, : stop - start]
                weight[start:stop] += fade[: stop - start]
    return total / weight


def _joined(first: Channels, second: Channels) -> Channels:
    arrays = ("positions", "orientations", "labels", "order")
    joined: dict[str, Any] = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in arrays}
    return replace(first, names=first.names + second.names, types=first.types + second.types, **joined)


def _told(recording: Recording, names: tuple[str, ...]) -> dict[str, Any]:
    note = f"made by the model, not recorded: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    known = recording.provenance.get("reconstructed", [])
    return {**recording.noted(note).provenance, "reconstructed": [*known, *names]}
