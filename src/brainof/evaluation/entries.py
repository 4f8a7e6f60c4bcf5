"""What is scored on a task: models, the same with random weights, classical features, and controls."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..adaptation.saving import model_digest
from ..errors import BrainOFError, ConfigError
from ..inference import embed
from ..inference.examples import CorpusRows
from ..model import BrainOF
from ..release import load
from ..stats.covariance import covariances
from ..utils.files import make_folder, write_atomically
from ..utils.modules import seeded
from .baselines import OWN, baseline_features
from .leaks import pretraining_overlap
from .networks import NETWORKS, build
from .protocol import label_values, task_windows
from .questions import Question
from .transforms import Features, SecondOrder

MODEL, RANDOM, CLASSICAL, NETWORK, CONTROL = "model", "random weights", "classical", "network", "control"
#: Name of the prediction without features
CHANCE = "chance"
#: Seeds of random weights begin here, away from those that a user would choose
FIRST_SEED = 1000
#: Windows whose latents are held at once for second-order features
CHUNK = 256


@dataclass(frozen=True, eq=False)
class Entry:
    """One thing that is scored.

    Attributes
    ----------
    features : callable
        (question, seed, read-out) -> array (n, F) or a callable (train, test) -> arrays.
    digest, width, architecture : str, int, str
        Of the weights, of one latent, and of a model with its random weights; empty where the name says all.
    seeds : int
        Initialisations of random weights; 1 for everything else.
    network, own : callable, optional
        Seed -> the model, for read-outs that train; the read-out of a baseline that brings its own.
    refused, overlap : callable
        Question -> why it is not scored on it ("" where it is); how many people of the task trained it, and a sentence.
    """

    name: str
    kind: str
    features: Callable[[Question, int, str], Features]
    digest: str = ""
    seeds: int = 1
    network: Callable[[int], torch.nn.Module] | None = None
    refused: Callable[[Question], str] = lambda question: ""
    overlap: Callable[[Question], tuple[int, str]] = lambda question: (0, "")
    width: int = 0
    architecture: str = ""
    own: Callable[..., np.ndarray] | None = None


def models(names: Sequence[str], random_weights: int, store: Path, accept: Sequence[str] = ()) -> list[Entry]:
    """Each model, and once for every architecture the same with random weights."""
    entries: list[Entry] = []
    architectures: dict[str, tuple[str, Any]] = {}

    def add(name: str, kind: str, network: Callable[[int], Any], digest: str, **about: Any) -> None:
        features, width = partial(_features_of_model, network, digest, store), int(network(0).latents_LD.shape[1])
        entries.append(Entry(name, kind, features, digest, network=network, width=width, **about))

    for name in names:
        network, contract = load(name)
        architecture = str(network.config.to_dict())
        architectures.setdefault(architecture, (name, network.config))
        shown = Path(name).name if Path(name).is_dir() else name
        shown = name if shown in {entry.name for entry in entries} else shown
        shown = shown if contract is not None else f"{shown} (random weights)"
        about: dict[str, Any] = {"overlap": partial(_overlap, name), "architecture": architecture}
        about["refused"] = partial(_refused, name, network, contract, tuple(accept))
        add(shown, MODEL, partial(_given, network), model_digest(network), **about)
    for architecture, (name, config) in architectures.items() if random_weights else ():
        drawn = partial(initialised, config)
        shown = RANDOM if len(architectures) == 1 else f"{RANDOM} (as {Path(name).name})"
        digest = f"random-{model_digest(drawn(0))}"
        add(shown, RANDOM, drawn, digest, seeds=random_weights, architecture=architecture)
    return entries


def _given(network: BrainOF, seed: int) -> BrainOF:
    return network


def beside(question: Question) -> list[Entry]:
    """The baselines of a task; then labels that are known of a person or a recording, each alone as a feature."""
    entries = []
    for name in question.baselines:
        if name in NETWORKS:
            entries.append(Entry(name, NETWORK, no_features, network=partial(_network, name, question)))
        else:
            features, own = OWN.get(name, (name, None))
            entries.append(Entry(name, CLASSICAL, partial(_classical_features, features), own=own))
    controls = question.task.controls
    return [*entries, *(Entry(f"{label} alone", CONTROL, partial(label_features, label)) for label in controls)]


def _network(name: str, question: Question, seed: int) -> torch.nn.Module:
    """A network of another publication for the windows of a task, untrained."""
    index = question.index
    for column, what in (("channel_set", "channels"), ("n_times", "lengths"), ("sfreq", "sampling rates")):
        if (n := index[column].nunique()) > 1:
            raise ConfigError(f"the windows have {n} {what}", field=name, fix="networks take windows of one kind")
    channels = question.corpus.channels(str(index["channel_set"].iloc[0])).names
    first = index.iloc[0]
    return build(name, len(channels), int(first["n_times"]), float(first["sfreq"]), channels, seed)


def no_features(question: Question, seed: int, readout: str) -> Features:
    """Of what has none; a ConfigError."""
    raise ConfigError("networks have no features", field="readouts", fix="use the read-out 'full'")


def _classical_features(name: str, question: Question, seed: int, readout: str) -> Features:
    own = baseline_features(name, question.modality, *_windows(question))
    if question.partner is None or callable(own):
        return own
    partner = str(question.corpus.index["modality"].iloc[int(question.partner[0])])
    usual = "functional connectivity" if partner == "fmri" else "log covariance"
    theirs = baseline_features(usual, partner, *task_windows(question.corpus, question.partner))
    return question.beside(own, np.asarray(theirs))


def label_features(label: str, question: Question, seed: int = 0, readout: str = "") -> np.ndarray:
    """A label as features: its number, or one column per value; NaN where unknown; a LabelError where none has it."""
    values = label_values(question.index, label, f"{question.task.name}.controls")
    numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if np.isfinite(numbers).sum() == (values != "").sum():
        return numbers[:, None]
    return (values[:, None] == np.unique(values[values != ""])).astype(float)


@lru_cache(maxsize=1)
def _windows(question: Question) -> tuple[list[np.ndarray], np.ndarray]:
    return task_windows(question.corpus, question.rows)


def initialised(config: Any, seed: int) -> BrainOF:
    """The architecture with random weights."""
    with seeded(FIRST_SEED + seed):
        return BrainOF(config).eval()


def _features_of_model(
    network: Callable[[int], torch.nn.Module], digest: str, store: Path, question: Question, seed: int, readout: str
) -> Features:
    """Features, kept in `store` so that anyone can score them again: TASK/WEIGHTS-SEED-POOL-QUESTION.npy."""
    pool = "second_order" if readout == "second_order" else _pool_of(network, seed, question.task.pool)
    place = store / question.task.name / f"{digest[:20]}-{seed}-{pool.replace('@', '_')}-{question.digest}.npy"
    if place.exists():
        values = np.load(place)
    else:
        model: Any = network(seed)
        if pool == "second_order":
            values = _latent_covariances(question, model)
        else:
            of = partial(embed, question.corpus, model, contract=None, pool=pool)
            partner = None if question.partner is None else of(rows=question.partner).values
            values = question.beside(of(rows=question.rows).values, partner)
        make_folder(place.parent)
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        write_atomically(place, [buffer.getbuffer()])
    return SecondOrder(values) if pool == "second_order" else values


def _pool_of(network: Callable[[int], torch.nn.Module], seed: int, asked: str) -> str:
    """The pooling that a task asks for; the model's own where it lacks an output that is named."""
    outputs = asked.partition("@")[2]
    if not outputs:
        return asked
    known: Any = network(seed).config
    return asked if set(outputs.split("+")) <= set(known.decoder.outputs) else "auto"


def _latent_covariances(question: Question, model: Any) -> np.ndarray:
    """Shrunk covariance over latents of the D features of each window, float32 (n, D, D)."""
    width = int(model.latents_LD.shape[1])
    parts = []
    for start in range(0, len(question.rows), CHUNK):
        rows = question.rows[start : start + CHUNK]
        values = embed(question.corpus, model, contract=None, rows=rows, pool="concat").values
        parts.append(covariances(values.reshape(len(values), -1, width).transpose(0, 2, 1).astype(np.float64)))
    return np.concatenate(parts).astype(np.float32)


@lru_cache(maxsize=256)
def _overlap(name: str, question: Question) -> tuple[int, str]:
    return pretraining_overlap(name, question.tested)


def _refused(name: str, network: Any, contract: Any, accept: Sequence[str], question: Question) -> str:
    """Why a model is not scored on a task: its contract, or people of the task that trained it."""
    if contract is not None:
        try:
            differences = [what for what in accept if what != "overlap"]
            CorpusRows(question.corpus, question.rows, int(network.config.patch)).check(contract, differences)
        except BrainOFError as error:
            return str(error)
    n_seen, why = _overlap(name, question)
    if n_seen and "overlap" not in accept:
        return f"{why}; test the others alone with unseen=True, or score it as transductive with accept='overlap'"
    return ""
