"""What a model uses, each map beside its nulls: untrained weights, and permuted labels where there are labels."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["attended", "dint_parts"],
        "effects": ["EffectMap"],
        "embedding": ["embedding_map"],
        "experts": ["expert_usage"],
        "gradients": ["gradients"],
        "occlusion": ["occlusion"],
        "reconstruction": ["reconstructed"],
        "run": ["explain"],
        "shapley": ["modality_shapley"],
        "similarity": ["layer_similarity"],
        "source": ["Explained", "gather"],
    },
)
