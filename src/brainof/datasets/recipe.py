"""Recipe: everything brainof needs to know about a dataset, as a YAML file and never as code."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from ..channels import Modality
from ..errors import ConfigError, check_known, did_you_mean
from ..io.bids import BidsFilter
from ..io.options import ReadOptions
from ..prepare.chain import Chain, default_chain
from ..prepare.windows import DEFAULT_WINDOWS, WindowOptions
from ..schema import Schema

#: Folder of the recipes that come with brainof
RECIPES = Path(__file__).with_name("recipes")


def _text(value: Any) -> Any:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if isinstance(value, int | float) else value


#: Text that may be written without quotes in YAML (subject: 7, not "7")
Text = Annotated[str, BeforeValidator(_text)]


class Files(Schema):
    """Recordings of one layout: exactly one of `pattern` and `bids`.

    `pattern` is relative to the root. `{subject}` matches part of a name and becomes that entity; `*` matches anything
    within a name, `**/` any depth of folders. `bids` chooses recordings of a BIDS dataset by key (`io.bids.BidsFilter`:
    entities, suffix, extension, datatype, derivative -> value, list, pattern, or null for "has none"); the suffix is
    that of the recipe's modality unless given. `entities` are constants for these files.
    """

    pattern: str | None = None
    bids: dict[str, Text | list[Text] | None] | None = None
    entities: dict[str, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_layout(self) -> Files:
        if (self.pattern is None) == (self.bids is None):
            raise ValueError("give exactly one of pattern and bids")
        if self.bids is not None:
            try:
                BidsFilter(self.bids)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self


class EventSource(Schema):
    """Where events come from, and what they are called.

    `file` is a table like BIDS events.tsv (onset and duration in seconds, trial_type; a pattern with entities);
    without it the events are those of the recording itself (annotations, `read.events_variable`). `columns` renames
    columns of the table; `values` renames trial types; `duration` (s) is used for events without one; `merge` joins
    neighbouring events of one trial_type with gaps up to so many seconds into one block.

    Tables that are no BIDS: `filled` maps a trial type to the column that has a value in its rows; `origin` names the
    scalar in the recording's file (npz, mat, HDF5) that holds the time of its first sample on the clock of the table.
    """

    file: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    filled: dict[Text, str] = Field(default_factory=dict)
    origin: str | None = None
    values: dict[Text, Text] = Field(default_factory=dict)
    duration: float | None = Field(default=None, gt=0)
    merge: float | None = Field(default=None, ge=0)


class Segments(Schema):
    """A table with one row per sample (volume) of the recording.

    `columns` names its columns where it has no header line. Equal neighbouring values of `trial_type` become events;
    `split` names the entity columns (such as run) at whose changes the file is divided into recordings of their own.
    """

    file: str
    columns: list[str] | None = None
    trial_type: str | None = None
    split: list[str] = Field(default_factory=list)


class Patterns(Schema):
    """Maps without time (such as task activations): one array, subjects x conditions x regions, in one file.

    Every subject becomes a recording in which each condition lasts `n_times` equal volumes, one event each. `subjects`,
    `conditions` and `regions` name the arrays of names beside `variable`.
    """

    variable: str = "data"
    subjects: str = "subjects"
    conditions: str = "conditions"
    regions: str = "labels"
    n_times: int = Field(default=16, ge=2)
    t_r: float = Field(gt=0, le=20)


#: short name -> table and key of the tables that BIDS defines
_BIDS_TABLES: dict[str, dict[str, Any]] = {
    "participants": {"table": "participants.tsv", "key": {"participant_id": "sub-{subject}"}},
    "sessions": {"table": "sub-{subject}/sub-{subject}_sessions.tsv", "key": {"session_id": "ses-{session}"}},
}


class LabelSource(Schema):
    """Where a label comes from: exactly one of `participants`, `sessions`, `entity`, `table`, `event` and `signal`.

    * `participants`: a column of BIDS participants.tsv (short for `table`, `key` and `column`);
    * `sessions`: a column of the subject's BIDS sessions.tsv (likewise);
    * `entity`: an entity of the recording;
    * `table` (root-relative csv or tsv; its path may hold entities: `sub-{subject}/log.tsv`) with `key` (column ->
      template of entities, such as `{Subj: "{subject}"}`) and `column`; a table of the recording's own (entities in
      its path) needs no key where all its rows agree;
    * `event`: a column (usually trial_type) of the event that the window was cut on;
    * `signal` (root-relative npz, mat or HDF5; its path may hold entities) with `variable` and `step` (seconds per
      value, or the name of the scalar that holds it): its mean over the time of the window, `lag` seconds earlier,
      after the logarithm where `log`. A window that it does not cover has no label.

    `values` renames; a value that it does not list is an error, or no label where `optional`.
    """

    entity: str | None = None
    table: str | None = None
    key: dict[str, Text] = Field(default_factory=dict)
    column: str | None = None
    event: str | None = None
    signal: str | None = None
    variable: str | None = None
    step: float | str | None = None
    lag: float = 0.0
    log: bool = False
    values: dict[Text, Text] = Field(default_factory=dict)
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def _bids_tables(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name in _BIDS_TABLES.keys() & values.keys():
            rest = {field: value for field, value in values.items() if field != name}
            return {**_BIDS_TABLES[name], "column": values[name], **rest}
        return values

    @property
    def varies(self) -> bool:
        """Whether recordings have tables of their own: entities stand in the table's path."""
        return self.table is not None and "{" in self.table

    @model_validator(mode="after")
    def _one_source(self) -> LabelSource:
        if sum(source is not None for source in (self.entity, self.table, self.event, self.signal)) != 1:
            short = "participants and sessions are short for a table"
            raise ValueError(f"give exactly one of entity, table, event and signal ({short})")
        if self.table is not None and (not (self.key or self.varies) or self.column is None):
            raise ValueError("a table needs key (column -> template of entities) and column")
        if (self.signal is None) != (self.variable is None) or (self.signal is None) != (self.step is None):
            raise ValueError("signal, variable and step go together")
        return self


class Score(Schema):
    """A classical score to stand beside ours, with its source."""

    text: str
    score: float | None = None
    metric: str = "balanced accuracy"


class Entry(Schema):
    """A dataset's line in the published pretraining corpus of Brain-OF (arXiv:2602.23410)."""

    name: str
    participants: int
    windows: int
    channels: int
    rate: str
    window: str
    paradigm: str


class Overlap(Schema):
    """What a dataset shares with an evaluation set: `contains` its recordings or people, or `may share` people."""

    kind: Literal["contains", "may share"]
    why: str


class PublishedSplit(Schema):
    """A split that publications use: values of an entity (or of a label of the windows) on each side.

    `by` names the entity or label. Where the members are not published, the lists are empty and `source` says so.
    """

    by: str
    train: list[Text] = Field(default_factory=list)
    validation: list[Text] = Field(default_factory=list)
    test: list[Text] = Field(default_factory=list)
    source: str

    @model_validator(mode="after")
    def _disjoint(self) -> PublishedSplit:
        sides = [*self.train, *self.validation, *self.test]
        if twice := [value for value in sides if sides.count(value) > 1]:
            raise ValueError(f"{min(twice)!r} is on two sides of the split")
        return self


class TaskRecipe(Schema):
    """A question that labelled windows can answer.

    Without `windows` of its own it uses those of pretraining. `split` is the entity that must not be shared between
    training and test windows.
    """

    label: str
    kind: Literal["classification", "regression", "identification", "matching"] = "classification"
    split: Literal["subject", "session", "run"] = "subject"
    windows: WindowOptions | None = None
    reference: Score | None = None
    published_split: PublishedSplit | None = None
    notes: str | None = None


class Recipe(Schema):
    """A dataset: which files, how to read, prepare, cut and label them, and under which license."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    modality: Modality
    license: str = Field(validation_alias=AliasChoices("license", "licence"))
    citation: str
    url: str | None = None
    access: str | None = None
    """How one gets the data: "open", or what has to be signed or asked for."""
    layout: Literal["verified", "not verified against the real download"] = "verified"
    roles: tuple[Literal["pretraining", "evaluation"], ...] = ()
    """Part in the published study."""
    published: Entry | None = None
    overlap: dict[str, Overlap] = Field(default_factory=dict)
    """Evaluation set (its recipe's name) -> what it shares with this dataset."""
    files: list[Files] = Field(min_length=1)
    read: ReadOptions = ReadOptions()
    segments: Segments | None = None
    patterns: Patterns | None = None
    events: EventSource | None = None
    prepare: dict[str, dict[str, Any] | bool] = Field(default_factory=dict)
    windows: WindowOptions | None = None
    labels: dict[str, LabelSource] = Field(default_factory=dict)
    tasks: dict[str, TaskRecipe] = Field(default_factory=dict)
    notes: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _bids_suffix(cls, values: Any) -> Any:
        """A BIDS filter without a suffix means recordings of the recipe's modality."""
        suffix = {"eeg": "eeg", "meg": "meg", "fmri": "bold"}.get(str(values.get("modality")))
        if suffix is None or not isinstance(values.get("files"), list):
            return values
        files = list(values["files"])
        for i, entry in enumerate(files):
            if isinstance(entry, dict) and isinstance(entry.get("bids", 0), dict | None):
                files[i] = {**entry, "bids": {"suffix": suffix, **(entry["bids"] or {})}}
        return {**values, "files": files}

    @classmethod
    def parse(cls, values: Mapping[str, Any], file: str | PathLike[str] | None = None) -> Self:
        """Build from a mapping; also checks the steps and that tasks name labels that exist (ConfigError)."""
        recipe = super().parse(values, file)
        recipe.chain(file)
        for name, task in recipe.tasks.items():
            if name == "pretrain":
                text = "the name is taken by the view of all windows"
                raise ConfigError(text, file=file, field="tasks.pretrain", fix="rename it")
            problem = "label {!r} is not among the labels"
            check_known(task.label, recipe.labels, ConfigError, problem, file=file, field=f"tasks.{name}.label")
            if recipe.labels[task.label].event is not None and (task.windows is None or task.windows.events is None):
                text = f"label {task.label!r} comes from events, but the windows are not cut on events"
                fix = "add windows: {events: all, tmin: 0, tmax: 1}"
                raise ConfigError(text, file=file, field=f"tasks.{name}.windows", fix=fix)
        return recipe

    def chain(self, file: str | PathLike[str] | None = None) -> Chain:
        """The preparation chain: the modality's default with the overrides of `prepare`."""
        return default_chain(self.modality, self.prepare, file)

    def views(self) -> dict[str, WindowOptions]:
        """View name -> windows: "pretrain", and each task that has windows of its own."""
        pretrain = self.windows or WindowOptions.parse(DEFAULT_WINDOWS[self.modality])
        own = {name: task.windows for name, task in self.tasks.items() if task.windows is not None}
        return {"pretrain": pretrain, **own}

    def view_of(self, task: str) -> str:
        """The view whose windows a task uses."""
        return task if self.tasks[task].windows is not None else "pretrain"


def recipe_names() -> list[str]:
    """Names of the recipes that come with brainof."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(name_or_path: str | PathLike[str]) -> Recipe:
    """A recipe by name, or from a YAML file; ConfigError where there is none (and the nearest name), or a wrong one."""
    text = str(name_or_path)
    if Path(text).suffix in (".yaml", ".yml") or Path(text).is_file():
        return Recipe.load(text)
    if text not in recipe_names():
        fix = f"{did_you_mean(text, recipe_names())} or give the path of a YAML file"
        raise ConfigError(f"no recipe {text!r}", field="recipe", fix=fix)
    return Recipe.load(RECIPES / f"{text}.yaml")
