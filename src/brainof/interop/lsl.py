"""Lab Streaming Layer: a thin adapter between a stream of mne-lsl and a StreamingEmbedder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ContractError, ReadError
from ..inference.embeddings import Embeddings
from ..inference.live import StreamingEmbedder
from ..utils.optional import optional


def stream_lsl(
    embedder: StreamingEmbedder,
    stream: Any,
    *,
    seconds: float | None = None,
    poll: float = 0.05,
    bufsize: float = 10.0,
) -> Iterator[Embeddings]:
    """Embeddings of a live stream, as they become complete.

    Parameters
    ----------
    embedder : StreamingEmbedder
        Its calibration says which channels are taken, in which order, at which rate.
    stream : mne_lsl.stream.StreamLSL or str
        A connected stream, or the name of one to connect to. Units come from its channel description.
    seconds : float, optional
        Stop after so much signal, and embed what waits; without it, until the stream disconnects.
    poll : float
        Seconds between looks.
    bufsize : float
        Seconds that a stream that is connected here keeps.

    Yields
    ------
    Embeddings
        Onsets count from the first sample that was received.

    Raises
    ------
    DependencyError, ContractError, ReadError
        mne-lsl is not installed; the stream has another rate or lacks a channel; samples were lost, because embedding
        took longer than the buffer holds.
    """
    opened = isinstance(stream, str)
    if opened:
        module = optional("mne_lsl.stream", "lsl", "stream_lsl")
        stream = module.StreamLSL(bufsize, name=stream).connect()
    try:
        calibration = embedder.calibration
        rate, names = float(stream.info["sfreq"]), list(calibration.channels.names)
        if abs(rate - calibration.sfreq) > 1e-3 * rate:
            text = f"{rate:g} Hz, calibrated at {calibration.sfreq:g} Hz"
            raise ContractError(text, field="stream", fix="calibrate again")
        missing = [name for name in names if name not in stream.ch_names]
        if missing:
            text = f"no channel {missing[0]!r} in the stream"
            raise ContractError(text, field="stream", fix="calibrate on its channels")
        rows = [stream.ch_names.index(name) for name in names]
        # values are in units of 10 ** multiplier, such as -6 for microvolts
        units = stream.get_channel_units()
        factors = np.array([10.0 ** int(units[row][1]) for row in rows])[:, None]
        last: float | None = None
        received, wanted = 0, np.inf if seconds is None else round(seconds * rate)
        while received < wanted and stream.connected:
            data, times = stream.get_data(exclude=())
            # a buffer that has not filled yet begins with zeros at time zero
            new = times > (last if last is not None else 0.0)
            if new.any():
                if last is not None and new.all() and times[0] - last > 1.5 / rate:
                    text = f"{(times[0] - last) * rate:.0f} samples were lost"
                    raise ReadError(text, field="stream", fix="give a longer bufsize")
                chunk = data[rows][:, new]
                chunk = chunk[:, : int(min(chunk.shape[1], wanted - received))]
                last = float(times[-1])
                received += chunk.shape[1]
                if (found := embedder.push(chunk * factors)) is not None:
                    yield found
            if received < wanted:
                time.sleep(poll)
        if (found := embedder.finish()) is not None:
            yield found
    finally:
        if opened:
            stream.disconnect()
