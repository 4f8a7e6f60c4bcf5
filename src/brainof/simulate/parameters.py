"""Parameters of a simulated cohort, each with its limits; impossible values are refused with the limit named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..channels import Modality
from ..errors import ConfigError, check_known
from ..schema import Schema, read_yaml

#: Functional networks of the simulated cortex; every region belongs to one (see `regions`)
Network = Literal[
    "visual", "somatomotor", "auditory", "dorsal_attention", "frontoparietal", "salience", "default", "limbic"
]
Rhythm = Literal["theta", "alpha", "beta"]
#: Volumes of one model patch: long fMRI blocks are multiples of it, so that a window holds one state
PATCH_VOLUMES = 64
#: Task, a cohort whose difficulty is known -> parameters that differ from the defaults
TASKS: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_name("tasks.yaml"))
_ALPHA: dict[Network, float] = {"visual": 2.0, "dorsal_attention": 1.4, "default": 1.0, "somatomotor": 0.8}


class RhythmParameters(Schema):
    """One rhythm: a network of damped stochastic oscillators (see `sources`)."""

    frequency: float = Field(ge=2, le=45)
    """Population mean of the peak frequency, Hz."""
    width: float = Field(gt=0.2, le=12)
    """Full width at half maximum of the spectral peak, Hz; the damping rate is pi * width."""
    amplitude: dict[Network, float]
    """Root mean square moment relative to the 1/f background of a region, by network; other networks: `elsewhere`."""
    elsewhere: float = Field(default=0.2, ge=0, le=20)
    activity: float = Field(default=0.0, ge=-1, le=1)
    """Change of log amplitude per standard deviation of local activity: the link between rhythm and BOLD."""


class SourceParameters(Schema):
    """The cortex and its dynamics."""

    regions: int = Field(default=100, ge=16, le=400, multiple_of=2)
    """Number of regions, half of them in each hemisphere."""
    moment: float = Field(default=12e-9, gt=0, le=1e-6)
    """Root mean square dipole moment of the 1/f background of one region, A m."""
    exponent: float = Field(default=1.1, ge=0, le=3)
    """Population mean of the exponent of the 1/f background (power ~ 1 / f ** exponent)."""
    coupling: float = Field(default=0.6, ge=0, lt=1)
    """Coupling as a fraction of the damping; at 1 the network of oscillators loses stability, whatever the delays."""
    speed: float = Field(default=6.0, ge=0.5, le=100)
    """Conduction speed that turns distances into delays, m/s."""
    theta: RhythmParameters = RhythmParameters(
        frequency=6, width=2, amplitude={"frontoparietal": 0.6, "salience": 0.7, "limbic": 0.5}, activity=0.1
    )
    alpha: RhythmParameters = RhythmParameters(frequency=10, width=1.5, amplitude=_ALPHA, elsewhere=0.4, activity=-0.2)
    beta: RhythmParameters = RhythmParameters(
        frequency=20, width=5, amplitude={"somatomotor": 0.7, "frontoparietal": 0.5}, activity=0.1
    )


class StateEffect(Schema):
    """What the task state changes against rest, at strength 1."""

    amplitude: dict[Rhythm, dict[Network, float]] = Field(
        default={
            "alpha": {"visual": -0.5, "dorsal_attention": -0.6, "default": -0.3},
            "theta": {"frontoparietal": 0.4, "salience": 0.4},
            "beta": {"somatomotor": -0.4, "frontoparietal": -0.2},
        }
    )
    """Change of log amplitude, by rhythm and network."""
    frequency: float = Field(default=0.0, ge=-3, le=3)
    """Shift of the alpha peak, Hz."""
    lateral: float = Field(default=0.0, ge=-2, le=2)
    """Change of log alpha amplitude in the left hemisphere, and its negative in the right: topography alone."""
    activity: dict[Network, float] = Field(
        default={"visual": 0.5, "dorsal_attention": 1.0, "frontoparietal": 0.8, "somatomotor": 0.4, "default": -0.7}
    )
    """Change of local activity, in standard deviations of its spontaneous part; seen in fMRI."""


class EffectParameters(Schema):
    """Effects of state, person, group, age and site, with their sizes."""

    state: StateEffect = StateEffect()
    state_strength: float = Field(default=1.0, ge=0, le=4)
    """Multiplies every part of `state`; 0 makes rest and task indistinguishable."""
    pair: bool = False
    """Rhythms follow a hidden bit of each block, BOLD another one, and the label "task" is their exclusive or: each
    modality alone is at chance, EEG or MEG together with fMRI is not."""
    group_alpha: float = Field(default=0.8, ge=-5, le=5)
    """Cohen's d of the slowing of the individual alpha peak in patients (in units of `alpha_sd`)."""
    group_connectivity: float = Field(default=0.3, ge=0, le=0.95)
    """Fraction by which the default-network loading of patients is lowered."""
    group_balance: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of patients."""
    alpha_sd: float = Field(default=0.8, ge=0, le=2)
    """Standard deviation of the individual alpha peak between persons, Hz."""
    age_alpha: float = Field(default=-0.01, ge=-0.1, le=0.1)
    """Change of the alpha peak per year of age (from 45), Hz."""
    age_exponent: float = Field(default=-0.004, ge=-0.05, le=0.05)
    """Change of the 1/f exponent per year of age (from 45)."""
    sites: int = Field(default=2, ge=1, le=20)
    site_gain: float = Field(default=0.1, ge=0, le=2)
    """Step of log gain of every sensor from one site to the next: a pure nuisance, which normalisation removes."""
    site_noise: float = Field(default=0.0, ge=0, le=3)
    """Step of log amplitude of sensor noise (EEG, MEG, fMRI) from one site to the next: a nuisance that stays."""
    site_confound: float = Field(default=0.0, ge=0, le=1)
    """0: site independent of group; 1: site decided by group."""
    individual: float = Field(default=0.2, ge=0, le=1)
    """Standard deviation of log amplitude by rhythm and network, and of network loadings, between persons."""


class SwitchingParameters(Schema):
    """Spontaneous switching between hidden brain states, each of which lifts one network (see `timeline`)."""

    states: int = Field(default=0, ge=0, le=8)
    """Number of hidden states, in the order of the networks; 0 switches it off, 1 makes no sense."""
    dwell: float = Field(default=2.0, ge=0.25, le=120)
    """Mean time in a state, s; a quarter of it is the shortest, the rest is exponential."""
    amplitude: float = Field(default=0.5, ge=-3, le=3)
    """Change of log amplitude of every rhythm of the network that is up."""
    activity: float = Field(default=0.5, ge=-5, le=5)
    """Change of its local activity, in standard deviations of the spontaneous part; seen in fMRI."""

    @field_validator("states")
    @classmethod
    def _at_least_two(cls, states: int) -> int:
        if states == 1:
            raise ValueError("one state cannot switch: give 0 (off) or 2 to 8")
        return states


class EvokedParameters(Schema):
    """Stimuli during task blocks and the response they evoke: an early and a late wave, one impulse of activity."""

    rate: float = Field(default=0.0, ge=0, le=4)
    """Stimuli per second; 0 switches them off."""
    moment: float = Field(default=40e-9, ge=0, le=1e-6)
    """Dipole moment at the peak of the larger wave in a region of weight 1, A m."""
    early: float = Field(default=0.1, ge=0.05, le=0.2)
    """Latency of the early wave, s (standard deviation in time 0.2 of it)."""
    early_size: float = Field(default=-0.7, ge=-1, le=1)
    """Its size and sign in units of `moment`."""
    late: float = Field(default=0.3, ge=0.2, le=0.6)
    """Latency of the late wave, s (standard deviation in time 0.2 of it)."""
    late_size: float = Field(default=1.0, ge=-1, le=1)
    networks: dict[Network, float] = Field(default={"visual": 1.0, "frontoparietal": 0.6, "dorsal_attention": 0.4})
    """Weight of the response by network."""
    activity: float = Field(default=1.0, ge=0, le=20)
    """Impulse of local activity after each stimulus in a region of weight 1, standard deviations x s; its BOLD."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.late < 1.5 * self.early:
            least = f"at least 1.5 times early ({self.early:g} s), or the waves merge"
            raise ValueError(f"late is {self.late:g} s: {least}")
        return self


class ArtefactParameters(Schema):
    """What is added to the clean signals; 0 switches a source of trouble off."""

    eeg_noise: float = Field(default=0.5e-6, ge=0, le=1e-4)
    """White sensor noise, V rms."""
    mag_noise: float = Field(default=3e-15, ge=0, le=1e-12)
    """White noise of magnetometers and axial gradiometers, T / sqrt(Hz)."""
    grad_noise: float = Field(default=3e-13, ge=0, le=1e-10)
    """White noise of planar gradiometers, T / m / sqrt(Hz)."""
    line: float = Field(default=0.5, ge=0, le=100)
    """Amplitude of the line, relative to the robust amplitude of the clean signal."""
    line_frequency: float = Field(default=50, ge=40, le=70)
    drift: float = Field(default=1.0, ge=0, le=100)
    """Slow drift, standard deviation relative to that of the clean signal."""
    blinks: float = Field(default=8.0, ge=0, le=60)
    """Eye blinks per minute."""
    muscle: float = Field(default=1.0, ge=0, le=60)
    """Bursts of muscle activity per minute."""
    heart: float = Field(default=60.0, ge=0, le=180)
    """Heart beats per minute."""
    bad_channels: float = Field(default=0.02, ge=0, le=0.5)
    """Fraction of flat or noisy channels."""
    fmri_noise: float = Field(default=0.4, ge=0, le=20)
    """White noise of a region's BOLD signal, relative to its clean standard deviation."""
    fmri_drift: float = Field(default=0.5, ge=0, le=20)
    """Slow scanner drift, relative to the clean standard deviation."""
    motion: float = Field(default=0.3, ge=0, le=30)
    """Head movements per minute of fMRI: a spike and a step in every region."""

    @classmethod
    def none(cls) -> Self:
        """Everything switched off."""
        return cls(**{name: 0 for name in cls.model_fields if name != "line_frequency"})

    def louder(self, log_factor: float) -> Self:
        """Sensor noise of all modalities times exp(log_factor); everything else as it is."""
        if not log_factor:
            return self
        names = ("eeg_noise", "mag_noise", "grad_noise", "fmri_noise")
        return self.model_copy(update={name: getattr(self, name) * math.exp(log_factor) for name in names})


class CohortParameters(Schema):
    """A cohort of persons, each recorded with EEG, MEG and fMRI at once (the measurement no laboratory can make)."""

    subjects: int = Field(default=12, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**63)
    modalities: tuple[Modality, ...] = ("eeg", "meg", "fmri")
    seconds: float = Field(default=120.0, ge=8, le=7200)
    """Length of the EEG and MEG recordings."""
    sfreq: int = Field(default=256, ge=128, le=2048)
    """Sampling rate of EEG and MEG, Hz."""
    channels: int = 32
    """EEG electrodes: 19, 32, 64 or 128 of the 10-05 system."""
    meg: Literal["neuromag306", "neuromag102", "ctf275"] = "neuromag306"
    """Helmet; neuromag102 holds the magnetometers alone. MNE's canonical CTF helmet has 274 axial gradiometers."""
    t_r: float = Field(default=1.0, ge=0.1, le=10)
    """Repetition time of fMRI, s."""
    rois: int | tuple[str, ...] | None = None
    """Regions measured by fMRI: the first n in atlas order, or names of regions and networks ("L_visual_1", "default");
    all by default."""
    block: float = Field(default=20.0, ge=4, le=600)
    """Length of the alternating rest and task blocks while EEG and MEG are recorded, s."""
    eeg_epoch: float = Field(default=4.0, ge=0.5, le=600)
    """Length of the labelled epochs that events tables of EEG list, s."""
    meg_epoch: float = Field(default=2.0, ge=0.5, le=600)
    fmri_epoch: int = Field(default=PATCH_VOLUMES, ge=8, le=4096)
    """Volumes of the labelled epochs of fMRI."""
    fmri_blocks: int = Field(default=6, ge=0, le=200)
    """Long blocks of fMRI alone that follow, alternating rest and task."""
    fmri_block_volumes: int = Field(default=2 * PATCH_VOLUMES, ge=8, le=4096)
    sources: SourceParameters = SourceParameters()
    effects: EffectParameters = EffectParameters()
    switching: SwitchingParameters = SwitchingParameters()
    evoked: EvokedParameters = EvokedParameters()
    artefacts: ArtefactParameters = ArtefactParameters()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from .montages import EEG_LAYOUTS
        from .regions import make_regions

        if self.channels not in EEG_LAYOUTS:
            sizes = ", ".join(map(str, EEG_LAYOUTS))
            raise ValueError(f"channels is {self.channels}: electrode positions exist for {sizes} channels")
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            rule = "name each of eeg, meg, fmri at most once, one at least"
            raise ValueError(f"modalities {list(self.modalities)}: {rule}")
        make_regions(self.sources.regions).picks(self.rois)  # refuses what the cortex does not have
        if self.artefacts.line > 0 and self.artefacts.line_frequency >= self.sfreq / 2:
            raise ValueError(f"line_frequency is not below half of sfreq ({self.sfreq / 2:g} Hz)")
        for name in ("eeg_epoch", "meg_epoch", "fmri_epoch"):
            epoch, block = getattr(self, name), self.fmri_block_volumes if name == "fmri_epoch" else self.block
            if epoch > block:
                raise ValueError(f"{name} is {epoch:g}: longer than its block ({block:g})")
        if self.seconds < 2 * self.block:
            raise ValueError(f"seconds is {self.seconds:g}: at least two blocks of {self.block:g} s are needed")
        return self

    @property
    def paired_volumes(self) -> int:
        """Volumes that cover the EEG and MEG recording, a multiple of one patch."""
        return PATCH_VOLUMES * math.ceil(self.seconds / (PATCH_VOLUMES * self.t_r) - 1e-9)

    @property
    def volumes(self) -> int:
        """Volumes of the fMRI run."""
        return self.paired_volumes + self.fmri_blocks * self.fmri_block_volumes


def task_parameters(name: str, **changes: Any) -> CohortParameters:
    """Parameters of the cohort of a task, with changes such as `subjects=4`; ConfigError where one is not possible."""
    check_known(name, TASKS, ConfigError, "no task {!r}", field="task")
    return CohortParameters.parse({**TASKS[name], **changes}, f"task {name}")
