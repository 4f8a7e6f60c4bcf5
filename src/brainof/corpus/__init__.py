"""The corpus: windows on disk, checked on every read, in batches whose order depends on a seed alone."""

from __future__ import annotations

from .index import people
from .store import Corpora, Corpus, Windows, open_corpora
from .writer import CorpusWriter

__all__ = ["Corpora", "Corpus", "CorpusWriter", "Windows", "open_corpora", "people"]
