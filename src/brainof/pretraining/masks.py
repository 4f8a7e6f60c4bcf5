"""What is hidden from the encoder, in numpy: Fourier components and patches.

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft

from ..errors import RecordingError
from ..utils.values import ceil_div


class WindowRandom:
    """Uniform numbers of windows from a stream each, so that a mask does not depend on what a window is batched with:
    of a `seed` that they share and of their number in `windows`, such as the row in the index."""

    def __init__(self, seed: Sequence[int], windows: Sequence[int]) -> None:
        self.streams = [np.random.default_rng([*seed, window]) for window in windows]

    def random(self, size: tuple[int, ...]) -> np.ndarray:
        return np.stack([stream.random(size[1:]) for stream in self.streams])


#: Of a batch, or of each of its windows
Random = np.random.Generator | WindowRandom


def streams_of(rng: Random, rows: np.ndarray) -> Random:
    """What some of the windows draw from; their streams go on where they stand."""
    if not isinstance(rng, WindowRandom):
        return rng
    taken = WindowRandom((), ())
    taken.streams = [rng.streams[row] for row in rows]
    return taken


def remove_components(
    signal_BCT: np.ndarray, *, axis: int, ratio: float, bands: int, rng: Random, n_used: int | None = None
) -> np.ndarray:
    """Remove bands of Fourier components along `axis` (2: time; 1: the ordered regions of fMRI).

    The spectrum's first `n_used` components are cut into about `bands` bands; a fraction `ratio` of them, drawn for
    each window, is set to zero. Because the transform sees the whole window, what stays visible keeps a linear trace of
    patches that are hidden afterwards; that is how the published objective is defined.
    """
    if ratio <= 0:
        return signal_BCT
    spectrum = scipy.fft.rfft(signal_BCT, axis=axis)
    n_components = spectrum.shape[axis]
    n_used = min(n_components, n_used or n_components)
    width = max(1, n_used // bands)
    n_bands = ceil_div(n_used, width)
    chosen = rng.random((len(signal_BCT), n_bands)).argsort(axis=1) < round(ratio * n_bands)
    removed = np.zeros((len(signal_BCT), n_components), bool)
    removed[:, :n_used] = np.repeat(chosen, width, axis=1)[:, :n_used]
    spectrum *= ~np.expand_dims(removed, 3 - axis)
    return scipy.fft.irfft(spectrum, n=signal_BCT.shape[axis], axis=axis, overwrite_x=True)


def remove_along_time(
    signal_BCT: np.ndarray,
    n_times_B: np.ndarray,
    interval_B: np.ndarray,
    *,
    ratio: float,
    bands: int | None,
    max_hz: float,
    rng: Random,
) -> np.ndarray:
    """Each window without some components up to `max_hz`; `bands` None removes single components.

    Each is transformed over its own samples: padding would smear every component. Augmentation leaves windows of
    several sampling rates in a batch, so the components in use are counted for each.
    """
    seen_BCT = signal_BCT.copy()
    used_B = (max_hz * n_times_B * interval_B.astype(np.float64)).astype(np.int64) + 1
    for length, n_used in np.unique(np.stack([n_times_B, used_B], 1), axis=0).tolist():
        rows = np.flatnonzero((n_times_B == length) & (used_B == n_used))
        own, stream = signal_BCT[rows, :, :length], streams_of(rng, rows)
        seen_BCT[rows, :, :length] = remove_components(
            own, axis=2, ratio=ratio, bands=bands or n_used, rng=stream, n_used=n_used
        )
    return seen_BCT


def remove_across_regions(
    signal_BCT: np.ndarray, good_BC: np.ndarray, place_BC: np.ndarray, *, ratio: float, bands: int | None, rng: Random
) -> np.ndarray:
    """As published for fMRI: components across regions in the order of the atlas (`place_BC`), at each time point.

    Bad regions are zero before and after; `bands` None removes single components.
    """
    ordered = np.zeros_like(signal_BCT)
    np.put_along_axis(ordered, place_BC[..., None], signal_BCT * good_BC[..., None], 1)
    bands = bands or ordered.shape[1] // 2 + 1
    ordered = remove_components(ordered, axis=1, ratio=ratio, bands=bands, rng=rng)
    return np.take_along_axis(ordered, place_BC[..., None], 1) * good_BC[..., None]


def hide_patches(
    valid_BCP: np.ndarray,
    ratio: float,
    unit: str,
    rng: Random,
    region_BC: np.ndarray | None = None,
    block_patches: int = 1,
) -> np.ndarray:
    """Choose the patches to hide: bool, (B, C, P).

    A fraction `ratio` of the units is hidden (see MaskConfig.unit), at least one, and at least one stays visible; where
    a window has a single unit of that kind, patches are hidden instead. Never hidden is what is not valid, padding and
    bad channels: there is nothing to predict. `region_BC` is the region that each channel belongs to, for "region",
    "slice" and "block" (see `regions` and `slices`); `block_patches` are the patches in a stretch of a block.
    """
    n_windows, n_channels, n_patches = valid_BCP.shape
    # first what has one size, then time-major: a window draws the same numbers whatever length it is padded to
    halved_B = rng.random((n_windows, 1))[:, 0] < 0.5
    draws_BCP = rng.random((n_windows, n_patches, n_channels)).transpose(0, 2, 1)
    # a unit is hidden as a whole: its patches share one number
    if unit == "patch":
        order_BCP = draws_BCP
    elif unit == "segment":
        order_BCP = draws_BCP[:, :1]
    elif unit == "mixed":
        order_BCP = np.where(halved_B[:, None, None], draws_BCP, draws_BCP[:, :1])
    elif unit == "channel":
        order_BCP = draws_BCP[:, :, :1]
    else:
        assert region_BC is not None
        stretch_P = np.arange(n_patches) // block_patches if unit == "block" else np.zeros(n_patches, np.int64)
        order_BCP = np.take_along_axis(draws_BCP[:, :, stretch_P], region_BC[..., None], 1)
    order_BN = np.broadcast_to(order_BCP, valid_BCP.shape).reshape(n_windows, -1)
    valid_BN = valid_BCP.reshape(n_windows, -1)
    sorted_BN, rank_BN = _distinct(order_BN, valid_BN)
    single_B = rank_BN[:, -1] < 2  # one segment, channel or region
    if single_B.any():
        order_BN = np.where(single_B[:, None], draws_BCP.reshape(n_windows, -1), order_BN)
        sorted_BN, rank_BN = _distinct(order_BN, valid_BN)
    n_units_B = rank_BN[:, -1]
    if (n_units_B < 2).any():
        text = f"window {int((n_units_B < 2).argmax())} has fewer than two patches to choose from"
        raise RecordingError(text, field=f"mask.unit={unit}", fix="leave it out")
    n_hidden_B = np.clip(np.round(ratio * n_units_B), 1, n_units_B - 1)
    last_B = (rank_BN >= n_hidden_B[:, None]).argmax(axis=1)
    hidden_BN = valid_BN & (order_BN <= np.take_along_axis(sorted_BN, last_B[:, None], 1))
    return hidden_BN.reshape(valid_BCP.shape)


def _distinct(order_BN: np.ndarray, valid_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of valid tokens in ascending order, and how many distinct ones there are up to each."""
    sorted_BN = np.sort(np.where(valid_BN, order_BN, 2.0), axis=1)  # draws are below 1
    new_BN = (np.diff(sorted_BN, axis=1, prepend=-1.0) > 0) & (sorted_BN < 2)
    return sorted_BN, new_BN.cumsum(axis=1)


def regions(place_BCd: np.ndarray, good_BC: np.ndarray, size: int, rng: Random) -> np.ndarray:
    """Cut the channels of each window into neighbourhoods of about `size`, around good channels drawn at random.

    `place_BCd` says where each channel is, in any number of dimensions (B = 1 where the windows share it). Returned is,
    for each channel (B, C), the number of the channel at the centre of its region.
    """
    draws_BC = rng.random(good_BC.shape)
    found_BC = np.empty(good_BC.shape, np.int64)
    for row, good_C in enumerate(good_BC):
        place_Cd = place_BCd[row if len(place_BCd) > 1 else 0]
        centres = np.argsort(np.where(good_C, draws_BC[row], 2.0))
        centres = np.sort(centres[: max(2, round(good_C.sum() / size))])
        found_BC[row] = centres[((place_Cd[:, None] - place_Cd[centres]) ** 2).sum(-1).argmin(axis=1)]
    return found_BC


def slices(place_BC: np.ndarray, size: int, rng: Random) -> np.ndarray:
    """Cut channels into runs of `size` that follow each other in the atlas (`place_BC`), from a random first cut on.

    Returned is, for each channel (B, C), the number of one channel of its slice.
    """
    first_B1 = (rng.random((len(place_BC), 1)) * size).astype(np.int64)
    number_BC = (place_BC + first_B1) // size
    found_BC = np.empty_like(number_BC)
    for row, number_C in enumerate(number_BC):
        _, first, code = np.unique(number_C, return_index=True, return_inverse=True)
        found_BC[row] = first[code]
    return found_BC


def token_indices(chosen_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the chosen tokens of each window, ascending, filled up to the largest count by repeating the first;
    and the mask, False for fillers; both (B, largest count)."""
    counts = chosen_BN.sum(axis=1)
    order = np.argsort(~chosen_BN, axis=1, kind="stable")[:, : counts.max()]
    mask = np.arange(counts.max())[None] < counts[:, None]
    return np.where(mask, order, order[:, :1]), mask
