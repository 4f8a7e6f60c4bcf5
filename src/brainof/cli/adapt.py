"""`brainof adapt`."""

from __future__ import annotations

import argparse
import json

from . import out, takes_assignments

EXAMPLE = """example:
  brainof adapt eegmat.yaml --model runs/first --out runs/eegmat_lora adaptation=lora

with eegmat.yaml:
  corpus: corpus                 # written by `brainof prepare`
  task: eegmat/arithmetic        # a task of the dataset's recipe
  adaptation: {adaptation: lora, rank: 8, epochs: 10}

adaptations: frozen, probe, mlp, attentive, lora, full, few_shot, two_stage, ensemble. The run holds scores.json, the
adapter (BrainOFClassifier.load(RUN)) and the adapted model (brainof embed FILE --model RUN). A preset as MODEL is the
model from scratch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file: corpus, task, adaptation")
    text = "run or release folder, Hub id, preset (random weights), or pretrained (default)"
    parser.add_argument("--model", default="pretrained", help=text)
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    takes_assignments(parser, "the recipe")


def run(args: argparse.Namespace) -> int:
    from ..evaluation.adapt import AdaptConfig, adapt

    config = AdaptConfig.load(args.recipe).replaced(args.assignments, file=args.recipe)
    folder = adapt(config, args.model, args.out)
    if config.repeats:
        scores = json.loads((folder / "scores.json").read_text())
        for name, values in scores["metrics"].items():
            out(f"{name}: {_score(values['mean'], values['se'])} (mean over folds, standard error over groups)")
        main = next(iter(scores["metrics"]))
        out(f"{main} on the same windows and folds (mean over people, 95 % interval):")
        for row in scores["summary"]:
            if row["metric"] == main:
                ends = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else ""
                out(f"  {row['entry']}: {_score(row['score'], None)}{ends}")
    out(f"{folder}: done; use it with BrainOFClassifier.load({str(folder)!r}) or `brainof embed FILE --model {folder}`")
    return 0


def _score(mean: float | None, error: float | None) -> str:
    """A score and its standard error, as far as they are defined: AUC is not where each fold holds one class."""
    if mean is None:
        return "undefined"
    return f"{mean:.3f}" if error is None else f"{mean:.3f} +- {error:.3f}"
