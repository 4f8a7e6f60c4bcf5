"""`brainof push`: a release -> the Hugging Face Hub."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from . import out

EXAMPLE = """examples:
  brainof push runs/real my-lab/brain-of-small --license cc-by-4.0 --scores runs/real/evaluation/summary.csv
  brainof push runs/real my-lab/brain-of-small --to release/  # writes the folder, sends nothing
  brainof push runs/base my-lab/brain-of-base --checkpoint best --to release/  # also of a run that is still going on

Needs the extra `hub` and a token (`hf auth login`). One commit; only safetensors, JSON and the model card are sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="run folder or release folder")
    add("repo_id", metavar="ORG/NAME", help="model on the Hub, made where it does not exist")
    add("--checkpoint", metavar="NAME", help="best, latest or a number of steps (default: the release of a run)")
    add("--revision", help="branch that receives the commit")
    add("--private", action="store_true", default=None, help="make a new model private")
    add("--pr", action="store_true", help="propose the change instead of making it")
    add("--license", help="license of the weights, for the model card")
    add("--scores", metavar="FILE", help="summary.csv of an evaluation, for the model card")
    add("--to", metavar="DIR", help="write the release to this folder and send nothing")


def run(args: argparse.Namespace) -> int:
    from ..release import push_to_hub, save_pretrained

    about = {"name": args.repo_id.rpartition("/")[2], "license": args.license, "scores": args.scores}
    with tempfile.TemporaryDirectory() as scratch:
        source = args.folder
        if args.checkpoint:
            from ..pretraining import release_checkpoint

            source = release_checkpoint(source, Path(scratch) / "checkpoint", args.checkpoint)
        if args.to:
            out(f"{save_pretrained(source, args.to, **about)}: written, nothing was sent")
            return 0
        folder = save_pretrained(source, Path(scratch) / "release", **about)
        url = push_to_hub(folder, args.repo_id, revision=args.revision, private=args.private, create_pr=args.pr)
    out(url)
    return 0
