"""The suite `simulated`: every question with baselines, models, nulls and the best possible score beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brainof.corpus import Corpus, pairs
from brainof.datasets import prepare
from brainof.evaluation import Task, evaluate_task, save_rows, task_rows
from brainof.evaluation.baselines import baseline_features
from brainof.evaluation.protocol import task_windows
from brainof.evaluation.task import choose_tasks
from brainof.inference.embedding import embed
from brainof.report.page import Section, Table, write_page
from brainof.simulate.write import write
from brainof.utils.progress import timed
from studies.oracle import Epochs, joined
from studies.realism import realism_table
from studies.suite import SIMULATED, Suite, SuiteTask, fraction, oracle

BASELINES = {
    "eeg": ["amplitude", "band power"],
    "meg": ["amplitude", "band power"],
    "fmri": ["amplitude", "block means", "functional connectivity"],
}


def simulated(
    out: Path,
    say: Callable[[str], None],
    *,
    root: Path | None = None,
    models: Mapping[str, torch.nn.Module] | None = None,
    suite: Suite = SIMULATED,
    n_permutations: int = 200,
) -> Path:
    """Run a suite from files to one page, `report.html` and `scores.json`.

    Parameters
    ----------
    out : Path
        Folder for everything; complete cohorts and corpora in it are kept.
    say : callable
        Called with a line of progress.
    root : Path, optional
        Folder of the public recordings; with it the page compares simulated with real ones.
    models : dict of name -> module, optional
        Their frozen embeddings are scored beside the baselines.
    suite : Suite
    n_permutations : int
        Labellings of each null.

    Returns
    -------
    Path
        The page.
    """
    tell = timed(say)
    rows: list[dict[str, Any]] = []
    for task in suite.tasks:
        tell(f"{task.name}: {task.asks}")
        best = oracle(task, suite.subjects, suite.seed)
        folder = write(task.parameters(suite.subjects, suite.seed), out / task.name / "cohort")
        for recipe in [folder / f"recipe_{modality}.yaml" for modality in task.modalities]:
            prepare(recipe, folder, out / task.name / "corpus")
        corpus = Corpus(out / task.name / "corpus")
        asked = questions(corpus, task)
        for modality, question in asked.items():
            chosen = task_rows(corpus.index, question)
            features: dict[str, Any] = {
                name: embed(corpus, model, rows=chosen).values for name, model in (models or {}).items()
            }
            rows += _with_oracle(_scored(corpus, question, features, n_permutations), task, modality, best[modality])
        if task.together:
            name = "+".join(task.modalities)
            question = asked[task.modalities[0]].model_copy(update={"name": name, "baselines": []})
            rows += _with_oracle(
                _scored(corpus, question, pair_features(corpus, task, asked), n_permutations), task, name, best[name]
            )
    save_rows(rows, out / "scores.json")
    sections = [_section(rows, suite)]
    if root is not None:
        sections.append(Section("Does it look real?", tables=[Table(realism_table(root))]))
    page = write_page(
        out / "report.html", sections, title=f"Suite {suite.name} {suite.version}", lead="Questions with known answers."
    )
    tell(f"done: {page}")
    return page


def questions(corpus: Corpus, task: SuiteTask) -> dict[str, Task]:
    """The evaluation task of each modality of a suite task."""
    changes = {"repeats": 1, "nuisance": task.nuisance}
    asked = choose_tasks(corpus, [f"simulated_{m}/{task.recipe_task}" for m in task.modalities], **changes)
    return {
        modality: question.model_copy(update={"baselines": BASELINES[modality]})
        for modality, question in zip(task.modalities, asked, strict=True)
    }


def pair_features(corpus: Corpus, task: SuiteTask, asked: Mapping[str, Task]) -> dict[str, np.ndarray]:
    """Classical features of two modalities side by side, and with their products, for each window of the first.

    The products are those of the leading components of features centred by person, as the oracle takes them from the
    truth: an exclusive or is linear in them.
    """
    first, second = task.modalities[:2]
    datasets = {str(modality): f"simulated_{modality}" for modality in (first, second)}
    table = pairs(corpus.index, datasets, view=asked[first].view).set_index(first)[second]
    rows = task_rows(corpus.index, asked[first])
    partners = table.loc[rows].to_numpy()
    names = {"eeg": "band power", "meg": "band power", "fmri": "block means"}
    sides = []
    for modality, chosen in ((first, rows), (second, partners)):
        values = baseline_features(names[modality], modality, *task_windows(corpus, chosen))
        assert isinstance(values, np.ndarray)
        subjects = corpus.index["subject"].astype(str).to_numpy()[chosen]
        sides.append(Epochs(np.nan_to_num(values), np.zeros(len(rows), bool), subjects, np.arange(len(rows))))
    order = np.lexsort((np.arange(len(rows)), sides[0].subjects))  # `joined` sorts by subject and number
    products = np.empty((len(rows), 0))
    both = joined(*sides).features
    products = np.empty_like(both)
    products[order] = both
    return {"side by side": np.concatenate([side.features for side in sides], axis=1), "with products": products}


def _scored(corpus: Corpus, question: Task, features: dict[str, Any], n_permutations: int) -> list[dict[str, Any]]:
    recentred = [*features, *(question.baselines or [])]
    rows = evaluate_task(corpus, question, features, recentred=recentred, n_permutations=n_permutations)
    return [row for row in rows if row["row"] == "score" and row["level"] == "window"]


def _with_oracle(rows: list[dict[str, Any]], task: SuiteTask, modality: str, best: float) -> list[dict[str, Any]]:
    kept = []
    for row in rows:
        if row["metric"] == "balanced_accuracy" and row["features"] != "chance":
            reached = fraction(row["score"], row["chance"], best)
            kept.append({**row, "suite_task": task.name, "modality": modality, "oracle": best, "fraction": reached})
    return kept


def suite_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line per task, modality and features: score, recentred score, nulls, oracle, fraction of it."""
    lines = []
    recentred = {(r["suite_task"], r["modality"], r["features"]): r for r in rows if r["recentred"]}
    for row in rows:
        if row["recentred"]:
            continue
        other = recentred.get((row["suite_task"], row["modality"], row["features"]), {})
        lines.append(
            {
                "task": row["suite_task"],
                "modality": row["modality"],
                "features": row["features"],
                "score": row["score"],
                "p (null)": row["p_value"],
                "p (site kept)": row.get("nuisance_p_value"),
                "recentred": other.get("score"),
                "oracle": row["oracle"],
                "fraction": row["fraction"],
                "recentred fraction": other.get("fraction"),
            }
        )
    return pd.DataFrame(lines)


def _section(rows: list[dict[str, Any]], suite: Suite) -> Section:
    text = [
        f"{suite.subjects} simulated people for each question, folds by person, balanced accuracy of windows; a ridge "
        "probe on each set of features. The oracle is what the true sources allow; the fraction says how much of the "
        "way from chance to the oracle is reached. Recentred: each person's features standardised with unlabelled "
        "windows.",
        "The question `confounded` must be caught: its score is high, the plain permutation null calls it significant, "
        "and the null that exchanges labels only inside a site does not.",
    ]
    return Section("Questions", text, tables=[Table(suite_table(rows))])
