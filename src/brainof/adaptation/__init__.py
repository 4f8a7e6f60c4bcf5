"""Adaptation: how a pretrained backbone is made to answer a question; each way is a small config with one `apply`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, did_you_mean
from .base import Adaptation, Adapted, AdaptedEnsemble
from .ensemble import Ensemble
from .examples import CorpusRows, Examples, PreparedWindow, Target, WindowList
from .few_shot import FewShot, few_shot_rows
from .probes import AttentiveProbe, LinearProbe, MLPProbe
from .tuning import FullFineTune, LoRA, TwoStage

#: name -> adaptation; "frozen" is the backbone as it is, with the linear probe where labels are asked for
ADAPTATIONS: dict[str, type[Adaptation]] = {
    "frozen": LinearProbe,
    **{kind.name: kind for kind in (LinearProbe, MLPProbe, AttentiveProbe, LoRA, FullFineTune)},
    **{kind.name: kind for kind in (FewShot, TwoStage, Ensemble)},
}

__all__ = [
    "ADAPTATIONS",
    "Adaptation",
    "Adapted",
    "AdaptedEnsemble",
    "AttentiveProbe",
    "CorpusRows",
    "Ensemble",
    "Examples",
    "FewShot",
    "FullFineTune",
    "LinearProbe",
    "LoRA",
    "MLPProbe",
    "PreparedWindow",
    "Target",
    "TwoStage",
    "WindowList",
    "adaptation",
    "few_shot_rows",
]


def adaptation(value: str | Mapping[str, Any] | Adaptation) -> Adaptation:
    """An adaptation by name, or by `{"adaptation": name, **parameters}`.

    Raises
    ------
    ConfigError
        Unknown name or parameter; the nearest is suggested.

    Examples
    --------
    >>> adaptation("lora").rank
    32
    >>> adaptation({"adaptation": "few_shot", "shots": 3, "then": "mlp"}).then.name
    'mlp'
    """
    if isinstance(value, Adaptation):
        return value
    values = {"adaptation": value} if isinstance(value, str) else dict(value)
    name = values.pop("adaptation", None)
    if name not in ADAPTATIONS:
        raise ConfigError(f"unknown adaptation {name!r}", field="adapt", fix=did_you_mean(str(name), ADAPTATIONS))
    return ADAPTATIONS[name].parse(values)
