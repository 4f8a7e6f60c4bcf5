"""Everything a pretraining run is made of, as one checked object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..schema import Schema


class MaskConfig(Schema):
    """What is hidden from the encoder (MTFM: first Fourier components, then patches)."""

    ratio: float = Field(0.5, gt=0, lt=1)
    """Share of the patches that are hidden. The publication uses 0.5 to 0.7; 0.4 collapses there."""
    unit: Literal["patch", "segment", "channel", "mixed"] = "patch"
    """patch: any patch of any channel; segment: a patch index in all channels; channel: whole channels; mixed: patches
    in half of the steps, segments in the others."""
    fourier_ratio: float = Field(0.3, ge=0, lt=1)
    """Share of the Fourier components (in bands) that are removed from what the encoder sees."""
    fourier_start: float = Field(0.5, ge=0, le=1)
    """Share of the steps after which Fourier components are removed: patches come first, because removed components
    delay the start of learning (prototype study, section 2)."""
    fourier_max_hz: float = Field(45.0, gt=0)
    """EEG and MEG components above this rate hold no signal and are not counted."""
    fourier_bands: int = Field(22, gt=1)


class ObjectiveConfig(Schema):
    """The reconstruction loss (1 - alpha) L_time + alpha L_freq, both Smooth L1 over hidden patches."""

    frequency: Literal["log_spectrum", "raw", "none"] = "log_spectrum"
    """log_spectrum: log amplitude of each patch, predicted by outputs of its own; raw: real and imaginary Fourier
    components of the reconstructed window, as published; none: waveform only."""
    alpha: float = Field(0.5, ge=0, le=1)
    frequency_start: float = Field(0.0, ge=0, le=1)
    """Share of the steps before which only the waveform is learned."""


class SamplingConfig(Schema):
    """Which windows are seen, and how often."""

    weights: dict[str, Any] = Field(default_factory=lambda: {"dataset": {"temperature": 2.0}})
    """Rules under `modality` and `dataset`: proportional, equal, {temperature: T} or a weight by name; see
    `brainof.corpus.weights.shares`."""
    exclude: list[str] = Field(default_factory=list)
    """People (dataset/subject) that must not be seen: the test people of an inductive evaluation."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the people of each dataset that are kept out for the health checks."""


class PretrainConfig(Schema):
    """A pretraining run.

    `model` holds a preset name under `preset` and any BrainOFConfig field beside it.
    """

    model: dict[str, Any] = Field(default_factory=lambda: {"preset": "tiny"})
    mask: MaskConfig = MaskConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    sampling: SamplingConfig = SamplingConfig()

    steps: int = Field(800, gt=0)
    batch_size: int = Field(16, gt=0)
    accumulate: int = Field(1, gt=0)
    """Batches per optimizer step; each batch is of one shape, so several let a step hold several modalities."""
    max_tokens: int = Field(320, gt=0)
    """Tokens per window given to the model; above it a random subset of channels is taken, anew for every batch."""
    min_channels: float = Field(0.5, gt=0, le=1)
    """Smallest share of the affordable channels that a batch keeps (channel augmentation)."""

    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    balance_rate: float = Field(1e-3, ge=0)
    """Step of the expert selection bias (gamma)."""

    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(0, ge=0)
    """CPU threads, which share the windows of each batch; 0 keeps torch's own number."""

    log_every: int = Field(10, gt=0)
    health_every: int = Field(200, gt=0)
    health_grace: float = Field(0.6, ge=0, le=1)
    """Share of the steps after which a decoder that ignores the latents stops the run."""
    health_margin: float = Field(0.01, ge=0)
    """Explained variance that real latents must add to shuffled ones, in at least one output of one dataset."""
    checkpoint_every: int = Field(200, gt=0)
    keep_checkpoints: int = Field(2, gt=0)
