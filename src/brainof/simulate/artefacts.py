"""What is recorded besides the brain: noise, line, drift, eyes, muscles, heart, bad channels; in fMRI motion.

In EEG and MEG everything but sensor noise is a few time courses times spatial patterns, so it costs one matrix product.
Eyes, heart and muscles have their own random streams: EEG and MEG of a subject show the same blinks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import signal

from .activity import at_rate
from .montages import sensor_info, sensors
from .parameters import ArtefactParameters
from .timeline import SLOW_RATE

Stream = Callable[[str], np.random.Generator]

#: Places in the head frame (m) and the largest amplitude they reach in EEG (V) and in magnetometers (T)
EYES = ((0.033, 0.100, 0.005), (-0.033, 0.100, 0.005))
JAW = {"left": (-0.075, 0.035, 0.005), "right": (0.075, 0.035, 0.005)}
HEART = (0.05, 0.05, -0.35)
BLINK = (120e-6, 1.5e-12)
MUSCLE = (20e-6, 0.5e-12)
HEARTBEAT = (4e-6, 0.8e-12)


class Contaminated(NamedTuple):
    """A recorded signal and where it is contaminated; noise, line and drift are everywhere and have no mask."""

    data: np.ndarray  # (n_channels, n_times)
    bads: tuple[str, ...]
    masks: dict[str, np.ndarray]  # "blinks", "muscle", "heart" (QRS), "motion": (n_times,); "bad_channels"; bool


def contaminate(
    clean: np.ndarray, layout: int | str, sfreq: float, level: ArtefactParameters, stream: Stream
) -> Contaminated:
    """Add everything that is switched on to clean EEG or MEG (n_channels, n_times), float32, SI units.

    `layout` is a number of electrodes or the name of a helmet (see `montages`); `stream` gives this subject's random
    generator of a purpose.
    """
    channels, n_times = sensors(layout), clean.shape[1]
    electric = isinstance(layout, int)
    modality = 0 if electric else 1
    rows = np.array(channels.types) != "grad"  # channels that share a unit (V or T)
    amplitude = float(np.median(clean[rows, :: max(1, n_times // 4096)].std(axis=1)))  # from part of the samples
    courses, patterns, masks = [], [], {}

    def add(course: np.ndarray, pattern: np.ndarray, is_local: bool = True) -> None:
        """The pattern is 1 at its largest where it is local, of unit root mean square where it is everywhere."""
        size = np.abs(pattern[rows]).max() if is_local else np.sqrt(np.mean(pattern[rows] ** 2))
        courses.append(course.astype(np.float32))
        patterns.append((pattern / size).astype(np.float32))

    def near(place, moment) -> np.ndarray:
        if not electric:
            return magnetic_pattern(layout, place, moment)
        potential = np.exp(-np.linalg.norm(channels.positions - np.asarray(place), axis=1) / 0.035)  # superficial
        return potential - potential.mean()

    def ambient() -> np.ndarray:
        """Pattern of a far source: a dipole metres away in MEG, unequal contacts in EEG."""
        if electric:
            return rng.lognormal(0, 0.6, len(channels)) * rng.choice([-1, 1], len(channels))
        direction = rng.standard_normal(3)
        place = direction / np.linalg.norm(direction) * rng.uniform(1.0, 3.0)
        return magnetic_pattern(layout, place, rng.standard_normal(3))

    if level.blinks:
        course, masks["blinks"] = _blinks(n_times, sfreq, level.blinks, stream("blinks"))
        add(BLINK[modality] * course, near(EYES[0], (0, 0, 1.0)) + near(EYES[1], (0, 0, 1.0)))
    if level.muscle:
        masks["muscle"] = np.zeros(n_times, bool)
        for side, place in JAW.items():
            course, mask = _muscle(n_times, sfreq, level.muscle / 2, stream(f"muscle {side}"))
            add(MUSCLE[modality] * course, near(place, (0, 1.0, 0)))
            masks["muscle"] |= mask
    if level.heart:
        course, masks["heart"] = _heart(n_times, sfreq, level.heart, stream("heart"))
        pattern = channels.positions[:, 0] / 0.08 if electric else near(HEART, (0.5, 0.3, -0.8))
        add(HEARTBEAT[modality] * course, pattern)
    rng = stream(f"environment {modality}")
    times = np.arange(n_times) / sfreq
    for harmonic in (1, 3):
        frequency = harmonic * level.line_frequency
        if level.line and frequency < sfreq / 2:
            for phase in (0, np.pi / 2):
                course = np.cos(2 * np.pi * frequency * times + phase)
                add(level.line * amplitude / harmonic * course, ambient(), is_local=False)
    if level.drift:
        for _ in range(6):
            pattern = ambient()
            add(level.drift * amplitude / np.sqrt(6) * _drift(n_times, sfreq, rng), pattern, is_local=False)

    data = clean.copy() if not courses else clean + np.stack(patterns, axis=1) @ np.stack(courses)
    rng = stream(f"noise {modality}")
    coil, slope = (density * np.sqrt(sfreq / 2) for density in (level.mag_noise, level.grad_noise))  # root mean square
    sizes = {"eeg": level.eeg_noise, "mag": coil, "axial": coil, "grad": slope}
    for channel, kind in enumerate(channels.types):  # row by row: no second array of the size of the recording
        if sizes[kind]:
            data[channel] += np.float32(sizes[kind]) * rng.standard_normal(n_times, dtype=np.float32)
    bads = _break_channels(data, level.bad_channels, stream(f"bad channels {modality}"))
    masks["bad_channels"] = np.isin(np.arange(len(channels)), bads)
    return Contaminated(data, tuple(channels.names[i] for i in bads), masks)


def contaminate_bold(
    clean: np.ndarray, positions: np.ndarray, t_r: float, level: ArtefactParameters, stream: Stream
) -> Contaminated:
    """Add what is switched on to clean BOLD (n_regions, n_volumes); motion is smooth over `positions` (metres)."""
    n_regions, n_volumes = clean.shape
    size = float(np.median(clean.std(axis=1)))
    data, masks = clean.copy(), {}
    if level.fmri_noise:
        noise = stream("fmri noise").standard_normal(clean.shape, dtype=np.float32)
        data += np.float32(level.fmri_noise * size) * noise
    if level.fmri_drift:
        rng = stream("fmri drift")
        place = (np.arange(n_volumes) + 0.5) / n_volumes
        slow = np.stack([np.cos(np.pi * k * place) / k for k in (1, 2, 3)])
        data += (level.fmri_drift * size * rng.standard_normal((n_regions, 3)) @ slow).astype(np.float32)
    if level.motion:
        rng = stream("fmri motion")
        masks["motion"] = np.zeros(n_volumes, bool)
        centred = (positions - positions.mean(axis=0)) / positions.std()
        for onset in _arrivals(n_volumes * t_r, level.motion, 2 * t_r, rng):
            volume = min(int(onset / t_r), n_volumes - 1)
            tilt = centred @ rng.standard_normal(3)
            data[:, volume] += (size * (4 + 2 * tilt) * rng.choice([-1, 1])).astype(np.float32)
            data[:, volume:] += (0.5 * size * tilt).astype(np.float32)[:, None]
            masks["motion"][volume] = True
    return Contaminated(data, (), masks)


def magnetic_pattern(layout: int | str, place, moment) -> np.ndarray:
    """What coils see of a magnetic dipole, shape (n_channels,), arbitrary scale, right between coil types.

    Planar gradiometers: difference over 16.8 mm in T/m; axial ones: difference over 50 mm in T.
    """
    info, channels = sensor_info(layout), sensors(layout)
    along = np.array([channel["loc"][3:6] for channel in info["chs"]]) @ info["dev_head_t"]["trans"][:3, :3].T
    kinds, centre, normals = np.array(channels.types), channels.positions, channels.orientations
    place, moment = np.asarray(place), np.asarray(moment, float)

    def seen(points: np.ndarray) -> np.ndarray:
        offset = points - place
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        field = 3 * offset * (offset @ moment)[:, None] / distance**5 - moment / distance**3
        return np.einsum("ij,ij->i", field, normals)

    planar = kinds[:, None] == "grad"
    here = seen(centre + np.where(planar, along * 0.0084, 0))
    there = seen(centre + np.where(planar, -along * 0.0084, normals * 0.05))
    return np.select([kinds == "mag", kinds == "grad"], [here, (here - there) / 0.0168], here - there)


def _blinks(n_times: int, sfreq: float, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(n_times) / sfreq
    course, mask = np.zeros(n_times), np.zeros(n_times, bool)
    for onset in _arrivals(n_times / sfreq, rate, 1.0, rng):
        width = rng.uniform(0.06, 0.09)
        near = slice(*np.searchsorted(times, (onset, onset + 8 * width)))
        course[near] += rng.uniform(0.7, 1.2) * np.exp(-((times[near] - onset - 3 * width) ** 2) / (2 * width**2))
        mask[near] = True
    return course, mask


def _muscle(n_times: int, sfreq: float, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    course, mask = np.zeros(n_times), np.zeros(n_times, bool)
    high_pass = signal.butter(2, 20, "high", fs=sfreq, output="sos")
    for onset in _arrivals(n_times / sfreq, rate, 1.0, rng):
        start = round(onset * sfreq)
        length = min(round(rng.uniform(0.5, 2.0) * sfreq), n_times - start)
        if length < 8:
            continue
        burst = signal.sosfilt(high_pass, rng.standard_normal(length))
        course[start : start + length] += signal.windows.tukey(length, 0.5) * burst
        mask[start : start + length] = True
    return course, mask


def _heart(n_times: int, sfreq: float, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    beats = np.cumsum(60 / rate * (1 + 0.05 * rng.standard_normal(int(n_times / sfreq * rate / 60 * 1.5) + 8)))
    impulses = np.zeros(n_times)
    impulses[np.round(beats[beats < (n_times - 1) / sfreq] * sfreq).astype(int)] = 1
    times = np.arange(-round(0.1 * sfreq), round(0.4 * sfreq)) / sfreq
    # QRS complex and T wave
    beat = np.exp(-(times**2) / (2 * 0.012**2)) - 0.3 * np.exp(-((times - 0.035) ** 2) / (2 * 0.012**2))
    beat += 0.25 * np.exp(-((times - 0.25) ** 2) / (2 * 0.04**2))
    # the wavelet starts 0.1 s before its peak
    near = np.convolve(impulses, (np.abs(times) <= 0.06).astype(float))[:n_times] > 0.5
    return np.convolve(impulses, beat)[:n_times], near


def _arrivals(seconds: float, per_minute: float, apart: float, rng: np.random.Generator) -> np.ndarray:
    """Random onsets at a mean rate, at least `apart` seconds from each other."""
    onsets = np.sort(rng.uniform(0, seconds, rng.poisson(per_minute * seconds / 60)))
    return onsets[np.diff(onsets, prepend=-np.inf) > apart]


def _drift(n_times: int, sfreq: float, rng: np.random.Generator) -> np.ndarray:
    """Random walk that is pulled back over about 20 s, unit variance."""
    n = int(np.ceil(n_times / sfreq * SLOW_RATE)) + 2
    pull = np.exp(-1 / (20 * SLOW_RATE))
    noise = rng.standard_normal(n) * np.sqrt(1 - pull**2)
    noise[0] = rng.standard_normal()
    walk = signal.lfilter([1.0], [1.0, -pull], noise)
    return at_rate(walk[None], sfreq, n_times)[0]


def _break_channels(data: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Make channels flat or noisy, in place; returns their indices."""
    bad = np.flatnonzero(rng.random(len(data)) < fraction)[: len(data) // 2]
    for channel in bad:
        if rng.random() < 0.3:
            data[channel] = 0
        else:
            noise = rng.standard_normal(data.shape[1], dtype=np.float32)
            data[channel] += np.float32(10 * data[channel].std()) * noise
    return bad
