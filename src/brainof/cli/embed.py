"""`brainof embed`: recordings -> embeddings with their window times."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import BrainOFError, ReadError, in_options
from ..paths import user_path
from ..utils.files import require_writable
from ..utils.memory import memory_budget, parse_bytes
from ..utils.values import counted
from . import out, say
from .info import add_contract_arguments, add_read_arguments, read_file, read_options, without_later_parts

if TYPE_CHECKING:
    from ..inference.embeddings import Embeddings

EXAMPLE = """\
examples:
  brainof embed rest.edf --model runs/real --out rest.parquet
  brainof embed sub-*_bold.nii.gz --model runs/real --out bold.npz --t-r 2 --atlas aal.nii.gz --labels aal.csv
  brainof embed rest.fif --model tiny --out untrained.parquet  # a preset: random weights

Columns: onset and duration (s), what is known of the recording, then e0000, e0001, ... A file that cannot be embedded
is named and left out; the exit code is then 2.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="recording (EDF, FIF, NIfTI, ROI table, ...)")
    add(
        "--model",
        default="pretrained",
        help="folder, org/name on the Hub, preset (random weights), or pretrained: the weights that come with brainof "
        "(default)",
    )
    add("--revision", metavar="REV", help="branch, tag or commit of a model of the Hub")
    add("--offline", action="store_true", help="use only what was downloaded before")
    add("--out", required=True, metavar="F", help="file to write: .parquet or .npz")
    text = "pooling over latents, such as mean_std or concat@log_spectrum (default: the model's own)"
    add("--pool", default="auto", metavar="KIND", help=text)
    add_contract_arguments(parser)
    add("--batch-size", type=int, default=32, metavar="N", help="windows per batch at most")
    add("--memory", default="1GB", metavar="SIZE", help="limit on memory, such as 2GB (default: 1GB)")
    add("--device", default="cpu", help="where the model runs (default: cpu)")
    add_read_arguments(parser.add_argument_group("how to read the files, where they do not say"))


def run(args: argparse.Namespace) -> int:
    from ..inference.embedding import embed
    from ..inference.embeddings import Embeddings, check_format
    from ..release import load
    from ..utils.modules import move

    check_format(args.out)
    require_writable(user_path(args.out))
    options = read_options(args)
    memory = parse_bytes(args.memory)
    model, contract = load(args.model, revision=args.revision, offline=args.offline)
    move(model, args.device)
    if contract is None:
        say(f"{args.model} is a preset: its weights are RANDOM, these embeddings were never trained")
    files = without_later_parts(args.files)
    how: Any = {"contract": contract, "batch_size": args.batch_size, "pool": args.pool, "memory": memory}
    how |= {"window_seconds": args.window, "accept": args.accept}
    notes: dict[str, list[str]] = {}
    parts: list[Embeddings] = []
    failed: list[BrainOFError] = []
    for file in files:
        try:
            with memory_budget(memory):
                recording = read_file(file, args, options)
                for note in recording.notes:
                    text = in_options(note, args.options)
                    if len(files) == 1:
                        say(f"{file}: {text}")
                    else:  # most of several files have the same: once each, at the end
                        notes.setdefault(text, []).append(file)
                part = embed(recording, model, **how)
            part.table["file"] = str(file)
            parts.append(part)
        except Exception as error:  # also of a library: the embeddings of the other files are not lost to it
            if len(files) == 1:
                raise
            named = ReadError(f"{type(error).__name__}: {error}", file=file)
            failed.append(error if isinstance(error, BrainOFError) else named)
            say(failed[-1].on_command_line(args.options))
    for note, noted in notes.items():
        say(f"{noted[0] if len(noted) == 1 else f'{len(noted)} x'}: {note}")
    if parts:
        found = Embeddings.concatenate(parts)
        found.save(args.out)
        seconds = float(found.table["duration"].sum())
        out(
            f"{args.out}: {counted(len(found), 'window')} x {found.values.shape[1]} features, "
            f"{counted(len(parts), 'recording')}, {seconds:.0f} s of signal"
        )
    if failed:
        say(f"{len(failed)} of {len(files)} files could not be embedded")
    return max((error.exit_code for error in failed), default=0)
