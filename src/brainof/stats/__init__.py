"""Arrays in, numbers out: leak-free splits, metrics, ridge, covariances, paired comparisons and permutation nulls."""

from __future__ import annotations

from .ridge import recentre
from .splits import CrossSubject

__all__ = ["CrossSubject", "recentre"]
