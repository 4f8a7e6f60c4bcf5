"""The resolution study: is the embedding of a signal the same at another rate, and with fewer channels?

The same recordings are prepared at several rates (the band-pass is the same, so no rate holds more signal), and a third
of the channels is taken away at random. Every window is compared with itself at the reference rate with all channels:
by the cosine of the two embeddings about the mean of the reference, and by whether it finds itself among all windows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from brainof.corpus import Corpus
from brainof.datasets import find_recipe
from brainof.datasets.run import prepare
from brainof.model import BrainOF
from brainof.release import load
from brainof.report.page import Section, Table, write_page
from brainof.stats.metrics import identification
from brainof.utils.files import write_atomically
from studies.objective_tables import markdown

RECIPE, FOLDER = "eegmat", "eegmat"
#: Hz; the first is the reference
RATES = (256, 128, 512)
N_RECORDINGS = 12
DROPPED = 1 / 3
#: What the default features (pooling `auto`) have to reach at every change
FLOOR = {"cosine": 0.9, "found": 0.95}


@torch.inference_mode()
def embeddings(corpus: Corpus, model: BrainOF, pool: str, dropped: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Pooled latents by (recording, onset), optionally without a random share of the channels."""
    model.eval()
    index, found = corpus.index, []
    rng = np.random.default_rng(seed)
    for rows in index.groupby("recording", observed=True).indices.values():
        batch = corpus.batch([int(row) for row in rows], model.config.patch)
        if dropped:
            n_channels = batch.signal_BCT.shape[1]
            kept = np.sort(rng.permutation(n_channels)[: n_channels - round(dropped * n_channels)])
            batch = batch.take_channels(torch.from_numpy(kept))
        found.append(model.pool(model.forward_features(batch), pool, batch.modality).numpy())
    order = np.concatenate(list(index.groupby("recording", observed=True).indices.values()))
    keys = [(str(index["recording"].iloc[row]), round(float(index["onset"].iloc[row]), 2)) for row in order]
    return pd.DataFrame(np.concatenate(found), index=pd.MultiIndex.from_tuples(keys))


def compare(reference: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """Similarity of the windows that both have, about the mean of the reference.

    Returns
    -------
    dict
        `cosine`: mean cosine of a window with itself; `other windows`: with the other windows of its recording, the
        floor to compare with; `found`: share of windows that are most like themselves among all.
    """
    shared = reference.index.intersection(other.index)
    centre = reference.to_numpy().mean(axis=0)
    first, second = (_unit(frame.loc[shared].to_numpy() - centre) for frame in (reference, other))
    similarity = second @ first.T
    recording = np.array([key[0] for key in shared])
    same = (recording[:, None] == recording) & ~np.eye(len(shared), dtype=bool)
    chosen, _ = identification(similarity)
    return {
        "windows": len(shared),
        "cosine": float(np.diag(similarity).mean()),
        "other windows": float(similarity[same].mean()),
        "found": float((chosen == np.arange(len(shared))).mean()),
    }


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True).clip(min=1e-12)


def table(corpora: Mapping[int, Corpus], models: Mapping[str, BrainOF]) -> pd.DataFrame:
    """One line per model, pooling and change of resolution."""
    lines = []
    first = next(iter(corpora))
    for name, model in models.items():
        shares = (
            [f"concat@{output}" for output in model.config.decoder.outputs]
            if model.config.decoder.kind == "per_output"
            else []
        )
        for pool in ("auto", "mean_std", "concat", *shares):
            reference = embeddings(corpora[first], model, pool)
            for rate, corpus in corpora.items():
                for dropped in (0.0, DROPPED):
                    if rate == first and not dropped:
                        continue
                    change = f"{rate} Hz" + (", a third of the channels dropped" if dropped else "")
                    lines.append(
                        {"model": name, "pooling": pool, "change": change}
                        | compare(reference, embeddings(corpus, model, pool, dropped))
                    )
    return pd.DataFrame(lines)


def resolution(root: Path, out: Path, say: Callable[[str], None], *, model: str) -> Path:
    """Prepare at every rate, embed, compare; write `report.html` and `table.md`.

    Parameters
    ----------
    root : Path
        Folder that holds the folder `eegmat`.
    out : Path
        Everything is written here.
    say : callable
        Called with a line of progress.
    model : str
        A run or release folder, or a preset.
    """
    started = time.perf_counter()
    corpora = {}
    for rate in RATES:
        recipe = find_recipe(RECIPE).replaced([f"prepare={{resample: {{sfreq: {rate}}}}}"], RECIPE)
        summary = prepare(recipe, root / FOLDER, out / f"corpus-{rate}", limit=N_RECORDINGS)
        say(f"[{time.perf_counter() - started:6.1f} s] {rate} Hz: {summary.text().splitlines()[0]}")
        corpora[rate] = Corpus(out / f"corpus-{rate}")
    trained, _ = load(model)
    torch.manual_seed(1000)
    frame = table(corpora, {"trained": trained, "random weights": BrainOF(trained.config).eval()})
    text = [
        f"Windows of {N_RECORDINGS} recordings of eegmat, against themselves at {RATES[0]} Hz with all channels. "
        "`other windows` is the cosine with other windows of the same recording: the floor."
    ]
    default = frame[frame["pooling"] == "auto"]
    for name, lines in default.groupby("model", sort=False):
        lowest = {key: float(lines[key].min()) for key in FLOOR}
        verdict = "reached" if all(lowest[key] > floor for key, floor in FLOOR.items()) else "missed"
        text.append(
            f"{name}, default features: the floor is {verdict}; lowest cosine {lowest['cosine']:.3f}, "
            f"lowest share found {lowest['found']:.3f} (floor {FLOOR['cosine']}, {FLOOR['found']})."
        )
        say(text[-1])
    page = write_page(out / "report.html", [Section("Resolution", text, tables=[Table(frame)])], title="Resolution")
    write_atomically(out / "table.md", [(markdown(frame) + "\n").encode()])
    say(f"[{time.perf_counter() - started:6.1f} s] done: {page}")
    return page
