"""The decoder study: missing EEG channels against MNE's splines, and fMRI regions from EEG against ridge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy import signal

from brainof.contract import InputContract, ModalityContract
from brainof.corpus import Corpus, pairs
from brainof.datasets import Recipe, find_recipe, prepare
from brainof.datasets.discover import discover
from brainof.inference.reconstruct import predict_at
from brainof.io import read
from brainof.model import BrainOF
from brainof.prepare.chain import default_chain
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.paired import PairedConfig, pretrain_pairs
from brainof.recording import Recording
from brainof.release import load, save_release
from brainof.report.page import Section, Table, write_page
from brainof.schema import Schema
from brainof.simulate import CohortParameters, cohort
from brainof.simulate.write import recipe, write
from brainof.stats.ridge import RidgeSolver
from brainof.utils.files import write_json
from brainof.utils.progress import timed
from brainof.utils.values import finite
from studies.real import DATASETS

#: Length of the windows of the channel model: short, so that its latents can hold all there is
SECONDS = 1.0
#: The signals of this study are prepared before channels are hidden; the model only normalises
_NORMALISED = InputContract(
    modalities={
        "eeg": ModalityContract(units={"eeg": "V"}, steps=[{"step": "normalise"}], window_seconds=(SECONDS, SECONDS))
    }
)

#: Tied addressing (decision 0015): without it the waveform is learned late or not at all
TIED: dict[str, Any] = {
    "preset": "tiny",
    "backbone": {"depth": 2},
    "sampler": {"initial_addressing": "tied"},
    "decoder": {"outputs": ["waveform"]},
}


class Sizes(Schema):
    """How large the study is; the defaults are those of docs/guide/fusion.md, some twelve minutes of one core."""

    people: int = Field(default=12, ge=1)
    test_people: int = Field(default=4, ge=1)
    steps: int = Field(default=300, ge=1)
    pair_people: int = Field(default=24, ge=1)
    pair_steps: int = Field(default=180, ge=1)
    seconds: float = Field(default=60.0, gt=0)


def decoder(out: Path, say: Callable[[str], None], root: Path, *, seed: int = 0, sizes: Sizes | None = None) -> Path:
    """Run the study; writes `report.html`, `channels.json` and `regions.json`.

    Parameters
    ----------
    out : Path
        Folder for everything; complete corpora and runs in it are kept.
    say : callable
        Called with a line of progress.
    root : Path
        Folder of the public recordings (eegmat, eegmmidb_S001).
    seed : int
    sizes : Sizes, optional

    Returns
    -------
    Path
        The page.
    """
    tell, sizes = timed(say), sizes or Sizes()

    tell("channels: training for the waveform")
    model, test = _channel_model(out, root, sizes, seed)
    tell("channels: hidden ones against splines")
    channels = pd.DataFrame(_channel_rows(model, test, seed))
    write_json(out / "channels.json", finite(_records(channels), 17))
    tell("regions: training on pairs")
    regions = pd.DataFrame(_region_rows(out, sizes, seed))
    write_json(out / "regions.json", finite(_records(regions), 17))
    sections = [
        Section("EEG channels that are not there", [_CHANNELS], tables=[Table(channels)]),
        Section("Regions of fMRI from EEG", [_REGIONS], tables=[Table(regions)]),
    ]
    page = write_page(out / "report.html", sections, title="What the decoder is good for", lead="Wins and losses.")
    tell(f"done: {page}")
    return page


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


_CHANNELS = (
    "Explained variance (median over hidden channels, mean over recordings) of band-passed signals. Spline: MNE's "
    "spherical spline. Ridge: a linear map from the visible to the hidden channels, learned on the training people; it "
    "needs one montage. No test person was in training; of eegmmidb nobody and no channel layout was."
)
_REGIONS = (
    "Explained variance of normalised BOLD (32 s windows, all regions) of people who were not in training, from EEG of "
    "the same 32 s. Noise ceiling: the clean BOLD signal itself."
)


# Channels


def _channel_model(out: Path, root: Path, sizes: Sizes, seed: int) -> tuple[BrainOF, dict[str, dict[str, Any]]]:
    """The model, and for each dataset its test recordings and, where one montage was trained on, training ones."""
    parameters = CohortParameters.parse(
        {
            "subjects": sizes.people,
            "seed": seed,
            "modalities": ["eeg"],
            "channels": 64,
            "seconds": 60.0,
            "block": 20.0,
            "eeg_epoch": SECONDS,
            "artefacts": {"bad_channels": 0},
        }
    )
    folder = write(parameters, out / "cohort")
    short = {**find_recipe("eegmat").to_dict(), "windows": {"length": SECONDS}}
    prepare(folder / "recipe_eeg.yaml", folder, out / "corpus")
    prepare(Recipe.parse(short), root / DATASETS["eegmat"], out / "corpus")
    corpus = Corpus(out / "corpus")
    known = {
        str(name): sorted(set(part["subject"].astype(str)))
        for name, part in corpus.index.groupby("dataset", observed=True)
    }
    left = {name: people[-sizes.test_people :] for name, people in known.items()}
    config = PretrainConfig.parse(
        {
            "model": {**TIED, "sampler": {**TIED["sampler"], "latents": 64}},
            "objective": {"frequency": "none"},
            "mask": {"unit": "channel", "ratio": 0.3, "fourier_ratio": 0.0},
            "sampling": {
                "validation": 0.0,
                "weights": {"dataset": "equal"},
                "exclude": [f"{name}/{person}" for name, people in left.items() for person in people],
            },
            "steps": sizes.steps,
            "batch_size": 24,
            "max_tokens": 256,
            "lr": 2e-3,
            "seed": seed,
            "health_margin": 0.0,
        }
    )
    model = load(pretrain(config, out / "corpus", out / "run"))[0]
    made = [_prepared(subject.eeg, sizes.seconds) for subject in cohort(parameters)]
    real = list(_recordings("eegmat", root, sizes.seconds))
    unseen = list(_recordings("eegmmidb", root, sizes.seconds))
    split = {"simulated": (made, left["simulated_eeg"]), "eegmat": (real, left["eegmat"])}
    test = {
        name: {
            "test": [one for one in recordings if one.entities["subject"] in people],
            "train": [one for one in recordings if one.entities["subject"] not in people],
        }
        for name, (recordings, people) in split.items()
    }
    return model, {**test, "eegmmidb": {"test": unseen, "train": []}}


def _recordings(name: str, root: Path, seconds: float) -> Iterator[Recording]:
    chosen = find_recipe(name)
    for one in discover(chosen.files, root / DATASETS[name]):
        recording = read(one.path, modality=chosen.modality, options=chosen.read, entities=one.entities, root=root)
        yield _prepared(recording, seconds)


def _prepared(recording: Recording, seconds: float) -> Recording:
    """Resampled and band-passed, in volts; located good channels and the first seconds only."""
    chain = default_chain("eeg", {"normalise": False})
    done = chain.apply(recording)
    kept = [
        name
        for name, located in zip(done.channels.names, done.channels.located, strict=True)
        if located and name not in done.bads
    ]
    done = done.pick(kept)
    return done.replace(data=done.data[:, : round(seconds * done.sfreq)])


def _channel_rows(model: BrainOF, test: dict[str, dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    rows = []
    for name, sides in test.items():
        n_channels = sides["test"][0].n_channels
        kinds = {"10 % hidden": round(0.1 * n_channels), "30 % hidden": round(0.3 * n_channels)}
        if n_channels > 32:
            kinds["19 known"] = n_channels - 19
        for kind, n_hidden in kinds.items():
            scores: dict[str, list[float]] = {"model": [], "spline": [], "nearest": [], "ridge": []}
            for number, recording in enumerate(sides["test"]):
                rng = np.random.default_rng([seed, number])
                hidden = np.sort(rng.permutation(n_channels)[:n_hidden])
                if kind == "19 known":
                    hidden = _sparse(recording.channels.positions, n_hidden)
                truth = recording.data[hidden].astype(np.float64)
                marked = recording.replace(bads=tuple(recording.channels.names[i] for i in hidden))
                targets = recording.channels.take(hidden)
                scores["model"].append(_explained(truth, predict_at(marked, model, targets, _NORMALISED)))
                scores["spline"].append(_explained(truth, _spline(marked)[hidden]))
                scores["nearest"].append(_explained(truth, _nearest(recording, hidden)))
                same = [one for one in sides["train"] if one.channels.names == recording.channels.names]
                if same:
                    scores["ridge"].append(_explained(truth, _linear(same, recording, hidden)))
            row = {"recordings": name, "channels": n_channels, "question": kind, "n": len(sides["test"])}
            rows.append({**row, **{key: float(np.mean(v)) if v else float("nan") for key, v in scores.items()}})
    return rows


def _explained(truth: np.ndarray, found: np.ndarray) -> float:
    """Median over channels of the explained variance."""
    error, variance = ((truth - found) ** 2).mean(axis=1), truth.var(axis=1)
    return float(np.median(1 - error / variance))


def _sparse(positions: np.ndarray, n_hidden: int) -> np.ndarray:
    """Numbers of the channels that are left out when those that lie farthest apart are kept."""
    kept = [int(np.argmax(positions[:, 2]))]
    distance = np.linalg.norm(positions - positions[kept[0]], axis=1)
    while len(kept) < len(positions) - n_hidden:
        kept.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(positions - positions[kept[-1]], axis=1))
    return np.setdiff1d(np.arange(len(positions)), kept)


def _spline(recording: Recording) -> np.ndarray:
    """All channels, the bad ones by MNE's spherical splines."""
    import mne

    info = mne.create_info(list(recording.channels.names), recording.sfreq, "eeg")
    places = dict(zip(recording.channels.names, recording.channels.positions, strict=True))
    raw = mne.io.RawArray(recording.data.astype(np.float64), info, verbose="ERROR")
    raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose="ERROR")
    raw.info["bads"] = list(recording.bads)
    return raw.interpolate_bads(verbose="ERROR").get_data()


def _nearest(recording: Recording, hidden: np.ndarray) -> np.ndarray:
    """Mean of the three nearest visible channels."""
    visible = np.setdiff1d(np.arange(recording.n_channels), hidden)
    places = recording.channels.positions
    distance = np.linalg.norm(places[hidden][:, None] - places[visible], axis=2)
    near = visible[np.argsort(distance, axis=1)[:, :3]]
    return recording.data[near].mean(axis=1)


def _linear(train: list[Recording], recording: Recording, hidden: np.ndarray) -> np.ndarray:
    """A linear map from visible to hidden channels of other people, each scaled alike; ridge of 1 % of the trace."""

    def scaled(one: Recording) -> tuple[np.ndarray, float]:
        visible_rows = np.delete(one.data, hidden, axis=0).astype(np.float64)
        size = float(np.median(visible_rows.std(axis=1)))
        return one.data.astype(np.float64) / size, size

    data = np.concatenate([scaled(one)[0] for one in train], axis=1)
    x, y = np.delete(data, hidden, axis=0), data[hidden]
    gram = x @ x.T
    weights = np.linalg.solve(gram + 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram)), x @ y.T)
    own, size = scaled(recording)
    return size * (weights.T @ np.delete(own, hidden, axis=0))


# Regions

_SESSION: dict[str, Any] = {
    "modalities": ["eeg", "fmri"],
    "channels": 19,
    "t_r": 0.5,
    "seconds": 256.0,
    "block": 20.0,
    "eeg_epoch": 4.0,
    "fmri_blocks": 0,
    "sources": {"regions": 40},
}


def _region_rows(out: Path, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    parameters = CohortParameters.parse({**_SESSION, "subjects": sizes.pair_people, "seed": seed + 7})
    folder = write(parameters, out / "pair_cohort")
    for modality in ("eeg", "fmri"):
        values = recipe(parameters, modality)
        if modality == "eeg":
            values |= {"prepare": {"resample": {"sfreq": 128.0}}, "windows": {"length": 32.0}}
        prepare(Recipe.parse(values), folder, out / "pair_corpus")
    corpus = Corpus(out / "pair_corpus")
    table = pairs(corpus.index, {"eeg": "simulated_eeg", "fmri": "simulated_fmri"}, overlap=0.99)
    subject = corpus.index["subject"].astype(str).to_numpy()[table["eeg"]]
    people = np.unique(subject)
    tested = np.isin(subject, people[-max(2, len(people) // 4) :])
    train, test = table[~tested].reset_index(drop=True), table[tested].reset_index(drop=True)
    config = PairedConfig.parse(
        {
            "model": {**TIED, "sampler": {**TIED["sampler"], "latents": 32}},
            "objective": {"frequency": "none"},
            "mask": {"fourier_ratio": 0.0},
            "modality_dropout": 0.7,
            "hide": "fmri",
            "steps": sizes.pair_steps,
            "batch_size": 12,
            "max_tokens": 640,
            "lr": 2e-3,
            "seed": seed,
        }
    )
    if (out / "pair_model").is_dir():
        model = load(out / "pair_model")[0]
    else:
        torch.manual_seed(seed)
        overrides = dict(config.model)
        model = BrainOF.from_preset(overrides.pop("preset"), **overrides)
        pretrain_pairs(config, corpus, train, model)
        save_release(out / "pair_model", model, _NORMALISED)
    targets = {name: _bold(corpus, part) for name, part in (("train", train), ("test", test))}
    features = {name: _envelopes(corpus, part) for name, part in (("train", train), ("test", test))}
    latents = {name: _latents(corpus, model, part) for name, part in (("train", train), ("test", test))}
    inner = subject[~tested]
    found = {
        "decoder": _decoded(corpus, model, test),
        "ridge on lagged band power": _lagged_ridge(corpus, train, test, targets, inner),
        "ridge on band power over time": _ridge(features, targets["train"], inner),
        "ridge on latents": _ridge(latents, targets["train"], inner),
        "training mean": np.broadcast_to(targets["train"].mean(axis=0), targets["test"].shape),
        "noise ceiling": _ceiling(parameters, corpus, test),
    }
    return [{"from": name, **_region_scores(targets["test"], values)} for name, values in found.items()]


def _region_scores(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Explained variance pooled over windows and regions, and the median correlation of a region over all windows."""
    flat, other = (x.transpose(1, 0, 2).reshape(x.shape[1], -1) for x in (truth, found))
    spread = (flat.std(axis=1) > 0) & (other.std(axis=1) > 0)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(flat[spread], other[spread], strict=True)]
    return {
        "explained variance": float(1 - ((flat - other) ** 2).sum() / (flat**2).sum()),
        "median correlation": float(np.median(correlation)) if correlation else float("nan"),
    }


def _bold(corpus: Corpus, table: pd.DataFrame) -> np.ndarray:
    return np.stack([corpus.read(int(row)).astype(np.float64) for row in table["fmri"]])


def _latents(corpus: Corpus, model: BrainOF, table: pd.DataFrame) -> np.ndarray:
    parts = []
    with torch.inference_mode():
        for start in range(0, len(table), 16):
            batch = corpus.batch(table["eeg"].iloc[start : start + 16].tolist())
            parts.append(model.pool(model.forward_features(batch), "concat").numpy())
    return np.concatenate(parts)


def _decoded(corpus: Corpus, model: BrainOF, table: pd.DataFrame) -> np.ndarray:
    """fMRI decoded from EEG alone, in the order of regions."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(table), 16):
            part = table.iloc[start : start + 16]
            eeg, fmri = (corpus.batch(part[name].tolist()) for name in ("eeg", "fmri"))
            latents = model.forward_features(eeg)
            identity = model.tokens(fmri).identity_BND
            parts.append(model.decode(latents, identity)["waveform"].double().numpy())
    return np.concatenate(parts)


def _envelopes(corpus: Corpus, table: pd.DataFrame) -> np.ndarray:
    """Log power of four bands and each channel every 2 s, flattened: what drives BOLD, as far as EEG shows it."""
    found = []
    for row in table["eeg"]:
        data = corpus.read(int(row)).astype(np.float64)
        frequency, _, power = signal.stft(data, 128.0, nperseg=256, noverlap=0, boundary=None)
        bands = [(4, 8), (8, 13), (13, 20), (20, 30)]
        inside = [(np.abs(power[:, (frequency >= lo) & (frequency < hi)]) ** 2).mean(axis=1) for lo, hi in bands]
        found.append(np.log(np.stack(inside) + 1e-12).ravel())
    return np.stack(found)


def _ridge(features: dict[str, np.ndarray], target: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Ridge from features of a window to all its regions and volumes; the penalty by inner folds over people."""
    solver = RidgeSolver(features["train"], groups)
    solution = solver.solve(target.reshape(len(target), 1, -1))
    shape = (len(features["test"]), *target.shape[1:])
    return solver.predict(solution, features["test"])[:, 0].reshape(shape)


def _lagged(corpus: Corpus, row: int, n_volumes: int) -> np.ndarray:
    """Log power of four bands and each channel at 0, 2, ... 12 s before each volume, (n_volumes, features)."""
    rate, step = 128, 64  # a volume every 0.5 s
    data = corpus.read(row).astype(np.float64)
    frequency, _, power = signal.stft(data, rate, nperseg=2 * step, noverlap=step, boundary="even")
    bands = [(4, 8), (8, 13), (13, 20), (20, 30)]
    inside = [(np.abs(power[:, (frequency >= lo) & (frequency < hi)]) ** 2).mean(axis=1) for lo, hi in bands]
    found = np.log(np.stack(inside) + 1e-12).reshape(len(bands) * len(data), -1)[:, :n_volumes]
    found -= found.mean(axis=1, keepdims=True)
    lagged = [np.pad(found, ((0, 0), (lag, 0)))[:, :n_volumes] for lag in range(0, 25, 4)]
    return np.concatenate(lagged).T


def _lagged_ridge(
    corpus: Corpus, train: pd.DataFrame, test: pd.DataFrame, targets: dict[str, np.ndarray], groups: np.ndarray
) -> np.ndarray:
    """One linear map for all volumes, as encoding models have it: what the haemodynamic delay needs, learned once."""
    n_volumes = targets["train"].shape[-1]
    x = {
        name: np.concatenate([_lagged(corpus, int(row), n_volumes) for row in table["eeg"]])
        for name, table in (("train", train), ("test", test))
    }
    y = targets["train"].transpose(0, 2, 1).reshape(len(x["train"]), 1, -1)
    solver = RidgeSolver(x["train"], np.repeat(groups, n_volumes))
    found = solver.predict(solver.solve(y), x["test"])[:, 0]
    return found.reshape(len(test), n_volumes, -1).transpose(0, 2, 1)


def _ceiling(parameters: CohortParameters, corpus: Corpus, table: pd.DataFrame) -> np.ndarray:
    """The clean BOLD signal of the same windows, prepared like the recorded one and scaled to fit it."""
    rows = corpus.index.iloc[table["fmri"]]
    wanted = set(rows["subject"].astype(str))
    clean = {}
    for subject in cohort(parameters):
        if subject.name in wanted:
            recording = subject.fmri.replace(data=subject.truth.clean["fmri"])
            clean[subject.name] = default_chain("fmri").apply(recording)
    windows = []
    for name, onset in zip(rows["subject"].astype(str), rows["onset"], strict=True):
        start = round(onset * clean[name].sfreq)
        windows.append(clean[name].data[:, start : start + 64])
    found, truth = np.stack(windows).astype(np.float64), _bold(corpus, table)
    return found * (found * truth).sum() / (found**2).sum()
