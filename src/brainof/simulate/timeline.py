"""When a subject rests and when it works: the sequence of states all modalities share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .parameters import CohortParameters

STATES = ("rest", "task")
#: Rate of everything slow (activity, state), Hz
SLOW_RATE = 8
#: Time constant with which a brain follows a change of state, s
RISE = 0.5


@dataclass(frozen=True, eq=False)
class Timeline:
    """Blocks of rest and task.

    Attributes
    ----------
    blocks : DataFrame
        onset and duration in seconds, trial_type "rest" or "task", in time order, without gaps.
    stimuli : ndarray
        Onsets of stimuli in seconds.
    """

    blocks: pd.DataFrame
    stimuli: np.ndarray

    @property
    def duration(self) -> float:
        """Seconds covered by the blocks."""
        return float(self.blocks["onset"].iloc[-1] + self.blocks["duration"].iloc[-1])

    def task(self, times: np.ndarray) -> np.ndarray:
        """1 in task blocks, 0 in rest, at times in seconds."""
        index = np.searchsorted(self.blocks["onset"].to_numpy(), times + 1e-9, side="right") - 1
        return (self.blocks["trial_type"].to_numpy() == "task")[np.clip(index, 0, None)].astype(float)

    def smooth_task(self, times: np.ndarray) -> np.ndarray:
        """`task`, approached exponentially (time constant RISE) as a brain does."""
        value = np.empty(len(times))
        onsets = self.blocks["onset"].to_numpy()
        index = np.clip(np.searchsorted(onsets, times + 1e-9, side="right") - 1, 0, None)
        target = (self.blocks["trial_type"].to_numpy() == "task").astype(float)
        before = np.concatenate([target[:1], target[:-1]])
        value = target[index] + (before - target)[index] * np.exp(-(times - onsets[index]) / RISE)
        return value

    def events(self, start: float, stop: float, epoch: float | None, suffix: str = "") -> pd.DataFrame:
        """Rows of an events table between two times.

        Parameters
        ----------
        start, stop : float
            Seconds; onsets stay on the common clock.
        epoch : float or None
            Cut blocks into epochs of so many seconds, the length of a labelled window; None keeps whole blocks.
        suffix : str
            Appended to "rest" and "task".
        """
        rows = []
        for block in self.blocks.itertuples():
            first, last = max(block.onset, start), min(block.onset + block.duration, stop)
            length = epoch or last - first
            for k in range(int((last - first) / length + 1e-6) if last > first else 0):
                rows.append((first + k * length, length, f"{block.trial_type}{suffix}", block.Index))
        shown = self.stimuli[(self.stimuli >= start) & (self.stimuli < stop)]
        rows += [(onset, 0.0, "stimulus", -1) for onset in shown]
        table = pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "block"])
        return table.sort_values(["onset", "block"], ignore_index=True).round({"onset": 6, "duration": 6})


def make_timeline(parameters: CohortParameters, starts_with_task: bool, rng: np.random.Generator) -> Timeline:
    """Short blocks while EEG and MEG are recorded, then long ones that hold whole fMRI windows.

    The long blocks start and end at multiples of 64 volumes. The timeline does not depend on the modalities asked for.
    """
    paired = max(parameters.paired_volumes * parameters.t_r, parameters.seconds)
    onsets = list(np.arange(0, paired, parameters.block))
    if len(onsets) > 1 and paired - onsets[-1] < parameters.block / 2:
        onsets.pop()  # no scrap of a block at the end
    long = parameters.fmri_block_volumes * parameters.t_r
    n_short = len(onsets)
    onsets += [paired + k * long for k in range(parameters.fmri_blocks)]
    ends = [*onsets[1:], paired + parameters.fmri_blocks * long]
    order = [(k + starts_with_task) % 2 for k in range(n_short)]
    order += [(k + starts_with_task) % 2 for k in range(parameters.fmri_blocks)]
    blocks = pd.DataFrame(
        {
            "onset": np.array(onsets, dtype=float),
            "duration": np.array(ends, dtype=float) - np.array(onsets, dtype=float),
            "trial_type": [STATES[state] for state in order],
        }
    )
    return Timeline(blocks, _stimuli(blocks, parameters.evoked.rate, rng))


def _stimuli(blocks: pd.DataFrame, rate: float, rng: np.random.Generator) -> np.ndarray:
    if rate == 0:
        return np.zeros(0)
    onsets = []
    for row in blocks[blocks["trial_type"] == "task"].itertuples():
        regular = np.arange(row.onset + 1 / rate, row.onset + row.duration - 1 / rate, 1 / rate)
        onsets.append(regular + rng.uniform(-0.2, 0.2, len(regular)) / rate)
    return np.round(np.concatenate(onsets), 3) if onsets else np.zeros(0)
