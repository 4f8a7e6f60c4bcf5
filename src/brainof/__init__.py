"""Brain-OF: one foundation model for fMRI, EEG and MEG.

Public names are imported on first use, so that `import brainof` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .estimators import BrainOFClassifier as BrainOFClassifier
    from .estimators import BrainOFEmbedder as BrainOFEmbedder
    from .estimators import BrainOFRegressor as BrainOFRegressor
    from .evaluation.embed import embed as embed
    from .io import from_array as from_array
    from .io import from_mne as from_mne
    from .io import read as read
    from .model import BrainOF as BrainOF
    from .model import BrainOFConfig as BrainOFConfig
    from .pretraining import pretrain as pretrain
    from .recording import Recording as Recording
    from .release import load as load
    from .release import push_to_hub as push_to_hub
    from .release import save_pretrained as save_pretrained

_HOMES = {
    "Recording": ".recording",
    "read": ".io",
    "from_mne": ".io",
    "from_array": ".io",
    "BrainOF": ".model",
    "BrainOFConfig": ".model",
    "BrainOFClassifier": ".estimators",
    "BrainOFEmbedder": ".estimators",
    "BrainOFRegressor": ".estimators",
    "load": ".release",
    "push_to_hub": ".release",
    "save_pretrained": ".release",
    "embed": ".evaluation.embed",
    "pretrain": ".pretraining",
}

__all__ = [
    "BrainOF",
    "BrainOFClassifier",
    "BrainOFConfig",
    "BrainOFEmbedder",
    "BrainOFRegressor",
    "Recording",
    "__version__",
    "embed",
    "from_array",
    "from_mne",
    "load",
    "pretrain",
    "push_to_hub",
    "read",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brainof' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
