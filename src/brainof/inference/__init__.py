"""Signal -> features, the only way: checked windows, batches, embeddings, pairs, reconstruction, live streams."""

from __future__ import annotations

from .embedding import embed
from .embeddings import Embeddings, load_embeddings
from .live import Calibration, StreamingEmbedder, calibrate

__all__ = ["Calibration", "Embeddings", "StreamingEmbedder", "calibrate", "embed", "load_embeddings"]
