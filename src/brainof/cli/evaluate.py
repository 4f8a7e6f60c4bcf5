"""`brainof evaluate`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import ConfigError
from ..paths import user_path
from ..utils.values import counted, finite
from . import columns, out, parse_part, show

EXAMPLE = """examples:
  brainof evaluate real-small --model tiny --root data --out runs/real-small
  brainof evaluate states --model runs/real --root data --out runs/states --task heat film_30s
  brainof evaluate brainof-bench --model runs/real --out runs/bench --part 3/20   # one job of an array
  brainof evaluate states --list --root data

Suites: states, traits, real-small, simulated, resolution, brainof-bench (NAME@VERSION: fixed), or a YAML file.
Models stand beside random weights, classical features, controls and chance. OUT/results.md is the page,
OUT/results.parquet the table in MOABB's columns, OUT/summary.csv one row per model and task. Runs that are on disk are
kept; data that are not here are listed with their access page."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("suite", help="name, NAME@VERSION, or a YAML file")
    add("--model", nargs="+", default=[], metavar="M", help="preset, run or release folder, or Hub id")
    add("--out", help="folder for everything the evaluation makes")
    add("--root", default="data", metavar="DIR", help="folder of the datasets, or a corpus (default: data)")
    add("--task", nargs="+", default=[], dest="tasks", metavar="NAME", help="only these tasks")
    add("--part", default="1/1", metavar="I/N", help="run only the I-th of N parts")
    text = "accept these differences from training; overlap: also score models that saw test people (transductive)"
    add("--accept", nargs="+", default=[], metavar="WHAT", help=text)
    add("--unseen", action="store_true", help="test only on people whom no model saw in pretraining; the others train")
    add("--seeds", type=int, metavar="N", help="seeds of read-outs that train (default: the suite's)")
    add("--permutations", type=int, metavar="N", help="labellings of each null (default: the suite's)")
    add("--list", action="store_true", help="list the tasks and whether their data are here")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..evaluation.bench import evaluate
    from ..evaluation.suite import find_suite

    if args.root != "data" and not user_path(args.root).is_dir():  # the suite `simulated` needs none
        raise ConfigError(f"{args.root} is not a folder", field="root", fix="give the folder of the datasets")
    if args.list:
        return _listed(find_suite(args.suite).only(args.tasks), args)
    if not args.model or not args.out:
        missing = "model" if not args.model else "out"
        raise ConfigError("is required", field=missing, fix=f"give {missing}=, or list the tasks with --list")
    found = evaluate(
        args.suite,
        args.model,
        args.out,
        root=args.root,
        tasks=args.tasks,
        part=parse_part(args.part),
        accept=args.accept,
        unseen=args.unseen,
        seeds=args.seeds,
        permutations=args.permutations,
        say=(lambda text: None) if args.json else out,
    )
    lines = [
        _sentence(line)
        for line in found.summary.to_dict("records")
        if line["kind"] == "model" and (line["option"] == "plain" or line["readout"] == "resolution")
    ]
    lines += [f"{task}: refused: {reason}" for task, reason in found.refused.items()]
    n_tasks = found.summary["task"].nunique() if len(found.summary) else 0
    counts = f"{counted(n_tasks, 'task')} scored, {len(found.absent)} without data, {len(found.refused)} refused"
    unfinished = f", {counted(found.unfinished, 'run')} unfinished" if found.unfinished else ""
    lines.append(f"{found.folder / 'results.md'}: {counts}{unfinished}")
    summary = finite(json.loads(found.summary.to_json(orient="records")))
    values = {"folder": str(found.folder), "summary": summary, "absent": [vars(one) for one in found.absent]}
    return show(args, {**values, "refused": found.refused}, lines)


def _sentence(line: dict[Any, Any]) -> str:
    if line.get("reason"):
        return f"{line['task']}: {line['entry']}: {line['reason']}"
    if line.get("score") is None or line["score"] != line["score"]:
        return f"{line['task']}: {line['entry']} ({line['readout']}): unfinished"
    if line["readout"] == "resolution":
        same = f"cosine {line['cosine']:.3f}, found {line['score']:.3f}"
        return f"{line['task']}: {line['entry']}, {line['option']}: {same}"
    text = f"{line['task']}: {line['entry']} ({line['readout']}): {line['metric']} {line['score']:.3f}"
    gain = line.get("gain")
    if gain is None or gain != gain:
        return text
    return f"{text}, {gain:+.3f} [{line['gain_low']:+.3f}, {line['gain_high']:+.3f}] over random weights"


def _listed(suite: Any, args: argparse.Namespace) -> int:
    from ..datasets import find_recipe
    from ..evaluation.sources import access, place_of

    rows = []
    for name, task in suite.tasks.items():
        if task.simulate is not None:
            rows.append({"task": name, "dataset": "simulated", "here": True, "access": "made on this machine"})
            continue
        recipe = find_recipe(task.dataset_name)
        here = place_of(recipe, task.folder, user_path(args.root)) is not None
        rows.append({"task": name, "dataset": recipe.name, "here": here, "access": access(recipe)})
    lines = columns([{**row, "here": "here" if row["here"] else "absent"} for row in rows])
    return show(args, {"suite": suite.name, "version": suite.version, "tasks": rows}, [lines])
