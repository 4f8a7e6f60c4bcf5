"""The page of a study of `arms.yaml`: paired differences, Shapley values, and what was found, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from brainof.evaluation.entries import RANDOM
from brainof.schema import read_yaml
from brainof.stats.compare import paired
from brainof.utils.console import markdown_table
from studies.arms_measures import Values
from studies.tables import markdown

if TYPE_CHECKING:
    from studies.arms import Study

FINDINGS = Path(__file__).with_name("findings.yaml")


def table(values: Values, study: Study, lower: set[str]) -> pd.DataFrame:
    """One line per measure and arm: mean, difference from the first arm and from random weights, 95 % over people."""
    first, lines = next(iter(study.arms)), []
    for measure, by_arm in values.items():
        for arm in study.arms:
            if arm not in by_arm:
                continue
            line: dict[str, Any] = {"measure": measure, "arm": arm, "people": len(by_arm[arm])}
            line["mean"] = float(np.nanmean(list(by_arm[arm].values())))
            for name, other in (("against the first", first), ("against random weights", f"{RANDOM} {arm}")):
                if other in by_arm and other != arm:
                    line |= {name: between(by_arm[arm], by_arm[other], measure not in lower)}
            lines.append(line)
    return pd.DataFrame(lines)


def between(own: Mapping[str, float], other: Mapping[str, float], larger_is_better: bool) -> str:
    """Paired difference with its 95 % interval over people (Student's t), wins and losses."""
    found = paired(own, other, larger_is_better)
    reach = student.ppf(0.975, found["n_groups"] - 1) * found["se"] if found["n_groups"] > 1 else math.nan
    low, high = found["difference"] - reach, found["difference"] + reach
    return f"{found['difference']:+.3f} [{low:+.3f}, {high:+.3f}], {found['wins']}:{found['losses']}"


def shapley(by_arm: Mapping[str, Mapping[str, float]], players: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Shapley value of each modality, by person; nothing seen is worth what random weights are.

    `by_arm` maps the modalities of each subset, joined by a plus, to person -> score; "" holds random weights.
    """
    worth = {frozenset(filter(None, name.split("+"))): scores for name, scores in by_arm.items()}
    people = set.intersection(*(set(scores) for scores in worth.values()))
    n, found = len(players), {}
    for player in players:
        others = [other for other in players if other != player]
        parts = [frozenset(part) for size in range(n) for part in combinations(others, size)]
        weight = {
            part: math.factorial(len(part)) * math.factorial(n - len(part) - 1) / math.factorial(n) for part in parts
        }
        found[player] = {
            person: sum(weight[part] * (worth[part | {player}][person] - worth[part][person]) for part in parts)
            for person in sorted(people)
        }
    return found


def shapley_table(values: Values, study: Study) -> pd.DataFrame:
    """One line per measure that all subsets have: the Shapley value of each modality, 95 % intervals over people.

    A task refuses a model that never saw its modality, so these are bits and cosines, of which nothing is worth 0.
    """
    lines = []
    for measure, by_arm in values.items():
        random = f"{RANDOM} {next(iter(study.arms))}"
        if set(study.arms) <= set(by_arm) and not measure.startswith("MSE"):
            line = {"measure": measure}
            worth = {arm: by_arm[arm] for arm in study.arms}
            worth[""] = by_arm.get(random, dict.fromkeys(next(iter(worth.values())), 0.0))
            for player, scores in shapley(worth, study.modalities).items():
                line[player] = between(scores, dict.fromkeys(scores, 0.0), True).rpartition(", ")[0]
            lines.append(line)
    return pd.DataFrame(lines)


def page(name: str, study: Study, frame: pd.DataFrame, values: Values, changes: list[str], refused: Mapping) -> str:
    """The study in Markdown."""
    arms = [
        f"- **{arm}**: {' '.join(word for word in (about.recipe, *about.change) if word) or 'the recipe as it is'}"
        + (f", {100 * about.people:g} % of the people" if about.people < 1 else "")
        for arm, about in study.arms.items()
    ]
    where = (
        f"corpora {', '.join(study.corpora)}, suite {study.suite}"
        if study.suite
        else f"{study.subjects} simulated people, half of them in pretraining and half asked"
    )
    parts = [
        f"# {study.title}\n\n{study.asks}\n",
        f"    ./run study {' '.join([name, *changes])}\n",
        f"Recipe `{study.recipe}`{' '.join(['', *(f'`{change}`' for change in study.change)])}, {study.steps} steps, "
        f"seeds: {study.seeds}; {where}.\n",
        *arms,
        "\nDifferences are paired over people (mean over seeds first), with 95 % intervals of Student's t;",
        "then wins:losses.",
        "MSE and cosine: waveform of hidden patches, under the masks of the first arm. Information: bits, at",
        "least (Barber and Agakov, a logistic regression on 20 principal components, across people). Tasks: balanced",
        "accuracy of the named read-out unless it says otherwise.\n",
        markdown(frame.fillna("")),
    ]
    if study.shapley:
        parts += ["\n## Shapley values\n", markdown(shapley_table(values, study).fillna(""))]
    parts += [f"\n{task}: {reason}" for task, reason in refused.items()]
    if not changes and (found := read_yaml(FINDINGS).get(name)):
        parts += [f"\n## What it shows, and what not\n\nAdded by hand. {found['shows'].strip()}"]
    return "\n".join(parts) + "\n"


def index(asks: Mapping[str, str]) -> str:
    """One line per study that was run as it stands: what it asks, and its answer, written by hand."""
    found = read_yaml(FINDINGS)
    lines = [[f"[{name}](study_{name}.md)", asks[name], about["answer"]] for name, about in found.items()]
    text = "The same small setting for all (studies/arms.py, studies/cohort.yaml): answers are of this size alone."
    return f"# Studies\n\n    ./run study NAME\n\n{text}\n\n{markdown_table(['study', 'question', 'answer'], lines)}\n"
