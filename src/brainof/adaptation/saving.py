"""Adapters on disk, in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`; never a pickle.

An adapter holds what differs from its base model: low-rank factors (which PEFT itself can read), or whole weights, and
the head. Its config names the base and the hash of its weights, so that a wrong base is refused.
"""

from __future__ import annotations

import copy
import hashlib
import re
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from ..paths import user_path
from ..schema import Schema
from ..utils.checksum import crc32c
from ..utils.files import make_folder, parse_json, read_small_text, write_atomically, write_json
from . import adaptation
from .base import Adapted, AdaptedEnsemble, Kind
from .heads import make_head
from .tuning import LoRA, apply_factors

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PEFT = "base_model.model."
HEAD = "brainof.head."

#: 2 since the checksum of the tensors is stored
LAYOUT: Final = 2


class Member(Schema):
    """One fitted adaptation; an ensemble has several."""

    adaptation: dict[str, Any]
    kind: Kind
    head: dict[str, Any]
    temperature: float = Field(gt=0, allow_inf_nan=False)
    report: dict[str, Any]
    alpha: dict[str, float]
    """Alpha of each adapted weight, by PEFT's names."""


class Own(Schema):
    """The part of brainof."""

    layout: Literal[2] = LAYOUT
    base_digest: str
    crc32c: int
    members: list[Member] = Field(min_length=1)
    about: dict[str, Any]
    """What the one who saved it keeps there."""


class AdapterConfig(Schema):
    """The whole file; what PEFT keeps there is PEFT's."""

    model_config = ConfigDict(extra="ignore")

    base_model_name_or_path: str
    brainof: Own


def model_digest(model: nn.Module) -> str:
    """Hash of names and values of all weights (32 hex digits); float32 and float64 of equal values differ."""
    state = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        state.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def save_adapter(
    folder: str | PathLike[str], fitted: Adapted | AdaptedEnsemble, base: str, digest: str, about: dict[str, Any]
) -> Path:
    """Write the two files of an adapter folder, each by rename; its config holds the checksum of its tensors.

    `base` is what `brainof.load` takes for the base model, `digest` its `model_digest`, `about` JSON values to keep
    beside.
    """
    folder = user_path(folder, CheckpointError)
    tensors: dict[str, Tensor] = {}
    members = []
    parts = fitted.members()
    for number, part in enumerate(parts):
        prefix = "" if len(parts) == 1 else f"member{number}."
        _, alpha, values = _peft(part)
        values |= {f"{HEAD}{name}": value for name, value in part.head.state_dict().items()}
        tensors |= {prefix + name: value.cpu().contiguous() for name, value in values.items()}
        way = {"adaptation": part.adaptation.to_dict(), "temperature": part.temperature, "report": part.report}
        members.append(Member(kind=part.kind, head=part.head.config(), alpha=alpha, **way))
    content = save(tensors)
    own = Own(base_digest=digest, crc32c=crc32c(content), members=members, about=about)
    config = {**_peft(parts[0])[0], "base_model_name_or_path": base, "brainof": own.to_dict()}
    make_folder(folder)  # what else a user keeps there stays
    write_atomically(folder / TENSORS, [content])
    write_json(folder / CONFIG, config)
    return folder


def read_adapter(folder: str | PathLike[str]) -> tuple[AdapterConfig, dict[str, Tensor]]:
    """Config and tensors of an adapter folder; a CheckpointError where it is missing, damaged, or of another layout."""
    folder = user_path(folder, CheckpointError)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"holds no {CONFIG}", file=folder, fix="name the folder that `save` wrote")
    try:
        values = parse_json(read_small_text(folder / CONFIG))
        layout = values["brainof"]["layout"]
        if layout != LAYOUT:
            raise CheckpointError(f"layout {layout!r}, this version reads {LAYOUT}", file=folder, fix="fit it again")
        content = (folder / TENSORS).read_bytes()
        tensors = load(content)
        if crc32c(content) != values["brainof"]["crc32c"]:
            raise CheckpointError("is damaged (its checksum differs)", file=folder / TENSORS, fix="save it again")
        return AdapterConfig.parse(values), tensors
    except ConfigError as error:
        fix = error.fix or "save it again"
        raise CheckpointError(error.problem, file=folder / CONFIG, field=error.field, fix=fix) from None
    except (OSError, ValueError, SafetensorError, KeyError, TypeError) as error:
        text = f"is damaged, or no adapter of brainof ({type(error).__name__}: {error})"
        raise CheckpointError(text, file=folder, fix="save it again") from None


def load_adapter(folder: str | PathLike[str], base_model: nn.Module) -> Adapted | AdaptedEnsemble:
    """The fitted model of an adapter folder, on its base; a CheckpointError where that is another, or it is damaged."""
    config, tensors = read_adapter(folder)
    if model_digest(base_model) != config.brainof.base_digest:
        base = config.base_model_name_or_path
        raise CheckpointError("was made on another base model", file=folder, fix=f"load it with {base}")
    members = config.brainof.members
    parts = []
    try:
        for number, about in enumerate(members):
            prefix = "" if len(members) == 1 else f"member{number}."
            values = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            parts.append(_member(about, values, base_model))
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"does not fit its base model ({error})", file=folder, fix="save it again") from None
    if len(parts) == 1:
        return parts[0]
    return AdaptedEnsemble(parts, parts[0].adaptation, {**parts[0].report, "members": len(parts)})


def _member(about: Member, tensors: dict[str, Tensor], base_model: nn.Module) -> Adapted:
    head = make_head(about.head)
    state = {k.removeprefix(HEAD): v for k, v in tensors.items() if k.startswith(HEAD)}
    head.to(state["mean_F"].dtype).load_state_dict(state)
    # PEFT's names as those of weights: a linear map's MODULE.lora_A.weight is MODULE.weight.lora_A
    own = {k.removeprefix(PEFT): v for k, v in tensors.items() if not k.startswith(HEAD)}
    changes = {re.sub(r"\.lora_([AB])\.weight$", r".weight.lora_\1", name): value for name, value in own.items()}
    model = copy.deepcopy(base_model).requires_grad_(False).eval() if changes else base_model
    if about.alpha:
        apply_factors(model, changes, about.alpha)
    elif unexpected := model.load_state_dict(changes, strict=False).unexpected_keys:
        raise KeyError(unexpected[0])
    head.eval().requires_grad_(False)
    chosen = adaptation(about.adaptation)
    return Adapted(model, head, about.kind, chosen, about.temperature, about.report, changes)


def _peft(part: Adapted) -> tuple[dict[str, Any], dict[str, float], dict[str, Tensor]]:
    """PEFT's own part of the config, alpha of each adapted weight, and the tensors under the names that PEFT gives."""
    weights = sorted({name.rsplit(".lora_", 1)[0] for name in part.changes if ".lora_" in name})
    if not weights:
        return {"peft_type": "BRAINOF"}, {}, {f"{PEFT}{name}": value for name, value in part.changes.items()}
    lora: Any = part.adaptation
    while not isinstance(lora, LoRA):
        lora = getattr(lora, "then", None) or getattr(lora, "second", None) or lora.of
    ranks = {name: part.changes[f"{name}.lora_A"].shape[-2] for name in weights}
    # PEFT: MODULE.lora_A.weight of a linear map; stacked experts have no such name there and keep ours
    linear = {name.removesuffix(".weight"): rank for name, rank in ranks.items() if name.endswith(".weight")}
    stacked = [name for name in weights if not name.endswith(".weight")]
    tensors = {re.sub(r"\.weight\.lora_([AB])$", r".lora_\1.weight", f"{PEFT}{k}"): v for k, v in part.changes.items()}
    scale, other = lora.alpha / lora.rank, {name: rank for name, rank in linear.items() if rank != lora.rank}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "inference_mode": True,
        "bias": "none",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(linear),
        "rank_pattern": other,
        "alpha_pattern": {name: lora.alpha * rank / lora.rank for name, rank in other.items()},
        **({"target_parameters": stacked} if stacked else {}),
    }
    return config, {name: scale * rank for name, rank in ranks.items()}, tensors
