"""When a subject rests and when it works, and in which hidden state it is: what all modalities share.

Hidden states switch spontaneously, as a semi-Markov chain: in state k the rhythms and the local activity of network k
are lifted; the next state is drawn from the others. With mean dwell time D a visit lasts D / 4 plus an exponential time
of mean 3 D / 4: no visit is too short to be a state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .parameters import CohortParameters, SwitchingParameters

STATES = ("rest", "task")
#: Rate of everything slow (activity, state), Hz
SLOW_RATE = 8
#: Time constant with which a brain follows a change of state, s
RISE = 0.5


@dataclass(frozen=True, eq=False)
class Timeline:
    """Blocks of rest and task, without gaps: block k lasts from edges[k] to edges[k + 1].

    `rhythms` and `bold` say whether the amplitudes of rhythms, and the activity behind BOLD, are those of the task.
    Both equal `working`, unless the cohort was made for pairs (`effects.pair`): there their exclusive or does.
    """

    edges: np.ndarray  # (n_blocks + 1,), seconds
    working: np.ndarray  # bool, (n_blocks,): task or rest, the label
    rhythms: np.ndarray  # bool, (n_blocks,)
    bold: np.ndarray  # bool, (n_blocks,)
    stimuli: np.ndarray  # onsets in seconds

    @property
    def duration(self) -> float:
        """Seconds covered by the blocks."""
        return float(self.edges[-1])

    @property
    def blocks(self) -> pd.DataFrame:
        """The blocks as a table: onset, duration, trial_type."""
        states = np.array(STATES)[self.working.astype(int)]
        return pd.DataFrame({"onset": self.edges[:-1], "duration": np.diff(self.edges), "trial_type": states})

    def _block_at(self, times: np.ndarray) -> np.ndarray:
        return np.clip(np.searchsorted(self.edges, times + 1e-9, side="right") - 1, 0, len(self.working) - 1)

    def task(self, times: np.ndarray) -> np.ndarray:
        """1 in task blocks, 0 in rest, at times in seconds."""
        return self.working[self._block_at(times)].astype(float)

    def smooth(self, states: np.ndarray, times: np.ndarray) -> np.ndarray:
        """A state per block (0, 1) over time, approached exponentially (time constant RISE) as a brain does."""
        index = self._block_at(times)
        target = states.astype(float)
        before = np.concatenate([target[:1], target[:-1]])
        return target[index] + (before - target)[index] * np.exp(-(times - self.edges[index]) / RISE)

    def events(self, start: float, stop: float, epoch: float | None, suffix: str = "") -> pd.DataFrame:
        """Rows of an events table between two times (s): onset, duration, trial_type, block (-1 for stimuli).

        Blocks are cut into epochs of so many seconds, the length of a labelled window; None keeps whole blocks.
        `suffix` is appended to "rest" and "task".
        """
        rows: list[tuple[float, float, str, int]] = []
        for block, working in enumerate(self.working):
            first, last = max(self.edges[block], start), min(self.edges[block + 1], stop)
            if last <= first:
                continue
            length = epoch or last - first
            name = f"{STATES[int(working)]}{suffix}"
            rows += [(first + k * length, length, name, block) for k in range(int((last - first) / length + 1e-6))]
        shown = self.stimuli[(self.stimuli >= start) & (self.stimuli < stop)]
        rows += [(onset, 0.0, "stimulus", -1) for onset in shown]
        table = pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "block"])
        return table.sort_values(["onset", "block"], ignore_index=True).round({"onset": 6, "duration": 6})


def make_timeline(parameters: CohortParameters, starts_with_task: bool, rng: np.random.Generator) -> Timeline:
    """Short blocks while EEG and MEG are recorded, then long ones that hold whole fMRI windows.

    The long blocks start at a multiple of 64 volumes. The timeline does not depend on the modalities asked for.
    """
    paired = max(parameters.paired_volumes * parameters.t_r, parameters.seconds)
    short = np.arange(0, paired, parameters.block)
    if len(short) > 1 and paired - short[-1] < parameters.block / 2:
        short = short[:-1]  # no scrap of a block at the end
    long = parameters.fmri_block_volumes * parameters.t_r
    edges = np.concatenate([short, paired + long * np.arange(parameters.fmri_blocks + 1)])
    order = np.concatenate([np.arange(len(short)), np.arange(parameters.fmri_blocks)]) + starts_with_task
    working = order % 2 == 1
    rhythms = bold = working
    if parameters.effects.pair:
        # within rest and within task blocks, half of the hidden bits are set: either one alone says nothing
        rhythms = np.zeros(len(working), bool)
        for state in (False, True):
            blocks = rng.permutation(np.flatnonzero(working == state))
            rhythms[blocks[: len(blocks) // 2 + int(len(blocks) % 2 and rng.integers(2))]] = True
        bold = rhythms ^ working
    # jittered onsets in task blocks, the first about one interval after the start
    onsets, rate = [np.zeros(0)], parameters.evoked.rate
    for block in np.flatnonzero(working):
        n = int((edges[block + 1] - edges[block]) * rate) - 1
        if n > 0:
            onsets.append(edges[block] + (np.arange(1, n + 1) + rng.uniform(-0.2, 0.2, n)) / rate)
    return Timeline(edges, working, rhythms, bold, np.round(np.concatenate(onsets), 3))


def hidden_states(switching: SwitchingParameters, duration: float, rng: np.random.Generator) -> np.ndarray:
    """The state at every slow sample, shape (ceil(duration * SLOW_RATE) + 1,), int8; empty when switched off."""
    n_slow = int(np.ceil(duration * SLOW_RATE)) + 1
    if not switching.states:
        return np.zeros(0, np.int8)
    n_visits = int(4 * duration / switching.dwell) + 2  # as many as there can be at most, at the shortest dwell
    visits = switching.dwell * (0.25 + rng.exponential(0.75, n_visits))
    steps = np.concatenate([rng.integers(switching.states, size=1), rng.integers(1, switching.states, n_visits - 1)])
    visited = np.cumsum(steps) % switching.states  # a step of 1 ... n - 1 never stays
    return visited[np.searchsorted(np.cumsum(visits), np.arange(n_slow) / SLOW_RATE, side="right")].astype(np.int8)
