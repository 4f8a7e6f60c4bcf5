"""What `adapter_config.json` holds beside PEFT's own keys, checked when it is read."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from ..schema import Schema

#: 2 since the checksum of the tensors is stored
LAYOUT: Final = 2


class Member(Schema):
    """One fitted adaptation; an ensemble has several."""

    adaptation: dict[str, Any]
    kind: Literal["classification", "regression"]
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
