"""The leaderboard page: what publications report, and what `brainof evaluate brainof-bench` found, in tables apart.

Published figures are data, in `published.yaml`. Nothing of ours ever stands in a table with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainof.datasets import find_recipe
from brainof.errors import ConfigError
from brainof.evaluation import Suite, SuiteTask, find_suite
from brainof.evaluation.entries import MODEL
from brainof.evaluation.sources import access
from brainof.model.presets import PUBLISHED, count, preset
from brainof.schema import read_yaml
from brainof.stats.metrics import LOWER_IS_BETTER
from brainof.utils.console import markdown_table
from brainof.utils.files import read_json, write_atomically

SUITE = "brainof-bench@1.0"
FIGURES = Path(__file__).with_name("published.yaml")

_HEAD = """\
# Leaderboard

The published settings of Brain-OF, and what this package reaches on them. Written by

    ./run study leaderboard --out docs/results {folders}

from `studies/published.yaml` and folders of `brainof evaluate brainof-bench --model MODEL --root DATA --out RESULTS`.
**Published and own scores stand in tables of their own**, since only some of the splits are known and none of the
preparation is; the notes say what may be held against what. Kappa and balanced accuracy are per cent, MAE is years;
arrows say which way is better."""


def leaderboard(out: Path, say: Callable[[str], None], results: Sequence[Path] = ()) -> Path:
    """Write `leaderboard.md`.

    Parameters
    ----------
    out : Path
        Folder of the page.
    say : callable
        Called with a line of progress.
    results : sequence of Path
        Folders of `brainof evaluate brainof-bench`.

    Raises
    ------
    ConfigError
        A folder holds no results, or those of another suite.
    """
    published, suite = read_yaml(FIGURES), find_suite(SUITE)
    ours = [own_results(folder, suite) for folder in results]
    folders = " ".join(f"--results {folder}" for folder in results)
    parts = [_HEAD.format(folders=folders).replace(" \n", "\n"), published_tables(published)]
    parts += ["\n## Ours", *own_tables(ours, results, published, suite)]
    parts += [notes(published, suite, ours), sizes(published), others(published)]
    write_atomically(out / "leaderboard.md", [("\n".join(parts) + "\n").encode()])
    say(f"{len(published['results'])} published methods, {len(results)} folders of results")
    return out / "leaderboard.md"


def own_results(folder: Path, suite: Suite) -> pd.DataFrame:
    """The plain rows of the summary of a folder of results."""
    if not (folder / "summary.parquet").exists():
        fix = "give the --out of `brainof evaluate brainof-bench`"
        raise ConfigError("holds no results of `brainof evaluate`", file=folder, field="results", fix=fix)
    held = read_json(folder / "suite.json")
    if (held["name"], held["version"]) != (suite.name, suite.version):
        text = f"holds results of {held['name']} {held['version']}, not {suite.name} {suite.version}"
        raise ConfigError(text, file=folder, field="results")
    lines = pd.read_parquet(folder / "summary.parquet")
    return lines[lines["option"] == "plain"] if len(lines) else pd.DataFrame(columns=["task"])


def published_tables(published: dict[str, Any]) -> str:
    """The published methods on the nine settings, the best of each in bold."""
    tasks, methods = published["tasks"], published["results"]
    means = np.array([[mean for mean, _ in row] for row in methods.values()])
    best = [
        (np.min if about["metric"] in LOWER_IS_BETTER else np.max)(means[:, number])
        for number, about in enumerate(tasks.values())
    ]
    lines = [
        [name, *(_cell(mean, sd, mean == top) for (mean, sd), top in zip(row, best, strict=True))]
        for name, row in methods.items()
    ]
    text = f"Source: {published['source']}; {published['protocol']}. Figures as printed there, not checked by us."
    return f"\n## Published\n\n{text}\n\n{markdown_table(['method', *map(_heading, tasks.values())], lines)}"


def own_tables(ours: list[pd.DataFrame], folders: Sequence[Path], published: dict, suite: Suite) -> list[str]:
    """One table for each folder of results; what it scored of the nine, then of fusion."""
    if not ours:
        return [
            "\nNo folder of results was given: these datasets do not come with the package (how to get them: below)."
        ]
    names = [*published["tasks"], *(name for name in suite.tasks if name not in published["tasks"])]
    tables = []
    for lines, folder in zip(ours, folders, strict=True):
        scored = [name for name in names if name in set(lines["task"])]
        heads = [f"{name} {_arrow(lines[lines['task'] == name]['metric'].iloc[0])}" for name in scored]
        rows = []
        for (entry, readout), own in lines.groupby(["entry", "readout"], sort=False):
            shown = f"**{entry}**" if own["kind"].iloc[0] == MODEL else str(entry)
            cells = [own[own["task"] == name].to_dict("records") for name in scored]
            rows.append([shown, str(readout), *(_own_cell(cell[0]) if cell else "" for cell in cells)])
        text = (
            f"`{folder}`: the metric over the windows (or recordings) of a test side, mean and standard deviation over "
            "draws or seeds. Rows of random weights read out by `full` are training from scratch."
        )
        tables.append(
            f"\n{text}\n\n{markdown_table(['entry', 'read-out', *heads], rows)}" if rows else f"\n`{folder}`: empty."
        )
    return tables


def notes(published: dict[str, Any], suite: Suite, ours: list[pd.DataFrame]) -> str:
    """Setting by setting: what was run, on which split, and what stands in the way."""
    run = {name for lines in ours for name in lines["task"]}
    rows = []
    for name, task in suite.tasks.items():
        recipe = find_recipe(task.dataset_name)
        about = published["tasks"].get(name, {"dataset": recipe.title, "task": task.asks})
        wanting = (
            "not run: open data, to be fetched"
            if (recipe.access or "open").startswith("open")
            else "not run: data by agreement"
        )
        state = "run, see above" if name in run else wanting
        rows.append([name, f"{about['dataset']}, {about['task']}", _split(task), state, access(recipe)])
    text = (
        "A setting is *reproduced* when its data, its split and its read-out are those of the publication. Splits that "
        "are not published are drawn anew for each seed; the preparation of all nine is ours, since none is published."
    )
    heads = ["task", "setting", "split here; what is known of the published one", "state", "access"]
    return f"\n## What can be reproduced\n\n{text}\n\n{markdown_table(heads, rows)}"


def _split(task: SuiteTask) -> str:
    recipe = find_recipe(task.dataset_name)
    known = task.resolved(recipe).published_split
    source = f"; {known.source}" if known is not None and known.source else ""
    unit = "; recordings are scored, not windows" if task.level == "file" else ""
    if task.published:
        return f"the published one{source}{unit}"
    drawn = "/".join(f"{100 * part:g}" for part in task.fractions or ())
    return f"{drawn} % of people, drawn for each seed{source}{unit}"


def sizes(published: dict[str, Any]) -> str:
    """Parameters of the presets beside the published ones: the part that can be reproduced without data."""
    rows = []
    for name, (total, active) in PUBLISHED.items():
        own = count(preset(name))
        cells = [f"{value / 1e6:.4g} M" for value in (total, own["total"], active, own["active"])]
        far = (100 * (own["total"] / total - 1), 100 * (own["active"] / active - 1))
        rows.append([name, *cells, *(f"{value:+.1f} %" for value in far)])
    heads = ["size", "total, published", "ours", "active, published", "ours", "total differs by", "active by"]
    text = "Reproduced without data: parameters of the presets (`brainof info PRESET`), published ones rounded."
    return f"\n## Sizes\n\n{text}\n\n{markdown_table(heads, rows)}"


def others(published: dict[str, Any]) -> str:
    """The other tables of the publication, and where the same question is asked here of small data."""
    parts = [f"\n## Other published tables\n\nSource: {published['source']}; mean and standard deviation."]
    for table in published["others"]:
        rows = [[name, *(_cell(*pair) for pair in row)] for name, row in table["rows"].items()]
        parts.append(f"\n**{table['title']}**\n\n{markdown_table(['', *table['columns']], rows)}")
    shares = "; ".join(
        f"{dataset}: {', '.join(f'{name} {value}' for name, value in of.items())}"
        for dataset, of in published["shapley"].items()
    )
    parts.append(f"\nShapley value of each pretraining modality, {shares}. Mask ratio: {published['mask_ratio']}.")
    parts.append(
        "\nThe same questions on small data are studies of this package (`./run study`); their figures are of other "
        "data and other sizes, and are no reproduction."
    )
    return "\n".join(parts)


def _own_cell(line: Mapping[Any, Any]) -> str:
    if not isinstance(line.get("fold_score"), float) or np.isnan(line["fold_score"]):
        return str(line.get("reason") or "unfinished").replace("|", "/")
    scale = 1.0 if line["metric"] == "mae" else 100.0
    spread = line.get("fold_sd")
    text = _cell(scale * line["fold_score"], None if spread is None or np.isnan(spread) else scale * spread)
    return f"{text} ({line['unfinished']} runs unfinished)" if line["unfinished"] else text


def _cell(mean: float, sd: float | None = None, bold: bool = False) -> str:
    text = f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"
    return f"**{text}**" if bold else text


def _heading(about: dict[str, str]) -> str:
    return f"{about['dataset']} {about['modality']}, {about['metric'].replace('_', ' ')} {_arrow(about['metric'])}"


def _arrow(metric: str) -> str:
    return "↓" if metric in LOWER_IS_BETTER else "↑"
