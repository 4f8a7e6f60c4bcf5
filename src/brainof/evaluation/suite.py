"""Suites: named, versioned sets of tasks as YAML files; a task is data, never code."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..channels import Modality
from ..datasets.recipe import PublishedSplit, Recipe, Score
from ..errors import ConfigError, check_known, did_you_mean
from ..schema import Schema, read_yaml, wrong
from .protocol import Task
from .resolution import Change

#: Folder of the suites that come with brainof, one file NAME-VERSION.yaml each
SUITES = Path(__file__).with_name("suites")


class Cohort(Schema):
    """A simulated cohort as the data of a task (`brainof.simulate.task_parameters`)."""

    task: str
    modality: Modality
    subjects: int = Field(default=24, ge=2)
    seed: int = 2602
    changes: dict[str, Any] = Field(default_factory=dict)


class Side(Schema):
    """The signal of one side of a task, where training and test differ."""

    recipe: str = ""
    """`dataset/task` of another dataset that holds the same classes (or a target of the same unit); of training."""
    folder: str = ""
    simulate: Cohort | None = None
    channels: tuple[str, ...] | int | None = None
    """Names of the channels that are left, or how many, spread over the table; all by default."""
    sfreq: float | None = Field(default=None, gt=0)
    snr: float | None = None
    """dB of each channel's variance over white noise that is added."""

    def text(self) -> str:
        """In words."""
        kept = self.channels if isinstance(self.channels, int) or self.channels is None else len(self.channels)
        parts = [self.recipe, f"{kept} channels" if kept else "", f"{self.sfreq:g} Hz" if self.sfreq else ""]
        parts.append("" if self.snr is None else f"noise at {self.snr:g} dB")
        return ", ".join(part for part in parts if part) or "the signal as it is"


class SuiteTask(Task):
    """One question of a suite: data, label, windows, split, metric, read-outs and controls.

    `recipe` is `dataset/task` (or `file.yaml/task`) of a dataset recipe, from which label, kind, split, windows,
    published split and reference come unless given here. The data lie below the root in `folder`, or in a folder named
    like the dataset.
    """

    recipe: str
    view: str = ""
    folder: str = ""
    fuse: str = ""
    """`dataset/task` of a second modality of the same people: its mean over a person's windows stands beside the
    features of each window."""
    fuse_folder: str = ""
    simulate: Cohort | None = None
    leave_out: tuple[str, ...] = ()
    """Subjects that take no part, such as one recording under two names."""
    tested: tuple[str, ...] = ()
    """Subjects that are scored; the others serve the training sides (or as those who are matched with). All by default;
    `evaluate(..., unseen=True)` names those whom no model saw in pretraining."""
    asks: str = ""
    metric: str = ""
    """The tested metric; the first of the kind unless given."""
    level: Literal["window", "file"] = "window"
    """Score windows, or whole recordings by the mean over their windows."""
    pool: str = "auto"
    """Pooling of a model's latents; a model without an output that it names is pooled as it prefers ("auto")."""
    within: Literal["group", "recording"] = "group"
    """Where a metric is computed before it is averaged over people."""
    also: str = ""
    """A second level (such as "run") that no fold shares between its sides."""
    published: bool = False
    """Use the split of publications as the recipe has it."""
    published_split: PublishedSplit | None = None
    fractions: tuple[float, float, float] | None = None
    """Train, validation and test fractions of the groups, drawn anew for each seed, where no split is published."""
    train_on: Side | None = None
    test_on: Side | None = None
    """Signals of the two sides, where they differ: another dataset, other channels, another rate, noise."""
    split_file: str = ""
    """JSON: a list of {"train": [...], "validation": [...], "test": [...]} with names of groups."""
    readouts: tuple[str, ...] = ("ridge",)
    options: tuple[Literal["erased", "centred", "recentred"], ...] = ()
    """Features that are scored again, in rows of their own, see `evaluation.transforms`."""
    controls: tuple[str, ...] = ()
    """Labels that are tried alone as features: age, site, motion."""
    equal: bool = True
    """Reduce classical features by PCA, fitted on training people, to the width of the model's."""
    permutations: int | None = Field(default=None, ge=0)
    changes: tuple[Change, ...] = ()
    """Kind resolution: what each window is compared with itself at."""
    floors: dict[Literal["cosine", "found"], float] = Field(default_factory=dict)
    """Kind resolution: what every change has to exceed."""
    recordings: int | None = Field(default=None, ge=1)
    """Kind resolution: only so many recordings, evenly spread."""
    reference: Score | None = None
    tunings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Read-out -> fields of its adaptation (epochs, batch size)."""

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.sided and (self.fuse or self.kind not in ("classification", "regression")):
            what = "fuse" if self.fuse else self.kind
            raise wrong(f"train_on and test_on do not go with {what}")
        if self.test_on is not None and self.test_on.recipe:
            raise wrong("test_on.recipe: the test side is that of the task itself; give recipe in train_on")
        return self

    @property
    def sided(self) -> bool:
        """Whether training and test see different signals."""
        return self.train_on is not None or self.test_on is not None

    @property
    def as_published(self) -> PublishedSplit | None:
        """The published split, where the task is to use it."""
        return self.published_split if self.published else None

    @property
    def dataset_name(self) -> str:
        return self.recipe.rpartition("/")[0]

    @property
    def rates(self) -> list[float]:
        """Sampling rates (Hz) that the changes name."""
        return sorted({rate for change in self.changes for rate in (change.sfreq, change.against) if rate})

    def resolved(self, recipe: Recipe) -> SuiteTask:
        """The task, completed from its dataset's recipe; ConfigError where that has no such task."""
        name = self.recipe.rpartition("/")[2]
        about = {"dataset": recipe.name, "modality": recipe.modality}
        if self.kind == "resolution":
            return self.model_copy(update={**about, "view": "pretrain"})
        problem = f"recipe {recipe.name} has no task {{!r}}"
        check_known(name, recipe.tasks, ConfigError, problem, field=f"{self.name}.recipe")
        taken = ("label", "kind", "split", "published_split", "reference")
        found = {"view": recipe.view_of(name), **{key: getattr(recipe.tasks[name], key) for key in taken}}
        missing = {key: value for key, value in found.items() if key not in self.model_fields_set}
        return self.model_copy(update={**missing, **about})


class Suite(Schema):
    """A named, versioned set of tasks; scores of two versions are never mixed.

    Examples
    --------
    >>> from brainof.evaluation.suite import find_suite
    >>> find_suite("real-small").tasks["arithmetic"].recipe
    'eegmat/arithmetic'
    """

    name: str
    version: str
    title: str
    seeds: int = Field(default=1, ge=1)
    """Seeds of read-outs that are trained."""
    random_weights: int = Field(default=3, ge=0)
    permutations: int = Field(default=100, ge=0)
    notes: tuple[str, ...] = ()
    tasks: dict[str, SuiteTask]

    @classmethod
    def parse(cls, values: Any, file: str | PathLike[str] | None = None) -> Suite:
        """Build from a mapping; the key of a task is its name."""
        tasks = values.get("tasks")
        if not isinstance(tasks, dict) or not tasks:
            raise ConfigError("holds no tasks", file=file, field="tasks")
        for name, task in tasks.items():
            if not isinstance(task, dict):
                raise ConfigError("is not a mapping", file=file, field=f"tasks.{name}")
        named = {name: {"name": str(name), **task} for name, task in tasks.items()}
        return super().parse({**values, "tasks": named}, file)

    def only(self, names: tuple[str, ...] | list[str]) -> Suite:
        """Some of the tasks; ConfigError with the nearest name for one that is not there."""
        for name in names:
            problem = f"suite {self.name} {self.version} has no task {{!r}}"
            check_known(name, self.tasks, ConfigError, problem, field="tasks")
        return self.model_copy(update={"tasks": {name: self.tasks[name] for name in names}}) if names else self


def suite_versions() -> dict[str, list[str]]:
    """Name -> versions of the suites that come with brainof, the newest last."""
    found: dict[str, list[str]] = {}
    for path in SUITES.glob("*.yaml"):
        name, _, version = path.stem.rpartition("-")
        found.setdefault(name, []).append(version)
    return {name: sorted(found[name], key=lambda version: [*map(int, version.split("."))]) for name in sorted(found)}


def find_suite(suite: str | PathLike[str] | Suite) -> Suite:
    """A suite by name (the newest version), by NAME@VERSION, or from a YAML file; ConfigError where there is none."""
    if isinstance(suite, Suite):
        return suite
    text = str(suite)
    if Path(text).suffix in (".yaml", ".yml"):
        return Suite.parse(read_yaml(text), text)
    name, _, version = text.partition("@")
    known = suite_versions()
    if name not in known:
        fix = f"{did_you_mean(name, known)} or give the path of a YAML file"
        raise ConfigError(f"no suite {name!r}", field="suite", fix=fix)
    if version and version not in known[name]:
        raise ConfigError(
            f"no version {version!r} of suite {name}", field="suite", fix=f"known: {', '.join(known[name])}"
        )
    path = SUITES / f"{name}-{version or known[name][-1]}.yaml"
    return Suite.parse(read_yaml(path), path)
