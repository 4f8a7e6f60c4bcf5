"""The cohort: one subject at a time, each recorded by EEG, MEG and fMRI at once, with the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..recording import Recording
from .activity import BASELINE, bold, spontaneous
from .artefacts import contaminate, contaminate_bold
from .montages import lead_field, sensors
from .parameters import CohortParameters
from .persons import Person, make_person, stream
from .regions import Regions, make_regions
from .sources import source_currents
from .timeline import SLOW_RATE, Timeline, hidden_states, make_timeline

#: Task entity of every recording
TASK = "blocks"


@dataclass(frozen=True, eq=False)
class Truth:
    """What the recordings of a subject were made from; arrays over time are (n_regions, n_slow) at SLOW_RATE."""

    regions: Regions
    person: Person  # group, site, age, individual traits
    timeline: Timeline  # blocks and stimuli
    activity: np.ndarray  # local activity (spontaneous and state) in standard deviations: the drive of BOLD
    spontaneous: np.ndarray  # its spontaneous part: the drive of the envelopes
    hidden_states: np.ndarray  # int8, (n_slow,): state k lifts network k; empty without switching
    sources: np.ndarray  # (n_regions, n_times): dipole moments in A m at `sfreq`, float32
    lead_fields: dict[str, np.ndarray]  # "eeg", "meg": (n_channels, n_regions); clean = lead field @ sources * gain
    clean: dict[str, np.ndarray]  # signals without artefacts and noise, by modality, shaped like the recordings
    masks: dict[str, dict[str, np.ndarray]]  # artefacts by modality: see `Contaminated`

    @property
    def labels(self) -> dict[str, Any]:
        """Labels of the person: group, site, sex, age, alpha_frequency, exponent."""
        return self.person.labels()


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject: paired recordings on one clock (sample 0 is the same instant in all) and the truth."""

    name: str
    recordings: dict[str, Recording]
    truth: Truth

    @property
    def eeg(self) -> Recording:
        return self.recordings["eeg"]

    @property
    def meg(self) -> Recording:
        return self.recordings["meg"]

    @property
    def fmri(self) -> Recording:
        return self.recordings["fmri"]


def cohort(parameters: CohortParameters | Mapping[str, Any] | None = None) -> Iterator[Subject]:
    """Simulate subjects one after the other.

    Parameters
    ----------
    parameters : CohortParameters or mapping, optional
        A mapping is checked; see `CohortParameters` for the limits.

    Yields
    ------
    Subject
        Number k is a pure function of (parameters, k): it does not depend on the number of subjects, and its EEG does
        not depend on the other modalities asked for.

    Raises
    ------
    ConfigError
        An impossible parameter; the limit is named.

    Examples
    --------
    >>> from brainof.simulate import cohort
    >>> subject = next(cohort({"subjects": 2, "modalities": ["eeg"], "seconds": 40}))
    >>> subject.eeg
    <Recording eeg, 32 channels x 10240 samples, 256 Hz, 40.0 s>
    """
    checked = parameters if isinstance(parameters, CohortParameters) else CohortParameters.parse(parameters or {})
    return (simulate_subject(checked, index) for index in range(checked.subjects))


def simulate_subject(parameters: CohortParameters, index: int) -> Subject:
    """Subject number `index` (from 0) of a cohort."""
    own = partial(stream, parameters.seed, index)
    regions = make_regions(parameters.sources.regions)
    person = make_person(parameters, index, regions)
    timeline = make_timeline(parameters, person.starts_with_task, own("timeline"))
    free = spontaneous(person, regions, timeline.duration, own("activity"))
    effects = parameters.effects
    change = effects.state_strength * regions.by_network(dict(effects.state.activity))
    task = timeline.smooth(timeline.bold, np.arange(free.shape[1]) / SLOW_RATE)
    activity = free + (change[:, None] * task).astype(np.float32)
    states = hidden_states(parameters.switching, timeline.duration, own("switching"))
    up = None
    if len(states):  # 1 where the network of a region is up
        up = (regions.network_index[:, None] == states).astype(np.float32)
        activity += np.float32(parameters.switching.activity) * up
    if len(timeline.stimuli):
        weight = parameters.evoked.activity * regions.by_network(dict(parameters.evoked.networks))
        place = np.round(timeline.stimuli * SLOW_RATE).astype(int)
        impulses = SLOW_RATE * np.bincount(place, minlength=activity.shape[1])[: activity.shape[1]]  # unit area each
        activity += (weight[:, None] * impulses).astype(np.float32)

    sources = np.zeros((len(regions), 0), np.float32)
    if set(parameters.modalities) != {"fmri"}:
        sources = source_currents(parameters, person, regions, timeline, free, own("sources"), up)
    truth = Truth(regions, person, timeline, activity, free, states, sources, {}, {}, {})
    gain = np.float32(np.exp(person.log_gain))
    level = parameters.artefacts.louder(person.log_noise)
    recordings: dict[str, Recording] = {}
    for modality in parameters.modalities:
        if modality == "fmri":
            sfreq, channels = 1 / parameters.t_r, regions.channels(parameters.rois)
            delay = 6.0 + 0.3 * own("haemodynamics").standard_normal()
            change_of_signal = bold(activity[regions.picks(parameters.rois)], parameters.t_r, parameters.volumes, delay)
            clean = (BASELINE * (1 + change_of_signal)).astype(np.float32)
            recorded = contaminate_bold(clean, channels.positions, parameters.t_r, level, own)
        else:
            layout = parameters.channels if modality == "eeg" else parameters.meg
            sfreq, channels = float(parameters.sfreq), sensors(layout)
            truth.lead_fields[modality] = lead_field(layout, person.orientations)
            clean = (gain * truth.lead_fields[modality]).astype(np.float32) @ sources
            recorded = contaminate(clean, layout, sfreq, level, own)
        truth.clean[modality], truth.masks[modality] = clean, recorded.masks
        recordings[modality] = Recording(
            recorded.data,
            sfreq,
            modality,
            channels,
            entities={"subject": person.name, "task": TASK},
            events=_events(parameters, timeline, modality),
            bads=recorded.bads,
            provenance={"format": "simulated", "seed": parameters.seed, "subject": index, "notes": []},
        )
    return Subject(person.name, recordings, truth)


def _events(parameters: CohortParameters, timeline: Timeline, modality: str) -> pd.DataFrame:
    """Labelled epochs. In fMRI, blocks that hold no whole epoch are named apart ("rest_block", "task_block")."""
    if modality != "fmri":
        epoch = parameters.eeg_epoch if modality == "eeg" else parameters.meg_epoch
        return timeline.events(0, parameters.seconds, epoch)
    epoch = parameters.fmri_epoch * parameters.t_r
    paired, end = parameters.paired_volumes * parameters.t_r, parameters.volumes * parameters.t_r
    whole = parameters.block > epoch - 1e-6
    short = timeline.events(0, paired, epoch if whole else None, "" if whole else "_block")
    long = timeline.events(paired, end, epoch)
    return pd.concat([table for table in (short, long) if len(table)], ignore_index=True)
