"""BrainOFConfig: every choice of the architecture as a value, checked before a single weight is made."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from ..channels import MODALITIES, Modality
from ..errors import ConfigError, did_you_mean
from ..schema import Schema, wrong
from .backbone import Aligned, BackboneConfig
from .decoder import PRETEXTS, DecoderConfig, Output
from .pooling import POOLS
from .sampler import SamplerConfig
from .tokens import TokenConfig


class BrainOFConfig(Schema):
    """Architecture of a Brain-OF model; each part is described beside its module.

    Attributes
    ----------
    dim, patch : int
        Width D, and samples per patch S.
    rates : dict of str -> float
        Samples per second at which signals are read, by modality, such as {"eeg": 256}: `forward_features` interpolates
        windows of another rate (`resolution.py`). A modality that is not named is read as it comes.
    tokens : TokenConfig
        What of a patch its content holds.
    sampler : SamplerConfig
        How tokens become latents.
    backbone : BackboneConfig
        Blocks on the latents.
    decoder : DecoderConfig
        What is predicted from the latents.
    pooling : dict of str -> str
        What the pooling "auto" is, by modality, and under "default" for all others: a name of `pooling.POOLS`, of all
        latents or with `@` of those of one or several outputs ("concat@log_spectrum", "mean@waveform+log_spectrum").
        One text stands for {"default": text}.
    whitening : dict of str -> str
        Output whose latents are whitened within people before they are pooled, by modality, such as {"fmri":
        "connectivity"} (`whitening.py`). It changes nothing until it is estimated, see `PretrainConfig.whiten`.
    """

    dim: Annotated[int, Field(ge=16), Aligned] = 128
    patch: int = Field(default=64, ge=4, le=2**20)
    rates: dict[str, float] = Field(default_factory=dict)
    tokens: TokenConfig = TokenConfig()
    sampler: SamplerConfig = SamplerConfig()
    backbone: BackboneConfig = BackboneConfig()
    decoder: DecoderConfig = DecoderConfig()
    pooling: dict[str, str] = Field(default_factory=lambda: {"default": "mean_std"})
    whitening: dict[Modality, Output] = Field(default_factory=dict)

    @field_validator("patch")
    @classmethod
    def _even(cls, patch: int) -> int:
        if patch % 2:
            raise wrong(f"{patch} is odd; a patch needs an even number of samples")
        return patch

    @field_validator("sampler", "backbone")
    @classmethod
    def _heads(cls, part: SamplerConfig | BackboneConfig, info) -> SamplerConfig | BackboneConfig:
        dim = info.data.get("dim")
        if dim is not None and dim % (2 * part.heads):
            raise wrong(f"heads {part.heads}: dim {dim} must be divisible by 2 * heads (two equal halves of each head)")
        return part

    @field_validator("rates")
    @classmethod
    def _known_rates(cls, rates: dict[str, float]) -> dict[str, float]:
        for modality, rate in rates.items():
            if modality not in MODALITIES or not 0 < rate < math.inf:
                raise wrong(f"{modality!r}: {rate}; give a positive number of Hz for {', '.join(MODALITIES)}")
        return rates

    @field_validator("pooling", mode="before")
    @classmethod
    def _one_pooling(cls, pooling: Any) -> Any:
        return {"default": pooling} if isinstance(pooling, str) else pooling

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        outputs, per_output = self.decoder.outputs, self.decoder.kind == "per_output"
        if self.sampler.fixed and not per_output:
            raise wrong("sampler.fixed needs decoder.kind 'per_output'")
        for fixed in self.sampler.fixed:
            if fixed not in outputs:
                raise wrong(f"sampler.fixed: {fixed!r} is no output; add it to decoder.outputs")
        if per_output and self.sampler.kind != "arness":
            raise wrong("decoder.kind 'per_output' needs sampler.kind 'arness'")
        for name, there in (("log_spectrum", self.tokens.log_spectrum), ("connectivity", self.tokens.connectivity)):
            if per_output and name in outputs and not there:
                raise wrong(f"decoder.kind 'per_output' with the output {name!r} needs tokens.{name}")
        if per_output and self.sampler.latents % len(outputs):
            raise wrong(f"sampler.latents {self.sampler.latents} must be divisible by the {len(outputs)} outputs")
        for output in self.whitening.values():
            if output not in outputs:
                raise wrong(f"whitening: {output!r} is no output; {did_you_mean(output, outputs)}")
        for name in self.pooling:
            if name not in ("default", *MODALITIES):
                raise wrong(f"pooling: {name!r} is not a modality; use default, {', '.join(MODALITIES)}")
        if "default" not in self.pooling:
            raise wrong("pooling needs an entry 'default'")
        try:
            for kind in self.pooling.values():
                self.pooling_of(kind)
        except ConfigError as error:
            raise wrong(f"pooling: {error}") from None
        return self

    def width_of(self, output: Output) -> int:
        """Values the decoder predicts for one patch."""
        spectrum, logits = self.patch // 2 + 1, sum(PRETEXTS.values())
        widths = {"waveform": self.patch, "log_spectrum": spectrum, "connectivity": self.dim, "pretext": logits}
        return widths[output]

    def latents_of(self, output: Output | None) -> slice:
        """The latents that the decoder of an output reads."""
        count, outputs = self.sampler.latents, self.decoder.outputs
        if output is None or self.decoder.kind != "per_output":
            return slice(0, count)
        size, number = count // len(outputs), outputs.index(output)
        return slice(number * size, (number + 1) * size)

    def size_of(self, output: Output) -> int:
        """How many latents these are."""
        own = self.latents_of(output)
        return own.stop - own.start

    @property
    def refined(self) -> int:
        """Latents that go through the backbone: all but those that are read by fixed addresses."""
        return self.sampler.latents - sum(map(self.size_of, self.sampler.fixed))

    @property
    def readings(self) -> list[Output | None]:
        """The outputs whose latents read contents of their own; None: all latents read everything."""
        return list[Output | None](self.decoder.outputs) if self.decoder.kind == "per_output" else [None]

    def pooling_of(self, kind: str, modality: str = "") -> tuple[str, list[Output] | None]:
        """The pooling function of a kind, and the outputs whose latents it reads (None: all); ConfigError if none."""
        if kind == "auto":
            kind = self.pooling.get(modality, self.pooling["default"])
        name, at, rest = kind.partition("@")
        if name not in POOLS:
            raise ConfigError(f"unknown pooling {name!r}", field="pool", fix=did_you_mean(name, ["auto", *POOLS]))
        outputs = rest.split("+") if at else []
        for output in outputs:
            if output not in self.decoder.outputs:
                fix = did_you_mean(output, self.decoder.outputs)
                raise ConfigError(f"the model has no output {output!r}", field="pool", fix=fix)
        return name, outputs or None  # type: ignore[return-value]
