"""Several seeds of the weights that come with brainof: what the recipe `pretrained` gains, apart from the luck of one.

Seed 0 is the weights in the box; the others are trained here. Checkpoints on the way give the gain against steps; their
learning rate is still high, so a run of as many steps that ends there would be better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from scipy.stats import t as student

from brainof.evaluation import evaluate, find_suite
from brainof.evaluation.entries import CLASSICAL, MODEL, RANDOM
from brainof.pretraining import find_config, pretrain, release_checkpoint
from brainof.release.load import PRETRAINED
from brainof.schema import Schema
from brainof.stats.compare import combined_error, standard_error
from brainof.utils.files import write_atomically
from brainof.utils.progress import timed

from .tables import gain_columns, markdown, with_interval, with_spread
from .weights import ACCEPTED, prepared

#: What is compared: draws x people
Scores = pd.DataFrame
TASKS = ("film_16s", "film_30s", "loudness", "conditions", "arithmetic", "identification", "sex")


class Sizes(Schema):
    """How large the study is; seeds, draws and tasks are by default those of docs/results/pretrained_seeds.md."""

    seeds: int = Field(default=3, ge=2)
    """Pretraining seeds, with that of the weights in the box."""
    random: int = Field(default=3, ge=2)
    """Random initialisations."""
    marks: tuple[int, ...] = (200, 400)
    """Steps after which checkpoints are scored as well."""
    tasks: tuple[str, ...] = TASKS
    """Of the suite `states`."""


def seeds(root: Path, out: Path, say: Callable[[str], None], *, sizes: Sizes) -> Path:
    """Train, score and compare; writes `seeds.md` and `seeds.csv`. What is complete in `out` is kept.

    `out` may be that of `./run study weights`, whose corpora are then used.

    Raises
    ------
    ReadError
        A dataset folder is missing.
    """
    tell = timed(say)
    recipe = find_config(PRETRAINED)
    models = {(0, recipe.steps): PRETRAINED}
    corpora = prepared(root, out, tell)
    every = math.gcd(recipe.steps, *sizes.marks)
    for seed in range(1, sizes.seeds):
        changes = [f"seed={seed}", f"checkpoint_every={every}", f"keep_checkpoints={recipe.steps // every}"]
        run = pretrain(recipe.replaced(changes, PRETRAINED), corpora, out / f"seed-{seed}")
        if not (run / "release").is_dir():  # it was asked to stop, and saved where it stood
            raise KeyboardInterrupt
        tell(f"{run}: trained")
        for steps in sizes.marks:
            models[seed, steps] = str(release_checkpoint(run, out / f"seed-{seed}-{steps}", str(steps)))
        models[seed, recipe.steps] = str(run)
    suite = find_suite("states").model_copy(update={"random_weights": sizes.random})
    about: dict[str, Any] = {"root": root, "tasks": sizes.tasks, "unseen": True, "accept": ACCEPTED}
    found = evaluate(suite, list(models.values()), out / "seeds", permutations=0, say=tell, **about)
    names = {Path(model).name: key for key, model in models.items()}
    whole = table(found.results, {name: key for name, key in names.items() if key[1] == recipe.steps})
    curve = table(found.results, {name: key for name, key in names.items() if key[0]})  # seed 0 kept no checkpoints
    pd.concat([whole.assign(part="all seeds"), curve.assign(part="curve")]).to_csv(out / "seeds.csv", index=False)
    write_atomically(out / "seeds.md", [page(whole, curve).encode()])
    return out / "seeds.md"


def table(results: pd.DataFrame, names: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """One line per task and number of steps: scores of all seeds, and their gain over random weights.

    `names` maps the entry of a model to its seed and steps. Read are the first read-out of a task and plain features.
    """
    lines = []
    plain = results[results["option"] == "plain"]
    for task, whole in plain.groupby("task", sort=False):
        own = whole[whole["readout"] == whole.loc[whole["kind"] == MODEL, "readout"].iloc[0]]
        random = draws(own[own["kind"] == RANDOM], "seed")
        classical = whole[whole["kind"] == CLASSICAL].groupby("entry")["score"].mean()
        for steps in sorted({steps for _, steps in names.values()}):
            entries = {name: seed for name, (seed, at) in names.items() if at == steps}
            models = draws(own[own["entry"].isin(list(entries))].replace({"entry": entries}), "entry")
            line = {"task": task, "metric": own["metric"].iloc[0], "steps": steps, "people": models.shape[1]}
            scores = models.mean(axis=1)
            line |= {"seeds": len(models), "each": " ".join(f"{score:.3f}" for score in scores)}
            line |= {"score": scores.mean(), "sd": scores.std(), "random": random.mean(axis=1).mean()}
            line |= {"random_sd": random.mean(axis=1).std(), **gain(models, random)}
            line |= {"classical": classical.max(), "classical_name": classical.idxmax() if len(classical) else ""}
            lines.append(line)
    return pd.DataFrame(lines)


def draws(rows: pd.DataFrame, by: str) -> Scores:
    """Scores as draws x people."""
    return rows.pivot_table("score", by, "subject", aggfunc="mean")


def gain(models: Scores, random: Scores) -> dict[str, float]:
    """Mean gain of a recipe over random weights, for other people, seeds and initialisations than these.

    The variances of three means add up: of the gain over people (paired), of the seeds, and of the initialisations;
    degrees of freedom after Welch and Satterthwaite. `se` is NaN where one of them cannot be told.
    """
    people = (models.mean() - random.mean()).dropna().to_numpy(dtype=float)
    varied = people, models.mean(axis=1).to_numpy(dtype=float), random.mean(axis=1).to_numpy(dtype=float)
    freedoms = [max(len(each) - 1, 1) for each in varied]
    mean, (se, reach) = float(people.mean()), combined_error([standard_error(each) ** 2 for each in varied], freedoms)
    alone = standard_error(people) * float(student.ppf(0.975, len(people) - 1))
    found = {"gain": mean, "se": se, "low": mean - reach, "high": mean + reach}
    return found | {"low_people": mean - alone, "high_people": mean + alone, "wins": int((people > 0).sum())}


def verdict(frame: pd.DataFrame) -> str:
    """Which tasks are further from random weights than two standard errors, in a sentence."""
    errors = frame["gain"] / frame["se"]
    above, below = list(frame.loc[errors > 2, "task"]), list(frame.loc[errors < -2, "task"])
    level = [task for task in frame["task"] if task not in (*above, *below)]
    parts = {"Above random weights by more than two standard errors": above, "below": below, "neither": level}
    return "; ".join(f"{what}: {', '.join(tasks) or 'nothing'}" for what, tasks in parts.items()) + "."


def page(whole: pd.DataFrame, curve: pd.DataFrame) -> str:
    """The study in Markdown: all seeds after all steps, and the gain against steps."""
    rows = pd.DataFrame(
        {
            "task": whole["task"],
            "metric": whole["metric"].str.replace("_", " "),
            "people": whole["people"],
            "each seed": whole["each"],
            "mean (SD)": with_spread(whole["score"], whole["sd"]),
            "random weights (SD)": with_spread(whole["random"], whole["random_sd"]),
            **gain_columns(whole),
            "people above": [f"{row.wins} of {row.people}" for row in whole.itertuples()],
            "best classical": [f"{row.classical:.3f} ({row.classical_name})" for row in whole.itertuples()],
        }
    )
    gains = curve.assign(gain=with_interval(curve, "low", "high")).pivot(index="task", columns="steps", values="gain")
    gains = gains.loc[whole["task"]].rename(columns="{} steps".format).reset_index()
    parts = [
        "# Seeds of the weights that come with brainof\n",
        "    ./run study seeds --root data --out runs/weights\n",
    ]
    parts += [
        verdict(whole),
        "",
        markdown(rows),
        f"\n## Gain against steps, {curve['seeds'].max()} seeds\n",
        markdown(gains),
    ]
    return "\n".join(parts) + "\n"
