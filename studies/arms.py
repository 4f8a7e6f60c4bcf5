"""Studies as data: arms that differ in a pretraining recipe, one cohort or corpus, measures with paired intervals.

`arms.yaml` holds the studies. Every arm and seed is pretrained on half of the people; the other half is asked three
things: how well hidden patches are rebuilt, how much the features know of the label, and the tasks of a suite
(`brainof.evaluate`). What is finished is kept, so that a study may be stopped at any time, and studies of one cohort
share it: an arm that two of them hold is trained once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from brainof.channels import Modality
from brainof.corpus import open_corpora, subjects
from brainof.errors import ConfigError
from brainof.evaluation import Suite, evaluate, find_suite
from brainof.evaluation.sources import Opened, open_task
from brainof.pretraining import PretrainConfig, find_config, pretrain
from brainof.pretraining.recipes import ablated
from brainof.schema import Schema, read_yaml
from brainof.simulate.parameters import task_parameters
from brainof.simulate.write import write
from brainof.utils.files import write_atomically
from brainof.utils.progress import timed
from studies.arms_measures import looked_into, task_values
from studies.arms_page import index, page, table

STUDIES, COHORT = (Path(__file__).with_name(f"{name}.yaml") for name in ("arms", "cohort"))
#: What makes a published objective small: minutes of one core, and hidden patches are rebuilt
SMALL = (
    "model.backbone.depth=2",
    "model.sampler.latents=32",
    "batch_size=8",
    "max_tokens=320",
    "min_channels=0.8",
    "lr=2.0e-3",
    "mask.ratio=0.5",
    "mask.fourier_ratio=0",
    "objective.predict=hidden",
)


class Arm(Schema):
    """What one arm changes in the recipe of its study."""

    recipe: str = ""
    """Ablations of the recipe as its study changes it, joined by a plus (`brainof pretrain --list`)."""
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
    recipe: str = "published+patches"
    """`published` hides segments, which tell little (docs/decisions/0090); patches of single channels are learned."""
    change: list[str] = Field(default_factory=lambda: list(SMALL))
    """`change=[]` takes the recipe as it is."""
    arms: dict[str, Arm]
    steps: int = Field(default=400, ge=1)
    seeds: int = Field(default=2, ge=1)
    subjects: int = Field(default=16, ge=4)
    modalities: tuple[Modality, ...] = ("eeg", "meg", "fmri")
    """Of the cohort."""
    asked: tuple[Modality, ...] = ()
    """Those that the tasks ask; all where empty."""
    cohort: dict[str, Any] = Field(default_factory=lambda: read_yaml(COHORT))
    """Parameters of the simulated cohort."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=lambda: {"": dict[str, Any]()})
    """Name -> fields of a SuiteTask, asked of each modality."""
    corpora: list[str] = Field(default_factory=list)
    suite: str = ""
    accept: list[str] = Field(default_factory=list)
    """Differences from the contract of pretraining that are part of the question."""
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
        config = find_config(self.recipe).replaced([*fixed, *self.change], f"arm {name!r}")
        return ablated(config, arm.recipe.split("+") if arm.recipe else []).replaced(arm.change, f"arm {name!r}")


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
    place, data, suite, root, exclude = _data(study, root, out)
    runs = {}
    for seed in range(study.seeds):
        for arm in study.arms:
            config = study.config(arm, seed, [*exclude, *_left_out(study, study.arms[arm], data, exclude)])
            of_run = json.dumps([config.to_dict(), [str(path) for path in data]], sort_keys=True)
            run = place / "pretrained" / hashlib.sha256(of_run.encode()).hexdigest()[:12]
            runs[arm, seed] = pretrain(config, data, run)
            if not (run / "release").is_dir():  # it was asked to stop, and saved where it stood
                raise KeyboardInterrupt
            tell(f"{arm}, seed {seed}: {run}")
    found = evaluate(suite, [str(run) for run in runs.values()], place, root=root, accept=study.accept)
    tell(f"{len(suite.tasks)} tasks")
    arms = {run.name: arm for (arm, _), run in runs.items()}
    values, lower = task_values(study, found.results, arms)
    for measure, own in looked_into(study, suite, runs, root, place).items():
        values[measure] = own
    frame = table(values, study, {*lower, *(measure for measure in values if measure.startswith("MSE"))})
    frame.to_csv(out / f"study_{name}.csv", index=False)
    lacking = found.summary[found.summary["reason"].fillna("") != ""].replace({"entry": arms})
    reasons = {f"{line.task}, {line.entry}": str(line.reason) for line in lacking.itertuples()}
    text = page(name, study, frame, values, changes, {**found.refused, **reasons})
    write_atomically(out / f"study_{name}.md", [text.encode()])
    write_atomically(out / "studies.md", [index({name: about["asks"] for name, about in studies().items()}).encode()])
    return out / f"study_{name}.md"


def _data(study: Study, root: Path, out: Path) -> tuple[Path, list[Path], Suite, Path, list[str]]:
    """Where studies of one cohort meet, corpora of pretraining, the suite, its root, and who must not be seen."""
    if study.suite:
        suite = find_suite(study.suite)
        return out / suite.name, [Path(each) for each in study.corpora], suite, root, []
    about: dict[str, Any] = {"task": "rest_vs_task", "seed": 2602, "meg": "neuromag102", **study.cohort}
    about["subjects"] = study.subjects
    of_cohort = json.dumps([about, study.modalities], sort_keys=True)
    place = out / f"cohort-{hashlib.sha256(of_cohort.encode()).hexdigest()[:8]}"
    cohort = write(task_parameters(about.pop("task"), **about, modalities=study.modalities), place / "cohort")
    people = sorted(path.name.removeprefix("sub-") for path in cohort.glob("sub-*"))
    half = people[: len(people) // 2]
    own = {"folder": "cohort", "repeats": 1, "leave_out": half, "baselines": [], "n_splits": 4}
    own |= {"asks": "Rest or task, simulated people"}
    tasks = {
        f"{modality} {title}".strip(): {**own, "recipe": f"{cohort}/recipe_{modality}.yaml/rest_vs_task", **fields}
        for title, fields in study.tasks.items()
        for modality in study.modalities
    }
    quick = {"random_weights": 2, "permutations": 0}
    suite = Suite.parse({"name": "studies", "version": "1", "title": "Studies", "tasks": tasks, **quick})
    corpora = []
    for modality in study.modalities:
        opened = open_task(next(task for name, task in suite.tasks.items() if name.startswith(modality)), place, place)
        assert isinstance(opened, Opened)
        corpora.append(Path(opened.corpus.root))
    asked = study.asked or study.modalities
    suite = suite.only([name for name in suite.tasks if name.split()[0] in asked])
    exclude = [f"simulated_{modality}/{person}" for modality in study.modalities for person in people[len(half) :]]
    return place, corpora, suite, place, exclude


def _left_out(study: Study, arm: Arm, data: list[Path], exclude: list[str]) -> list[str]:
    """People of pretraining that an arm does not see; a person's modalities stay together."""
    if arm.people == 1:
        return []
    everyone = sorted(set(subjects(open_corpora(data).index)) - set(exclude))
    names = np.random.default_rng(0).permutation(sorted({person.partition("/")[2] for person in everyone}))
    kept = set(names[: max(1, round(arm.people * len(names)))])
    return [person for person in everyone if person.partition("/")[2] not in kept]
