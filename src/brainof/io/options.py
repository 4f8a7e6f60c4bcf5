"""What a recipe or a command line may say about how to read a file, and what every reader gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..schema import Schema
from .bids.sidecars import Sidecars

#: Values of `ReadOptions.channel_types`: the sensor types of the channel table, and kinds that are left out
AUXILIARY_TYPES = ("eog", "ecg", "emg", "resp", "ref", "misc", "stim")

ChannelType = Literal[
    "eeg", "mag", "grad", "axial", "roi", "eog", "ecg", "emg", "resp", "ref", "misc", "stim"
]  # SENSOR_TYPES + AUXILIARY_TYPES

#: Decoded size above which a file is refused unless `max_bytes` allows it
DEFAULT_MAX_BYTES = 8_000_000_000


class AtlasOptions(Schema):
    """Regions of an fMRI recording: a label image with its table, or cubes of a regular grid.

    `image` and `labels` are paths relative to the dataset root (the working folder on the command line). For ROI
    tables either gives names and positions of the columns. The order of the regions is the order of `labels`, or
    ascending label ids where there is no table; it never depends on the recording.
    """

    image: str | None = None
    """3-D label image; for a dtseries a dlabel.nii, for a surface a label.gii."""
    labels: str | None = None
    """Table of label ids and names (tsv, csv or txt), optionally with centroids x, y, z in millimetres."""
    name: str | None = None
    """Name of the atlas; default: the file name of the image or table. Without files, a known atlas is meant
    (`brainof atlas list`)."""
    space: Literal["mni", "scanner"] | None = None
    """Space of the image; default: from its header and file name."""
    ids: str | None = None
    """Regular expression whose group is the label id in the name of a column ("shen(\\d+)"): regions that a
    person lacks leave their place in the order of the atlas empty."""
    grid_mm: float | None = Field(default=None, gt=0)
    """Edge of cubes that cut the brain mask into regions, for images without an atlas; rounded to whole voxels."""
    mask: str | None = None
    """Brain mask on the grid of the image, or "bids" for `*_desc-brain_mask.nii.gz` beside it; voxels outside do not
    count. Default for `grid_mm`: thresholded mean of the image itself; for an atlas: none."""
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    """Regions of which less than this share lies inside the image are marked bad."""

    @model_validator(mode="after")
    def _one_parcellation(self) -> AtlasOptions:
        if self.grid_mm is not None and (self.image or self.labels):
            raise ValueError("give an atlas (image, labels) or grid_mm, not both")
        return self


_Model = Literal["basic", "power2", "derivatives", "full"]


class ConfoundOptions(Schema):
    """Nuisance regressors that are removed from the region signals by least squares.

    The words are those of `nilearn.interfaces.fmriprep.load_confounds`, which chooses the columns of a `strategy`;
    `nilearn.signal.clean` removes them. Volumes that are scrubbed, and those that are not in a steady state, take no
    part in the fit and are then interpolated between their neighbours, so that time goes on.
    """

    file: str | None = None
    """Path relative to the recording's folder (then the root); default: the BIDS name
    `*_desc-confounds_timeseries.tsv` beside the recording."""
    strategy: tuple[Literal["motion", "high_pass", "wm_csf", "global_signal", "compcor", "scrub"], ...] = ()
    """Kinds of regressors of an fMRIPrep table. `[motion, wm_csf, global_signal]`, each "full", are the 36 of
    Satterthwaite et al. 2013, https://doi.org/10.1016/j.neuroimage.2012.08.052."""
    motion: _Model = "full"
    """6 rigid-body parameters ("basic"), with squares ("power2"), derivatives, or both (24: "full")."""
    wm_csf: _Model = "basic"
    global_signal: _Model = "basic"
    compcor: Literal["anat_combined", "anat_separated", "temporal"] = "anat_combined"
    n_compcor: int | Literal["all"] = "all"
    scrub: int = Field(default=5, ge=0)
    """Scrub stretches of fewer volumes between scrubbed ones, too; 0 for none."""
    fd_threshold: float = Field(default=0.5, gt=0)
    """Scrub volumes whose framewise displacement (mm) is above."""
    std_dvars_threshold: float | None = Field(default=1.5, gt=0)
    """Scrub volumes whose standardised DVARS is above; null for no limit."""
    columns: tuple[str, ...] = ()
    """Further columns by name or fnmatch pattern; a name without a wildcard must exist. Default: all, unless `strategy`
    is given."""


class ReadOptions(Schema):
    """How to read a file where it does not say so itself, or says it wrongly.

    Channels are first renamed, then typed, then dropped, then picked; patterns match the renamed names
    (fnmatch: `*`, `?`, `[abc]`; case counts).
    """

    units: str | dict[str, str] | None = None
    """Unit of the stored values ("uV"), or pattern -> unit; overrides what the file says."""
    sfreq: float | None = Field(default=None, gt=0)
    """Samples per second; overrides the file."""
    t_r: float | None = Field(default=None, gt=0, le=20)
    """Repetition time in seconds; overrides the file."""
    variable: str | None = None
    """Name of the signal inside an npz, mat or HDF5 file."""
    events_variable: str | None = None
    """Name of an array or column with one value per sample, where 0 (or an empty text) means no event."""
    time_axis: Literal[0, 1] | None = None
    """Axis of time in a 2-D array; 0 for time x channels."""
    channel_names: tuple[str, ...] | None = None
    """Names of all channels, in file order."""
    pick: tuple[str, ...] = ()
    """Patterns of names, or sensor types ("mag"), each of which stands for all of its channels."""
    drop: tuple[str, ...] = ()
    """Patterns of names, or sensor types."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Regular expression -> replacement, applied in order to every name (re.sub)."""
    channel_types: dict[str, ChannelType] = Field(default_factory=dict)
    """Pattern -> type; the first match wins over what the file says."""
    montage: str | None = None
    """Template of electrode positions by name (an MNE montage); "none" for no positions by name."""
    atlas: AtlasOptions | None = None
    confounds: ConfoundOptions | None = None
    sidecars: bool = True
    """Let events.tsv, channels.tsv, electrodes.tsv and JSON files of a BIDS dataset say what they hold; false reads the
    file as if it stood alone."""
    max_bytes: int = Field(default=DEFAULT_MAX_BYTES, gt=0)
    """Refuse files whose decoded size exceeds this, before memory is taken."""
    data_format: Literal["int16", "int32"] | None = None
    """Width of the samples of a Neuroscan .cnt file whose header does not tell."""
    allow_maxshield: bool = False
    """Read FIF recorded with active shielding (MaxShield) although it was not cleaned by Maxwell filtering."""

    @field_validator("pick", "drop", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("confounds", mode="before")
    @classmethod
    def _confounds_file(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_rate(self) -> ReadOptions:
        if self.sfreq is not None and self.t_r is not None and abs(self.sfreq * self.t_r - 1) > 1e-6:
            raise ValueError("sfreq and t_r contradict each other; give one of them")
        return self

    @property
    def rate(self) -> float | None:
        """Samples per second asked for, from `sfreq` or `t_r`."""
        return 1 / self.t_r if self.sfreq is None and self.t_r is not None else self.sfreq


@dataclass(frozen=True)
class ReadRequest:
    """One file to read."""

    path: Path
    format: str  # A value of `FORMATS`
    modality: str | None  # None where the file decides
    options: ReadOptions
    entities: dict[str, str]  # BIDS entities of the recording
    root: Path  # Dataset root: atlas paths are relative to it, and paths inside the file must not leave it
    sidecars: Sidecars  # Of the BIDS dataset the file lies in; found once
