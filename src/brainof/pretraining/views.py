"""Second looks at the windows of a batch, planned on the host beside the masks (docs/decisions/0094).

`view`: the window as another recording would show it (another rate, fewer channels, another reference, another crop).
`networks`: the window, or its other crop, at the resolution of networks: regions give way to the mean series of their
networks (docs/decisions/0110). `partner`: another person at the same moment of the same stimulus. `distorted`: the
window after a change that is to be told from its latents. All are functions of (seed, epoch, row), and nothing of them
is hidden.

Shape suffixes: B windows, C channels, T samples, K facts or networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.fft
import torch
from torch import Tensor

from ..channels import SENSOR_TYPES, Channels, network_of
from ..corpus import Windows
from ..corpus.augment import augment
from ..errors import ConfigError, RecordingError, check_known
from ..io.text_table import read_text_table
from ..paths import user_path
from ..signals import Sensors, SignalBatch, Tensors
from ..utils.values import ceil_div
from .config import ObjectiveConfig

#: Hz, from the lower up to below the higher edge: delta to gamma of EEG and MEG, slow-5 to slow-2 of fMRI (Buzsaki &
#: Draguhn 2004); EEG and MEG hold no signal above 45 Hz
BANDS = {
    "eeg": (1.0, 4.0, 8.0, 13.0, 30.0, 45.0),
    "meg": (1.0, 4.0, 8.0, 13.0, 30.0, 45.0),
    "fmri": (0.01, 0.027, 0.073, 0.198, 0.25),
}
#: Domains of the random numbers that are derived from the seed of a run
VIEW_STREAM, PARTNER_STREAM, PRETEXT_STREAM, CROP_STREAM = 6, 7, 8, 9
#: Gain of the amplified band, and phases (quarters of a turn) by which one side is shifted
GAIN, PHASES = 2.0, 4
#: Words that tell of a region below the cortex, which atlases of networks name by structure
_BELOW = {
    "cerebellum": re.compile(r"cerebel|vermis", re.IGNORECASE),
    "subcortex": re.compile(
        r"thalam|caudate|putamen|pallid|(?<!para)hippo|amygd|accumb|striat|brain.?stem|^(tha|cau|put|hip|amy|nac|gp)\b",
        re.IGNORECASE,
    ),
}


@dataclass(frozen=True, eq=False)
class View(Tensors):
    """A second look at each window, in the order of the batch that it belongs to, and what is known of it."""

    batch: SignalBatch
    about_BK: Tensor
    """int64. `partner`: 1 where there is one (else the window itself stands there), number of its run, milliseconds
    since the start of the run. `distorted`: numbers of band, shift and order (-1: not changed). Others: none."""


class Partners:
    """Who else saw the same moment: rows of other people with the same dataset, session, task, run and onset."""

    def __init__(self, rows: pd.DataFrame, datasets: list[str]) -> None:
        own = rows[rows["dataset"].astype(str).isin(datasets)]
        text = {name: own[name].astype("string").fillna("") for name in ("dataset", "session", "task", "run")}
        run = pd.Series(["/".join(key) for key in zip(*text.values(), strict=True)], own.index)
        self.run = pd.Series(pd.factorize(run)[0], own.index)
        self.onset = own["onset"].astype(float)
        subject = own["subject"].astype(str)
        keys = [self.run, self.onset.round(3), own["n_times"], own["sfreq"]]
        self.others: dict[int, list[int]] = {}
        for _, group in own.groupby([key.to_numpy() for key in keys]):
            for row in group.index:
                others = group.index[(subject[group.index] != subject[row]).to_numpy()]
                if len(others):
                    self.others[int(row)] = [int(other) for other in others]
        for name in datasets:
            if not any(str(own["dataset"][row]) == name for row in self.others):
                problem = f"no two training people of {name} have windows at the same time of one run"
                fix = "name datasets whose people saw the same stimulus, or leave objective.terms.align out"
                raise ConfigError(problem, field="objective.stimulus", fix=fix)


@dataclass(frozen=True)
class ViewPlanner:
    """Plans what the terms of an objective ask for: some of "view", "networks", "partner", "distorted"."""

    config: ObjectiveConfig
    asked: frozenset[str]
    corpora: Windows
    seed: int
    patch: int
    partners: Partners | None = None
    networks: Networks | None = None

    def __call__(self, batch: SignalBatch, epoch: int) -> tuple[SignalBatch, dict[str, View]]:
        """The batch, cropped where crops are asked for, and its views."""
        config, found = self.config.view, {}
        nothing_BK = torch.zeros(len(batch), 0, dtype=torch.int64)
        first, second = self._starts(batch, epoch)
        seconds = config.crop.get(batch.modality)  # type: ignore[call-overload]
        cropped = batch if seconds is None else crop(batch, first, seconds, self.patch)
        other = batch if seconds is None else crop(batch, second, seconds, self.patch)
        if self.networks is not None and (coarse := self.networks(other)) is not None:
            found["networks"] = View(coarse, nothing_BK)
        if "view" in self.asked:
            if config.active:
                other = augment(other, config, self.seed + VIEW_STREAM, epoch, self.patch)
            if config.reference and batch.modality == "eeg":
                other = rereferenced(other, self._streams(VIEW_STREAM, epoch, batch))
            found["view"] = View(other, nothing_BK)
        if self.partners is not None and any(row in self.partners.others for row in batch.rows):
            found["partner"] = self._partner(self.partners, batch, epoch, first, seconds)
        if "distorted" in self.asked:
            terms = [name for name in ("band", "shift", "order") if name in self.config.terms]
            found["distorted"] = distorted(cropped, terms, self._streams(PRETEXT_STREAM, epoch, batch))
        return cropped, found

    def _streams(self, stream: int, epoch: int, batch: SignalBatch) -> list[np.random.Generator]:
        return [np.random.default_rng([self.seed, stream, epoch, row]) for row in batch.rows]

    def _starts(self, batch: SignalBatch, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Seconds (B,) at which both crops of each window start, at most `apart` from each other."""
        config = self.config.view
        seconds = config.crop.get(batch.modality, np.inf)  # type: ignore[call-overload]
        draws_B2 = np.stack([stream.random(2) for stream in self._streams(CROP_STREAM, epoch, batch)])
        room_B = np.maximum((batch.n_times_B * batch.interval_B.double()).numpy() - seconds, 0)
        first_B = draws_B2[:, 0] * room_B
        apart = np.inf if config.apart is None else config.apart
        low_B, high_B = np.maximum(first_B - apart, 0), np.minimum(first_B + apart, room_B)
        return first_B, low_B + draws_B2[:, 1] * (high_B - low_B)

    def _partner(
        self, partners: Partners, batch: SignalBatch, epoch: int, start_B: np.ndarray, seconds: float | None
    ) -> View:
        rows, about = [], []
        for row, start, stream in zip(batch.rows, start_B, self._streams(PARTNER_STREAM, epoch, batch), strict=True):
            others = partners.others.get(row, [])
            rows.append(others[int(stream.integers(len(others)))] if others else row)
            known = row in partners.run.index
            time = round(1000 * (partners.onset[row] + (start if seconds else 0))) if known else 0
            about.append((int(bool(others)), int(partners.run[row]) if known else -1 - row, time))
        other = self.corpora.batch(rows, self.patch, fill=True)  # regions may differ by person
        if seconds is not None:
            other = crop(other, start_B, seconds, self.patch)
        return View(other, torch.tensor(about, dtype=torch.int64))


def crop(batch: SignalBatch, start_B: np.ndarray, seconds: float, patch: int) -> SignalBatch:
    """`seconds` of each window, from `start_B` (seconds) on; a RecordingError where one is shorter."""
    interval_B = batch.interval_B.double().numpy()
    wanted_B = np.round(seconds / interval_B).astype(np.int64)
    n_times_B = batch.n_times_B.numpy()
    if (short := wanted_B > n_times_B).any():
        length = float((n_times_B * interval_B)[short].min())
        text = f"a window of {length:g} s is shorter than a crop of {seconds:g} s"
        raise RecordingError(text, field=f"objective.view.crop.{batch.modality}", fix=f"give at most {length:g}")
    first_B = np.minimum(np.floor(start_B / interval_B).astype(np.int64), n_times_B - wanted_B)
    signal_BCT = batch.signal_BCT.new_zeros(*batch.signal_BCT.shape[:2], ceil_div(int(wanted_B.max()), patch) * patch)
    for place, (first, wanted) in enumerate(zip(first_B.tolist(), wanted_B.tolist(), strict=True)):
        signal_BCT[place, :, :wanted] = batch.signal_BCT[place, :, first : first + wanted]
    return replace(batch, signal_BCT=signal_BCT, n_times_B=torch.from_numpy(wanted_B))


def rereferenced(batch: SignalBatch, streams: list[np.random.Generator]) -> SignalBatch:
    """Each window less the mean over a random subset of its good channels: one of them, several or all."""
    signal_BCT = batch.signal_BCT.clone()
    for place, stream in enumerate(streams):
        good_C = np.flatnonzero(batch.channel_mask_BC[place].numpy())
        chosen = stream.permutation(good_C)[: int(stream.integers(1, len(good_C) + 1))]
        signal_BCT[place, good_C] -= signal_BCT[place, chosen].mean(0)
    return replace(batch, signal_BCT=signal_BCT)


def distorted(batch: SignalBatch, kinds: Sequence[str], streams: list[np.random.Generator]) -> View:
    """Windows with a band amplified, one side shifted in phase, or their halves exchanged, as the term names say.

    The side is that of positive x, or the second half of the atlas where positions lack.
    """
    signal_BCT, about_BK = batch.signal_BCT.float().numpy().copy(), np.full((len(batch), 3), -1)
    edges = np.array(BANDS[batch.modality])
    sensors, rank_BC = batch.sensors, batch.sensors.order_BC.argsort(1).argsort(1)
    positive_BC = torch.where(sensors.located_BC, sensors.position_BC3[..., 0] > 0, 2 * rank_BC >= rank_BC.shape[1])
    side_BC = positive_BC.expand(len(batch), -1).numpy()
    for place, stream in enumerate(streams):
        band, shift, order = stream.integers(len(edges) - 1), stream.integers(PHASES), stream.integers(2)
        n_times = int(batch.n_times_B[place])
        own_CT = signal_BCT[place, :, :n_times]
        spectrum_CF = scipy.fft.rfft(own_CT, axis=1)
        if "band" in kinds:
            hertz_F = np.arange(spectrum_CF.shape[1]) / (n_times * float(batch.interval_B[place]))
            spectrum_CF[:, (hertz_F >= edges[band]) & (hertz_F < edges[band + 1])] *= GAIN
            about_BK[place, 0] = band
        if "shift" in kinds:
            spectrum_CF[side_BC[place]] *= np.exp(2j * np.pi * shift / PHASES)
            about_BK[place, 1] = shift
        own_CT = scipy.fft.irfft(spectrum_CF, n=n_times, axis=1)
        if "order" in kinds:
            own_CT = np.roll(own_CT, n_times // 2, axis=1) if order else own_CT
            about_BK[place, 2] = order
        signal_BCT[place, :, :n_times] = own_CT
    made = replace(batch, signal_BCT=torch.from_numpy(signal_BCT).to(batch.signal_BCT.dtype))
    return View(made, torch.from_numpy(about_BK))


class Networks:
    """Which regions make up a network, by channel set.

    `members`: digest of a channel set -> rows of the regions of each network; sets whose regions name none are left
    out. A ConfigError where no set names two networks, or a table is of no atlas of the corpus or names none of its
    regions.
    """

    def __init__(self, rows: pd.DataFrame, corpora: Windows, tables: Mapping[str, str]) -> None:
        fmri = rows[rows["modality"].astype(str) == "fmri"]
        self.set_of = fmri["channel_set"]
        sets = {digest: corpora.channels(digest) for digest in map(str, self.set_of.unique())}
        field = "objective.view.networks"
        for atlas in tables:
            check_known(atlas, {str(channels.atlas) for channels in sets.values()}, ConfigError, field=field)
        known = {atlas: read_networks(path) for atlas, path in tables.items()}
        self.members: dict[str, list[np.ndarray]] = {}
        for digest, channels in sets.items():
            atlas = str(channels.atlas)
            if groups := network_rows(channels, known.get(atlas)):
                self.members[digest] = groups
            elif atlas in tables:
                text, fix = f"names no two networks of {atlas}", f"write names such as {channels.names[0]}"
                raise ConfigError(text, file=tables[atlas], field="name", fix=fix)
        if not self.members:
            atlases = sorted({str(channels.atlas) for channels in sets.values()})
            text = f"names of regions tell no networks ({', '.join(atlases) or 'no fMRI'})"
            fix = "give tables of name and network in objective.view.networks, or leave the term out"
            raise ConfigError(text, field="objective.terms.networks", fix=fix)

    def __call__(self, batch: SignalBatch) -> SignalBatch | None:
        """The batch at the resolution of its networks, other windows whole; None where no window has any."""
        members_B = [self.members.get(str(self.set_of.get(row)), []) for row in batch.rows]
        return at_networks(batch, members_B) if any(members_B) else None


def network_rows(channels: Channels, table: Mapping[str, str] | None = None) -> list[np.ndarray]:
    """Rows of the regions of each network, by the names of the regions or a table; empty where there are not two.

    Regions of no network are in none. Names of structures below the cortex count beside two networks of the cortex.
    """
    if table is not None:
        named = [table.get(name, "") for name in channels.names]
    else:
        below = [next((place for place, word in _BELOW.items() if word.search(name)), "") for name in channels.names]
        cortex = [network_of(name) * (not place) for name, place in zip(channels.names, below, strict=True)]
        named = [one or other for one, other in zip(cortex, below, strict=True)] if len({*cortex, ""}) > 2 else []
    groups = [np.flatnonzero(np.array(named) == network) for network in sorted({*named} - {""})]
    return groups if len(groups) > 1 else []


def read_networks(path: str) -> dict[str, str]:
    """Name of a region -> network, of a table (.csv, .tsv) with the columns `name` and `network`; or a ConfigError."""
    file = user_path(path)
    table, _ = read_text_table(file, error=ConfigError)
    for column in ("name", "network"):
        if column not in table:
            raise ConfigError("the table lacks this column", file=file, field=column, fix="give name and network")
    return dict(zip(table["name"], table["network"], strict=True))


def at_networks(batch: SignalBatch, members_B: list[list[np.ndarray]]) -> SignalBatch:
    """Each window as the mean series of the good regions of its networks; whole where it has no `members`.

    A mean has less amplitude than what it is of: it is scaled to the mean standard deviation of its regions, as a
    recording of networks would be standardised. A network lies at the mean position of its regions and has the place of
    its middle region in the atlas; without a good region it is bad.
    """
    most = max(len(members) or batch.signal_BCT.shape[1] for members in members_B)
    B, T = len(batch), batch.signal_BCT.shape[2]
    signal_BKT, good_BK = batch.signal_BCT.new_zeros(B, most, T), torch.zeros(B, most, dtype=torch.bool)
    sensors = Sensors(
        position_BC3=torch.zeros(B, most, 3),
        located_BC=torch.zeros(B, most, dtype=torch.bool),
        orientation_BC3=torch.zeros(B, most, 3),
        type_BC=torch.full((B, most), SENSOR_TYPES.index("roi")),
        order_BC=torch.full((B, most), -1),
    )
    for place, members in enumerate(members_B):
        own = batch.sensors.take_windows(torch.tensor([place]))
        n_times = int(batch.n_times_B[place])
        for network, regions in enumerate(members or np.arange(batch.signal_BCT.shape[1])[:, None]):
            good = torch.from_numpy(regions)[batch.channel_mask_BC[place, regions]]
            if not len(good):
                continue
            good_BK[place, network] = True
            series_CT = batch.signal_BCT[place, good, :n_times]
            mean_T = series_CT.mean(0, dtype=torch.promote_types(series_CT.dtype, torch.float32))
            if len(good) > 1:
                spread = series_CT.to(mean_T.dtype).std(1, correction=0).mean()
                mean_T = mean_T * (spread / mean_T.std(correction=0).clip(min=1e-6))
            signal_BKT[place, network, :n_times] = mean_T
            located = good[own.located_BC[0, good]]
            sensors.located_BC[place, network] = len(located) > 0
            sensors.position_BC3[place, network] = own.position_BC3[0, located].sum(0) / max(len(located), 1)
            sensors.order_BC[place, network] = own.order_BC[0, good].sort().values[len(good) // 2]
    return replace(batch, signal_BCT=signal_BKT, channel_mask_BC=good_BK, sensors=sensors, checked=None)


def planner_of(
    config: ObjectiveConfig, asked: frozenset[str], corpora: Windows, rows: pd.DataFrame, seed: int, patch: int
) -> ViewPlanner | None:
    """The planner of what is asked for on training rows; None where nothing is. A ConfigError for what no batch could
    give: an alignment without stimulus times, crops longer than windows."""
    if "partner" in asked and not config.stimulus:
        text = "alignment needs to know which datasets show people the same stimulus at the same time"
        fix = "name them, such as [studyforrest_movie], or leave objective.terms.align out"
        raise ConfigError(text, field="objective.stimulus", fix=fix)
    for modality, seconds in config.view.crop.items():
        own = rows[rows["modality"].astype(str) == modality]
        lengths = (own["n_times"] / own["sfreq"]).to_numpy()
        if len(own) and lengths.min() < seconds * (1 - 1e-6):
            shortest, name = lengths.min(), own["dataset"].iloc[lengths.argmin()]
            text = f"windows of {name} are {shortest:g} s long, crops {seconds:g} s"
            fix = f"give at most {shortest:g}, or leave the dataset out"
            raise ConfigError(text, field=f"objective.view.crop.{modality}", fix=fix)
    if not asked:
        return None
    partners = Partners(rows, config.stimulus) if "partner" in asked else None
    networks = Networks(rows, corpora, config.view.networks) if "networks" in asked else None
    return ViewPlanner(config, asked, corpora, seed, patch, partners, networks)
