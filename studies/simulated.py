"""The suite `simulated` read as fractions of what is possible, with halves of it, and two modalities at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from brainof.corpus import Windows, open_corpora, pairs
from brainof.evaluation import Suite, SuiteTask, Task, evaluate, evaluate_task, find_suite, recipe_tasks, task_rows
from brainof.evaluation.baselines import baseline_features
from brainof.evaluation.protocol import task_windows
from brainof.evaluation.sources import Opened, open_task
from brainof.report.page import Section, Table, write_page
from brainof.utils.files import write_atomically
from brainof.utils.progress import timed
from studies.oracle import Epochs, best_of_pair, best_of_task, fraction, joined
from studies.realism import realism_table

BASELINES = {
    "eeg": ["amplitude", "band power"],
    "meg": ["amplitude", "band power"],
    "fmri": ["amplitude", "block means", "functional connectivity"],
}
#: The two questions that are also asked of both modalities at once, window by window
PAIR = ("pair_eeg", "pair_fmri")


def asked() -> Suite:
    """The suite `simulated`, all features also recentred, rest and task also half as strong."""
    known, tasks = find_suite("simulated"), {}
    for name, task in known.tasks.items():
        assert task.simulate is not None
        more = {"options": ("recentred",), "controls": (), "baselines": BASELINES[task.simulate.modality]}
        tasks[name] = task.model_copy(update=more)
        if name.startswith("rest_vs_task"):
            half, weak = name.replace("task_", "task_half_"), {"effects": {"state_strength": 0.5}}
            simulate = task.simulate.model_copy(update={"changes": weak})
            tasks[half] = tasks[name].model_copy(update={"name": half, "simulate": simulate})
    return known.model_copy(update={"name": "simulated study", "tasks": tasks})


def simulated(
    out: Path,
    say: Callable[[str], None],
    *,
    root: Path | None = None,
    models: Sequence[str | PathLike[str]] = (),
    suite: Suite | None = None,
    n_permutations: int = 200,
) -> Path:
    """Run a suite from files to one page, `report.html`, beside `evaluation` and `scores.csv`.

    Parameters
    ----------
    out : Path
        Folder for everything; what is complete in it is kept.
    say : callable
        Called with a line of progress.
    root : Path, optional
        Folder of the public recordings; with it the page compares simulated with real ones.
    models : sequence of str or path
        What `brainof.load` takes; their frozen embeddings are scored beside the baselines.
    suite : Suite, optional
        Of simulated cohorts; by default `asked`.
    n_permutations : int
        Labellings of each null.

    Returns
    -------
    Path
        The page.
    """
    tell, suite = timed(say), suite or asked()
    folder = out / "evaluation"
    lines = evaluate(suite, models, folder, accept=["overlap"], permutations=n_permutations, say=tell).summary
    tell("what the true sources allow")
    best = {name: best_of_task(task) for name, task in suite.tasks.items()}
    if set(PAIR) <= set(suite.tasks):
        two = [suite.tasks[name] for name in PAIR]
        corpus, question = both(two, folder)
        features = pair_features(corpus, question)
        of_both, _ = evaluate_task(corpus, question, features, options=["recentred"], n_permutations=n_permutations)
        lines = pd.concat([lines, of_both.assign(modality="eeg+fmri")], ignore_index=True)
        best[question.name] = best_of_pair(*two)
    lines["oracle"] = lines["task"].map(best)
    values = lines[["fold_score", "chance", "oracle"]].itertuples(index=False)
    lines["fraction"] = [fraction(*row) for row in values]
    write_atomically(out / "scores.csv", [lines.to_csv(index=False).encode()])
    sections = [Section("Questions", _TEXT, tables=[Table(suite_table(lines))])]
    if root is not None:
        sections.append(Section("Does it look real?", tables=[Table(realism_table(root))]))
    page = write_page(
        out / "report.html", sections, title=f"Suite {suite.name} {suite.version}", lead="Questions with known answers."
    )
    tell(f"done: {page}")
    return page


def both(tasks: Sequence[SuiteTask], folder: Path) -> tuple[Windows, Task]:
    """The corpora of two tasks as one, and the question of both: that of the windows of the first."""
    opened = [open_task(task, folder, folder) for task in tasks]
    corpus = open_corpora([each.corpus.root for each in opened if isinstance(each, Opened)])
    (question,) = (task for task in recipe_tasks(corpus) if task.name == tasks[0].recipe)
    return corpus, question.model_copy(update={"name": "pair", "baselines": [], "repeats": 1})


def pair_features(corpus: Windows, question: Task) -> dict[str, np.ndarray]:
    """Classical features of EEG and fMRI side by side, and with their products, for each window of EEG.

    The products are those of the leading components of features centred by person, as the oracle takes them from the
    truth: an exclusive or is linear in them.
    """
    datasets = {modality: f"simulated_{modality}" for modality in ("eeg", "fmri")}
    table = pairs(corpus.index, datasets, view=question.view).set_index("eeg")["fmri"]
    rows = task_rows(corpus.index, question)
    sides = []
    for modality, name, chosen in (("eeg", "band power", rows), ("fmri", "block means", table.loc[rows].to_numpy())):
        values = np.asarray(baseline_features(name, modality, *task_windows(corpus, chosen)))
        subjects = corpus.index["subject"].astype(str).to_numpy()[chosen]
        sides.append(Epochs(np.nan_to_num(values), np.zeros(len(rows), bool), subjects, np.arange(len(rows))))
    order = np.lexsort((np.arange(len(rows)), sides[0].subjects))  # `joined` sorts by subject and number
    found = joined(*sides).features
    products = np.empty_like(found)
    products[order] = found
    return {"side by side": np.concatenate([side.features for side in sides], axis=1), "with products": products}


def suite_table(lines: pd.DataFrame) -> pd.DataFrame:
    """One line per task and features: score, recentred score, nulls, oracle, fraction of it."""
    names = {"entry": "features", "fold_score": "score", "p_value": "p (null)", "nuisance_p_value": "p (site kept)"}
    keys = ["task", "modality", "entry"]
    lines = lines[lines["kind"] != "chance"].reindex(columns=[*lines, *(name for name in names if name not in lines)])
    again = lines[lines["option"] == "recentred"].set_index(keys)[["fold_score", "fraction"]]
    again.columns = pd.Index(["recentred", "recentred fraction"])
    table = lines[lines["option"] == "plain"].join(again, on=keys)
    kept = [*keys, "fold_score", "p_value", "nuisance_p_value", "recentred", "oracle", "fraction", "recentred fraction"]
    return table[kept].rename(columns=names)


_TEXT = [
    "Simulated people for each question, folds by person, balanced accuracy of windows (mean over folds); a ridge "
    "probe on each set of features. The oracle is what the true sources allow; the fraction says how much of the way "
    "from chance to the oracle is reached. Recentred: each person's features standardised with unlabelled windows.",
    "The question `confounded` must be caught: its score is high, the plain permutation null calls it significant, "
    "and the null that exchanges labels only inside a site does not.",
]
