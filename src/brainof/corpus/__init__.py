"""The corpus: windows on disk, checked on every read, in batches whose order depends on a seed alone."""

from .index import subjects
from .loader import Loader
from .sampler import BatchSampler
from .selection import pairs, select, split_subjects
from .store import Corpus, open_corpora
from .windows import Windows
from .writer import CorpusWriter

__all__ = [
    "BatchSampler",
    "Corpus",
    "CorpusWriter",
    "Loader",
    "Windows",
    "open_corpora",
    "pairs",
    "select",
    "split_subjects",
    "subjects",
]
