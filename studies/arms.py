"""Studies as data: arms that differ in a pretraining recipe, one cohort or corpus, measures with paired intervals.

`arms.yaml` holds the studies. Every arm and seed is pretrained on half of the people; the other half is asked three
things: how well hidden patches are rebuilt, how much the features know of the label, and the tasks of a suite
(`brainof.evaluate`). What is finished is kept, so that a study may be stopped at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from scipy.stats import t as student

from brainof.channels import Modality
from brainof.corpus import open_corpora, subjects
from brainof.errors import ConfigError
from brainof.evaluation import Suite, evaluate, find_suite
from brainof.evaluation.entries import MODEL, RANDOM
from brainof.evaluation.questions import Question, ask
from brainof.evaluation.sources import Opened, open_task
from brainof.inference import embed
from brainof.model import BrainOF
from brainof.pretraining import PretrainConfig, find_config, pretrain
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.terms.comparison import clean_patches
from brainof.release import load
from brainof.schema import Schema, read_yaml
from brainof.simulate.tasks import task_parameters
from brainof.simulate.write import write
from brainof.stats.compare import paired
from brainof.stats.metrics import LOWER_IS_BETTER
from brainof.utils.files import read_json, write_atomically, write_json
from brainof.utils.modules import evaluating
from brainof.utils.progress import timed
from studies.tables import markdown

STUDIES = Path(__file__).with_suffix(".yaml")
#: Windows of one modality that are rebuilt, and principal components that the information is read from
WINDOWS, COMPONENTS = 64, 20

#: measure -> (task, person -> value)
Values = dict[str, dict[str, dict[str, float]]]


class Arm(Schema):
    """What one arm changes in the recipe of its study."""

    recipe: str = ""
    """Ablations behind the recipe, joined by a plus (`brainof pretrain --list`)."""
    change: list[str] = Field(default_factory=list)
    people: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the people of pretraining that are seen."""


class Study(Schema):
    """A study; its first arm is what the others are held against.

    `corpora` and `suite` take the place of the simulated cohort: corpora to pretrain on, and a suite (name or file)
    whose people are in none of them.
    """

    title: str
    asks: str
    recipe: str = "published"
    change: list[str] = Field(default_factory=list)
    arms: dict[str, Arm]
    steps: int = Field(default=200, ge=1)
    seeds: int = Field(default=2, ge=1)
    subjects: int = Field(default=16, ge=4)
    modalities: tuple[Modality, ...] = ("eeg", "meg", "fmri")
    cohort: dict[str, Any] = Field(default_factory=lambda: {"channels": 19, "effects": {"state_strength": 0.5}})
    """Parameters of the simulated cohort; rest and task differ half as much as by default, below the ceiling."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=lambda: {"": dict[str, Any]()})
    """Name -> fields of a SuiteTask, asked of each modality of the cohort."""
    corpora: list[str] = Field(default_factory=list)
    suite: str = ""
    shapley: bool = False
    """Arms are named by the modalities that they see, joined by a plus; their Shapley values are shown."""

    def config(self, name: str, seed: int, exclude: Iterable[str]) -> PretrainConfig:
        """The pretraining run of an arm."""
        arm = self.arms[name]
        fixed = [f"steps={self.steps}", f"seed={seed}", f"health_every={self.steps}", f"checkpoint_every={self.steps}"]
        fixed += [
            "health_grace=1",
            "health_margin=0",
            f"sampling.exclude={json.dumps(sorted(exclude))}",
            "sampling.validation=0",
        ]
        recipe = "+".join([self.recipe, *filter(None, [arm.recipe])])
        return find_config(recipe).replaced([*fixed, *self.change, *arm.change], f"arm {name!r}")


def studies() -> dict[str, Any]:
    """Name -> values of the studies that are data."""
    return read_yaml(STUDIES)


def run_study(name: str, root: Path, out: Path, say: Callable[[str], None], changes: list[str]) -> Path:
    """Run what is missing of a study, then write `NAME.md` and `NAME.csv`.

    Parameters
    ----------
    name : str
        A key of `arms.yaml`.
    root : Path
        Data of `suite`.
    changes : list of str
        `key=value` changes to the study: `steps=5000 subjects=200 seeds=5`, or `corpora=[corpus] suite=states`.

    Raises
    ------
    ConfigError
        A field that does not exist, or only one of `corpora` and `suite`.
    """
    tell = timed(say)
    study = Study.parse(studies()[name], f"study {name}").replaced(changes, f"study {name}")
    if bool(study.corpora) != bool(study.suite):
        raise ConfigError("take the place of the cohort together", field="corpora, suite", fix="give both or none")
    for arm in study.arms:  # a wrong one is found before the work
        study.config(arm, 0, [])
    suite, data, exclude = _data(study, name, root, out)
    runs = {}
    for seed in range(study.seeds):
        for arm in study.arms:
            config = study.config(arm, seed, [*exclude, *_left_out(study, study.arms[arm], data, exclude)])
            runs[arm, seed] = pretrain(config, data, out / "runs" / f"{_plain(arm)}-s{seed}")
            if not (runs[arm, seed] / "release").is_dir():  # it was asked to stop, and saved where it stood
                raise KeyboardInterrupt
            tell(f"{arm}, seed {seed}")
    found = evaluate(suite, [str(run) for run in runs.values()], out / "scores", root=root if study.suite else out)
    tell(f"{len(suite.tasks)} tasks")
    values, lower = task_values(study, found.results)
    for measure, own in looked_into(study, suite, runs, root if study.suite else out, out).items():
        values[measure] = own
    frame = table(values, study, {*lower, *(measure for measure in values if measure.startswith("MSE"))})
    frame.to_csv(out / f"{name}.csv", index=False)
    write_atomically(out / f"{name}.md", [page(name, study, frame, values, changes, found.refused).encode()])
    return out / f"{name}.md"


def _plain(arm: str) -> str:
    return "".join(c if c.isalnum() or c in "+." else "-" for c in arm)


def _data(study: Study, name: str, root: Path, out: Path) -> tuple[Suite, list[Path], list[str]]:
    """The suite, the corpora of pretraining, and who must not be seen in them."""
    if study.suite:
        return find_suite(study.suite), [Path(each) for each in study.corpora], []
    about = {"task": "rest_vs_task", "seed": 2602, "meg": "neuromag102", **study.cohort, "subjects": study.subjects}
    cohort = write(task_parameters(about.pop("task"), **about, modalities=study.modalities), out / "cohort")
    people = sorted(path.name.removeprefix("sub-") for path in cohort.glob("sub-*"))
    half = people[: len(people) // 2]
    tasks = {}
    for title, fields in study.tasks.items():
        for modality in study.modalities:
            own = {"recipe": f"{cohort}/recipe_{modality}.yaml/rest_vs_task", "folder": "cohort", "repeats": 1}
            own |= {"leave_out": half, "baselines": [], "n_splits": 4, "asks": "Rest or task, simulated people"}
            tasks[f"{modality} {title}".strip()] = {**own, **fields}
    values = {"name": f"study-{name}", "version": "1", "title": study.title, "random_weights": 2, "permutations": 0}
    suite = Suite.parse({**values, "tasks": tasks})
    corpora = []
    for task in suite.tasks.values():
        opened = open_task(task, out, out / "scores")
        assert isinstance(opened, Opened)
        corpora.append(Path(opened.corpus.root))
    corpora = list(dict.fromkeys(corpora))
    asked = [f"simulated_{modality}/{person}" for modality in study.modalities for person in people[len(half) :]]
    return suite, corpora, asked


def _left_out(study: Study, arm: Arm, data: list[Path], exclude: list[str]) -> list[str]:
    """People of pretraining that an arm does not see; a person's modalities stay together."""
    if arm.people == 1:
        return []
    everyone = sorted(set(subjects(open_corpora(data).index)) - set(exclude))
    names = np.random.default_rng(0).permutation(sorted({person.partition("/")[2] for person in everyone}))
    kept = set(names[: max(1, round(arm.people * len(names)))])
    return [person for person in everyone if person.partition("/")[2] not in kept]


def task_values(study: Study, results: pd.DataFrame) -> tuple[Values, set[str]]:
    """Task and read-out -> arm -> person -> score over seeds; and where lower is better.

    Random weights of the architecture of an arm stand beside it as `random weights ARM`.
    """
    values: Values = {}
    own = results[(results["option"] == "plain") & results["kind"].isin([MODEL, RANDOM])]
    arms = {_plain(arm): arm for arm in study.arms}
    networks = {arm: study.config(arm, 0, []).model for arm in study.arms}
    twins = {arm: next(other for other in networks if networks[other] == networks[arm]) for arm in networks}
    entry = own["entry"].str.replace(r"-s\d+(?=\)?$)", "", regex=True)
    own = own.assign(person=own["dataset"] + "/" + own["subject"], arm=entry.map(arms).fillna(entry))
    for (task, readout, arm), part in own.groupby(["task", "readout", "arm"], sort=False):
        scores = by_person(part["score"], part["person"])
        found = values.setdefault(f"{task} ({readout})", {})
        if arm in study.arms:
            found[str(arm)] = scores
        for name, twin in twins.items():
            if arm in (RANDOM, f"{RANDOM} (as {_plain(twin)})"):
                found[f"{RANDOM} {name}"] = scores
    measured = own.drop_duplicates(["task", "readout", "metric"])
    lower = measured[measured["metric"].isin(LOWER_IS_BETTER)]
    return values, {f"{task} ({readout})" for task, readout in zip(lower["task"], lower["readout"], strict=True)}


def looked_into(study: Study, suite: Suite, runs: Mapping, root: Path, out: Path) -> Values:
    """Rebuilding of hidden patches, and information, by the people who were not seen: mean over seeds."""
    values: Values = {}
    first = next(iter(study.arms))
    for name, task in suite.tasks.items():
        opened = open_task(task, root, out / "scores")
        if task.sided or not isinstance(opened, Opened) or task.kind != "classification":
            continue
        question = ask(*opened.sides())
        for (arm, seed), run in runs.items():
            place = run / f"looked-into-{question.digest}-{task.name.replace(' ', '-')}.json"
            if not place.exists():
                model, _ = load(run)
                found = rebuilt(model, study.config(arm, seed, []), study.config(first, 0, []), question)
                write_json(place, {**found, "information": information(question, features(model, question))})
            for measure, of_people in read_json(place).items():
                kept = values.setdefault(f"{measure}, {name}", {}).setdefault(arm, {})
                for person, value in of_people.items():
                    kept[person] = kept.get(person, 0.0) + value / study.seeds
    return values


def features(model: BrainOF, question: Question) -> np.ndarray:
    """As the tasks read them."""
    return embed(question.corpus, model, contract=None, rows=question.rows).values


def rebuilt(
    model: BrainOF, config: PretrainConfig, masked_as: PretrainConfig, question: Question
) -> dict[str, dict[str, float]]:
    """MSE and cosine of the waveform of hidden patches, by person; the windows and masks of all arms are the same."""
    objective = Objective(model, config.objective)
    masking = Masking(masked_as.mask, model.config.patch, max_tokens=masked_as.max_tokens)
    rng = np.random.default_rng(2602)
    sets = question.index["channel_set"].astype(str) + question.index["n_times"].astype(str)
    own = np.flatnonzero((sets == sets.mode()[0]).to_numpy())
    chosen = np.sort(rng.choice(own, min(WINDOWS, len(own)), replace=False))
    masked = masking.plan(question.corpus.batch(question.rows[chosen].tolist(), model.config.patch), rng, fourier=False)
    assert masked is not None
    with evaluating(objective), torch.no_grad():
        tokens = model.tokens(masked.batch)
        outputs = objective.decode(masked, tokens, objective.encode(masked, tokens))
        target_BHS, mask_BHS = clean_patches(masked, tokens)
        mask_BHS = (mask_BHS & masked.hidden_mask_BH[..., None]).float()
        waveform_BHS = outputs["waveform"].float() * mask_BHS
        target_BHS = target_BHS * mask_BHS
        mse_B = (waveform_BHS - target_BHS).square().sum((1, 2)) / mask_BHS.sum((1, 2)).clamp(min=1)
        cosine_BH = torch.cosine_similarity(waveform_BHS, target_BHS, dim=2)
        hidden_BH = masked.hidden_mask_BH.float()
        cosine_B = (cosine_BH * hidden_BH).sum(1) / hidden_BH.sum(1).clamp(min=1)
    people = question.groups[chosen]
    return {
        name: by_person(pd.Series(values.numpy()), people) for name, values in (("MSE", mse_B), ("cosine", cosine_B))
    }


def by_person(values: pd.Series, people: np.ndarray | pd.Series) -> dict[str, float]:
    """Person -> mean."""
    return {str(person): float(mean) for person, mean in values.groupby(people).mean().items()}


def information(question: Question, X: np.ndarray) -> dict[str, float]:
    """Bits that features know of the label, by person: the bound of Barber and Agakov (2003).

    I(Y; Z) >= H(Y) + E log2 q(y | z), with q a logistic regression (C = 0.1) on the first principal components, fitted
    on the other people of each fold. It may be negative where q is wrong with confidence.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shares = np.bincount(question.y) / len(question.y)
    entropy = float(-(shares * np.log2(shares)).sum())
    found: dict[str, list[float]] = {}
    for split in question.folds:
        reduced = PCA(min(COMPONENTS, len(split.train) - 1), svd_solver="randomized", random_state=0)
        q = make_pipeline(StandardScaler(), reduced, LogisticRegression(C=0.1, max_iter=500))
        probability = q.fit(X[split.train], question.y[split.train]).predict_proba(X[split.test])
        bits = entropy + np.log2(probability[np.arange(len(split.test)), question.y[split.test]].clip(1e-6))
        for person, value in zip(question.groups[split.test].tolist(), bits.tolist(), strict=True):
            found.setdefault(person, []).append(value)
    return {person: float(np.mean(values)) for person, values in sorted(found.items())}


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
    """One line per task: the Shapley value of each modality with its 95 % interval over people."""
    lines = []
    for measure, by_arm in values.items():
        random = f"{RANDOM} {next(iter(study.arms))}"
        if random in by_arm and set(study.arms) <= set(by_arm):
            line = {"measure": measure}
            worth = {arm: by_arm[arm] for arm in study.arms} | {"": by_arm[random]}
            for player, scores in shapley(worth, study.modalities).items():
                line[player] = between(scores, dict.fromkeys(scores, 0.0), True).rpartition(", ")[0]
            lines.append(line)
    return pd.DataFrame(lines)


def page(name: str, study: Study, frame: pd.DataFrame, values: Values, changes: list[str], refused: Mapping) -> str:
    """The study in Markdown."""
    arms = [
        f"- **{arm}**: {' '.join(filter(None, [about.recipe, *about.change])) or 'the recipe as it is'}"
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
    return "\n".join(parts) + "\n"
