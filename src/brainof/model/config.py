"""BrainOFConfig: every choice of the architecture as a value, checked before a single weight is made."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ..channels import MODALITIES
from ..errors import ConfigError, did_you_mean
from ..schema import Schema
from .pooling import POOLS

Output = Literal["waveform", "log_spectrum", "connectivity"]

#: Rows of grouped products must be multiples of 16 bytes; 8 features are that in bfloat16 and more in float32
ALIGNMENT = 8


class BrainOFConfig(Schema):
    """Architecture of a Brain-OF model.

    Attributes
    ----------
    dim, depth, heads, latents, patch : int
        Width D, backbone blocks, attention heads H, latent tokens L, samples per patch S.
    attention : {"dint", "diff", "softmax"}
        Self-attention of the backbone; "diff" and "softmax" are for ablation.
    out_scale : {"none", "one_minus_lambda_init"}
        Constant on the normalised heads of "dint" and "diff"; published sources disagree, DINT rows already sum to one.
    ffn : {"moe", "dense"}
        Sparse experts, or one feed-forward of the same active width (`shared + top_k * hidden`).
    experts, top_k, hidden, shared : int
        Routed experts, experts per token, hidden width of each, hidden width of the shared expert (0: none).
    route_scale : float
        Factor on the normalised gates.
    expert_backend : {"auto", "grouped", "loop", "masked"}
        How routed experts are computed; "masked" runs every expert on every token, for export only.
    layer_scale : float
        Starting value of the per-channel scale of each residual branch of the backbone; 0 leaves it out.
    sampler : {"arness", "interpolate"}
        How tokens become latents; "interpolate" (zero padding and linear interpolation) is for the sampler study.
    arness_in, arness_out : int
        Cross-attention blocks of the encoder and of each decoder.
    cross_attention : {"softmax", "dint", "diff"}
        Attention of the cross-attention blocks.
    temperature : float
        Starting temperature of QK-normalised cross-attention, learned per head; 0 uses plain scaled products.
    keys : {"identity", "both"}
        Encoder keys from the identity alone, or from content + identity.
    values : {"content", "both"}
        Encoder values from the content alone, or from content + identity.
    decoder_keys : {"static", "processed", "both"}
        Decoder keys: the learned latent vectors, the processed latents, or their sum.
    cross_gain : float
        Factor on the starting weights with which cross-attention writes what it has read: 1 drowns the signal in the
        latent vectors and identities it is added to.
    mirrored : bool
        Each decoder starts with the addresses of the encoder, queries and keys exchanged: a place asks the latents
        that read it. Both are trained on their own from there.
    latent_std : float
        Standard deviation of the latent vectors at the start.
    identity : {"sum", "mlp"}
        Identity embedding: normalised sum of a linear map and an MLP of the Fourier features, or the MLP alone.
    log_spectrum_features : bool
        Adds an MLP of log |FFT| of the patch to the linear patch embedding.
    log_spectrum_gain : float
        Factor on the starting weights of that MLP; much of a log spectrum is the same everywhere.
    connectivity_features : bool
        Adds the correlations with the other visible channels to the patch embedding, see `connectivity.py`.
    outputs : tuple of {"waveform", "log_spectrum", "connectivity"}
        What the decoder predicts for a patch: its samples (S), its log amplitude spectrum (S // 2 + 1), and the
        correlations of its channel with all others in the window, as a profile of unit variance (D, `connectivity.py`).
    separate_decoders : bool
        One decoder per output instead of one for all.
    partition : bool
        Each of the separate decoders reads its own equal share of the latents, in the order of `outputs`.
    streams : bool
        With `partition`: the share of each output reads contents of its own instead of their sum: the samples for the
        waveform, the log spectrum for the log spectrum, the correlations for the connectivity.
    balanced_gradients : bool
        Separate decoders send gradients of one and the same norm into the latents of each window, and none into the
        identities and latent vectors, so that the output with the largest errors does not drown the others.
    sampler_outputs : tuple of outputs
        Outputs that are decoded from the latents as the encoder of ARNESS leaves them, before the backbone.
    pooling : dict of str -> str
        What the pooling "auto" is, by modality, and under "default" for all others: a name of `pooling.POOLS`, of all
        latents or with `@` of the shares of one or several outputs ("concat@log_spectrum",
        "mean@waveform+log_spectrum"). All give vectors of one length. One text stands for {"default": text}.
    interpolate_channels : int
        Channel rows of the grid of the "interpolate" sampler; must divide `latents`.
    """

    dim: int = Field(default=128, ge=16)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    latents: int = Field(default=64, ge=1)
    patch: int = Field(default=64, ge=4)

    attention: Literal["dint", "diff", "softmax"] = "dint"
    out_scale: Literal["none", "one_minus_lambda_init"] = "none"
    ffn: Literal["moe", "dense"] = "moe"
    experts: int = Field(default=8, ge=1)
    top_k: int = Field(default=2, ge=1)
    hidden: int = Field(default=128, ge=8)
    shared: int = Field(default=256, ge=0)
    route_scale: float = Field(default=1.0, gt=0)
    expert_backend: Literal["auto", "grouped", "loop", "masked"] = "auto"
    layer_scale: float = Field(default=0.05, ge=0)

    sampler: Literal["arness", "interpolate"] = "arness"
    arness_in: int = Field(default=1, ge=1)
    arness_out: int = Field(default=1, ge=1)
    cross_attention: Literal["softmax", "dint", "diff"] = "softmax"
    temperature: float = Field(default=16.0, ge=0)
    keys: Literal["identity", "both"] = "identity"
    values: Literal["content", "both"] = "content"
    decoder_keys: Literal["static", "processed", "both"] = "static"
    cross_gain: float = Field(default=1.0, gt=0)
    mirrored: bool = False
    latent_std: float = Field(default=0.5, gt=0)
    interpolate_channels: int = Field(default=16, ge=1)

    identity: Literal["sum", "mlp"] = "sum"
    log_spectrum_features: bool = True
    log_spectrum_gain: float = Field(default=1.0, gt=0)
    connectivity_features: bool = False
    outputs: tuple[Output, ...] = ("waveform", "log_spectrum")
    separate_decoders: bool = False
    partition: bool = False
    streams: bool = False
    balanced_gradients: bool = False
    sampler_outputs: tuple[Output, ...] = ()
    pooling: dict[str, str] = Field(default_factory=lambda: {"default": "mean_std"})

    @field_validator("dim", "hidden", "shared")
    @classmethod
    def _aligned(cls, width: int) -> int:
        if width % ALIGNMENT:
            raise _wrong(f"{width} is not a multiple of {ALIGNMENT} (grouped products need rows of 16 bytes)")
        return width

    @field_validator("heads")
    @classmethod
    def _split(cls, heads: int, info) -> int:
        dim = info.data.get("dim")
        if dim is not None and dim % (2 * heads):
            raise _wrong(
                f"dim {dim} does not split into {heads} heads of two equal halves; dim must divide by 2 * heads"
            )
        return heads

    @field_validator("patch")
    @classmethod
    def _even(cls, patch: int) -> int:
        if patch % 2:
            raise _wrong(f"{patch} is odd; a patch needs an even number of samples")
        return patch

    @field_validator("top_k")
    @classmethod
    def _enough_experts(cls, top_k: int, info) -> int:
        experts = info.data.get("experts")
        if experts is not None and top_k > experts:
            raise _wrong(f"{top_k} experts per token, but there are only {experts}")
        return top_k

    @field_validator("outputs")
    @classmethod
    def _distinct(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        if not outputs or len(set(outputs)) != len(outputs):
            raise _wrong(f"{list(outputs)} must name at least one output, each once")
        return outputs

    @model_validator(mode="after")
    def _grid(self) -> Self:
        if self.sampler == "interpolate" and self.latents % self.interpolate_channels:
            raise _wrong(f"interpolate_channels {self.interpolate_channels} does not divide latents {self.latents}")
        return self

    @model_validator(mode="after")
    def _readers(self) -> Self:
        if (self.partition or self.sampler_outputs or self.balanced_gradients) and not self.separate_decoders:
            raise _wrong("partition, sampler_outputs and balanced_gradients need separate_decoders")
        if (self.partition or self.sampler_outputs) and self.sampler != "arness":
            raise _wrong("partition and sampler_outputs need the sampler 'arness'")
        if self.mirrored and (self.sampler != "arness" or self.keys != "identity" or self.decoder_keys == "processed"):
            raise _wrong("mirrored needs the sampler 'arness', keys 'identity' and decoder_keys 'static' or 'both'")
        needs = {"log_spectrum": self.log_spectrum_features, "connectivity": self.connectivity_features}
        if self.streams and not (self.partition and all(needs.get(name, True) for name in self.outputs)):
            raise _wrong("streams need partition, log_spectrum_features, and connectivity_features for connectivity")
        if self.partition and self.latents % len(self.outputs):
            raise _wrong(f"{self.latents} latents do not divide into {len(self.outputs)} shares of equal size")
        if not set(self.sampler_outputs) <= set(self.outputs):
            raise _wrong(f"sampler_outputs {list(self.sampler_outputs)} are not all among outputs {list(self.outputs)}")
        return self

    @field_validator("pooling", mode="before")
    @classmethod
    def _one_pooling(cls, pooling: Any) -> Any:
        return {"default": pooling} if isinstance(pooling, str) else pooling

    @model_validator(mode="after")
    def _poolings(self) -> Self:
        for name in self.pooling:
            if name not in ("default", *MODALITIES):
                raise _wrong(f"pooling has {name!r}, which is no modality; use default, {', '.join(MODALITIES)}")
        if "default" not in self.pooling:
            raise _wrong("pooling needs an entry 'default'")
        try:
            read = [self.pooling_of(kind) for kind in self.pooling.values()]
        except ConfigError as error:
            raise _wrong(f"pooling: {error}") from None
        if len({(name, len(outputs or ())) for name, outputs in read}) > 1:
            raise _wrong(f"pooling {self.pooling} gives vectors of different lengths")
        return self

    @property
    def bins(self) -> int:
        """Frequencies of the spectrum of one patch."""
        return self.patch // 2 + 1

    @property
    def dense_hidden(self) -> int:
        """Hidden width of a dense feed-forward with as many active weights as the experts."""
        return self.shared + self.top_k * self.hidden

    @property
    def cross_hidden(self) -> int:
        """Hidden width of the feed-forward in a cross-attention block: 8/3 D, rounded up to a multiple of 32."""
        return -(-8 * self.dim // 96) * 32

    def width_of(self, output: Output) -> int:
        """Values the decoder predicts for one patch."""
        return {"waveform": self.patch, "log_spectrum": self.bins, "connectivity": self.dim}[output]

    def share_of(self, output: Output) -> slice:
        """The latents that the decoder of an output reads."""
        if not self.partition:
            return slice(0, self.latents)
        size, number = self.latents // len(self.outputs), self.outputs.index(output)
        return slice(number * size, (number + 1) * size)

    def pooling_of(self, kind: str, modality: str = "") -> tuple[str, list[Output] | None]:
        """The pooling function and the outputs whose shares it reads (None: all latents) of a kind of pooling.

        Raises
        ------
        ConfigError
            Unknown pooling, or an output that the model has not.
        """
        if kind == "auto":
            kind = self.pooling.get(modality, self.pooling["default"])
        name, at, rest = kind.partition("@")
        if name not in POOLS:
            raise ConfigError(f"unknown pooling {name!r}", field="pool", fix=did_you_mean(name, ["auto", *POOLS]))
        outputs = rest.split("+") if at else []
        for output in outputs:
            if output not in self.outputs:
                fix = did_you_mean(output, self.outputs)
                raise ConfigError(f"the model has no output {output!r}", field="pool", fix=fix)
        return name, outputs or None  # type: ignore[return-value]


def _wrong(message: str) -> PydanticCustomError:
    """A validation error whose text is the message alone."""
    return PydanticCustomError("brainof", "{message}", {"message": message})
