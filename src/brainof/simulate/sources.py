"""Fast source currents: coupled stochastic oscillators with delays on a 1/f background.

Each rhythm of each region is a damped stochastic oscillator z (complex), all of them coupled:

    dz_i/dt = (-gamma + i (w + detuning_i)) z_i + g gamma sum_j C_ij z_j(t - tau_ij) + noise_i

gamma = pi * width, C row-normalised structural coupling, g < 1. Within the narrow band of a rhythm a delay is a phase,
z_j(t - tau) = exp(-i w tau) z_j(t) up to width * tau (about 1 %), so in the frame that rotates with w the model is
a linear one, du/dt = -A u + noise, and is simulated exactly: in the modes of A each step is one complex AR(1) step.
Since the rows of C sum to 1, every eigenvalue of A has a real part of at least gamma (1 - g) (Gershgorin): stable for
g < 1 whatever the delays. The slow frame needs 32 samples per second only; one inverse FFT per subject brings all
rhythms and the background to the sampling rate.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from .activity import at_rate
from .parameters import CohortParameters, EvokedParameters, RhythmParameters
from .persons import RHYTHMS, Person
from .regions import Regions, make_regions
from .timeline import Timeline

#: Rate of the rotating frame, Hz
FRAME_RATE = 32
#: Seconds before and after the recording, cut off at the end: start of the oscillators, edges of the FFT
MARGIN = 4
#: Spread of peak frequencies over regions (posterior fast, anterior slow), as a fraction of the width
DETUNING = 0.3


class Oscillators(NamedTuple):
    """The modes of one rhythm in its rotating frame, at FRAME_RATE; all complex."""

    step: np.ndarray  # (n,): AR(1) coefficient of each mode
    kick: np.ndarray  # (n, n): maps unit complex white noise to the noise of the modes in one step
    shapes: np.ndarray  # (n, n): maps modes to regions, scaled so that every region has unit mean square


@cache
def oscillators(n_regions: int, frequency: float, width: float, coupling: float, speed: float) -> Oscillators:
    """Modes and noise of a rhythm (cached: they belong to the cohort, not to the person)."""
    a = drift_matrix(n_regions, frequency, width, coupling, speed)
    values, vectors = np.linalg.eig(a)
    inverse = np.linalg.inv(vectors)
    sums = values[:, None] + values.conj()
    white = inverse @ inverse.conj().T
    # stationary covariance of the modes, and what one step of length 1 / FRAME_RATE adds
    stationary = white / sums
    added = stationary * (1 - np.exp(-sums / FRAME_RATE))
    root_values, root = np.linalg.eigh((added + added.conj().T) / 2)
    kick = root * np.sqrt(np.maximum(root_values, 0))
    power = np.einsum("ik,kl,il->i", vectors, stationary, vectors.conj()).real
    shapes = vectors / np.sqrt(power)[:, None]
    return Oscillators(np.exp(-values / FRAME_RATE), kick.astype(np.complex64), shapes.astype(np.complex64))


def drift_matrix(n_regions: int, frequency: float, width: float, coupling: float, speed: float) -> np.ndarray:
    """The matrix A of the module's equation, shape (n, n), 1/s."""
    regions = make_regions(n_regions)
    gamma = np.pi * width
    incoming = regions.structure() * np.exp(-2j * np.pi * frequency * (regions.distances / speed))
    # without coupling's mean phase the peak would move away from the frequency asked for
    mean_shift = (coupling * gamma * incoming.sum(axis=1)).imag
    place = regions.positions[:, 1]
    detuning = -DETUNING * 2 * np.pi * width * (place - place.mean()) / np.ptp(place)
    return np.diag(gamma - 1j * (detuning - mean_shift)) - coupling * gamma * incoming


def envelopes(rhythm: RhythmParameters, sources, n_regions: int, n_times: int, rng: np.random.Generator) -> np.ndarray:
    """Complex envelopes u of one rhythm, shape (n_regions, n_times) at FRAME_RATE, unit mean square, complex64."""
    model = oscillators(n_regions, rhythm.frequency, rhythm.width, sources.coupling, sources.speed)
    shape = (n_regions, n_times)
    noise = rng.standard_normal(shape, dtype=np.float32) + 1j * rng.standard_normal(shape, dtype=np.float32)
    noise = model.kick @ (noise * np.float32(np.sqrt(0.5)))
    modes = np.empty(shape, np.complex64)
    for k, step in enumerate(model.step):
        modes[k] = signal.lfilter([1.0], [1.0, -step], noise[k])
    return model.shapes @ modes


def source_currents(
    parameters: CohortParameters,
    person: Person,
    regions: Regions,
    timeline: Timeline,
    activity: np.ndarray,
    rng: np.random.Generator,
    up: np.ndarray | None,
) -> np.ndarray:
    """Dipole moments of all regions, shape (n_regions, n_times), A m, float32, at `parameters.sfreq`.

    `activity`, the spontaneous one, and `up`, networks that a hidden state lifts (see `timeline`), are
    (n_regions, n_slow) at SLOW_RATE.
    """
    sfreq, sources, effect = parameters.sfreq, parameters.sources, parameters.effects.state
    strength = parameters.effects.state_strength
    n_regions, n_times = len(regions), round(parameters.seconds * parameters.sfreq)
    seconds = fft.next_fast_len(int(np.ceil(parameters.seconds)) + 2 * MARGIN)
    n_padded, n_frame = seconds * sfreq, seconds * FRAME_RATE
    times = np.arange(n_frame) / FRAME_RATE - MARGIN
    task = timeline.smooth(timeline.rhythms, np.maximum(times, 0))
    slow = at_rate(activity, FRAME_RATE, n_frame, start=-MARGIN)
    lifted = 0 if up is None else parameters.switching.amplitude * at_rate(up, FRAME_RATE, n_frame, start=-MARGIN)

    spectrum = _background(n_regions, n_padded, sfreq, person.exponent, rng)
    for name in RHYTHMS:
        rhythm: RhythmParameters = getattr(sources, name)
        envelope = envelopes(rhythm, sources, n_regions, n_frame, rng)
        # the log amplitude is the exact and complete effect of person, activity and state; -inf without the rhythm
        with np.errstate(divide="ignore"):
            level = np.log(regions.by_network(rhythm.amplitude, rhythm.elsewhere)) + person.log_amplitude[name]
        change = regions.by_network(effect.amplitude.get(name, {}))  # type: ignore[call-overload]
        if name == "alpha":
            change = change + effect.lateral * np.where(regions.left, 1, -1)
        amplitude = level[:, None] + rhythm.activity * slow + (strength * change)[:, None] * task + lifted
        envelope *= np.exp(amplitude).astype(np.float32)
        frequency = rhythm.frequency
        if name == "alpha":
            frequency = person.alpha_frequency
            if strength * effect.frequency:
                phase = 2j * np.pi * (strength * effect.frequency) * np.cumsum(task) / FRAME_RATE
                envelope *= np.exp(phase).astype(np.complex64)
        _place(spectrum, fft.fft(envelope, overwrite_x=True), frequency * seconds, n_padded / n_frame)
    currents = fft.irfft(spectrum, n=n_padded, overwrite_x=True)[:, MARGIN * sfreq : MARGIN * sfreq + n_times]
    currents = np.multiply(currents, np.float32(sources.moment), dtype=np.float32)
    if len(timeline.stimuli):
        _add_evoked(currents, regions, timeline.stimuli, sfreq, parameters.evoked)
    return currents


def _background(n_regions: int, n_times: int, sfreq: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Half spectrum of 1/f noise of unit variance (flat below 0.5 Hz), independent between regions, complex64."""
    frequency = fft.rfftfreq(n_times, 1 / sfreq)
    amplitude = np.maximum(frequency, 0.5) ** (-exponent / 2)
    amplitude[0] = 0
    amplitude *= n_times / np.sqrt(2 * (amplitude**2).sum()) / np.sqrt(2)
    spectrum = rng.standard_normal((n_regions, 2 * len(frequency)), dtype=np.float32).view(np.complex64)
    spectrum *= amplitude.astype(np.float32)
    return spectrum


def _place(spectrum: np.ndarray, envelope: np.ndarray, carrier_bin: float, ratio: float) -> None:
    """Add Re(u exp(i w t)) * sqrt(2) to a half spectrum, given the full spectrum of u; both have the same bin width."""
    n_frame, carrier = envelope.shape[1], round(carrier_bin)
    low, high = max(1, carrier - n_frame // 2 + 1), min(spectrum.shape[1] - 1, carrier + n_frame // 2)
    bins = np.arange(low, high)
    spectrum[:, low:high] += np.float32(ratio / np.sqrt(2)) * envelope[:, (bins - carrier) % n_frame]


def _add_evoked(
    currents: np.ndarray, regions: Regions, stimuli: np.ndarray, sfreq: int, evoked: EvokedParameters
) -> None:
    """Early and late Gaussian waves (SD 0.2 of the latency) to twice the late latency, after each stimulus."""
    times = np.arange(round(2 * evoked.late * sfreq)) / sfreq
    early, late = (np.exp(-((times / at - 1) ** 2) / (2 * 0.2**2)) for at in (evoked.early, evoked.late))
    wave = (evoked.early_size * early + evoked.late_size * late).astype(np.float32)
    weight = regions.by_network(dict(evoked.networks))
    pattern = (evoked.moment * weight[:, None] * wave).astype(np.float32)
    for onset in stimuli:
        start = round(onset * sfreq)
        covered = currents[:, start : start + len(wave)]  # shorter at the end of the recording, empty after it
        covered += pattern[:, : covered.shape[1]]
