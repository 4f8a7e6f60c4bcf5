"""The weights that come with brainof: open recordings -> corpora -> pretraining -> release -> table.

The recipe `pretrained` names the people that are kept out. Windows, masks and first weights follow from its seed, so a
CPU of the same kind takes the same steps again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from brainof.datasets import find_recipe, prepare
from brainof.evaluation import evaluate
from brainof.pretraining import find_config, pretrain
from brainof.release import load, save_release
from brainof.release.load import record_of
from brainof.simulate import CohortParameters
from brainof.simulate.write import write
from brainof.utils.progress import timed
from brainof.utils.values import finite

from .real import require_folders

#: recipe -> folder below the root; all under licenses that allow weights
OPEN = {
    "eegmat": "eegmat",
    "eegmmidb": "eegmmidb_S001",
    "muse_n170": "muse_n170",
    "muse_ssvep": "muse_ssvep",
    "stages_fep": "stages_fep_rsfmri",
    "rpn_rest": "rpn_rest_mist122",
}
#: The film, whose people saw the same: in windows of as many seconds
FILM, FILM_SECONDS = "studyforrest_movie_shen", (10, 30, 100)
#: Differences from the contract: task maps of other parcels and repetition time
ACCEPTED = ["sfreq", "atlas"]
NOTES = [
    "MEG: trained on simulated people only.",
    "fMRI: people who saw the same film at the same moment were made alike, so features of films are aligned, not "
    "self-supervised.",
    "fMRI: correlations are read by random addresses that nothing trained, and these latents are whitened within "
    "people of the rests: persons are told apart by that, not by training.",
    "EEG: latents of correlations hold the log covariance of virtual sensors, a formula that nothing trained; random "
    "weights have it, too.",
    "Gains on the film are of people whom pretraining did not see; others saw the same film in pretraining.",
]
#: No open MEG of use: its people are simulated
MEG = {"subjects": 10, "modalities": ["meg"], "seconds": 120.0}


def weights(root: Path, out: Path, say: Callable[[str], None], *, changes: list[str]) -> Path:
    """Prepare, pretrain and evaluate; `changes` are `key=value` words for the recipe `pretrained`.

    Returns the release folder, whose files belong into `src/brainof/release/pretrained`.

    Raises
    ------
    ReadError
        A dataset folder is missing.
    """
    tell = timed(say)
    config = find_config("pretrained").replaced(changes, "pretrained")
    run = pretrain(config, prepared(root, out, tell), out / "run")
    tell(f"{run / 'release'}: trained")
    found = evaluate("states", str(run), out / "states", root=root, unseen=True, accept=ACCEPTED, say=tell)
    return release_of(run, found.summary, out / "pretrained")


def prepared(root: Path, out: Path, tell: Callable[[str], None]) -> list[Path]:
    """The corpora of the recipe `pretrained`, below `out`; what is complete there is kept.

    Raises
    ------
    ReadError
        A dataset folder is missing.
    """
    require_folders(root, (*OPEN.values(), FILM))
    corpora = [out / "corpus", *(out / f"film_{seconds}s" for seconds in FILM_SECONDS)]
    cohort = out / "cohort"
    if not (cohort / "recipe_meg.yaml").exists():
        shutil.rmtree(cohort, ignore_errors=True)  # half of one
        write(CohortParameters.parse(MEG), cohort)
    for name, folder in OPEN.items():
        tell(prepare(name, root / folder, corpora[0]).text().splitlines()[0])
    tell(prepare(cohort / "recipe_meg.yaml", cohort, corpora[0]).text().splitlines()[0])
    for seconds, corpus in zip(FILM_SECONDS, corpora[1:], strict=True):
        recipe = find_recipe("studyforrest_movie").replaced([f"windows={{length: {seconds}}}", "tasks={}"], "film")
        tell(prepare(recipe, root / FILM, corpus).text().splitlines()[0])
    return corpora


def release_of(run: Path, summary: pd.DataFrame, folder: Path) -> Path:
    """The release that comes with brainof: half precision, and the scores of an evaluation on its card."""
    about = record_of(run)
    about |= {
        "name": "brainof pretrained",
        "license": "Apache-2.0",
        "gains": list(gain_rows(summary)),
        "notes": NOTES,
    }
    model, contract = load(run)
    assert contract is not None
    save_release(folder, model, contract, half=True, **about)
    return folder


def gain_rows(summary: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What the card says of each task, by its first read-out on plain features."""
    plain = summary[(summary["option"] == "plain") & (summary["unfinished"] == 0)]
    for task, rows in plain.groupby("task", sort=False):
        first = rows[(rows["kind"] == "model") & rows["score"].notna()].head(1)
        if first.empty:
            continue
        row = first.iloc[0]
        same = rows[rows["readout"] == row["readout"]]
        classical = rows[rows["kind"] == "classical"].nlargest(1, "score")
        values = {
            "score": row["score"],
            "random": same.loc[same["kind"] == "random weights", "score"].mean(),
            "gain": row["gain"],
            "gain_low": row["gain_low_any"],
            "gain_high": row["gain_high_any"],
            "classical": classical["score"].mean(),
            "chance": rows.loc[rows["kind"] == "chance", "score"].mean(),
        }
        yield {
            "task": str(task),
            "metric": str(row["metric"]),
            "people": int(row["n_people"]),
            "classical_name": "".join(classical["entry"]),
            **finite(values, 4),
        }
