"""Everything a pretraining run is made of, as one checked object."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..corpus.augment import AugmentConfig
from ..model.config import BrainOFConfig
from ..model.presets import preset
from ..schema import Schema

#: `health_margin` where it is not given; a run of fewer steps is a trial then
MARGIN, TRIAL_STEPS = 0.01, 200

#: What is hidden as a whole; see MaskConfig.unit
Unit = Literal["patch", "segment", "channel", "region", "slice", "block", "mixed"]


class MaskChange(Schema):
    """Other mask settings from a fraction of the steps on, for one modality or for all: the steps of a curriculum."""

    start: float = Field(0.0, ge=0, lt=1)
    """Fraction of the steps from which the change holds; 0 makes it a setting of the modality."""
    modality: Literal["eeg", "meg", "fmri"] | None = None
    ratio: float | None = Field(None, gt=0, lt=1)
    unit: Unit | None = None
    region_size: int | None = Field(None, gt=0)
    block_patches: int | None = Field(None, gt=0)
    fourier_ratio: float | None = Field(None, ge=0, lt=1)
    fourier_unit: Literal["band", "component"] | None = None


class MaskConfig(Schema):
    """What is hidden from the encoder (MTFM: first Fourier components, then patches)."""

    ratio: float = Field(0.5, gt=0, lt=1)
    """Fraction of the patches that are hidden. The publication uses 0.5 to 0.7; 0.4 collapses there."""
    unit: Unit = "patch"
    """patch: any patch of any channel; segment: a patch index in all channels; channel: whole channels (regions of an
    atlas, for fMRI); region: neighbourhoods of channels through all of the window (tubes); slice: the same of regions
    that follow each other in the atlas; block: neighbourhoods of channels x stretches of time; mixed: patches in half
    of the windows, segments in the others."""
    region_size: int = Field(6, gt=0)
    """Channels in a neighbourhood or slice, about."""
    block_patches: int = Field(4, gt=0)
    """Patches in a stretch of a block."""
    fourier_ratio: float = Field(0.3, ge=0, lt=1)
    """Fraction of the Fourier components (in bands) that are removed from what the encoder sees."""
    fourier_start: float = Field(0.5, ge=0, le=1)
    """Fraction of the steps after which components are removed: patches come first, because removed components delay
    the start of learning (prototype study, section 2). 0 removes them from the start, as published."""
    fourier_max_hz: float = Field(45.0, gt=0)
    """EEG and MEG components above this frequency hold no signal and are not counted."""
    fourier_bands: int = Field(22, gt=1)
    fourier_unit: Literal["band", "component"] = "band"
    """Bands of neighbouring components, or single ones."""
    changes: list[MaskChange] = Field(default_factory=list)
    """Settings by fraction of the steps and by modality; later entries win."""

    def at(self, progress: float, modality: str) -> MaskConfig:
        """The settings that hold for a modality after a fraction of the steps; `fourier_ratio` 0 before its start."""
        values: dict[str, Any] = {}
        for change in self.changes:
            if progress >= change.start and change.modality in (None, modality):
                values |= change.model_dump(exclude={"start", "modality"}, exclude_none=True)
        if progress < self.fourier_start:
            values["fourier_ratio"] = 0.0
        return self.model_copy(update={**values, "changes": []}) if values else self


class ViewConfig(AugmentConfig):
    """How the second view of a window differs, for terms that compare two views; fields of AugmentConfig, and these.

    A view is whole: its patches are not masked. Above `max_tokens` it has its own random subset of channels.
    """

    reference: bool = False
    """EEG less the mean over a random subset of the good channels, anew for each window: one, several or all."""
    crop: dict[Literal["eeg", "meg", "fmri"], Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Modality -> seconds that both the window and its view are cut to, each from a start of its own."""
    apart: float | None = Field(None, ge=0)
    """Seconds between the two starts at most; None: any."""
    networks: dict[str, str] = Field(default_factory=dict)
    """Atlas -> table (.csv or .tsv) of the `name` of each region and its `network`, for the term `networks`; where
    there is none, names of regions tell the network."""


class ObjectiveConfig(Schema):
    """The loss (1 - alpha) L_time + alpha L_freq + connectivity L_connectivity + others, a mean over predicted patches.

    Where the model normalises the gradients of its decoders (`decoder.kind` "per_output"), the weights are those of the
    gradients' norms: of an output, the sum of the weights of its terms.
    """

    frequency: Literal["log_spectrum", "raw", "none"] = "log_spectrum"
    """log_spectrum: log amplitude of each patch, predicted by an output of its own; raw: real and imaginary Fourier
    components of the reconstructed window, as published; none: waveform only."""
    alpha: float = Field(0.5, ge=0, le=1)
    frequency_start: float = Field(0.0, ge=0, le=1)
    """Fraction of the steps before which L_freq has no weight."""
    spectrum_of: Literal["patch", "window"] = "patch"
    """What the log spectrum is of: the predicted patch itself, or all patches of its channel in the window, whose mean
    power is far less noisy."""
    connectivity: float = Field(0.0, ge=0)
    """Weight of the correlation profiles that the output `connectivity` predicts; added to the others."""
    connectivity_of: Literal["window", "difference"] = "window"
    """What the profiles are of: the window, or its difference from the mean of the windows of its batch, so that what
    everybody shares (the group connectome) is not learned. Windows that do not share their channels have no such mean,
    and their profiles stay whole."""
    terms: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Weights of further terms by name (`brainof.pretraining.terms`), added to the others."""
    teacher: str = "self"
    """Whose latents `latent`, `view`, `distill` and `networks` take as target: of the model itself ("self"), of the
    moving average of its weights ("average", see `average`), or of a run or release folder, which stays as it is."""
    regulariser: Literal["vicreg", "sigreg", "none"] = "vicreg"
    """What keeps the latents of windows apart in the terms `latent` and `view`."""
    view: ViewConfig = ViewConfig()
    stimulus: list[str] = Field(default_factory=list)
    """Datasets whose people saw the same at the same time of the same run, for the term `align`."""
    aligned: Literal["waveform", "log_spectrum", "connectivity"] | None = None
    """Output whose latents `align` and `networks` compare; None: all. What is made alike forgets who is measured."""
    predict: Literal["hidden", "all"] = "hidden"
    """Which patches are predicted and compared: the hidden ones, or all. About half of what the Fourier mask removes
    lies in visible patches, and is a target with "all" alone."""


class SamplingConfig(Schema):
    """Which windows are seen, and how often."""

    weights: dict[str, Any] = Field(default_factory=lambda: {"dataset": {"temperature": 2.0}})
    """Rules under `modality` and `dataset`: proportional, equal, {temperature: T} or a weight by name; see
    `brainof.corpus.buckets.fractions`."""
    limits: dict[str, int] = Field(default_factory=dict)
    """Most windows of a dataset that count, by name; see `BatchSampler`."""
    max_padding: float = Field(0.0, ge=0, lt=1)
    """Fraction of a window that may be padding so that it joins longer ones; 0 pads its last patch only."""
    mix_shards: int | None = Field(None, gt=0)
    """Shuffle among this many shards of a dataset at a time instead of among all: for corpora behind a URL."""
    modalities: list[Literal["eeg", "meg", "fmri"]] = Field(default_factory=list)
    """Only windows of these; all where empty."""
    exclude: list[str] = Field(default_factory=list)
    """Subjects (dataset/subject) that must not be seen: those of the test side of an inductive evaluation."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Fraction of the subjects of each dataset that are kept out for the health checks."""


class LoaderConfig(Schema):
    """How batches are read and masked ahead of time; changes nothing but speed."""

    threads: int = Field(1, gt=0)
    prefetch: int = Field(2, ge=0)
    """Batches that are ready before they are asked for."""


class PretrainConfig(Schema):
    """A pretraining run.

    `model` holds a preset name under `preset` and any BrainOFConfig field beside it.
    """

    model: dict[str, Any] = Field(default_factory=lambda: {"preset": "tiny"})
    mask: MaskConfig = MaskConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    sampling: SamplingConfig = SamplingConfig()
    augment: AugmentConfig = AugmentConfig()
    loader: LoaderConfig = LoaderConfig()

    start: str | None = None
    """Run folder, release folder or model on the Hugging Face Hub whose weights training starts from; None: random."""
    steps: int = Field(800, gt=0)
    batch_size: int = Field(16, gt=0)
    tokens_per_batch: int | None = Field(None, gt=0)
    """Most patches of a batch, over all channels and windows: windows of many channels make smaller batches."""
    accumulate: int = Field(1, gt=0)
    """Batches per optimizer step, over all ranks; each batch is of one shape, so several let a step hold several
    modalities: all of them from `BatchSampler.span` batches on, which the log names. More ranks than batches share the
    windows of each."""
    max_tokens: int = Field(320, gt=0)
    """Tokens per window given to the model; above it a random subset of channels is taken, anew for every batch."""
    min_channels: float = Field(0.5, gt=0, le=1)
    """Smallest fraction of the affordable channels that a batch keeps (channel augmentation)."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: torch's Muon for matrices, AdamW for all else (docs/decisions/0072)."""
    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    cooldown: float | None = Field(None, gt=0, le=1)
    """Fraction of the steps at the end over which a level learning rate falls linearly (a trapezoid); None: a cosine
    from the warm-up on."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    average: float = Field(0.0, ge=0, lt=1)
    """Decay of a moving average of the weights, which the release then holds (0.999 averages about the last 1000
    steps); 0 for none."""
    balance_rate: float = Field(1e-3, ge=0)
    """Step of the expert selection bias (gamma)."""

    whiten: list[str] = Field(default_factory=list)
    """Datasets from whose training windows the release's whitening within people is estimated (`model.whitening`):
    ones at rest, where what differs between windows of a person is noise."""

    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(0, ge=0)
    """CPU threads, which share the windows of each batch; 0 keeps torch's own number."""

    log_every: int = Field(10, gt=0)
    health_every: int = Field(200, gt=0)
    health_grace: float = Field(0.6, ge=0, le=1)
    """Fraction of the steps after which a decoder that ignores the latents stops the run."""
    health_margin: float | None = Field(None, ge=0)
    """Explained variance that real latents must add to shuffled ones, in at least one output of one dataset. Where it
    is not given it is 0.01, and a run of fewer than 200 steps is a trial: what misses it is a warning, and its release
    says so."""
    checkpoint_every: int = Field(200, gt=0)
    keep_checkpoints: int = Field(2, gt=0)
    """The newest ones to keep, beside the best by explained variance on held-out subjects."""
    tensorboard: bool = False
    """Write the metrics as TensorBoard files, too."""
    wandb: bool = False
    """Send the metrics to Weights & Biases, too; WANDB_MODE=offline keeps them in the run folder."""

    parallel: Literal["auto", "none", "ddp", "fsdp", "fsdp_ep"] = "auto"
    """How the ranks that torchrun starts share a step: ddp, each with the whole model; fsdp, each with a part of every
    block; fsdp_ep, each with experts of its own as well, to which tokens travel. auto is ddp where there are several.
    Changes nothing but speed and memory."""
    recompute: bool = False
    """Compute the blocks again in the backward pass instead of keeping what is within them: less memory, a third more
    time."""
    compile: bool = False
    """Compile the blocks of sampler, backbone and decoders, on a CPU without their experts (one to a few minutes at the
    start, then steps that take about a tenth less; needs a C++ compiler there)."""
    rank_timeout: float = Field(600.0, gt=0)
    """Seconds after which a rank that does not answer ends the run."""

    @property
    def architecture(self) -> BrainOFConfig:
        """The architecture that `model` says."""
        overrides = dict(self.model)
        return preset(overrides.pop("preset", "tiny"), **overrides)

    @property
    def margin(self) -> float:
        return MARGIN if self.health_margin is None else self.health_margin

    @property
    def trial(self) -> bool:
        """Too short to learn, so that poor health does not end it."""
        return self.health_margin is None and self.steps < TRIAL_STEPS
